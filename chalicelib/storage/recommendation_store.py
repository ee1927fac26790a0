"""Topics that may be recommended, from PostgreSQL. Two statements by index read a bounded number of rows.

The student's own topics come from their newest tasks. The topics of other students come from the newest tasks of a
sample of the cohort's students: those whose ids follow the student's own id, and from the lowest id on after the
highest. So the same request gives the same answer.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from chalicelib.domain.digests import MINIMUM_STUDENTS
from chalicelib.ports import TopicChoice
from chalicelib.storage.database import statement
from chalicelib.storage.rows import TOPIC_KEY

NEWEST_TASKS = 1000
"""Number of the student's newest tasks in which their own topics are looked up."""

SAMPLED_STUDENTS = 100
"""Maximum number of students in the sample. A cohort of up to 100 other students is in it completely."""

TASKS_OF_STUDENT = 20
"""Number of newest completed tasks of each student in the sample."""

_OWN = f"""
    SELECT subject, topic, {TOPIC_KEY}
    FROM (SELECT DISTINCT ON (subject_key, topic_key) subject, subject_key, topic, topic_key, created_at, id
          FROM (SELECT subject, subject_key, topic, topic_key, created_at, id FROM practice_tasks
                WHERE user_id = :user_id {{of_subject}} ORDER BY created_at DESC, id DESC LIMIT :newest) AS newest
          ORDER BY subject_key, topic_key, created_at DESC, id DESC) AS topics
    ORDER BY created_at DESC, id DESC LIMIT :limit
"""  # noqa: S608 - parts are constants, values are bound

_STUDENTS = "SELECT id FROM users WHERE cohort = :cohort AND n_answers > 0 AND id"

_OTHERS = f"""
    SELECT mode() WITHIN GROUP (ORDER BY subject), mode() WITHIN GROUP (ORDER BY topic), {TOPIC_KEY}
    FROM ((SELECT * FROM ({_STUDENTS} > :user_id ORDER BY id LIMIT :students) AS after)
          UNION ALL
          (SELECT * FROM ({_STUDENTS} < :user_id ORDER BY id LIMIT :students) AS before)
          LIMIT :students) AS sample
    CROSS JOIN LATERAL (
        SELECT user_id, subject, subject_key, topic, topic_key FROM practice_tasks
        WHERE user_id = sample.id AND completed ORDER BY answer_index DESC LIMIT :tasks
    ) AS answers
    WHERE true {{of_subject}}
    GROUP BY subject_key, topic_key HAVING count(DISTINCT user_id) >= {MINIMUM_STUDENTS}
    ORDER BY count(DISTINCT user_id) DESC, count(*) DESC, subject_key, topic_key LIMIT :limit
"""  # noqa: S608 - parts are constants, values are bound

_OF_SUBJECT = "AND subject_key = :subject"


class PostgresRecommendationStore:
    """Implements :class:`chalicelib.ports.RecommendationStore`."""

    def __init__(self, engine: Engine, cohort: str) -> None:
        self._engine = engine
        self._cohort = cohort

    def topics(self, user_id: str, subject_key: str | None, own: int, others: int) -> list[TopicChoice]:
        """Return up to ``own`` topics of the student, newest first, then up to ``others`` of other students."""
        mine = self._rows(_OWN, subject_key, user_id=user_id, newest=NEWEST_TASKS, limit=own)
        seen = {topic_key for _, _, topic_key in mine}
        sample = {"cohort": self._cohort, "students": SAMPLED_STUDENTS, "tasks": TASKS_OF_STUDENT}
        popular = self._rows(_OTHERS, subject_key, user_id=user_id, **sample, limit=others + len(seen))
        new = [row for row in popular if row[2] not in seen][:others]
        return [TopicChoice(*row, own=True) for row in mine] + [TopicChoice(*row, own=False) for row in new]

    def _rows(self, query: str, subject_key: str | None, **values: Any) -> list[tuple[str, str, str]]:
        prepared = text(query.format(of_subject="" if subject_key is None else _OF_SUBJECT))
        given = values if subject_key is None else {**values, "subject": subject_key}
        rows = statement(self._engine, lambda connection: connection.execute(prepared, given).all())
        return [(row[0], row[1], row[2]) for row in rows]
