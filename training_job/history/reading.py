"""Answers of all or of some students as columns, read from the tables and joined to a table of answers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from chalicelib.storage.rows import TOPIC_KEY
from training_job.history.answers import AnswerTable, time_order

COLUMNS = {
    "user": np.int32,
    "topic": np.int32,
    "index": np.int64,
    "difficulty": np.int8,
    "is_correct": np.int8,
    "seconds": np.float64,
    "at": np.float64,
    "item": np.int64,
}
"""The columns of a part. Keys of items need all of their 64 bits."""

_GIVEN = "studysmart.students"
_ALL_STUDENTS = """
    SELECT id AS user_id FROM users
    WHERE cohort = current_setting('studysmart.cohort') AND n_answers > 0 AND excluded_at IS NULL
"""
# COPY takes no parameters. A setting of the transaction brings the ids to it.
_SOME_STUDENTS = f"SELECT value AS user_id FROM json_array_elements_text(current_setting('{_GIVEN}')::json)"  # noqa: S608 - a constant
_GIVE = text(f"SELECT set_config('{_GIVEN}', :students, true)")
_GIVE_COHORT = text("SELECT set_config('studysmart.cohort', :cohort, true)")


def _codes(students: str) -> str:
    """Return the tables of codes of these students and their topics. Names are in the order of Python's strings."""
    return f"""
    WITH students AS MATERIALIZED (
        SELECT user_id, row_number() OVER (ORDER BY user_id COLLATE "C") - 1 AS code FROM ({students}) AS named
    ), topics AS MATERIALIZED (
        SELECT subject_key, topic_key, {TOPIC_KEY} AS key,
               dense_rank() OVER (ORDER BY {TOPIC_KEY} COLLATE "C") - 1 AS code
        FROM (
            SELECT DISTINCT subject_key, topic_key FROM practice_tasks JOIN students USING (user_id) WHERE completed
        ) AS named
    )
    """  # noqa: S608 - parts are constants, values are bound


def _statements(students: str) -> tuple[str, str, str]:
    codes = _codes(students)
    users = f"{codes} SELECT user_id FROM students ORDER BY code"  # noqa: S608 - parts are constants
    topics = f"{codes} SELECT DISTINCT key, code FROM topics ORDER BY code"  # noqa: S608 - parts are constants
    answers = f"""
        COPY ({codes}
            SELECT s.code, t.code, p.answer_index, p.difficulty_numeric, p.is_correct::int,
                   coalesce(p.actual_time_seconds, 'NaN'), coalesce(extract(epoch FROM p.completed_at)::float8, 'NaN'),
                   coalesce(p.item_key, 0)
            FROM students s JOIN practice_tasks p USING (user_id) JOIN topics t USING (subject_key, topic_key)
            WHERE p.completed
        ) TO STDOUT (FORMAT csv)
    """  # noqa: S608 - parts are constants
    return users, topics, answers


_OF_ALL, _OF_SOME = _statements(_ALL_STUDENTS), _statements(_SOME_STUDENTS)


@dataclass(frozen=True, slots=True)
class Text:
    """Answers as PostgreSQL sends them, and the names that their codes stand for."""

    user_ids: list[str]
    topics: list[str]
    csv: io.BytesIO


@dataclass(frozen=True, slots=True)
class Part:
    """All answers of some students in any order. ``columns`` are those of :data:`COLUMNS`, (N,) each.

    ``user`` and ``topic`` are codes into ``user_ids`` and ``topics``, which are sorted.
    """

    user_ids: tuple[str, ...]
    topics: tuple[str, ...]
    columns: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["user"])


def read_cohort(connection: Connection, cohort: str) -> Text:
    """Read the answers of all students of a cohort that are learnt from."""
    connection.execute(_GIVE_COHORT, {"cohort": cohort})
    return _read(connection, _OF_ALL)


def read_answers(connection: Connection, students: Sequence[str]) -> Text:
    """Read the answers of the given students."""
    connection.execute(_GIVE, {"students": json.dumps(list(students))})
    return _read(connection, _OF_SOME)


def _read(connection: Connection, statements: tuple[str, str, str]) -> Text:
    of_users, of_topics, of_answers = statements
    users = [name for (name,) in connection.exec_driver_sql(of_users)]
    topics = [key for key, _ in connection.exec_driver_sql(of_topics)]
    answers = io.BytesIO()
    driver: Any = connection.connection.dbapi_connection
    driver.cursor().execute(of_answers, stream=answers)
    answers.seek(0)
    return Text(users, topics, answers)


def parsed(answers: Text) -> Part:
    """Return the answers as columns."""
    kinds: Any = list(COLUMNS.items())
    has_answers = answers.csv.getbuffer().nbytes > 0
    rows = np.loadtxt(answers.csv, kinds, delimiter=",", ndmin=1) if has_answers else np.empty(0, kinds)
    columns = {name: np.ascontiguousarray(rows[name]) for name in COLUMNS}
    return Part(tuple(answers.user_ids), tuple(answers.topics), columns)


def joined(parts: Sequence[Part]) -> Part:
    """Return the answers of all parts as one, with the names of the students and topics that have answers."""
    codes: dict[str, list[npt.NDArray[Any]]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for column, names_of in (("user", [part.user_ids for part in parts]), ("topic", [part.topics for part in parts])):
        used = [
            np.bincount(part.columns[column], minlength=len(own)) > 0 for part, own in zip(parts, names_of, strict=True)
        ]
        names[column] = _sorted_names(zip(names_of, used, strict=True))
        place = {name: code for code, name in enumerate(names[column])}
        codes[column] = [
            np.array([place.get(name, -1) for name in own], dtype=np.int32)[part.columns[column]]
            for part, own in zip(parts, names_of, strict=True)
        ]
    columns = {
        name: np.concatenate(codes.get(name) or [part.columns[name] for part in parts] or [np.empty(0)]).astype(kind)
        for name, kind in COLUMNS.items()
    }
    return Part(names["user"], names["topic"], columns)


def _sorted_names(named: Iterable[tuple[tuple[str, ...], npt.NDArray[np.bool_]]]) -> tuple[str, ...]:
    return tuple(sorted({name for own, used in named for name, is_used in zip(own, used, strict=True) if is_used}))


def without(part: Part, students: set[str]) -> Part:
    """Return the part without the answers of some students."""
    kept = np.array([name not in students for name in part.user_ids], dtype=np.bool_)[part.columns["user"]]
    return Part(part.user_ids, part.topics, {name: column[kept] for name, column in part.columns.items()})


def table_of(parts: Sequence[Part]) -> AnswerTable:
    """Return the answers of all parts, in the order of students and time."""
    whole = joined(parts)
    columns = dict(whole.columns)
    order = time_order(columns["user"], columns.pop("index"), columns["at"])
    return AnswerTable.from_columns(user_ids=whole.user_ids, topics=whole.topics, order=order, **columns)
