"""The SQL of ``studysmart doctor``: its reads, and the writes of ``--repair``.

A completion is one statement, and every other change of answers is one transaction. So the facts of one snapshot agree,
even while the API is running, and a disagreement is never a false alarm. Students are read in batches, each in a
snapshot of its own: memory holds one batch's states and one student's answers, and no snapshot lives long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, text

from chalicelib.domain.training import TrainingRequest
from chalicelib.features.state import Answer, StateRow
from chalicelib.storage import completion
from chalicelib.storage.database import transaction
from chalicelib.storage.rows import TOPIC_KEY, state_row_from
from chalicelib.storage.shards import ENSURE, SUM_OF_ROW_SQL, uncounted_sql
from ops.doctor.findings import Finding

STUDENTS_AT_ONCE = 100
ROWS_AT_ONCE = 5_000

_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_BATCH = "SELECT id, n_answers FROM users WHERE id > :after ORDER BY id LIMIT :limit"

_ANSWERS = text(
    f"""
    SELECT u.id, u.n_answers, t.answer_index, {TOPIC_KEY}, t.difficulty_numeric, t.is_correct, t.actual_time_seconds,
           t.completed_at
    FROM ({_BATCH}) u LEFT JOIN practice_tasks t ON t.user_id = u.id AND t.completed
    ORDER BY u.id, t.answer_index, t.id
    """  # noqa: S608 - parts are constants, values are bound
)
"""A student without answers has one row, in which the columns of the task are null."""

_STATES = text(
    f"""
    SELECT user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds, sum_sq_log_seconds, first_index,
           last_index, last_correct, last_at, decayed
    FROM practice_state JOIN ({_BATCH}) u ON u.id = user_id
    """  # noqa: S608 - parts are constants, values are bound
)

_UNCOUNTED = uncounted_sql("k", SUM_OF_ROW_SQL)

_TRACKERS = text(
    f"""
    SELECT cohort, n_samples_since_training + {_UNCOUNTED}, n_samples_total + {_UNCOUNTED}, model_version,
           CAST(training_request_id AS text),
           training_requested_at,
           CAST(extract(epoch FROM clock_timestamp() - training_requested_at) AS double precision),
           CAST(extract(epoch FROM clock_timestamp() - training_enqueued_at) AS double precision),
           CAST(extract(epoch FROM clock_timestamp() - lease_expires_at) AS double precision),
           progress, last_error, coalesce(next_training_at > clock_timestamp(), false)
    FROM embedding_model_tracker k ORDER BY cohort
    """  # noqa: S608 - parts are constants, values are bound
)

_LEFT_OVER = text(
    """
    SELECT u.id, count(*) FROM users u JOIN practice_tasks t ON t.user_id = u.id
    WHERE u.deleted_at IS NOT NULL GROUP BY u.id ORDER BY u.id
    """
)

_REMAINS = text(
    """
    SELECT (SELECT count(*) FROM users WHERE deleted_at IS NOT NULL AND subject IS NOT NULL) + (
        SELECT count(*) FROM webhook_deliveries d JOIN users u ON u.id = d.user_id WHERE u.deleted_at IS NOT NULL
    )
    """
)
_CLEAR_IDS = text("UPDATE users SET subject = NULL WHERE deleted_at IS NOT NULL AND subject IS NOT NULL")
_CLEAR_EVENTS = text(
    "DELETE FROM webhook_deliveries d USING users u WHERE u.id = d.user_id AND u.deleted_at IS NOT NULL"
)

_RENUMBER = text(
    """
    UPDATE practice_tasks t SET answer_index = placed.place
    FROM (SELECT id, row_number() OVER (ORDER BY answer_index, completed_at NULLS FIRST, created_at, id) - 1 AS place
          FROM practice_tasks WHERE user_id = :user_id AND completed) AS placed
    WHERE t.id = placed.id AND t.answer_index <> placed.place
    """
)

_COUNT = "SELECT count(*) FROM practice_tasks JOIN users u ON u.id = user_id WHERE completed AND u.cohort = k.cohort"

_COUNTS = "SELECT u.cohort, count(*) FROM practice_tasks JOIN users u ON u.id = user_id WHERE completed GROUP BY 1"

_LOCK = text("SELECT 1 FROM embedding_model_tracker WHERE cohort = :cohort FOR UPDATE")

_SET_TOTAL = text(
    f"""
    UPDATE embedding_model_tracker k
    SET n_samples_since_training = n_samples_since_training + {_UNCOUNTED},
        n_shards_counted = greatest(n_shards_counted, {SUM_OF_ROW_SQL}),
        n_samples_total = ({_COUNT})
    WHERE cohort = :cohort RETURNING n_samples_total
    """  # noqa: S608 - parts are constants, values are bound
)


@dataclass(frozen=True, slots=True)
class StudentRecord:
    """One student in a snapshot.

    ``answers`` are (answer index, answer) in the order of the indices. ``stored`` holds the rows of the state by
    (topic, difficulty), with None for a row that cannot be read.
    """

    user_id: str
    n_answers: int
    answers: Sequence[tuple[int, Answer]]
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
    must_wait: bool

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
        self, look: Callable[[StudentRecord], Sequence[Finding]], found: Callable[[Sequence[Finding]], None]
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
        self, connection: Connection, after: str, look: Callable[[StudentRecord], Sequence[Finding]]
    ) -> tuple[list[str], int, list[Finding]]:
        """Pass the next students after an id to ``look``.

        Returns their ids, the number of their answers, and the findings.
        """
        connection.exec_driver_sql(_SNAPSHOT)
        batch = {"after": after, "limit": self._students_at_once}
        stored: defaultdict[str, dict[tuple[str, int], StateRow | None]] = defaultdict(dict)
        for user_id, *columns in connection.execute(_STATES, batch):
            stored[user_id][columns[0], columns[1]] = _state_row(columns)
        ids: list[str] = []
        answered = 0
        findings: list[Finding] = []
        rows = connection.execute(_ANSWERS, batch, execution_options={"yield_per": self._rows_at_once})
        for (user_id, n_answers), tasks in groupby(rows, key=itemgetter(0, 1)):
            answers = [_answer(task) for task in tasks if task.answer_index is not None]
            findings += look(StudentRecord(user_id, n_answers, answers, stored[user_id]))
            answered += len(answers)
            ids.append(user_id)
        return ids, answered, findings

    def trackers(self) -> tuple[list[TrackerFacts], dict[str, int]]:
        """Return every tracker's row and the numbers of completed tasks by cohort, from one snapshot."""

        def read(connection: Connection) -> tuple[list[TrackerFacts], dict[str, int]]:
            connection.exec_driver_sql(_SNAPSHOT)
            rows = [TrackerFacts(*row) for row in connection.execute(_TRACKERS)]
            return rows, {cohort: int(n) for cohort, n in connection.exec_driver_sql(_COUNTS)}

        return transaction(self._engine, read)

    def left_over(self) -> list[tuple[str, int]]:
        """Return the deleted accounts that have tasks, with the number of these."""
        return transaction(self._engine, lambda c: [(row[0], int(row[1])) for row in c.execute(_LEFT_OVER)])

    def remains(self) -> int:
        """Return the number of own ids and events of deleted accounts. A release that knows neither leaves them."""
        return transaction(self._engine, lambda c: int(c.execute(_REMAINS).scalar_one()))

    def clear_remains(self) -> int:
        """Delete own ids and events of deleted accounts; return their number."""
        return transaction(self._engine, lambda c: c.execute(_CLEAR_IDS).rowcount + c.execute(_CLEAR_EVENTS).rowcount)

    def rebuild(self, user_id: str) -> None:
        """Renumber a student's answers in their order, and store the state that they give."""

        def work(connection: Connection) -> None:
            completion.take_user(connection, user_id)
            connection.execute(_RENUMBER, {"user_id": user_id})
            completion.rebuild_state(connection, user_id)

        transaction(self._engine, work)

    def set_total(self, cohort: str) -> int:
        """Set a cohort's total to the number of its students' completed tasks, and return it.

        Every completion writes its tracker's row last. The row is locked here before the count, so the count contains
        all committed completions. A completion that waits for the lock adds 1 to the new total afterwards.
        """

        def work(connection: Connection) -> int:
            connection.execute(ENSURE, {"cohort": cohort})
            connection.execute(_LOCK, {"cohort": cohort})
            return int(connection.execute(_SET_TOTAL, {"cohort": cohort}).scalar_one())

        return transaction(self._engine, work)


def _answer(row: Any) -> tuple[int, Answer]:
    _, _, index, topic, difficulty, correct, seconds, at = row
    return index, Answer(topic, difficulty, bool(correct), seconds, at)


def _state_row(columns: Sequence[Any]) -> StateRow | None:
    """Return the row, or None when its decayed sums cannot be read."""
    try:
        return state_row_from(*columns)
    except ValueError:
        return None
