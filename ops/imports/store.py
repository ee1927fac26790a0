"""The SQL of an import: whole students are stored in one transaction, by COPY.

Locks are taken in the order of every writer (users, tasks, state, tracker). The rows of the users are locked, in the
order of their ids, before anything of theirs is read. So a completion cannot happen between an answer's index and its
state, and two imports of one file cannot both miss the same answer. The ids of the tasks follow from their content, so
answers that are already stored are left alone, and a killed import is simply run again.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from pg8000 import dbapi
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.errors import DatabaseUnavailableError, StudySmartError
from chalicelib.domain.items import IMPORTED_CONTENT, item_key
from chalicelib.domain.predictions import DEFAULT_CORRECT, DEFAULT_SECONDS
from chalicelib.domain.tasks import Difficulty
from chalicelib.features.columns import decayed_to_bytes
from chalicelib.storage.rows import TOPIC_KEY
from chalicelib.storage.shards import changed_total_sql
from ops.imports.placing import Placed, StateLine, in_order_of_time, states
from ops.imports.rows import HistoryRow, Identity, Task, identity, task_id
from ops.imports.values import micros

USERS_TAKEN_BACK = 200
"""The number of students whose answers are taken back at a time."""

_log = logging.getLogger("studysmart.import")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NULL = r"\N"
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_SPECIAL = re.compile(r"[\\\t\n\r]")
_LEVELS = ("", "easy", "medium", "hard", "expert")

_BEGIN_IMPORT = "INSERT INTO imports (cohort, file) VALUES (%s, %s) RETURNING id"
_COUNT_IMPORT = """
UPDATE imports SET n_read = n_read + %s, n_added = n_added + %s, n_new_users = n_new_users + %s WHERE id = %s"""
_FINISH_IMPORT = "UPDATE imports SET finished_at = now(), n_read = %s, n_refused = %s WHERE id = %s"
_LIST_IMPORTS = """
SELECT id, file, started_at, finished_at, n_read, n_added, n_refused, n_new_users, undone_at
FROM imports WHERE cohort = %s ORDER BY id"""
_CAN_BE_UNDONE = "SELECT 1 FROM imports WHERE id = %s AND cohort = %s AND undone_at IS NULL"
_ACCOUNTS = "SELECT lower(email), id FROM users WHERE lower(email) = ANY(cast(%s AS text[])) AND deleted_at IS NULL"
_ADD_USERS = "INSERT INTO users (id, cohort) SELECT unnest(cast(%s AS text[])), %s ON CONFLICT DO NOTHING"
_LOCK_USERS = """
SELECT id, n_answers, cohort, deleted_at IS NOT NULL FROM users WHERE id = ANY(cast(%s AS text[]))
ORDER BY id COLLATE "C" FOR UPDATE"""
_OWNERS = "SELECT id::text, user_id FROM practice_tasks WHERE id = ANY(cast(%s AS uuid[]))"
_ANSWERS = f"""
SELECT user_id, id::text, answer_index, {TOPIC_KEY}, difficulty_numeric, is_correct, actual_time_seconds,
    cast(extract(epoch FROM completed_at) * 1000000 AS bigint)
FROM practice_tasks WHERE user_id = ANY(cast(%s AS text[])) AND completed ORDER BY user_id, answer_index"""  # noqa: S608 - parts are constants, values are bound
_MOVE_ANSWERS = """
UPDATE practice_tasks SET answer_index = moved.n
FROM unnest(cast(%s AS uuid[]), cast(%s AS integer[])) AS moved (id, n) WHERE practice_tasks.id = moved.id"""
_COPY_TASKS = """
COPY practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, solution_content,
    answer_content, estimated_time_minutes, study_session_id, completed, completed_at, is_correct, actual_time_seconds,
    answer_index, predicted_correct, predicted_time_seconds, prediction_source, created_at, updated_at, import_id,
    item_id, item_key, cohort)
FROM STDIN"""
_COUNT_ANSWERS = """
UPDATE users SET n_answers = counted.n FROM unnest(cast(%s AS text[]), cast(%s AS integer[])) AS counted (id, n)
WHERE users.id = counted.id"""
_CLEAR_STATE = "DELETE FROM practice_state WHERE user_id = ANY(cast(%s AS text[]))"
_FORGET_USAGE = "DELETE FROM student_usage WHERE user_id = ANY(cast(%s AS text[]))"
_COPY_STATE = """
COPY practice_state (user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds, sum_sq_log_seconds,
    first_index, last_index, last_correct, last_at, decayed)
FROM STDIN"""
_COUNT_SAMPLES = """
INSERT INTO embedding_model_tracker (cohort, n_samples_total) VALUES (%s, %s)
ON CONFLICT (cohort) DO UPDATE SET n_samples_total = embedding_model_tracker.n_samples_total + %s"""
_UNCOUNT_SAMPLES = f"""
UPDATE embedding_model_tracker k SET {changed_total_sql("k", "-c.n")}
FROM (SELECT cast(%s AS integer) AS n) c WHERE k.cohort = %s"""  # noqa: S608 - parts are constants, values are bound
_USERS_OF_IMPORT = """
SELECT DISTINCT user_id FROM practice_tasks WHERE user_id > %s AND import_id = %s ORDER BY user_id LIMIT %s"""
_DELETE_TASKS = """
DELETE FROM practice_tasks WHERE user_id = ANY(cast(%s AS text[])) AND import_id = %s RETURNING user_id"""
_DELETE_USERS = """
DELETE FROM users WHERE id = ANY(cast(%s AS text[])) AND email IS NULL AND deleted_at IS NULL
AND NOT EXISTS (SELECT FROM practice_tasks WHERE user_id = users.id)"""
_MARK_UNDONE = "UPDATE imports SET undone_at = now() WHERE id = %s"


class UnknownImportError(StudySmartError):
    """There is no import with this id, or it has been taken back."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one transaction.

    ``refused`` holds the rows of deleted accounts and of e-mail addresses without an account, each with the reason.
    """

    rows: int = 0
    added: int = 0
    new_users: int = 0
    refused: tuple[tuple[HistoryRow, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """One row of ``imports``."""

    id: int
    file: str
    started_at: datetime
    finished_at: datetime | None
    read: int
    added: int
    refused: int
    new_users: int
    undone_at: datetime | None


class HistoryStore:
    """Imports over one connection. With ``dry_run`` everything is done and rolled back."""

    import_id: int | None = None
    """The import to which stored answers belong."""

    def __init__(self, connection: Any, cohort: str, *, dry_run: bool = False) -> None:
        self._connection = connection
        self._cohort = cohort
        self._dry_run = dry_run
        connection.autocommit = True

    def _run(self, sql: str, *parameters: Any, stream: Iterable[str] | None = None) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(sql, parameters, stream=stream)
        return cursor

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN")
        # A crash of PostgreSQL may lose the last batches: then the import is run again.
        self._run("SET LOCAL synchronous_commit = off")
        try:
            yield
        except BaseException:
            self._run("ROLLBACK")
            raise
        self._run("ROLLBACK" if self._dry_run else "COMMIT")

    def begin(self, file: str) -> int:
        """Note that an import of a file begins, and return its id."""
        import_id: int = self._run(_BEGIN_IMPORT, self._cohort, file).fetchone()[0]
        return import_id

    def finish(self, import_id: int, n_read: int, n_refused: int) -> None:
        """Note that an import is complete."""
        self._run(_FINISH_IMPORT, n_read, n_refused, import_id)

    def imports(self) -> list[ImportRecord]:
        """Return all imports, oldest first."""
        return [ImportRecord(*row) for row in self._run(_LIST_IMPORTS, self._cohort).fetchall()]

    def store(self, rows: Sequence[HistoryRow]) -> BatchResult:
        """Store all rows of some students, in the order of the file, in one transaction."""
        with self._transaction():
            return self._store(rows)

    def _store(self, rows: Sequence[HistoryRow]) -> BatchResult:
        given, (rows, refused) = rows, self._with_accounts(rows)
        named = {row.line: row.user_id for row in given}
        user_ids = sorted({row.user_id for row in rows})
        new_users = self._run(_ADD_USERS, user_ids, self._cohort).rowcount
        found = self._run(_LOCK_USERS, user_ids).fetchall()
        unusable = {user: "user_id is an account that was deleted" for user, *_, gone in found if gone}
        for user, _, cohort, gone in found:
            if cohort != self._cohort and not gone:
                unusable[user] = (
                    f"user_id is a student of the cohort {cohort}: use `studysmart --cohort {cohort} import`"
                )
        practised = {user for user, n_answers, *_ in found if n_answers and user not in unusable}
        if unusable:
            bad = [row for row in rows if row.user_id in unusable]
            refused += [(row._replace(user_id=named[row.line]), unusable[row.user_id]) for row in bad]
            rows = [row for row in rows if row.user_id not in unusable]
        new = self._unknown(_task_ids(rows), practised)
        if new:
            self._place(new, practised)
            self._run(_COUNT_SAMPLES, self._cohort, len(new), len(new))
        self._run(_COUNT_IMPORT, len(rows) + len(refused), len(new), new_users, self.import_id)
        return BatchResult(len(rows) + len(refused), len(new), new_users, tuple(refused))

    def _with_accounts(self, rows: Sequence[HistoryRow]) -> tuple[list[HistoryRow], list[tuple[HistoryRow, str]]]:
        """Replace e-mail addresses by the ids of their accounts; refuse those without an account."""
        addresses = {row.user_id.lower() for row in rows if _ADDRESS.fullmatch(row.user_id)}
        if not addresses:
            return list(rows), []
        accounts = dict(self._run(_ACCOUNTS, sorted(addresses)).fetchall())
        taken, refused = [], []
        for row in rows:
            if row.user_id.lower() not in addresses:
                taken.append(row)
            elif (account := accounts.get(row.user_id.lower())) is not None:
                taken.append(row._replace(user_id=account))
            else:
                refused.append((row, "user_id is an e-mail address without an account: the student must register"))
        return taken, refused

    def _unknown(self, rows: Mapping[str, HistoryRow], practised: set[str]) -> dict[str, HistoryRow]:
        """Return the rows that are not stored, by the ids that their tasks get."""
        # A student without answers has none of the tasks, unless the file gives them ids.
        asked = [id_ for id_, row in rows.items() if row.task is not None or row.user_id in practised]
        if not asked:
            return dict(rows)
        owners = self._owners(asked)
        taken = {id_ for id_ in asked if id_ in owners and owners[id_] != rows[id_].user_id}
        # A task of another student, for example in an export of theirs: this student's copy has an id of its own.
        copies = {task_id((rows[id_].user_id, id_), 0): rows[id_] for id_ in taken}
        known = owners.keys() | self._owners(list(copies))
        return {id_: row for id_, row in ({**rows, **copies}).items() if id_ not in known}

    def _owners(self, ids: Sequence[str]) -> dict[str, str]:
        return dict(self._run(_OWNERS, "{" + ",".join(ids) + "}").fetchall()) if ids else {}

    def _place(self, new: Mapping[str, HistoryRow], practised: set[str]) -> None:
        old = self._answers([user for user in {row.user_id for row in new.values()} if user in practised])
        histories: dict[str, list[Placed]] = {}
        by_user = sorted(new.items(), key=lambda entry: entry[1].user_id)
        for user, entries in groupby(by_user, lambda entry: entry[1].user_id):
            arrived = [
                Placed(id_, None, row.key, row.difficulty, row.is_correct, row.seconds, row.at_micros)
                for id_, row in entries
            ]
            histories[user] = in_order_of_time(old.get(user, ()), arrived)
        self._write(histories, new)

    def _answers(self, user_ids: Sequence[str]) -> dict[str, list[Placed]]:
        if not user_ids:
            return {}
        rows = self._run(_ANSWERS, sorted(user_ids)).fetchall()
        return {user: [Placed(*row[1:]) for row in found] for user, found in groupby(rows, itemgetter(0))}

    def _write(self, histories: Mapping[str, Sequence[Placed]], new: Mapping[str, HistoryRow]) -> None:
        """Store new tasks and the state of students whose answers are all in ``histories``."""
        moved = [
            (answer.task_id, n)
            for answers in histories.values()
            for n, answer in enumerate(answers)
            if answer.place is not None and answer.place != n
        ]
        if moved:
            self._run(_MOVE_ANSWERS, "{" + ",".join(id_ for id_, _ in moved) + "}", [n for _, n in moved])
        if new:
            self._run(_COPY_TASKS, stream=_in_chunks(_task_lines(histories, new, self.import_id, self._cohort)))
        users = list(histories)
        self._run(_COUNT_ANSWERS, users, [len(answers) for answers in histories.values()])
        self._run(_CLEAR_STATE, users)
        self._run(_FORGET_USAGE, users)
        self._run(_COPY_STATE, stream=_in_chunks(map(_state_line, states(histories.items()))))

    def check_undo(self, import_id: int) -> None:
        """Raise UnknownImportError unless the import is one of the cohort that can be taken back.

        Its students may be in other cohorts by now.
        """
        if self._run(_CAN_BE_UNDONE, import_id, self._cohort).fetchone() is None:
            raise UnknownImportError(f"the cohort {self._cohort} has no import {import_id} that could be taken back")

    def undo(self, import_id: int) -> int:
        """Take back all answers of an import, and return their number. Students who have nothing else are removed.

        Raises UnknownImportError. If it is interrupted, it can be run again.
        """
        self.check_undo(import_id)
        removed, last = 0, ""
        while rows := self._run(_USERS_OF_IMPORT, last, import_id, USERS_TAKEN_BACK).fetchall():
            users = [user for (user,) in rows]
            with self._transaction():
                removed += self._take_back(users, import_id)
            last = users[-1]
        self._run(_MARK_UNDONE, import_id)
        return removed

    def _take_back(self, users: list[str], import_id: int) -> int:
        cohorts = {user: cohort for user, _, cohort, _ in self._run(_LOCK_USERS, users).fetchall()}
        removed = Counter(cohorts[user] for (user,) in self._run(_DELETE_TASKS, users, import_id).fetchall())
        left = self._answers(users)
        self._write({user: left.get(user, []) for user in users}, {})
        self._run(_DELETE_USERS, users)
        for cohort, n in sorted(removed.items()):
            self._run(_UNCOUNT_SAMPLES, n, cohort)
        return removed.total()


def _task_ids(rows: Iterable[HistoryRow]) -> dict[str, HistoryRow]:
    """Return the rows by the ids of their tasks, in order. Identical rows get different ids by counting."""
    seen: Counter[Identity] = Counter()
    ids: dict[str, HistoryRow] = {}
    for row in rows:
        if row.task is not None and row.task.id is not None:
            ids.setdefault(row.task.id, row)
            continue
        same = identity(row)
        ids[task_id(same, seen[same])] = row
        seen[same] += 1
    return ids


def _task_lines(
    histories: Mapping[str, Sequence[Placed]], new: Mapping[str, HistoryRow], import_id: int | None, cohort: str
) -> Iterator[str]:
    """Yield the lines of ``_COPY_TASKS`` for the new answers.

    An answer without a time was created a moment ago: their ages keep them in order in lists.
    """
    now, age = micros(datetime.now(UTC)), len(new)
    of_import = _or_null(import_id)
    for user, answers in histories.items():
        owner = _escaped(user)
        for n, answer in enumerate(answers):
            if answer.place is not None:
                continue
            row = new[answer.task_id]
            age -= 1
            done = _NULL if row.at_micros is None else _time(row.at_micros)
            created = done
            if row.at_micros is None:
                known = row.task and row.task.created_micros
                created = _time(now - age if known is None else known)
            about = f"{IMPORTED_CONTENT}\t{_NULL}\t{_NULL}\t{_NULL}\t{_NULL}"
            if row.task is not None:
                about = _about(row.task)
            yield (
                f"{answer.task_id}\t{owner}\t{_escaped(row.subject)}\t{_escaped(row.subject_key)}\t"
                f"{_escaped(row.topic)}\t{_escaped(row.topic_key)}\t{_LEVELS[row.difficulty]}\t{about}\ttrue\t{done}\t"
                f"{row.is_correct}\t{_or_null(row.seconds)}\t{n}\t{DEFAULT_CORRECT}\t{DEFAULT_SECONDS}\tdefault\t"
                f"{created}\t{created}\t{of_import}\t{_item(row)}\t{_escaped(cohort)}\n"
            )


def _about(task: Task) -> str:
    texts = (IMPORTED_CONTENT if task.content is None else task.content, task.solution, task.answer)
    return "\t".join(
        [
            *(_NULL if text is None else _escaped(text.replace("\x00", "")) for text in texts),
            _or_null(task.minutes),
            _or_null(task.session_id),
        ]
    )


def _item(row: HistoryRow) -> str:
    """Return id and key of the item. Only the service's own export has texts, which identify an item too."""
    if row.item is not None:
        return f"{_escaped(row.item.id)}\t{row.item.key}"
    content = row.task and row.task.content
    difficulty = Difficulty.from_numeric(row.difficulty)
    key = None if content is None else item_key(row.subject, row.topic, difficulty, content, None)
    return f"{_NULL}\t{_or_null(key)}"


def _state_line(row: StateLine) -> str:
    last_at = _NULL if row.last_at is None else _time(row.last_at)
    return (
        f"{_escaped(row.user_id)}\t{_escaped(row.topic)}\t{row.difficulty}\t{row.attempts}\t{row.correct}\t{row.timed}\t"
        f"{row.sum_log_seconds}\t{row.sum_sq_log_seconds}\t{row.first_index}\t{row.last_index}\t"
        f"{row.last_correct}\t{last_at}\t\\\\x{decayed_to_bytes(row.decayed).hex()}\n"
    )


def _time(at: int) -> str:
    return (_EPOCH + timedelta(microseconds=at)).isoformat()


def _or_null(value: object) -> str:
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
def history_store(engine: Engine, cohort: str, *, dry_run: bool = False) -> Iterator[HistoryStore]:
    """Give a store with a connection of its own, closed at the end.

    Raises DatabaseUnavailableError when the connection is lost. The batches committed before stay.
    """
    try:
        with engine.connect() as connection:
            run = HistoryStore(connection.connection.driver_connection, cohort, dry_run=dry_run)
            connection.detach()
            yield run
    except (DBAPIError, dbapi.InterfaceError, OSError) as error:
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {error}") from error
