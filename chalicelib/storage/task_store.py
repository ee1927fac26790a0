"""Practice tasks in PostgreSQL: creating, reading and listing. Completing is in :mod:`.completion`.

A creation needs two statements: :data:`_CONTEXT` reads everything that the prediction needs, and :data:`_INSERT` stores
the task with its prediction.
"""

from __future__ import annotations

import time
import unicodedata
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Engine, TextClause, text

from chalicelib.domain.answers import CompletedAnswer, GivenAnswer, StoredAnswers
from chalicelib.domain.errors import ConflictError, Fault, InvalidInputError, NotFoundError, UnauthenticatedError
from chalicelib.domain.items import NAMING, item_of
from chalicelib.domain.limits import NO_GROWTH, Usage
from chalicelib.domain.predictions import Prediction
from chalicelib.domain.tasks import (
    COMPLETED_KEEPS_ITS_NAMES,
    Difficulty,
    IdempotentRequest,
    NewTask,
    PracticeTask,
    Result,
    name_key,
)
from chalicelib.domain.training import TrainingPolicy
from chalicelib.features.columns import rows_from_bytes
from chalicelib.features.items import ANSWERS_COUNTED, ItemRecord
from chalicelib.features.state import UserState
from chalicelib.ports import BatchContext, Completion, PredictionContext, TaskFilter
from chalicelib.storage import answer_batches, completion
from chalicelib.storage.database import statement, transaction
from chalicelib.storage.rows import N_TASK_COLUMNS, STATE_AGGREGATES, TASK_COLUMNS, TOPIC_KEY, qualified, task_from
from chalicelib.storage.shards import settle

_MORE_USAGE = """
    UPDATE student_usage SET
        open_tasks = open_tasks + CAST(:more_open AS integer), topics = topics + CAST(:more_topics AS integer),
        n_bytes = n_bytes + CAST(:more_bytes AS bigint)
    WHERE user_id = :user_id AND CAST(:grows AS boolean)
"""
"""Nothing for a student who was not counted yet."""


def _record_sql(user_id: str, item: str) -> str:
    """Return SQL for one row: the record of a student on the item with a key. Without an item no answer is read.

    Answers have an index, open tasks have none. ``completed`` is not a condition: PostgreSQL, as long as it knows
    little about the table, would read all of the student's answers by ``ix_practice_tasks_in_order``.
    """
    return f"""
        SELECT count(*) AS attempts, count(*) FILTER (WHERE is_correct) AS correct,
               (array_agg(is_correct ORDER BY answer_index DESC))[1] AS last_correct, max(answer_index) AS last_index,
               (array_agg(completed_at ORDER BY answer_index DESC))[1] AS last_at
        FROM (
            SELECT is_correct, answer_index, completed_at FROM practice_tasks
            WHERE user_id = {user_id} AND item_key = {item} AND answer_index >= 0
            ORDER BY answer_index DESC LIMIT {ANSWERS_COUNTED}
        ) AS answers"""  # noqa: S608 - parts are constants


_CONTEXT = text(
    f"""
    SELECT u.n_answers, u.deleted_at IS NOT NULL, k.model_version, s.topics, s.packed,
           r.attempts, r.correct, r.last_correct, r.last_index, r.last_at, g.open_tasks, g.topics, g.n_bytes
    FROM (SELECT CAST(:user_id AS text) AS id, CAST(:cohort AS text) AS cohort) AS requested
    LEFT JOIN users u ON u.id = requested.id
    LEFT JOIN student_usage g ON g.user_id = requested.id
    LEFT JOIN embedding_model_tracker k ON k.cohort = requested.cohort
    CROSS JOIN LATERAL (
        SELECT {STATE_AGGREGATES} FROM practice_state WHERE user_id = requested.id
    ) AS s
    CROSS JOIN LATERAL ({_record_sql("requested.id", "CAST(:item AS bigint)")}) AS r
    """  # noqa: S608 - parts are constants, values are bound
)
"""Always one row, also for an unknown student or cohort."""

STUDENTS_AT_ONCE = 100
"""Maximum number of students whose states one statement reads. It bounds how long the statement takes."""

_STATES = text(
    f"""
    SELECT requested.id, coalesce(u.n_answers, 0), s.topics, s.packed,
           (SELECT model_version FROM embedding_model_tracker WHERE cohort = :cohort),
           u.id IS NOT NULL AND u.deleted_at IS NULL AND u.cohort = :cohort
    FROM unnest(CAST(:user_ids AS text[])) AS requested (id)
    LEFT JOIN users u ON u.id = requested.id
    CROSS JOIN LATERAL (SELECT {STATE_AGGREGATES} FROM practice_state WHERE user_id = requested.id) AS s
    """  # noqa: S608 - parts are constants, values are bound
)

_RECORDS = text(
    f"""
    SELECT requested.id, requested.item, r.*
    FROM unnest(CAST(:user_ids AS text[]), CAST(:items AS bigint[])) AS requested (id, item)
    CROSS JOIN LATERAL ({_record_sql("requested.id", "requested.item")}) AS r WHERE r.attempts > 0
    """  # noqa: S608 - parts are constants, values are bound
)

_INSERT = text(
    f"""
    WITH account AS (
        INSERT INTO users (id, cohort) VALUES (:user_id, :cohort) ON CONFLICT (id) DO NOTHING
    ), usage AS ({_MORE_USAGE})
    INSERT INTO practice_tasks
        (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, solution_content,
         answer_content, estimated_time_minutes, study_session_id, item_id, item_key, predicted_correct,
         predicted_time_seconds, predicted_time_low, predicted_time_high, prediction_source, model_version,
         created_at, updated_at, cohort)
    SELECT CAST(:id AS uuid), :user_id, :subject, :subject_key, :topic, :topic_key, :difficulty, :task_content,
           :solution_content, :answer_content, CAST(:estimated_time_minutes AS double precision),
           CAST(:study_session_id AS uuid), :item_id, CAST(:item_key AS bigint), CAST(:correct AS double precision),
           CAST(:seconds AS integer), CAST(:seconds_low AS integer), CAST(:seconds_high AS integer), :source,
           :model_version, moment, moment, :cohort
    FROM clock_timestamp() AS moment
    WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = :user_id AND deleted_at IS NOT NULL)
    ON CONFLICT (id) DO UPDATE SET id = excluded.id
    RETURNING {TASK_COLUMNS}
    """  # noqa: S608 - parts are constants, values are bound
)
"""A user with an account in Cognito but no row yet gets a row here. A repeat with the same id stores nothing new."""

_GET = text(f"SELECT {TASK_COLUMNS} FROM practice_tasks WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id")  # noqa: S608 - parts are constants, values are bound

_LOCK = text(f"{_GET.text} FOR UPDATE")

_NEWEST = text(
    f"""
    SELECT {TASK_COLUMNS} FROM practice_tasks WHERE user_id = :user_id AND subject_key = :subject
    ORDER BY created_at DESC, id DESC LIMIT 1
    """  # noqa: S608 - parts are constants, values are bound
)

_SET = {
    "study_session_id": "CAST(:study_session_id AS uuid)",
    "estimated_time_minutes": "CAST(:estimated_time_minutes AS double precision)",
    "solution_viewed_at": "CAST(:solution_viewed_at AS timestamptz)",
    "item_key": "CAST(:item_key AS bigint)",
}
"""The values of columns whose parameter needs a type."""

_SET_PREDICTION = """
    predicted_correct = CAST(:correct AS double precision), predicted_time_seconds = CAST(:seconds AS integer),
    predicted_time_low = CAST(:seconds_low AS integer), predicted_time_high = CAST(:seconds_high AS integer),
    prediction_source = :source, model_version = :model_version, cohort = :cohort"""

_MADE_BY = text(
    f"""
    SELECT {qualified(TASK_COLUMNS, "t")}, i.digest FROM idempotency_keys i JOIN practice_tasks t ON t.id = i.task_id
    WHERE i.user_id = :user_id AND i.key = :key AND i.created_at > now() - interval '24 hours'
    """  # noqa: S608 - parts are constants, values are bound
)

_FORGET_KEYS = text(
    "DELETE FROM idempotency_keys WHERE user_id = :user_id AND created_at <= now() - interval '24 hours'"
)

_KEEP_KEY = text(
    """
    INSERT INTO idempotency_keys (user_id, key, digest, task_id) VALUES (:user_id, :key, :digest, CAST(:id AS uuid))
    ON CONFLICT (user_id, key) DO NOTHING RETURNING 1
    """
)

_TEXT_BYTES = (
    "(octet_length(task_content) + octet_length(coalesce(solution_content, '')) "
    "+ octet_length(coalesce(answer_content, '')))"
)

_ANSWERS = text(
    f"""
    SELECT {TASK_COLUMNS}, answer_index FROM (
        SELECT *, sum({_TEXT_BYTES}) OVER (ORDER BY answer_index) AS size,
               row_number() OVER (ORDER BY answer_index) AS n
        FROM (
            SELECT {TASK_COLUMNS}, answer_index FROM practice_tasks
            WHERE user_id = :user_id AND completed AND answer_index > :after ORDER BY answer_index LIMIT :limit
        ) page
    ) sized
    WHERE n = 1 OR size <= :max_bytes ORDER BY answer_index
    """  # noqa: S608 - parts are constants, values are bound
)


def _given(behind: str, order: str) -> TextClause:
    return text(
        f"""
        SELECT CAST(id AS text), subject, topic, difficulty, item_id, is_correct, actual_time_seconds, completed_at,
               study_session_id, answer_index
        FROM practice_tasks
        WHERE user_id = :user_id AND completed AND answer_index {behind}
          AND (CAST(:since AS timestamptz) IS NULL OR completed_at > CAST(:since AS timestamptz))
          AND (CAST(:until AS timestamptz) IS NULL OR completed_at <= CAST(:until AS timestamptz))
        ORDER BY answer_index {order} LIMIT :limit
        """  # noqa: S608 - parts are constants, values are bound
    )


_GIVEN = {
    True: _given("> coalesce(CAST(:place AS integer), -1)", "ASC"),
    False: _given(f"< coalesce(CAST(:place AS integer), {2**31 - 1})", "DESC"),
}
"""The statements of completed answers, by the order: ascending or not."""

_COUNT_USAGE = text(
    f"""
    INSERT INTO student_usage AS g (user_id, open_tasks, topics, n_bytes)
    SELECT CAST(:user_id AS text), count(*) FILTER (WHERE NOT completed), count(DISTINCT {TOPIC_KEY}),
           coalesce(sum({_TEXT_BYTES}), 0)
    FROM practice_tasks WHERE user_id = :user_id
    ON CONFLICT (user_id) DO UPDATE SET
        open_tasks = excluded.open_tasks, topics = excluded.topics, n_bytes = excluded.n_bytes
    RETURNING g.open_tasks, g.topics, g.n_bytes,
        EXISTS (SELECT 1 FROM practice_tasks WHERE user_id = :user_id AND {TOPIC_KEY} = CAST(:topic AS text))
    """  # noqa: S608 - parts are constants, values are bound
)

_USAGES = text(
    f"""
    WITH given AS (
        SELECT unnest(CAST(:user_ids AS text[])) AS user_id
    ), counted AS (
        INSERT INTO student_usage AS g (user_id, open_tasks, topics, n_bytes)
        SELECT given.user_id, count(*) FILTER (WHERE NOT t.completed), count(DISTINCT {TOPIC_KEY}),
               coalesce(sum({_TEXT_BYTES}), 0)
        FROM given JOIN users ON id = given.user_id LEFT JOIN practice_tasks t ON t.user_id = given.user_id
        WHERE NOT EXISTS (SELECT 1 FROM student_usage k WHERE k.user_id = given.user_id)
        GROUP BY given.user_id ORDER BY given.user_id
        ON CONFLICT (user_id) DO UPDATE SET n_bytes = excluded.n_bytes
        RETURNING g.user_id, g.open_tasks, g.topics, g.n_bytes
    )
    SELECT * FROM counted
    UNION ALL SELECT user_id, open_tasks, topics, n_bytes FROM student_usage JOIN given USING (user_id)
    """  # noqa: S608 - parts are constants, values are bound
)

_FOUND = (
    "(strpos(subject_key, CAST(:key AS text)) > 0 OR strpos(topic_key, CAST(:key AS text)) > 0 "
    "OR strpos(lower(normalize(task_content, NFKC)), CAST(:content AS text)) > 0)"
)
"""Letters that are written as one character or as two are the same.

No index of its own: the rows are read in the order of the list, and a student has thousands of tasks at most."""


class _MadeMeanwhileError(Exception):
    """Another request with the same key has stored its task."""


def _prediction_values(prediction: Prediction) -> dict[str, Any]:
    return {**msgspec.structs.asdict(prediction), "source": prediction.source.value}


def _usage_values(growth: Usage) -> dict[str, Any]:
    more = {"more_open": growth.open_tasks, "more_topics": growth.topics, "more_bytes": growth.n_bytes}
    return {**more, "grows": growth != NO_GROWTH}


def canonical_id(task_id: str) -> str:
    """Return the id in PostgreSQL's form. Raises NotFoundError for a malformed id."""
    try:
        return str(uuid.UUID(task_id))
    except ValueError:
        raise NotFoundError("Practice task not found") from None


def _one(connection: Connection, query: TextClause, **values: Any) -> PracticeTask:
    """Return the task that a statement gives. Raises NotFoundError if it gives none."""
    row = connection.execute(query, values).one_or_none()
    if row is None:
        raise NotFoundError("Practice task not found")
    return task_from(row)


def _edit(
    connection: Connection,
    user_id: str,
    task_id: str,
    changes: Mapping[str, Any],
    prediction: Prediction | None,
    growth: Usage,
    cohort: str,
) -> PracticeTask:
    """Store changed fields of a task. In a transaction if its item depends on one of them."""
    owner = {"user_id": user_id, "task_id": task_id}
    values: dict[str, Any] = dict(changes)
    for name in ("subject", "topic"):
        if name in changes:
            values[f"{name}_key"] = name_key(changes[name])
    if not NAMING.isdisjoint(changes):
        # Trainings read the keys of completed tasks again when the student's row has changed.
        completion.take_user(connection, user_id)
        # The key depends on fields that another request may be changing.
        values["item_key"] = item_of(msgspec.structs.replace(_one(connection, _LOCK, **owner), **changes))
    assignments = [f"{name} = {_SET.get(name, f':{name}')}" for name in values]
    still_open = ""
    if prediction is not None:
        assignments.append(_SET_PREDICTION)
        values |= _prediction_values(prediction) | {"cohort": cohort}
        still_open = "AND NOT completed"
    query = text(
        f"""
        WITH usage AS ({_MORE_USAGE})
        UPDATE practice_tasks SET {", ".join(assignments)}, updated_at = clock_timestamp()
        WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id {still_open} RETURNING {TASK_COLUMNS}
        """  # noqa: S608 - parts are constants, values are bound
    )
    try:
        return _one(connection, query, **owner, **values, **_usage_values(growth))
    except NotFoundError:
        _one(connection, _GET, **owner)
        raise ConflictError(COMPLETED_KEEPS_ITS_NAMES) from None


class PostgresTaskStore:
    """Implements :class:`chalicelib.ports.TaskStore`."""

    def __init__(self, engine: Engine, cohort: str) -> None:
        self._engine = engine
        self._cohort = cohort

    @property
    def cohort(self) -> str:
        """The cohort whose model predicts, and that new students join."""
        return self._cohort

    def prediction_context(self, user_id: str, item: int | None = None) -> PredictionContext:
        """Return the student's state and record on an item's key, and the tracker's model version.

        Raises UnauthenticatedError.
        """
        values = {"user_id": user_id, "cohort": self._cohort, "item": item}
        row = statement(self._engine, lambda c: c.execute(_CONTEXT, values).one())
        n_answers, deleted, model_version, topics, packed, attempts, *more = row
        if deleted:
            raise UnauthenticatedError("This account was deleted")
        state = UserState(user_id, n_answers or 0, rows_from_bytes(topics or (), packed or b""))
        record = ItemRecord(item, attempts, *more[:4]) if attempts else ItemRecord(item)
        stored = more[4:]
        return PredictionContext(state, model_version, None if stored[0] is None else Usage(*stored), record)

    def batch_context(self, items: Mapping[str, Collection[int]]) -> BatchContext:
        """Return the states of some students, their records on items by key, and the tracker's model version.

        A student who is not known, or whose account was deleted, has no answers. Students of other cohorts are among
        the unknown ones, too.
        """
        states: dict[str, UserState] = {}
        records: dict[tuple[str, int], ItemRecord] = {}
        user_ids, version, unknown = list(items), None, set[str]()
        for at in range(0, len(user_ids), STUDENTS_AT_ONCE):
            some = user_ids[at : at + STUDENTS_AT_ONCE]
            rows = self._all(_STATES, user_ids=some, cohort=self._cohort)
            for user_id, n_answers, topics, packed, serves, exists in rows:
                version = serves
                if not exists:
                    unknown.add(user_id)
                states[user_id] = UserState(user_id, n_answers, rows_from_bytes(topics or (), packed or b""))
            owners = [user_id for user_id in some for _ in items[user_id]]
            keys = [key for user_id in some for key in items[user_id]]
            for user_id, *record in self._all(_RECORDS, user_ids=owners, items=keys) if keys else ():
                records[user_id, record[0]] = ItemRecord(*record)
        return BatchContext(states, records, version, unknown)

    def insert(
        self,
        user_id: str,
        new: NewTask,
        prediction: Prediction,
        request: IdempotentRequest | None = None,
        *,
        growth: Usage = NO_GROWTH,
    ) -> PracticeTask:
        """Store a new task, unless ``request`` has stored one already, which is returned then.

        Raises UnauthenticatedError if the account was deleted, and what :meth:`made_by` raises.
        """
        values = {
            **msgspec.structs.asdict(new),
            **_prediction_values(prediction),
            "id": str(uuid.uuid4()),
            "user_id": user_id,
            "cohort": self._cohort,
            "subject_key": name_key(new.subject),
            "topic_key": name_key(new.topic),
            "difficulty": new.difficulty.value,
            "item_key": item_of(new),
            **_usage_values(growth),
        }
        if request is not None:
            return self._insert_once(user_id, values, request)
        row = statement(self._engine, lambda c: c.execute(_INSERT, values).one_or_none())
        if row is None:
            raise UnauthenticatedError("This account was deleted")
        return task_from(row)

    def _insert_once(self, user_id: str, values: Mapping[str, Any], request: IdempotentRequest) -> PracticeTask:
        kept = {**msgspec.structs.asdict(request), "user_id": user_id, "id": values["id"]}

        def insert(connection: Connection) -> PracticeTask:
            row = connection.execute(_INSERT, values).one_or_none()
            if row is None:
                raise UnauthenticatedError("This account was deleted")
            connection.execute(_FORGET_KEYS, kept)
            # Waits for a request with the same key that is on its way.
            if connection.execute(_KEEP_KEY, kept).one_or_none() is None:
                raise _MadeMeanwhileError
            return task_from(row)

        try:
            return transaction(self._engine, insert)
        except _MadeMeanwhileError:
            task = self.made_by(user_id, request)
            if task is None:
                raise ConflictError("The task of this Idempotency-Key was deleted; use another key") from None
            return task

    def made_by(self, user_id: str, request: IdempotentRequest) -> PracticeTask | None:
        """Return the task that a request stored within the last day, None if there is none.

        Raises InvalidInputError if another body was sent with the request's key.
        """
        values = {"user_id": user_id, "key": request.key}
        row = statement(self._engine, lambda c: c.execute(_MADE_BY, values).one_or_none())
        if row is None:
            return None
        if bytes(row[N_TASK_COLUMNS]) != request.digest:
            fault = Fault(
                ("header", "Idempotency-Key"), "was used with another body in the last 24 hours", "value_error"
            )
            raise InvalidInputError([fault])
        return task_from(row)

    def get(self, user_id: str, task_id: str) -> PracticeTask:
        """Return a task of the student. Raises NotFoundError, also for foreign and malformed ids."""
        return self._one(_GET, user_id=user_id, task_id=canonical_id(task_id))

    def newest_of_subject(self, user_id: str, subject_key: str) -> PracticeTask:
        """Return the newest task of a subject. Raises NotFoundError."""
        return self._one(_NEWEST, user_id=user_id, subject=subject_key)

    def edit(
        self,
        user_id: str,
        task_id: str,
        changes: Mapping[str, Any],
        prediction: Prediction | None,
        *,
        growth: Usage = NO_GROWTH,
    ) -> PracticeTask:
        """Store changed fields of a task, with its new prediction if one is given.

        Raises NotFoundError, and ConflictError if a prediction is given and the task has been completed.
        """
        edit = partial(
            _edit,
            user_id=user_id,
            task_id=canonical_id(task_id),
            changes=changes,
            prediction=prediction,
            growth=growth,
            cohort=self._cohort,
        )
        if NAMING.isdisjoint(changes):
            return statement(self._engine, edit)
        return transaction(self._engine, edit)

    def _all(self, query: TextClause, **values: Any) -> Sequence[Any]:
        return statement(self._engine, lambda c: c.execute(query, values).all())

    def _one(self, query: TextClause, **values: Any) -> PracticeTask:
        return statement(self._engine, lambda c: _one(c, query, **values))

    def page(
        self, user_id: str, requested: TaskFilter, limit: int, before: tuple[datetime, str] | None, max_bytes: int
    ) -> list[PracticeTask]:
        """Return up to ``limit`` tasks, newest first, older than the (created_at, id) in ``before``.

        The texts of all but the last one have at most ``max_bytes`` together.
        """
        conditions = ["user_id = :user_id"]
        values: dict[str, Any] = {"user_id": user_id, "limit": limit, "max_bytes": max_bytes}
        for column, value in (("subject_key", requested.subject), ("topic_key", requested.topic)):
            if value is not None:
                conditions.append(f"{column} = :{column}")
                values[column] = value
        if requested.completed is not None:
            conditions.append("completed" if requested.completed else "NOT completed")
        if requested.search is not None:
            conditions.append(_FOUND)
            values["key"] = name_key(requested.search)
            values["content"] = unicodedata.normalize("NFKC", requested.search).lower()
        if before is not None:
            conditions.append("(created_at, id) < (CAST(:created_at AS timestamptz), CAST(:before_id AS uuid))")
            values["created_at"], values["before_id"] = before
        # Lengths are known without reading the texts themselves.
        query = text(
            f"""
            SELECT {TASK_COLUMNS} FROM (
                SELECT *, sum({_TEXT_BYTES}) OVER (ORDER BY created_at DESC, id DESC) - {_TEXT_BYTES} AS bytes_before
                FROM (
                    SELECT {TASK_COLUMNS} FROM practice_tasks WHERE {" AND ".join(conditions)}
                    ORDER BY created_at DESC, id DESC LIMIT :limit
                ) page
            ) sized
            WHERE bytes_before <= :max_bytes ORDER BY created_at DESC, id DESC
            """  # noqa: S608 - parts are constants, values are bound
        )
        return [task_from(row) for row in statement(self._engine, lambda c: c.execute(query, values).all())]

    def count_usage(self, user_id: str, topic: str | None) -> Usage:
        """Count what a student has stored, keep it, and look if a task has the topic, which is a key."""
        values = {"user_id": user_id, "topic": topic}
        return Usage(*statement(self._engine, lambda c: c.execute(_COUNT_USAGE, values).one()))

    def usages(self, user_ids: Collection[str]) -> dict[str, Usage]:
        """Return what students with a row have stored, counted now for those who were not counted yet."""
        rows = statement(self._engine, lambda c: c.execute(_USAGES, {"user_ids": list(user_ids)}).all())
        return {user_id: Usage(*counts) for user_id, *counts in rows}

    def answers(self, user_id: str, after: int, limit: int, max_bytes: int) -> list[tuple[int, PracticeTask]]:
        """Return completed tasks after the index ``after`` with their indices, in the order of the state.

        There are at most ``limit``, whose texts have at most ``max_bytes`` together, but at least one if there is any.
        """
        values = {"user_id": user_id, "after": after, "limit": limit, "max_bytes": max_bytes}
        rows = statement(self._engine, lambda c: c.execute(_ANSWERS, values).all())
        return [(row[N_TASK_COLUMNS], task_from(row)) for row in rows]

    def complete(
        self, user_id: str, task_id: str, result: Result, session_id: UUID | None, policy: TrainingPolicy
    ) -> Completion:
        """Complete a task, count it once, and request a training if one is due. Raises NotFoundError.

        A repeat changes nothing. Another result for a completed task is stored as a correction.
        """
        task_id = canonical_id(task_id)
        seen = statement(self._engine, lambda c: completion.read(c, user_id, task_id))
        if completion.is_repeat(seen.task, result, session_id):
            return Completion(seen.task, None)
        if not seen.task.completed and result.at is None:
            begun = time.monotonic()
            # A broken connection may run this twice. The second time the student's row has another version.
            done = statement(self._engine, lambda c: completion.complete(c, seen, result, session_id, policy))
            if done is not None:
                # Another completion has the lock for about as long as this statement took, and the next one counts.
                return self._settled(done, policy, 2 * (time.monotonic() - begun))
        done = transaction(
            self._engine,
            lambda c: completion.complete_or_correct(c, user_id, task_id, result, session_id, policy),
        )
        return self._settled(done, policy)

    def known_answers(self, task_ids: Collection[str]) -> set[str]:
        """Return the ids of tasks that exist."""
        return set(statement(self._engine, lambda c: answer_batches.known(c, task_ids)))

    def given_answers(
        self,
        user_id: str,
        since: datetime | None,
        until: datetime | None,
        place: int | None,
        limit: int,
        *,
        ascending: bool,
    ) -> list[GivenAnswer]:
        """Return completed answers after ``since`` and not after ``until``, in the order of the state or reversed."""
        values = {"user_id": user_id, "since": since, "until": until, "place": place, "limit": limit}
        rows = statement(self._engine, lambda c: c.execute(_GIVEN[ascending], values).all())
        return [
            GivenAnswer(id_, subject, topic, Difficulty(difficulty), *rest)
            for id_, subject, topic, difficulty, *rest in rows
        ]

    def add_answers(
        self,
        answers: Sequence[CompletedAnswer],
        policy: TrainingPolicy,
        existing: Collection[str] = (),
        growth: Mapping[str, Usage] | None = None,
        *,
        of_cohort: bool = False,
    ) -> StoredAnswers:
        """Store completed answers that are new, count them once, and request a training if one is due.

        A student without a row gets one, unless ``existing`` has the id. With ``of_cohort`` those have to be in the
        store's cohort. ``growth`` is added to what students have stored. Raises NotFoundError if the account of a
        student was deleted, or does not exist. Then nothing is stored.
        """
        required = (self._cohort, set(existing), of_cohort)
        stored, in_shards = transaction(
            self._engine, lambda c: answer_batches.store(c, required, answers, policy, growth or {})
        )
        settled = {cohort: settle(self._engine, cohort, policy) for cohort in in_shards}
        return stored._replace(counted={**stored.counted, **settled})

    def _settled(self, done: Completion, policy: TrainingPolicy, pause: float = 0.0) -> Completion:
        """Return a completion when it is in the tracker's row."""
        if done.shard_of is None:
            return done
        return Completion(done.task, settle(self._engine, done.shard_of, policy, pause))

    def delete(self, user_id: str, task_id: str) -> None:
        """Delete a task, and remove a completed one from the state and the total. Raises NotFoundError."""
        task_id = canonical_id(task_id)
        transaction(self._engine, lambda c: completion.delete(c, user_id, task_id))
