"""The SQL of an import: the rows are staged by COPY, then stored in one transaction for each batch of users.

The rows of a user may be anywhere in a file. So they are first copied into a temporary table and read back in order
through a cursor: memory holds one batch, however long the file is. A batch ends only between users, so all new answers
of a user advance the state together. The ids of the tasks follow from their content, so answers that are already stored
are left alone, and a killed import is simply run again.

Locks are taken in the order of every writer (users, tasks, state, tracker). The rows of the users are locked, in the
order of their ids, before anything of theirs is read. So a completion cannot happen between an answer's index and its
state, and two imports of one file cannot both miss the same answer. A batch inserts only new tasks, which nobody else
can have locked.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from pg8000 import dbapi
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.errors import DatabaseUnavailableError
from chalicelib.domain.predictions import DEFAULT_CORRECT, DEFAULT_SECONDS
from chalicelib.features.columns import decayed_to_bytes
from chalicelib.features.state import Answer, StateRow, advance
from chalicelib.storage.rows import state_row_from
from ops.imports.rows import HistoryRow, Identity, identity, task_id

BATCH_ROWS = 10_000
"""A batch ends at the next change of user after this many answers."""

IMPORTED_CONTENT = "Imported answer"
"""The content of imported tasks: files of history contain results, not questions."""

_log = logging.getLogger("studysmart.import")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NULL = r"\N"
_SPECIAL = re.compile(r"[\\\t\n\r]")

_STAGE = """
CREATE TEMPORARY TABLE history_staged (
    line bigint, user_id text COLLATE "C", position bigint, subject text, subject_key text, topic text,
    topic_key text, difficulty smallint, is_correct boolean, seconds double precision, at_micros bigint
)"""
_STAGE_PLACED = """
CREATE TEMPORARY TABLE history_placed (line bigint, id uuid, answer_index integer, age_micros integer)
ON COMMIT DELETE ROWS"""
_STAGE_STATE = "CREATE TEMPORARY TABLE history_state (LIKE practice_state) ON COMMIT DELETE ROWS"
_IN_ORDER = """
DECLARE history CURSOR WITH HOLD FOR
SELECT line, user_id, position, subject, subject_key, topic, topic_key, difficulty, is_correct, seconds, at_micros
FROM history_staged ORDER BY user_id, position NULLS LAST, at_micros NULLS LAST, line"""
_ADD_USERS = """
INSERT INTO users (id) SELECT unnest(cast(%s AS text[])) ON CONFLICT DO NOTHING"""
_LOCK_USERS = """
SELECT id, n_answers, deleted_at IS NOT NULL FROM users WHERE id = ANY(cast(%s AS text[]))
ORDER BY id COLLATE "C" FOR UPDATE"""
_KNOWN_TASKS = "SELECT id::text FROM practice_tasks WHERE id = ANY(cast(%s AS uuid[]))"
_STATES = """
SELECT user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds, sum_sq_log_seconds, first_index,
    last_index, last_correct, last_at, decayed
FROM practice_state WHERE user_id = ANY(cast(%s AS text[]))"""
_COPY_STAGED = "COPY history_staged FROM STDIN"
_COPY_PLACED = "COPY history_placed FROM STDIN"
_STORE_TASKS = f"""
INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, completed,
    completed_at, is_correct, actual_time_seconds, answer_index, predicted_correct, predicted_time_seconds,
    prediction_source, created_at, updated_at)
SELECT p.id, s.user_id, s.subject, s.subject_key, s.topic, s.topic_key,
    (ARRAY['easy', 'medium', 'hard', 'expert'])[s.difficulty], '{IMPORTED_CONTENT}', true, t.at, s.is_correct,
    s.seconds, p.answer_index, {DEFAULT_CORRECT}, {DEFAULT_SECONDS}, 'default', t.created, t.created
FROM history_placed p JOIN history_staged s USING (line),
LATERAL (SELECT timestamptz 'epoch' + s.at_micros * interval '1 microsecond' AS at) known,
LATERAL (SELECT known.at, coalesce(known.at, now() - p.age_micros * interval '1 microsecond') AS created) t"""
_COUNT_ANSWERS = """
UPDATE users SET n_answers = added.n FROM unnest(cast(%s AS text[]), cast(%s AS integer[])) AS added (id, n)
WHERE users.id = added.id"""
_COPY_STATE = """
COPY history_state (user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds, sum_sq_log_seconds,
    first_index, last_index, last_correct, last_at, decayed)
FROM STDIN"""
_STORE_STATE = """
INSERT INTO practice_state SELECT * FROM history_state ON CONFLICT (user_id, topic, difficulty) DO UPDATE SET
    attempts = excluded.attempts, correct = excluded.correct, timed = excluded.timed,
    sum_log_seconds = excluded.sum_log_seconds, sum_sq_log_seconds = excluded.sum_sq_log_seconds,
    last_index = excluded.last_index, last_correct = excluded.last_correct, last_at = excluded.last_at,
    decayed = excluded.decayed"""
_COUNT_SAMPLES = """
INSERT INTO embedding_model_tracker (cohort, n_samples_total) VALUES (%s, %s)
ON CONFLICT (cohort) DO UPDATE
SET n_samples_total = embedding_model_tracker.n_samples_total + excluded.n_samples_total"""

_get_user = attrgetter("user_id")
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The effect of one committed batch. ``refused`` are answers of deleted accounts, which stay deleted."""

    rows: int
    added: int
    new_users: int
    refused: tuple[HistoryRow, ...]


@dataclass(slots=True)
class _Student:
    """A locked user while their answers are stored."""

    n_answers: int
    states: dict[_Key, StateRow]
    changed: set[_Key]


class HistoryImport:
    """One import over one connection: first :meth:`stage` every row, then run :meth:`batches` to the end."""

    def __init__(self, connection: Any, cohort: str) -> None:
        self._connection = connection
        self._cohort = cohort

    def _run(self, sql: str, *values: Any, stream: Iterable[str] | None = None) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(sql, values, stream=stream)
        return cursor

    def prepare(self) -> None:
        """Create the temporary tables.

        A batch joins its rows to the staged rows by line number. A hash join would read the whole staged table for
        every batch, which is quadratic in the length of the file, so only joins by index are allowed.
        """
        self._run("SET enable_hashjoin = off")
        self._run("SET enable_mergejoin = off")
        self._run(_STAGE)
        self._run(_STAGE_PLACED)
        self._run(_STAGE_STATE)

    def stage(self, rows: Sequence[HistoryRow]) -> None:
        """Copy answers into the temporary table; call it with a few thousand at a time."""
        self._run(_COPY_STAGED, stream=_in_chunks(_staged_lines(rows)))

    def batches(self, batch_rows: int = BATCH_ROWS) -> Iterator[BatchResult]:
        """Store the staged rows, and yield the result of each committed batch."""
        self._run("CREATE INDEX ON history_staged (line)")
        self._run("ANALYZE history_staged")
        self._run(_IN_ORDER)
        batch: list[HistoryRow] = []
        for _, answers in groupby(self._staged(batch_rows), _get_user):
            batch.extend(answers)
            if len(batch) >= batch_rows:
                yield self._store_batch(batch)
                batch = []
        if batch:
            yield self._store_batch(batch)
        self._run("CLOSE history")

    def _staged(self, size: int) -> Iterator[HistoryRow]:
        while rows := self._run(f"FETCH FORWARD {size:d} FROM history").fetchall():
            yield from map(HistoryRow._make, rows)

    def _store_batch(self, batch: Sequence[HistoryRow]) -> BatchResult:
        self._run("BEGIN")
        try:
            result = self._store_locked(batch)
        except BaseException:
            self._run("ROLLBACK")
            raise
        self._run("COMMIT")
        _log.debug("imported %d of %d answers", result.added, result.rows)
        return result

    def _store_locked(self, batch: Sequence[HistoryRow]) -> BatchResult:
        user_ids = list(dict.fromkeys(map(_get_user, batch)))
        new_users = self._run(_ADD_USERS, user_ids).rowcount
        students, deleted = self._lock(user_ids)
        refused = tuple(row for row in batch if row.user_id in deleted)
        ids = _task_ids(row for row in batch if row.user_id in students)
        # A student without answers has none of the tasks.
        known = self._known([task for task, row in ids.items() if students[row.user_id].n_answers])
        new = [(task, row) for task, row in ids.items() if task not in known]
        if new:
            self._store(new, students)
        return BatchResult(len(batch), len(new), new_users, refused)

    def _known(self, ids: Sequence[str]) -> set[str]:
        """Return those of the tasks that exist."""
        if not ids:
            return set()
        return {task for (task,) in self._run(_KNOWN_TASKS, "{" + ",".join(ids) + "}").fetchall()}

    def _lock(self, user_ids: list[str]) -> tuple[dict[str, _Student], set[str]]:
        """Lock the users until the end of the transaction; return them with their states, and the deleted ones."""
        found = self._run(_LOCK_USERS, user_ids).fetchall()
        students = {user: _Student(n_answers, {}, set()) for user, n_answers, deleted in found if not deleted}
        practised = [user for user, student in students.items() if student.n_answers]
        if practised:
            for user, *columns in self._run(_STATES, practised).fetchall():
                state = state_row_from(*columns)
                students[user].states[state.topic, state.difficulty] = state
        return students, {user for user, _, deleted in found if deleted}

    def _store(self, new: Sequence[tuple[str, HistoryRow]], students: dict[str, _Student]) -> None:
        self._run(_COPY_PLACED, stream=_in_chunks(_placed(new, students)))
        self._run(_STORE_TASKS)
        changed = {user: student for user, student in students.items() if student.changed}
        self._run(_COUNT_ANSWERS, list(changed), [student.n_answers for student in changed.values()])
        self._run(_COPY_STATE, stream=_in_chunks(_state_lines(changed)))
        self._run(_STORE_STATE)
        self._run(_COUNT_SAMPLES, self._cohort, len(new))


def _task_ids(rows: Iterable[HistoryRow]) -> dict[str, HistoryRow]:
    """Return the rows by the ids of their tasks, in order. Identical rows get different ids by counting."""
    seen: Counter[Identity] = Counter()
    ids: dict[str, HistoryRow] = {}
    for row in rows:
        same = identity(row)
        ids[task_id(same, seen[same])] = row
        seen[same] += 1
    return ids


def _placed(new: Sequence[tuple[str, HistoryRow]], students: dict[str, _Student]) -> Iterator[str]:
    """Yield the lines of ``history_placed`` for the new tasks, and advance the states of the students.

    A task without a time counts as created now. Its age in microseconds keeps such tasks in order in lists.
    """
    for n, (task, row) in enumerate(new):
        student = students[row.user_id]
        at = None if row.at_micros is None else _EPOCH + timedelta(microseconds=row.at_micros)
        key = (row.topic_key, row.difficulty)
        answer = Answer(row.topic_key, row.difficulty, row.is_correct, row.seconds, at)
        student.states[key] = advance(student.states.get(key), answer, student.n_answers)
        student.changed.add(key)
        yield f"{row.line}\t{task}\t{student.n_answers}\t{len(new) - n}\n"
        student.n_answers += 1


def _state_lines(students: dict[str, _Student]) -> Iterator[str]:
    """Yield the lines of ``_COPY_STATE`` for the rows that changed."""
    for user, student in students.items():
        for row in (student.states[key] for key in sorted(student.changed)):
            yield (
                f"{_escaped(user)}\t{_escaped(row.topic)}\t{row.difficulty}\t{row.attempts}\t{row.correct}\t{row.timed}\t"
                f"{row.sum_log_seconds}\t{row.sum_sq_log_seconds}\t{row.first_index}\t{row.last_index}\t"
                f"{row.last_correct}\t{row.last_at or _NULL}\t\\\\x{decayed_to_bytes(row.decayed).hex()}\n"
            )


def _staged_lines(rows: Iterable[HistoryRow]) -> Iterator[str]:
    """Yield the lines of ``history_staged``, whose columns are the fields of the rows."""
    for row in rows:
        yield "\t".join(map(_copy_field, row)) + "\n"


def _copy_field(value: object) -> str:
    if isinstance(value, str):
        return _escaped(value)
    return _NULL if value is None else str(value)


def _escaped(text: str) -> str:
    """Return a text in the format of COPY."""
    if _SPECIAL.search(text) is None:
        return text
    return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def _in_chunks(lines: Iterator[str]) -> Iterator[str]:
    """Join lines to a few kilobytes, because each chunk becomes one message to PostgreSQL."""
    while chunk := "".join(islice(lines, 200)):
        yield chunk


@contextmanager
def history_import(engine: Engine, cohort: str) -> Iterator[HistoryImport]:
    """Give an import with a connection of its own, closed at the end.

    Raises DatabaseUnavailableError when the connection is lost. The batches committed before stay.
    """
    try:
        with engine.connect() as connection:
            run = HistoryImport(connection.connection.driver_connection, cohort)
            connection.detach()
            run.prepare()
            yield run
    except (DBAPIError, dbapi.InterfaceError, OSError) as error:
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {error}") from error
