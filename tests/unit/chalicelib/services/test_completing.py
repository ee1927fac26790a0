"""Changes of a task while something fails, or while somebody else changes it.

A completion that was committed is answered, whatever happens to the training that it triggered.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from chalicelib.domain.errors import ConflictError, DatabaseUnavailableError
from chalicelib.domain.limits import NO_GROWTH, Usage
from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction
from chalicelib.domain.tasks import Difficulty, NewTask, PracticeTask, Result, TaskChange
from chalicelib.domain.training import TrainingPolicy, TrainingRequest
from chalicelib.services.champion import ChampionCache
from chalicelib.services.tasks import update_task
from tests.support.fakes.database import MemoryDatabase, MemoryTaskStore, MemoryTracker
from tests.support.fakes.services import MemoryQueue, MemoryRegistry


class UnstampedTracker(MemoryTracker):
    """A tracker whose database goes away between the commit of a completion and the stamp."""

    def mark_enqueued(self, request: TrainingRequest) -> None:
        raise DatabaseUnavailableError(f"no stamp for {request.request_id}")


def test_a_completion_succeeds_when_the_request_cannot_be_stamped() -> None:
    database, queue = MemoryDatabase(), MemoryQueue()
    tasks = MemoryTaskStore(database)
    task = tasks.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
    policy = TrainingPolicy(threshold=1, minimum_samples=1)
    change = TaskChange(is_correct=True, actual_time_seconds=3.0)
    champion = ChampionCache(MemoryRegistry(), "default", 60.0)
    done, note = update_task(tasks, champion, UnstampedTracker(database), queue, policy, "ada", task.id, change)
    assert done.completed
    assert note is not None
    assert note.counter == 1
    assert len(queue.messages) == 1


class OvertakenTasks(MemoryTaskStore):
    """A store in which every edit that predicts again is overtaken by a completion."""

    def edit(
        self,
        user_id: str,
        task_id: str,
        changes: Mapping[str, Any],
        prediction: Prediction | None,
        *,
        growth: Usage = NO_GROWTH,
    ) -> PracticeTask:
        if prediction is not None:
            self.complete(user_id, task_id, Result(True, 3.0), None, TrainingPolicy())
        return super().edit(user_id, task_id, changes, prediction, growth=growth)


def test_a_text_can_be_edited_though_the_task_is_completed_meanwhile() -> None:
    tasks = OvertakenTasks(database := MemoryDatabase())
    task = tasks.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
    champion, tracker = ChampionCache(MemoryRegistry(), "default", 60.0), MemoryTracker(database)
    update = partial(update_task, tasks, champion, tracker, MemoryQueue(), TrainingPolicy(), "ada")
    done, _ = update(task.id, TaskChange(task_content="!"))
    assert (done.completed, done.task_content) == (True, "!")
    other = tasks.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
    with pytest.raises(ConflictError):
        update(other.id, TaskChange(task_content="!", item_id="q-1"))
