"""Many simulated answers in the tables, made by PostgreSQL itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import Connection, text

from chalicelib.storage.database import connect, transaction
from chalicelib.storage.timeouts import DEFAULT

OF_STUDENT, TOPICS = 100, 40
"""Answers of each student, and topics."""

PATIENT = DEFAULT._replace(answer=600.0, statement=0)
"""Time-outs of statements that fill and read whole tables."""

STUDENTS_AT_ONCE = 10_000
"""Students whose answers one statement makes, so that none takes longer than its time-out."""

_STUDENTS = (
    "TRUNCATE users CASCADE",
    "INSERT INTO users (id, n_answers) SELECT md5(i::text), :of_student FROM generate_series(1, :students) AS i",
)
_ANSWERS = (
    # A chance is the logistic function of a student's ability, a topic's ease and an item's ease.
    """
    INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content,
        completed, completed_at, is_correct, actual_time_seconds, answer_index, predicted_correct,
        predicted_time_seconds, prediction_source, item_key)
    SELECT gen_random_uuid(), md5(i::text), 'Maths', 'maths', t, t, 'medium', '?', true,
        timestamptz '2026-01-01' + make_interval(secs => n * 3600 + i),
        random() < 1 / (1 + exp(-0.8 - ability - mod(topic * 37, 17) / 8.0 + 1 - mod(item * 7, 13) / 6.0 + 1)),
        exp(3 + mod(topic * 11, 7) / 10.0 - ability / 4 + random()), n, 0.5, 60, 'default', item
    FROM generate_series(0, :of_student - 1) AS n, generate_series(:first + 0, :last + 0) AS i,
        LATERAL (
            SELECT mod(i + n, :topics), mod(i * 31 + n, 5000), 3.4 * mod(i * 7919::bigint, 1000) / 1000 - 1.7
        ) AS drawn (topic, item, ability),
        LATERAL (SELECT 'topic ' || topic) AS named (t)
    """,
)


_INDEXES = text(
    """
    SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'practice_tasks' AND indexname NOT IN (
        SELECT conname FROM pg_constraint WHERE conrelid = 'practice_tasks'::regclass
    )
    """
)


def fill(url: str, answers: int) -> None:
    """Replace all rows by simulated students and their completed tasks, without practice states.

    Indexes are made after the rows, because each row would change them all.
    """
    engine = connect(url, 1, PATIENT)
    indexes = transaction(engine, lambda connection: connection.execute(_INDEXES).all())
    engine.dispose()
    students = max(answers // OF_STUDENT, 5)
    values = {"students": students, "of_student": OF_STUDENT, "topics": TOPICS}
    execute(url, [*_STUDENTS, *(f"DROP INDEX {name}" for name, _ in indexes)], values, vacuum=False)
    for first in range(1, students + 1, STUDENTS_AT_ONCE):
        some = {"first": first, "last": min(first + STUDENTS_AT_ONCE - 1, students)}
        execute(url, _ANSWERS, values | some, vacuum=False)
    execute(url, [definition for _, definition in indexes], {})


def execute(url: str, statements: Sequence[str], values: Mapping[str, int], *, vacuum: bool = True) -> None:
    """Execute statements, each with those of the ``values`` that it names, and gather statistics unless told not to."""
    engine = connect(url, 1, PATIENT)
    for statement in statements:
        given = {name: value for name, value in values.items() if f":{name}" in statement}
        transaction(engine, partial(Connection.execute, statement=text(statement), parameters=given))
    if vacuum:
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
