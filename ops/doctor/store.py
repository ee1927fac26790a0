"""What ``studysmart doctor`` reads of PostgreSQL, and what it may write there.

A completion is one statement, and whatever else changes answers is one transaction. So in one snapshot everything
agrees, also while the API is running, and what does not agree is no false alarm. Students are read in batches, each in
a snapshot of its own: memory holds one page of answers and one student's state, and no snapshot lives long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text

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
    SELECT user_id, answer_index, CAST(id AS text), topic_key, difficulty_numeric, is_correct, actual_time_seconds,
           completed_at
    FROM practice_tasks WHERE completed AND user_id <= :last AND {after}
    ORDER BY user_id, answer_index, id LIMIT :limit
    """
_AFTER_ANSWER = "(user_id, answer_index, id) > (:user_id, CAST(:answer_index AS integer), CAST(:id AS uuid))"

_STATES = """
    SELECT user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds, sum_sq_log_seconds, first_index,
           last_index, last_correct, last_at, decayed
    FROM practice_state WHERE user_id <= :last AND {after}
    ORDER BY user_id, topic, difficulty LIMIT :limit
    """
_AFTER_STATE = "(user_id, topic, difficulty) > (:user_id, :topic, CAST(:difficulty AS smallint))"

_AFTER_STUDENT = "user_id > :user_id"

_TRACKERS = text(
    """
    SELECT cohort, n_samples_since_training, n_samples_total, model_version, CAST(training_request_id AS text),
           to_char(training_requested_at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"'),
           CAST(extract(epoch FROM clock_timestamp() - training_requested_at) AS double precision),
           CAST(extract(epoch FROM clock_timestamp() - training_enqueued_at) AS double precision),
           CAST(extract(epoch FROM clock_timestamp() - lease_expires_at) AS double precision),
           progress, last_error
    FROM embedding_model_tracker ORDER BY cohort
    """
)

_LEFT_OVER = text(
    """
    SELECT u.id, (SELECT count(*) FROM practice_tasks t WHERE t.user_id = u.id) AS n_tasks FROM users u
    WHERE u.deleted_at IS NOT NULL AND EXISTS (SELECT 1 FROM practice_tasks t WHERE t.user_id = u.id) ORDER BY u.id
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

    ``answers`` gives (answer index, answer) in the order of the indices, once. ``stored`` are the state's rows by
    (topic, difficulty), None for a row that cannot be read.
    """

    user_id: str
    n_answers: int
    answers: Iterator[tuple[int, Answer]]
    stored: Mapping[tuple[str, int], StateRow | None]


@dataclass(frozen=True, slots=True)
class Inspected:
    """How much was read."""

    students: int
    answers: int


@dataclass(frozen=True, slots=True)
class TrackerFacts:
    """A tracker's row. Ages are in seconds by the database's clock; a lease's age counts from its end."""

    cohort: str
    counter: int
    total: int
    model_version: str | None
    request_id: str | None
    requested_at: str | None
    requested_age: float | None
    enqueued_age: float | None
    lease_over_for: float | None
    progress: Mapping[str, Any] | None
    last_error: str | None

    @property
    def running(self) -> bool:
        """Whether a worker holds a live lease."""
        return self.request_id is not None and self.lease_over_for is not None and self.lease_over_for <= 0

    @property
    def version_in_the_making(self) -> str | None:
        """The version that the live request makes."""
        if self.request_id is None:
            return None
        return f"{self.requested_at}-{self.request_id.replace('-', '')[:8]}"


class PostgresDoctorStore:
    """Reads in snapshots; each write is a transaction that takes its locks in every writer's order."""

    def __init__(
        self, engine: Engine, students_at_once: int = STUDENTS_AT_ONCE, rows_at_once: int = ROWS_AT_ONCE
    ) -> None:
        self._engine = engine
        self._students_at_once = students_at_once
        self._rows_at_once = rows_at_once

    def inspect(self, look: Callable[[StudentRecord], Sequence[T]], found: Callable[[Sequence[T]], None]) -> Inspected:
        """Show every student to ``look``, batch by batch, and what it says of a batch to ``found``."""
        students = answers = 0
        after: str | None = ""
        while after is not None:
            sizes = (self._students_at_once, self._rows_at_once)
            batch = transaction(self._engine, partial(_inspect_batch, sizes=sizes, after=after, look=look))
            students, answers = students + batch.students, answers + batch.answers
            found(batch.said)
            after = batch.last
        return Inspected(students, answers)

    def trackers(self) -> tuple[list[TrackerFacts], int]:
        """Every tracker's row, and the number of completed tasks, in one snapshot."""

        def read(connection: Connection) -> tuple[list[TrackerFacts], int]:
            connection.exec_driver_sql(_SNAPSHOT)
            rows = [TrackerFacts(*row) for row in connection.execute(_TRACKERS)]
            return rows, int(connection.exec_driver_sql(_COUNT).scalar_one())

        return transaction(self._engine, read)

    def left_over(self) -> list[tuple[str, int]]:
        """Deleted accounts that have tasks, with how many."""
        return transaction(self._engine, lambda c: [(row[0], int(row[1])) for row in c.execute(_LEFT_OVER)])

    def rebuild(self, user_id: str) -> None:
        """Number a student's answers anew, in their order, and store the state that they give."""

        def work(connection: Connection) -> None:
            completion.take_user(connection, user_id)
            connection.execute(_RENUMBER, {"user_id": user_id})
            completion.rebuild_state(connection, user_id)

        transaction(self._engine, work)

    def set_total(self, cohort: str) -> int:
        """Set a cohort's total to what the completed tasks and the other cohorts' totals leave; returns it.

        Completions end with the tracker's row, so with the rows locked first the count is of all that were committed,
        and those that wait add themselves afterwards.
        """

        def work(connection: Connection) -> int:
            connection.exec_driver_sql("SELECT 1 FROM embedding_model_tracker ORDER BY cohort FOR UPDATE")
            return int(connection.execute(_SET_TOTAL, {"cohort": cohort}).scalar_one())

        return transaction(self._engine, work)


@dataclass(frozen=True, slots=True)
class _Batch:
    students: int
    answers: int
    said: list[Any]
    last: str | None


def _inspect_batch(
    connection: Connection, sizes: tuple[int, int], after: str, look: Callable[[StudentRecord], Sequence[Any]]
) -> _Batch:
    connection.exec_driver_sql(_SNAPSHOT)
    n_students, n_rows = sizes
    students = connection.execute(_STUDENTS, {"after": after, "limit": n_students}).all()
    if not students:
        return _Batch(0, 0, [], None)
    last = students[-1][0]
    page = partial(_pages, connection, n_rows, after, last)
    answers = _ByStudent(page(_ANSWERS, _AFTER_ANSWER, ("user_id", "answer_index", "id")))
    states = _ByStudent(page(_STATES, _AFTER_STATE, ("user_id", "topic", "difficulty")))
    said: list[Any] = []
    for user_id, n_answers in students:
        stored = {(row[1], row[2]): _state_row(row) for row in states.of(user_id)}
        said += look(StudentRecord(user_id, n_answers, map(_answer, answers.of(user_id)), stored))
    return _Batch(len(students), answers.given, said, last)


def _pages(
    connection: Connection, n_rows: int, after: str, last: str, query: str, after_row: str, key: Sequence[str]
) -> Iterator[Any]:
    """All rows of the students after ``after`` up to ``last``, a page at a time by their key."""
    wanted, values = _AFTER_STUDENT, dict[str, Any](user_id=after)
    while True:
        page = text(query.format(after=wanted))
        rows = connection.execute(page, {**values, "last": last, "limit": n_rows}).all()
        yield from rows
        if len(rows) < n_rows:
            return
        wanted, values = after_row, dict(zip(key, rows[-1], strict=False))


class _ByStudent:
    """Rows that come ordered by student, handed out student by student in that same order, each to its end."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._groups = groupby(rows, key=itemgetter(0))
        self._next = next(self._groups, None)
        self.given = 0

    def of(self, user_id: str) -> Iterator[Any]:
        """The rows of a student, none where the next ones belong to another."""
        if self._next is None or self._next[0] != user_id:
            return
        for row in self._next[1]:
            self.given += 1
            yield row
        self._next = next(self._groups, None)


def _answer(row: Any) -> tuple[int, Answer]:
    _, index, _, topic, difficulty, correct, seconds, at = row
    return index, Answer(topic, difficulty, bool(correct), seconds, at)


def _state_row(row: Any) -> StateRow | None:
    """The row, None when its decayed sums are not those of a state."""
    try:
        return state_row_from(*row[1:])
    except ValueError:
        return None
