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

_FILL = (
    "TRUNCATE users CASCADE",
    "INSERT INTO users (id, n_answers) SELECT md5(i::text), :of_student FROM generate_series(1, :students) AS i",
    # A chance is the logistic function of a student's ability, a topic's ease and an item's ease.
    """
    INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content,
        completed, completed_at, is_correct, actual_time_seconds, answer_index, predicted_correct,
        predicted_time_seconds, prediction_source, item_key)
    SELECT gen_random_uuid(), md5(i::text), 'Maths', 'maths', t, t, 'medium', '?', true,
        timestamptz '2026-01-01' + make_interval(secs => n * 3600 + i),
        random() < 1 / (1 + exp(-0.8 - ability - mod(topic * 37, 17) / 8.0 + 1 - mod(item * 7, 13) / 6.0 + 1)),
        exp(3 + mod(topic * 11, 7) / 10.0 - ability / 4 + random()), n, 0.5, 60, 'default', item
    FROM generate_series(0, :of_student - 1) AS n, generate_series(1, :students) AS i,
        LATERAL (
            SELECT mod(i + n, :topics), mod(i * 31 + n, 5000), 3.4 * mod(i * 7919::bigint, 1000) / 1000 - 1.7
        ) AS drawn (topic, item, ability),
        LATERAL (SELECT 'topic ' || topic) AS named (t)
    """,
)


def fill(url: str, answers: int) -> None:
    """Replace all rows by simulated students and their completed tasks, without practice states."""
    execute(url, _FILL, {"students": max(answers // OF_STUDENT, 5), "of_student": OF_STUDENT, "topics": TOPICS})


def execute(url: str, statements: Sequence[str], values: Mapping[str, int]) -> None:
    """Execute statements, each with those of the ``values`` that it names, and gather statistics."""
    engine = connect(url, 1, PATIENT)
    for statement in statements:
        given = {name: value for name, value in values.items() if f":{name}" in statement}
        transaction(engine, partial(Connection.execute, statement=text(statement), parameters=given))
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
