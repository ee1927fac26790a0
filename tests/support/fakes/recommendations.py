"""An in-memory stand-in for the topics that PostgreSQL finds."""

from __future__ import annotations

from collections import defaultdict

from chalicelib.domain.digests import MINIMUM_STUDENTS
from chalicelib.domain.tasks import PracticeTask, name_key
from chalicelib.domain.topics import topic_key
from chalicelib.ports import TopicChoice
from tests.support.fakes.database import MemoryStore


class MemoryRecommendationStore(MemoryStore):
    """Implements :class:`chalicelib.ports.RecommendationStore`, over all tasks."""

    def topics(self, user_id: str, subject_key: str | None, own: int, others: int) -> list[TopicChoice]:
        with self._db as db:
            newest_first = sorted(db.tasks.values(), key=lambda task: (task.created_at, task.id), reverse=True)
        requested = [task for task in newest_first if subject_key in (None, name_key(task.subject))]
        mine = _by_topic([task for task in requested if task.user_id == user_id])
        theirs = _by_topic([task for task in requested if task.user_id != user_id and task.completed])
        popular = sorted(
            (key for key in theirs if key not in list(mine)[:own] and _students(theirs[key]) >= MINIMUM_STUDENTS),
            key=lambda key: (-_students(theirs[key]), -len(theirs[key]), key),
        )
        return [_choice(mine[key][0], True) for key in list(mine)[:own]] + [
            _choice(theirs[key][0], False) for key in popular[:others]
        ]


def _students(tasks: list[PracticeTask]) -> int:
    return len({task.user_id for task in tasks})


def _by_topic(tasks: list[PracticeTask]) -> dict[str, list[PracticeTask]]:
    found: dict[str, list[PracticeTask]] = defaultdict(list)
    for task in tasks:
        found[topic_key(task.subject, task.topic)].append(task)
    return found


def _choice(task: PracticeTask, own: bool) -> TopicChoice:
    return TopicChoice(task.subject, task.topic, topic_key(task.subject, task.topic), own)
