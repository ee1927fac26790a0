"""The SQL of ``studysmart doctor``: its reads, and the writes of ``--repair``.

A completion is one statement, and every other change of answers is one transaction. So the facts of one snapshot agree,
even while the API is running, and a disagreement is never a false alarm. Students are read in batches, each in a
snapshot of its own: memory holds some rows and one student's state, and no snapshot lives long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text

from chalicelib.domain.training import TrainingRequest
from chalicelib.features.state import Answer, StateRow
from chalicelib.storage import completion
from chalicelib.storage.database import transaction
from chalicelib.storage.rows import state_row_from

T = TypeVar("T")

STUDENTS_AT_ONCE = 500
ROWS_AT_ONCE = 5_000

_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_STUDENTS = text("SELECT id, n_answers FROM users WHERE id > :after ORDER BY id LIMIT :limit")

_ANSWERS = """
    SELECT user_id, answer_index, topic_key, difficulty_numeric, is_correct, actual_time_seconds, completed_at
    FROM practice_tasks WHERE completed AND user_id > :after AND user_id <= :last ORDER BY user_id, answer_index, id
    """

_STATES = """
    SELECT user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds, sum_sq_log_seconds, first_index,
           last_index, last_correct, last_at, decayed
    FROM practice_state WHERE user_id > :after AND user_id <= :last ORDER BY user_id, topic, difficulty
    """

_TRACKERS = text(
    """
    SELECT cohort, n_samples_since_training, n_samples_total, model_version, CAST(training_request_id AS text),
           training_requested_at,
           CAST(extract(epoch FROM clock_timestamp() - training_requested_at) AS double precision),
           CAST(extract(epoch FROM clock_timestamp() - training_enqueued_at) AS double precision),
           CAST(extract(epoch FROM clock_timestamp() - lease_expires_at) AS double precision),
           progress, last_error
    FROM embedding_model_tracker ORDER BY cohort
    """
)

_LEFT_OVER = text(
    """
    SELECT u.id, count(*) FROM users u JOIN practice_tasks t ON t.user_id = u.id
    WHERE u.deleted_at IS NOT NULL GROUP BY u.id ORDER BY u.id
    """
)

_RENUMBER = text(
    """
    UPDATE practice_tasks t SET answer_index = placed.place
    FROM (SELECT id, row_number() OVER (ORDER BY answer_index, completed_at NULLS FIRST, created_at, id) - 1 AS place
          FROM practice_tasks WHERE user_id = :user_id AND completed) AS placed
    WHERE t.id = placed.id AND t.answer_index <> placed.place
    """
)

_COUNT = "SELECT count(*) FROM practice_tasks WHERE completed"

_SET_TOTAL = text(
    f"""
    UPDATE embedding_model_tracker k
    SET n_samples_total = greatest(({_COUNT}) - (SELECT coalesce(sum(n_samples_total), 0)
                                                 FROM embedding_model_tracker WHERE cohort <> :cohort), 0)
    WHERE cohort = :cohort RETURNING n_samples_total
    """
)


@dataclass(frozen=True, slots=True)
class StudentRecord:
    """One student in a snapshot.

    ``answers`` can be read once and gives (answer index, answer) in the order of the indices. ``stored`` holds the rows
    of the state by (topic, difficulty), with None for a row that cannot be read.
    """

    user_id: str
    n_answers: int
    answers: Iterator[tuple[int, Answer]]
    stored: Mapping[tuple[str, int], StateRow | None]


@dataclass(frozen=True, slots=True)
class TrackerFacts:
    """A tracker's row. Ages are in seconds by the database's clock; that of the lease counts from its end."""

    cohort: str
    counter: int
    total: int
    model_version: str | None
    request_id: str | None
    requested_at: datetime | None
    requested_age: float | None
    enqueued_age: float | None
    lease_over_for: float | None
    progress: Mapping[str, Any] | None
    last_error: str | None

    @property
    def running(self) -> bool:
        """A worker holds a live lease."""
        return self.request_id is not None and self.lease_over_for is not None and self.lease_over_for <= 0

    @property
    def requested_version(self) -> str | None:
        """The version that the live request makes."""
        if self.request_id is None or self.requested_at is None:
            return None
        return TrainingRequest(self.request_id, self.cohort, self.requested_at, "").version


class PostgresDoctorStore:
    """Reads in snapshots. Each write is a transaction that takes its locks in the order of every writer."""

    def __init__(
        self, engine: Engine, students_at_once: int = STUDENTS_AT_ONCE, rows_at_once: int = ROWS_AT_ONCE
    ) -> None:
        self._engine = engine
        self._students_at_once = students_at_once
        self._rows_at_once = rows_at_once

    def inspect(
        self, look: Callable[[StudentRecord], Sequence[T]], found: Callable[[Sequence[T]], None]
    ) -> tuple[int, int]:
        """Pass every student to ``look`` and the findings of each batch to ``found``.

        Returns the numbers of students and answers.
        """
        n_students = n_answers = 0
        after = ""
        while True:
            batch = partial(self._inspect_batch, after=after, look=look)
            students, answers, findings = transaction(self._engine, batch)
            if not students:
                return n_students, n_answers
            n_students, n_answers, after = n_students + len(students), n_answers + answers, students[-1]
            found(findings)

    def _inspect_batch(
        self, connection: Connection, after: str, look: Callable[[StudentRecord], Sequence[T]]
    ) -> tuple[list[str], int, list[T]]:
        """Pass the next students after an id to ``look``.

        Returns their ids, the number of their answers, and the findings.
        """
        connection.exec_driver_sql(_SNAPSHOT)
        students = connection.execute(_STUDENTS, {"after": after, "limit": self._students_at_once}).all()
        if not students:
            return [], 0, []
        ids = {"after": after, "last": students[-1][0]}
        answers = _ByStudent(self._fetched(connection, "answers", _ANSWERS, ids))
        states = _ByStudent(self._fetched(connection, "states", _STATES, ids))
        findings: list[T] = []
        for user_id, n_answers in students:
            stored = {(row[1], row[2]): _state_row(row) for row in states.of(user_id)}
            findings += look(StudentRecord(user_id, n_answers, map(_answer, answers.of(user_id)), stored))
        return [user_id for user_id, _ in students], answers.given, findings

    def _fetched(self, connection: Connection, cursor: str, query: str, values: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the rows of a query, a few thousand at a time."""
        connection.execute(text(f"DECLARE {cursor} NO SCROLL CURSOR FOR {query}"), values)
        while rows := connection.exec_driver_sql(f"FETCH FORWARD {self._rows_at_once} FROM {cursor}").all():
            yield from rows

    def trackers(self) -> tuple[list[TrackerFacts], int]:
        """Return every tracker's row and the number of completed tasks, from one snapshot."""

        def read(connection: Connection) -> tuple[list[TrackerFacts], int]:
            connection.exec_driver_sql(_SNAPSHOT)
            rows = [TrackerFacts(*row) for row in connection.execute(_TRACKERS)]
            return rows, int(connection.exec_driver_sql(_COUNT).scalar_one())

        return transaction(self._engine, read)

    def left_over(self) -> list[tuple[str, int]]:
        """Return the deleted accounts that have tasks, with the number of these."""
        return transaction(self._engine, lambda c: [(row[0], int(row[1])) for row in c.execute(_LEFT_OVER)])

    def rebuild(self, user_id: str) -> None:
        """Renumber a student's answers in their order, and store the state that they give."""

        def work(connection: Connection) -> None:
            completion.take_user(connection, user_id)
            connection.execute(_RENUMBER, {"user_id": user_id})
            completion.rebuild_state(connection, user_id)

        transaction(self._engine, work)

    def set_total(self, cohort: str) -> int:
        """Set a cohort's total to the completed tasks minus the other cohorts' totals, and return it.

        Every completion ends with the tracker's row. With the rows locked first, the count contains all committed
        completions, and those that wait for the lock add themselves afterwards.
        """

        def work(connection: Connection) -> int:
            connection.exec_driver_sql("SELECT 1 FROM embedding_model_tracker ORDER BY cohort FOR UPDATE")
            return int(connection.execute(_SET_TOTAL, {"cohort": cohort}).scalar_one())

        return transaction(self._engine, work)


class _ByStudent:
    """Rows ordered by student, read student by student in the same order, each to the end."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._groups = groupby(rows, key=itemgetter(0))
        self._next = next(self._groups, None)
        self.given = 0

    def of(self, user_id: str) -> Iterator[Any]:
        """Yield the rows of a student; none when the next rows belong to another."""
        if self._next is None or self._next[0] != user_id:
            return
        for row in self._next[1]:
            self.given += 1
            yield row
        self._next = next(self._groups, None)


def _answer(row: Any) -> tuple[int, Answer]:
    _, index, topic, difficulty, correct, seconds, at = row
    return index, Answer(topic, difficulty, bool(correct), seconds, at)


def _state_row(row: Any) -> StateRow | None:
    """Return the row, or None when its decayed sums cannot be read."""
    try:
        return state_row_from(*row[1:])
    except ValueError:
        return None
