"""Storing many completed answers of many students in one transaction.

The transaction has the same number of statements for one answer as for a thousand, because each statement takes all
rows as one JSON text. (The driver's arrays are slower, and one statement for each row is slower still.) The students'
rows are locked first, in the order of their ids, so no completion of theirs happens between the reading of a state and
its change (:mod:`.completion`). The ids of tasks follow from the app's own ids of answers: an answer that was stored
before has its task already, and is left alone.

An answer that is newer than all of its student's others, as most are, advances the state of its topic. Others are
placed by their times, and the state of these students is computed anew.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.answers import CompletedAnswer, StoredAnswers
from chalicelib.domain.errors import ConflictError, NotFoundError
from chalicelib.domain.items import item_key
from chalicelib.domain.limits import Usage
from chalicelib.domain.predictions import DEFAULT_CORRECT, DEFAULT_SECONDS
from chalicelib.domain.tasks import name_key
from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import Counted, TrainingPolicy
from chalicelib.features.state import Answer, StateRow, advance
from chalicelib.storage.completion import rebuild_state
from chalicelib.storage.database import UNIQUE_VIOLATION, sql_state
from chalicelib.storage.rows import STATE_COLUMNS, state_parameters, state_row_from
from chalicelib.storage.shards import ENSURE, counted_from, counting_sql, policy_values, shard_of
from chalicelib.storage.webhook_store import completion_sql

_ADD_USERS = text(
    "INSERT INTO users (id, cohort) SELECT unnest(CAST(:user_ids AS text[])), :cohort ON CONFLICT (id) DO NOTHING"
)

_LOCK_USERS = text(
    """
    SELECT id, n_answers, cohort, deleted_at IS NOT NULL, clock_timestamp() FROM users
    WHERE id = ANY(CAST(:user_ids AS text[])) ORDER BY id COLLATE "C" FOR UPDATE
    """
)

_KNOWN = text("SELECT CAST(id AS text), user_id FROM practice_tasks WHERE id = ANY(CAST(:ids AS uuid[]))")

_LATEST = text(
    """
    SELECT user_id, max(last_at), bool_or(last_at IS NULL) FROM practice_state
    WHERE user_id = ANY(CAST(:user_ids AS text[])) GROUP BY user_id
    """
)

_ROWS = text(
    f"""
    SELECT s.user_id, {", ".join(f"s.{name}" for name in STATE_COLUMNS.split(", "))}
    FROM json_to_recordset(CAST(:keys AS json)) AS r (user_id text, topic text, difficulty smallint)
    JOIN practice_state s ON s.user_id = r.user_id AND s.topic = r.topic AND s.difficulty = r.difficulty
    """  # noqa: S608 - parts are constants, values are bound
)

_INSERT_TASKS = text(
    f"""
    INSERT INTO practice_tasks
        (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, study_session_id, item_id,
         item_key, completed, completed_at, is_correct, actual_time_seconds, answer_index, predicted_correct,
         predicted_time_seconds, prediction_source, created_at, updated_at, cohort)
    SELECT id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, study_session_id, item_id,
           item_key, true, at, is_correct, seconds, answer_index, {DEFAULT_CORRECT}, {DEFAULT_SECONDS}, 'default', at,
           at, cohort
    FROM json_to_recordset(CAST(:rows AS json)) AS r
        (id uuid, user_id text, subject text, subject_key text, topic text, topic_key text, difficulty text,
         task_content text, study_session_id uuid, item_id text, item_key bigint, at timestamptz, is_correct boolean,
         seconds double precision, answer_index integer, cohort text)
    """  # noqa: S608 - parts are constants, values are bound
)
"""As for an import, a task is as old as its answer, which nobody predicted."""

_PUT_STATE = text(
    f"""
    INSERT INTO practice_state (user_id, {STATE_COLUMNS})
    SELECT user_id, {STATE_COLUMNS.replace("decayed", "decode(decayed, 'hex')")}
    FROM json_to_recordset(CAST(:rows AS json)) AS r
        (user_id text, topic text, difficulty smallint, attempts integer, correct integer, timed integer,
         sum_log_seconds double precision, sum_sq_log_seconds double precision, first_index integer,
         last_index integer, last_correct boolean, last_at timestamptz, decayed text)
    ON CONFLICT (user_id, topic, difficulty) DO UPDATE SET
        attempts = excluded.attempts, correct = excluded.correct, timed = excluded.timed,
        sum_log_seconds = excluded.sum_log_seconds, sum_sq_log_seconds = excluded.sum_sq_log_seconds,
        last_index = excluded.last_index, last_correct = excluded.last_correct, last_at = excluded.last_at,
        decayed = excluded.decayed
    """  # noqa: S608 - parts are constants, values are bound
)

_COUNT_ANSWERS = text(
    """
    UPDATE users SET n_answers = counted.n
    FROM unnest(CAST(:user_ids AS text[]), CAST(:counts AS integer[])) AS counted (id, n) WHERE users.id = counted.id
    """
)

_GROW_USAGE = text(
    """
    UPDATE student_usage u SET topics = u.topics + r.topics, n_bytes = u.n_bytes + r.n_bytes
    FROM json_to_recordset(CAST(:rows AS json)) AS r (user_id text, topics integer, n_bytes bigint)
    WHERE u.user_id = r.user_id
    """
)

_FORGET_USAGE = text("DELETE FROM student_usage WHERE user_id = ANY(CAST(:user_ids AS text[]))")

_PLACE_ALL = text(
    """
    WITH moments AS (
        SELECT id, user_id, answer_index, id = ANY(CAST(:ids AS uuid[])) AS is_new,
               CASE WHEN id = ANY(CAST(:ids AS uuid[])) THEN completed_at
                    ELSE max(completed_at) OVER (PARTITION BY user_id ORDER BY answer_index) END AS moment
        FROM practice_tasks WHERE user_id = ANY(CAST(:user_ids AS text[])) AND completed
    ), places AS (
        SELECT id, row_number() OVER (PARTITION BY user_id ORDER BY moment NULLS FIRST, is_new, answer_index) - 1 AS new
        FROM moments
    )
    UPDATE practice_tasks t SET answer_index = places.new FROM places
    WHERE t.id = places.id AND t.answer_index <> places.new
    """
)
"""Places new answers, which are behind all others, after all that are not newer. See ``_PLACE`` of completions."""

_COUNT = text(
    f"""
    WITH changed AS (SELECT), {counting_sql("CAST(:added AS integer)", "changed")}
    SELECT tracker.* FROM changed LEFT JOIN tracker ON true
    """  # noqa: S608 - parts are constants, values are bound
)


_WRITE_EVENTS = text(
    completion_sql(
        "t",
        "t.id = ANY(CAST(:ids AS uuid[]))",
        "ORDER BY t.completed_at, t.user_id, t.answer_index",
        source="practice_tasks t",
    )
)


def known(connection: Connection, task_ids: Iterable[str]) -> dict[str, str]:
    """Return the ids of tasks that exist, each with the id of its student."""
    return {row.id: row.user_id for row in connection.execute(_KNOWN, {"ids": _ids(task_ids)})}


def store(
    connection: Connection,
    required: tuple[str, set[str], bool],
    answers: Sequence[CompletedAnswer],
    policy: TrainingPolicy,
    growth: Mapping[str, Usage],
) -> tuple[StoredAnswers, list[str]]:
    """Store the answers that are new, in a transaction, and count them.

    ``required`` are the cohort that new students join, the students who must exist, and whether these must be in the
    cohort. The answers of each student count in the cohort that the student is in. The second value is the cohorts in
    which answers were counted in a shard, so that the first does not say how.
    Raises NotFoundError if the account of a student was deleted or is not as required, and ConflictError if a task of
    another student has the id of one.
    """
    n_answers, cohorts, moment = _locked(connection, sorted({one.user_id for one in answers}), *required)
    by_task = {one.task_id: one for one in reversed(answers)}  # of two with one id, the first counts
    old = known(connection, by_task)
    if foreign := sorted(id_ for id_, owner in old.items() if owner != by_task[id_].user_id):
        raise ConflictError(f"{foreign[0]} is the id of an answer of another learner")
    new = [one for id_, one in reversed(by_task.items()) if id_ not in old]
    if not new:
        return StoredAnswers(frozenset(), {}), []
    times = {one.task_id: min(one.at or moment, moment) for one in new}
    new.sort(key=lambda one: times[one.task_id])
    late = _late(connection, new, times)
    indices = {}
    for one in new:
        indices[one.task_id] = n_answers[one.user_id]
        n_answers[one.user_id] += 1
    rows = [{**_task(one, times[one.task_id], indices[one.task_id]), "cohort": cohorts[one.user_id]} for one in new]
    try:
        connection.execute(_INSERT_TASKS, {"rows": _json(rows)})
    except DBAPIError as error:
        # Not of these students, whose rows are locked.
        if sql_state(error) != UNIQUE_VIOLATION:
            raise
        raise ConflictError("An answer of another learner has taken the id of one of these meanwhile") from error
    user_ids = sorted({one.user_id for one in new})
    counts = [n_answers[user_id] for user_id in user_ids]
    connection.execute(_COUNT_ANSWERS, {"user_ids": user_ids, "counts": counts})
    more = [{"user_id": user_id, "topics": use.topics, "n_bytes": use.n_bytes} for user_id, use in growth.items()]
    connection.execute(_GROW_USAGE, {"rows": _json(more)})
    connection.execute(_FORGET_USAGE, {"user_ids": [user_id for user_id in user_ids if user_id not in growth]})
    _advance(connection, [one for one in new if one.user_id not in late], times, indices)
    if late:
        ids = (one.task_id for one in new if one.user_id in late)
        connection.execute(_PLACE_ALL, {"ids": _ids(ids), "user_ids": sorted(late)})
        for user_id in sorted(late):
            rebuild_state(connection, user_id)
    counts_of: dict[str, Counted] = {}
    in_shards = []
    # In the order in which all writers lock trackers.
    for name in sorted({cohorts[one.user_id] for one in new}):
        theirs = [one for one in new if cohorts[one.user_id] == name]
        connection.execute(_WRITE_EVENTS, {"cohort": name, "ids": _ids(one.task_id for one in theirs)})
        counted = _count(connection, name, theirs, policy)
        if counted is None:
            in_shards.append(name)
        else:
            counts_of[name] = counted
    return StoredAnswers(frozenset(one.task_id for one in new), counts_of), in_shards


def _locked(
    connection: Connection, user_ids: Sequence[str], cohort: str, existing: set[str], of_cohort: bool
) -> tuple[dict[str, int], dict[str, str], datetime]:
    """Lock the students' rows. Return their numbers of answers, their cohorts, and the time. Raises NotFoundError."""
    added = [user_id for user_id in user_ids if user_id not in existing]
    connection.execute(_ADD_USERS, {"user_ids": added, "cohort": cohort})
    rows = connection.execute(_LOCK_USERS, {"user_ids": user_ids}).all()
    cohorts = {row[0]: row[2] for row in rows}
    foreign = {user_id for user_id in existing & cohorts.keys() if of_cohort and cohorts[user_id] != cohort}
    if missing := (set(user_ids) - cohorts.keys()) | foreign:
        raise NotFoundError(f"There is no account {min(missing)} in the cohort {cohort}")
    for user_id, _, _, deleted, _ in rows:
        if deleted:
            raise NotFoundError(f"The account of the learner {user_id} was deleted")
    return {row[0]: row[1] for row in rows}, cohorts, max(moment for *_, moment in rows)


def _late(connection: Connection, new: Sequence[CompletedAnswer], times: Mapping[str, datetime]) -> set[str]:
    """Return the students whose new answers are not all newer than those that they have."""
    first: dict[str, datetime] = {}
    for one in new:
        first.setdefault(one.user_id, times[one.task_id])
    rows = connection.execute(_LATEST, {"user_ids": list(first)})
    return {user_id for user_id, latest, has_unknown in rows if has_unknown or latest > first[user_id]}


def _task(one: CompletedAnswer, at: datetime, index: int) -> dict[str, Any]:
    return {
        "id": one.task_id,
        "user_id": one.user_id,
        "subject": one.subject,
        "subject_key": name_key(one.subject),
        "topic": one.topic,
        "topic_key": name_key(one.topic),
        "difficulty": one.difficulty,
        "task_content": one.task_content,
        "study_session_id": one.session_id,
        "item_id": one.item_id,
        "item_key": item_key(one.subject, one.topic, one.difficulty, one.task_content, one.item_id),
        "at": at,
        "is_correct": one.is_correct,
        "seconds": one.seconds,
        "answer_index": index,
    }


def _advance(
    connection: Connection,
    new: Sequence[CompletedAnswer],
    times: Mapping[str, datetime],
    indices: Mapping[str, int],
) -> None:
    """Advance the states of students by answers in the order of their times."""
    keys = [(one.user_id, topic_key(one.subject, one.topic), one.difficulty.numeric) for one in new]
    rows: dict[tuple[str, str, int], StateRow] = {}
    if not keys:
        return
    names = ("user_id", "topic", "difficulty")
    different = [dict(zip(names, key, strict=True)) for key in dict.fromkeys(keys)]
    for user_id, *columns in connection.execute(_ROWS, {"keys": _json(different)}):
        row = state_row_from(*columns)
        rows[user_id, row.topic, row.difficulty] = row
    for key, one in zip(keys, new, strict=True):
        answer = Answer(key[1], key[2], one.is_correct, one.seconds, times[one.task_id])
        rows[key] = advance(rows.get(key), answer, indices[one.task_id])
    changed = [state_parameters(user_id, row) for (user_id, _, _), row in rows.items()]
    connection.execute(_PUT_STATE, {"rows": _json([{**one, "decayed": one["decayed"].hex()} for one in changed])})


def _count(
    connection: Connection, cohort: str, new: Sequence[CompletedAnswer], policy: TrainingPolicy
) -> Counted | None:
    """Count answers. None means that they are counted in a shard."""
    request_id = str(uuid.uuid4())
    connection.execute(ENSURE, {"cohort": cohort})
    values = {"cohort": cohort, "added": len(new), "shard": shard_of(new[0].user_id), "request_id": request_id}
    found = connection.execute(_COUNT, {**values, **policy_values(policy)}).one()
    return None if found[0] is None else counted_from(cohort, request_id, policy, *found)


def _ids(ids: Iterable[str]) -> str:
    """Return ids of tasks as an array of PostgreSQL. The driver's own arrays of texts are slow."""
    return "{" + ",".join(ids) + "}"


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return msgspec.json.encode(rows).decode()
