"""Migrations of a database that contains data."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from alembic import command
from msgspec.structs import replace
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.errors import ConfigurationError
from chalicelib.domain.topics import joined_key, topic_key
from chalicelib.features.state import Answer, StateRow, advance, replay
from chalicelib.storage.database import connect
from chalicelib.storage.rows import state_parameters
from chalicelib.storage.task_store import PostgresTaskStore
from migrations import alembic_config, upgrade
from migrations.schema import practice_state
from tests.support.histories import rows_by_key

pytestmark = pytest.mark.slow

LEVELS = ("easy", "medium", "hard", "expert")

ADD_TASK = """
INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, completed,
    is_correct, answer_index, predicted_correct, predicted_time_seconds, prediction_source)
VALUES (CAST(:id AS uuid), :user_id, 'Maths', 'maths', :topic, :topic, :difficulty, '?', :completed, :is_correct,
    CAST(:answer_index AS integer), 0.5, 60, 'default')"""

ADD_STATE_BEFORE_0002 = """
INSERT INTO practice_state (user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds, sum_sq_log_seconds,
    last_index, last_at, decayed)
VALUES (:user_id, :topic, :difficulty, :attempts, :correct, :timed, :sum_log_seconds, :sum_sq_log_seconds,
    :last_index, :last_at, :decayed)"""

NEW_COLUMNS = ("first_index", "last_correct")

ADA = [
    Answer("algebra", 1, True),
    Answer("geometry", 1, False),
    Answer("algebra", 3, True),
    Answer("algebra", 1, False),
]
BOB = [Answer("geometry", 1, False), Answer("algebra", 1, False), Answer("geometry", 1, True)]
IN_MATHS = "maths\x1f{}".format
"""The key of a topic by the key of its name."""


def in_maths(answers: list[Answer]) -> list[Answer]:
    return [replace(answer, topic=IN_MATHS(answer.topic)) for answer in answers]


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    engine = connect(empty_url, pool_size=1)
    yield engine
    engine.dispose()


def add_task(engine: Engine, user: str, answer: Answer, index: int | None) -> None:
    """A task, completed as the student's answer ``index``, or open."""
    values = {
        "id": str(uuid.uuid4()),
        "user_id": user,
        "topic": answer.topic,
        "difficulty": LEVELS[answer.difficulty - 1],
        "completed": index is not None,
        "is_correct": answer.is_correct,
        "answer_index": index,
    }
    with engine.connect() as connection:
        connection.execute(text(ADD_TASK), values)


def parameters_before_0002(user: str, row: StateRow) -> dict[str, object]:
    return {name: value for name, value in state_parameters(user, row).items() if name not in NEW_COLUMNS}


def fill_before_0002(engine: Engine) -> None:
    """The rows that a program before revision 0002 stored for two students."""
    for user, answers in (("ada", ADA), ("bob", BOB)):
        with engine.connect() as connection:
            connection.execute(
                text("INSERT INTO users (id, n_answers) VALUES (:id, :n)"), {"id": user, "n": len(answers)}
            )
            rows = [parameters_before_0002(user, row) for row in replay(user, answers).rows]
            connection.execute(text(ADD_STATE_BEFORE_0002), rows)
        for index, answer in enumerate(answers):
            add_task(engine, user, answer, index)


def firsts_and_lasts(engine: Engine) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT user_id, topic, difficulty, first_index, last_correct FROM practice_state ORDER BY 1, 2, 3")
        )
        return [tuple(row) for row in found]


def test_old_states_get_first_index_and_last_outcome(empty_url: str, engine: Engine) -> None:
    command.upgrade(alembic_config(empty_url), "0001")
    fill_before_0002(engine)
    add_task(engine, "bob", Answer("algebra", 1, True), None)  # open tasks are no answers
    upgrade(empty_url)
    assert firsts_and_lasts(engine) == [
        ("ada", IN_MATHS("algebra"), 1, 0, False),
        ("ada", IN_MATHS("algebra"), 3, 2, True),
        ("ada", IN_MATHS("geometry"), 1, 1, False),
        ("bob", IN_MATHS("algebra"), 1, 1, False),
        ("bob", IN_MATHS("geometry"), 1, 0, True),
    ]
    store = PostgresTaskStore(engine, "default")
    for user, answers in (("ada", ADA), ("bob", BOB)):
        assert rows_by_key(store.prediction_context(user).state) == rows_by_key(replay(user, in_maths(answers)))


def test_an_old_state_without_tasks_gets_estimates(empty_url: str, engine: Engine) -> None:
    command.upgrade(alembic_config(empty_url), "0001")
    right, wrong = Answer("algebra", 1, True), Answer("geometry", 1, False)
    mixed = advance(advance(None, Answer("statistics", 1, False), 4), Answer("statistics", 1, True), 6)
    states = [advance(advance(None, right, 3), right, 7), advance(None, wrong, 5), mixed]
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO users (id, n_answers) VALUES ('eve', 8)"))
        connection.execute(text(ADD_STATE_BEFORE_0002), [parameters_before_0002("eve", state) for state in states])
    upgrade(empty_url)
    assert firsts_and_lasts(engine) == [
        ("eve", "algebra", 1, 7, True),
        ("eve", "geometry", 1, 5, False),
        ("eve", "statistics", 1, 6, False),
    ]


@pytest.mark.parametrize("column", NEW_COLUMNS)
def test_new_states_need_first_index_and_last_outcome(empty_url: str, engine: Engine, column: str) -> None:
    upgrade(empty_url)
    row = state_parameters("eve", advance(None, Answer("algebra", 2, True), 0))
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO users (id, n_answers) VALUES ('eve', 1)"))
        with pytest.raises(DBAPIError, match=column):
            connection.execute(practice_state.insert(), {name: row[name] for name in row if name != column})
        connection.execute(practice_state.insert(), row)


def test_downgrade_and_upgrade_keep_every_state(empty_url: str, engine: Engine) -> None:
    command.upgrade(alembic_config(empty_url), "0001")
    fill_before_0002(engine)
    upgrade(empty_url)
    before = firsts_and_lasts(engine)
    command.downgrade(alembic_config(empty_url), "0001")
    with engine.connect() as connection:
        assert not set(NEW_COLUMNS) & set(connection.execute(text("SELECT * FROM practice_state")).keys())
    upgrade(empty_url)
    assert firsts_and_lasts(engine) == before


def test_keys_of_names_are_made_anew_with_the_states(empty_url: str, engine: Engine) -> None:
    command.upgrade(alembic_config(empty_url), "0006")
    names = ["Ma\u00dfe", "Masse", "Linear  equations", "linear equations", "Masse", "Ma\u00dfe"]
    before = [name.strip().casefold() for name in names]
    for n, (topic, key) in enumerate(zip(names, before, strict=True)):
        if n == 0:
            with engine.connect() as connection:
                connection.execute(text("INSERT INTO users (id, n_answers) VALUES ('ada', 6)"))
        add_task(engine, "ada", Answer(topic, 1, n % 2 == 0, 2.0), n)
        with engine.connect() as connection:
            connection.execute(
                text("UPDATE practice_tasks SET topic_key = :key, actual_time_seconds = 2 WHERE topic = :topic"),
                {"key": key, "topic": topic},
            )
    upgrade(empty_url)
    answers = [Answer(topic_key("Maths", topic), 1, n % 2 == 0, 2.0) for n, topic in enumerate(names)]
    found = rows_by_key(PostgresTaskStore(engine, "default").prediction_context("ada").state)
    expected = rows_by_key(replay("ada", answers))
    assert set(found) == {(IN_MATHS(key), 1) for key in ("ma\u00dfe", "masse", "linear equations")}
    assert found == expected
    for place, row in found.items():
        np.testing.assert_allclose(row.decayed, expected[place].decayed, rtol=1e-12)


SUBJECTS = {
    "ada": [("history", "chapter 1"), ("biology", "chapter 1"), ("biology", "cells"), ("history", "chapter 1")],
    "bob": [("history", "chapter 1"), ("biology", "cells"), ("history", "chapter 1")],
    "eve": [("history", "x" * 300), ("history", "x" * 300)],
}
"""Subject and topic of the answers of students: only the first of them has a topic in two subjects."""

ANSWERS = [(1, True, 20.0), (1, False, 3000.0), (3, True, 0.0), (1, True, 4.0)]


def add_answers(engine: Engine, user: str, names: list[tuple[str, str]]) -> list[Answer]:
    """Store a student's answers with the states that a program before revision 0091 stored."""
    answers = [Answer(topic, *ANSWERS[n % 4]) for n, (_, topic) in enumerate(names * 3)]
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO users (id, n_answers) VALUES (:id, :n)"), {"id": user, "n": len(answers)})
        connection.execute(practice_state.insert(), [state_parameters(user, row) for row in replay(user, answers).rows])
    for n, answer in enumerate(answers):
        add_task(engine, user, answer, n)
        with engine.connect() as connection:
            connection.execute(
                text(
                    "UPDATE practice_tasks SET subject_key = :subject, actual_time_seconds = :seconds "
                    "WHERE user_id = :user AND answer_index = :n"
                ),
                {"subject": names[n % len(names)][0], "seconds": answer.seconds, "user": user, "n": n},
            )
    return answers


def assert_states(engine: Engine, user: str, answers: list[Answer]) -> None:
    found = rows_by_key(PostgresTaskStore(engine, "default").prediction_context(user).state)
    expected = rows_by_key(replay(user, answers))
    assert found.keys() == expected.keys()
    for key, row in found.items():
        np.testing.assert_allclose(row.decayed, expected[key].decayed, rtol=1e-12)
        np.testing.assert_allclose(row.sum_sq_log_seconds, expected[key].sum_sq_log_seconds, rtol=1e-12)
        counts = ("attempts", "correct", "timed", "first_index", "last_index", "last_correct", "last_at")
        assert [getattr(row, name) for name in counts] == [getattr(expected[key], name) for name in counts]


def test_states_of_a_topic_in_two_subjects_are_split(empty_url: str, engine: Engine) -> None:
    command.upgrade(alembic_config(empty_url), "0100")
    before = {user: add_answers(engine, user, names) for user, names in SUBJECTS.items()}
    upgrade(empty_url)
    for user, names in SUBJECTS.items():
        named = zip(names * 3, before[user], strict=True)
        assert_states(engine, user, [replace(answer, topic=joined_key(*name)) for name, answer in named])
    command.downgrade(alembic_config(empty_url), "0100")
    for user, answers in before.items():
        assert_states(engine, user, answers)


@pytest.mark.parametrize("own", ["default", "it's a course: 5%"])
def test_everybody_is_in_the_cohort_that_was_served(empty_url: str, engine: Engine, own: str) -> None:
    command.upgrade(alembic_config(empty_url), "0150")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (id) VALUES ('ada')"))
        connection.execute(
            text(
                "INSERT INTO embedding_model_tracker (cohort, n_samples_total) VALUES ('empty', 0), (:own, 3)"
                " ON CONFLICT (cohort) DO UPDATE SET n_samples_total = excluded.n_samples_total"
            ),
            {"own": own},
        )
    add_task(engine, "ada", Answer("algebra", 1, True), 0)
    upgrade(empty_url)
    with engine.begin() as connection:
        # The release before, which knows no cohorts, adds more.
        connection.execute(text("INSERT INTO users (id) VALUES ('bob')"))
        found = connection.execute(text("SELECT cohort FROM users UNION ALL SELECT cohort FROM practice_tasks")).all()
    assert [tuple(row) for row in found] == [(own,)] * 3
    command.downgrade(alembic_config(empty_url), "0150")
    upgrade(empty_url)


def test_the_migrations_create_the_tables_of_the_schema(empty_url: str) -> None:
    upgrade(empty_url)
    command.check(alembic_config(empty_url))


def test_tables_of_a_later_release_are_left_alone_and_named(empty_url: str) -> None:
    upgrade(empty_url)
    engine = connect(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match=r"newer than this release, or not its own: .*'9999'"):
        upgrade(empty_url)
    engine.dispose()
