"""The counter's shards: completions of one cohort do not wait for each other at the tracker's row.

A row stays locked until its change is committed. If each completion had to change the tracker's row, a cohort could
not have more completions per second than commits that follow one another: 200 if a commit takes 5 ms. So a completion
that finds another one at work on the row (an advisory lock says so) adds to one of the cohort's rows in
``tracker_shards`` instead. Afterwards it calls :func:`settle`: the completion that has the lock by then brings the
shards of all others into the tracker's row. So one commit counts many completions, and when a completion has been
answered, the tracker's row contains it.

The counters of the shards only grow. ``n_shards_counted`` of the tracker's row says how much of their sum the row
contains. Of two snapshots, the later one sees every completion that the earlier one sees. So a completion that read a
smaller sum than the row contains has nothing to add, and nothing is counted twice, whatever snapshots and locks there
were.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from zlib import crc32

from sqlalchemy import Engine, text

from chalicelib.domain.training import Counted, TrainingPolicy, TrainingRequest
from chalicelib.storage.database import statement

_log = logging.getLogger("studysmart.training")

SHARDS = 32

PATIENCE_SECONDS = 0.2
"""Time after which a completion is answered although it is only in its shard. The next one or the sweeper counts it."""

SUM_SQL = "(SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM tracker_shards h WHERE h.cohort = :cohort)"
"""The completions that were ever counted in the shards of the cohort."""

SUM_OF_ROW_SQL = "(SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM tracker_shards h WHERE h.cohort = k.cohort)"
"""The same for the cohort of a row ``k`` of the tracker."""

TRY_LOCK_SQL = "pg_try_advisory_xact_lock(hashtextextended(:cohort, 0))"
"""True for one transaction at a time: the one that may change the tracker's row."""


def shard_of(user_id: str) -> int:
    """Return the shard of a student."""
    return crc32(user_id.encode()) % SHARDS


def uncounted_sql(row: str, total: str = SUM_SQL) -> str:
    """Return SQL for the completions that are in the shards and not yet in a row of the tracker."""
    return f"CAST(greatest({total} - {row}.n_shards_counted, 0) AS integer)"


def due_sql(counter: str, total: str) -> str:
    """Return the SQL condition that :meth:`TrainingPolicy.is_due` states, for two SQL expressions.

    Its parameters are those of :func:`policy_values`.
    """
    return f"({counter} >= :threshold AND {total} >= :minimum_samples)"


def policy_values(policy: TrainingPolicy) -> dict[str, int]:
    """Return the parameters of :func:`due_sql`."""
    return {"threshold": policy.threshold, "minimum_samples": policy.minimum_samples}


def may_start_sql(row: str) -> str:
    """Return the SQL condition that no request is live and no wait runs, in a row of the tracker with this name."""
    return (
        f"({row}.training_request_id IS NULL"
        f" AND ({row}.next_training_at IS NULL OR {row}.next_training_at <= clock_timestamp()))"
    )


def count_sql(added: str, shards: str) -> str:
    """Return the changes of the tracker's row ``k`` by ``added`` completions, with a request if one is due now.

    ``shards`` is the sum of the shards that the row contains afterwards.
    """
    triggers = (
        f"{may_start_sql('k')} AND {due_sql(f'k.n_samples_since_training + {added}', f'k.n_samples_total + {added}')}"
    )
    return f"""
        n_samples_since_training = k.n_samples_since_training + {added},
        n_samples_total = k.n_samples_total + {added},
        n_shards_counted = greatest(k.n_shards_counted, {shards}),
        training_request_id = CASE WHEN {triggers} THEN CAST(:request_id AS uuid) ELSE k.training_request_id END,
        training_requested_at = CASE WHEN {triggers} THEN clock_timestamp() ELSE k.training_requested_at END,
        training_reason = CASE WHEN {triggers} THEN 'threshold' ELSE k.training_reason END,
        training_enqueued_at = CASE WHEN {triggers} THEN NULL ELSE k.training_enqueued_at END,
        lease_expires_at = CASE WHEN {triggers} THEN NULL ELSE k.lease_expires_at END,
        progress = CASE WHEN {triggers} THEN NULL ELSE k.progress END"""


def counting_sql(added: str, source: str) -> str:
    """Return the parts ``lane``, ``tracker`` and ``shard`` of a statement that counts ``added`` completions.

    They are counted if the part ``source`` has a row: in the tracker's row, whose columns ``tracker`` gives, or in a
    shard if another completion is at work on that row. In the tracker's row those in the shards are counted too.
    """
    both = f"({added} + {uncounted_sql('k', 'excluded.n_shards_counted')})"
    return f"""lane AS MATERIALIZED (
        SELECT {TRY_LOCK_SQL} AS is_ours, {SUM_SQL} AS n FROM {source}
    ), tracker AS (
        INSERT INTO embedding_model_tracker AS k
            (cohort, n_samples_since_training, n_samples_total, n_shards_counted)
        SELECT :cohort, {added} + n, {added} + n, n FROM lane WHERE is_ours
        ON CONFLICT (cohort) DO UPDATE SET {count_sql(both, "excluded.n_shards_counted")}
        RETURNING {COUNTED_SQL}
    ), shard AS (
        INSERT INTO tracker_shards AS h (cohort, shard, n)
        SELECT :cohort, :shard, {added} FROM lane WHERE NOT is_ours
        ON CONFLICT (cohort, shard) DO UPDATE SET n = h.n + excluded.n
    )"""  # noqa: S608 - parts are constants


COUNTED_SQL = "k.n_samples_since_training, k.n_samples_total, k.training_request_id, k.training_requested_at"
"""The columns of :func:`counted_from`."""


def counted_from(
    cohort: str, request_id: str, policy: TrainingPolicy, counter: int, total: int, live: object, requested_at: object
) -> Counted:
    """Return the tracker after a completion. The completion triggered a training if its request is the live one."""
    triggered = live is not None and str(live) == request_id
    request = TrainingRequest(request_id, cohort, requested_at, "threshold") if triggered else None  # type: ignore[arg-type]
    return Counted(counter, policy.threshold, total, request)


_SETTLE = text(
    f"""
    WITH seen AS MATERIALIZED (
        SELECT {SUM_SQL} AS n, k.* FROM embedding_model_tracker k WHERE k.cohort = :cohort
    ), lane AS MATERIALIZED (
        SELECT n, CASE WHEN n > n_shards_counted THEN {TRY_LOCK_SQL} ELSE false END AS is_ours FROM seen
    ), changed AS (
        UPDATE embedding_model_tracker k
        SET {count_sql("CAST(lane.n - k.n_shards_counted AS integer)", "lane.n")}
        FROM lane WHERE k.cohort = :cohort AND lane.is_ours AND lane.n > k.n_shards_counted
        RETURNING {COUNTED_SQL}
    )
    SELECT true, changed.* FROM changed
    UNION ALL
    SELECT k.n <= k.n_shards_counted, {COUNTED_SQL} FROM seen k WHERE NOT EXISTS (SELECT FROM changed)
    """  # noqa: S608 - parts are constants, values are bound
)
"""Its first column is true if the row contains all completions that were in the shards when it began."""


def changed_total_sql(row: str, added: str) -> str:
    """Return the changes of a tracker's row by answers that were taken away, or that came with their student.

    First the row gets what is in the shards, or its total could fall below 0. Otherwise the counter towards the next
    training stays. If the row has more than before, the next sweep looks if a training is due: no completion may come.
    """
    left = uncounted_sql(row, SUM_OF_ROW_SQL)
    return f"""
        n_samples_since_training = {row}.n_samples_since_training + {left},
        n_samples_total = greatest({row}.n_samples_total + {left} + {added}, 0),
        n_shards_counted = greatest({row}.n_shards_counted, {SUM_OF_ROW_SQL}),
        next_training_at = CASE WHEN {row}.training_request_id IS NULL AND {left} + greatest({added}, 0) > 0
            THEN coalesce({row}.next_training_at, clock_timestamp()) ELSE {row}.next_training_at END"""


ENSURE = text("INSERT INTO embedding_model_tracker (cohort) VALUES (:cohort) ON CONFLICT (cohort) DO NOTHING")
"""Creates the tracker's row if it is missing. A new row does not trigger, however many completions it begins with."""


def settle(engine: Engine, cohort: str, policy: TrainingPolicy, pause: float = 0.0) -> Counted:
    """Bring the completions that are in the shards into the tracker's row, or wait until somebody else has done it.

    After ``pause`` seconds another completion has probably done it. The result has a training request if one became due
    by this. Raises UnavailableError.
    """
    request_id = str(uuid.uuid4())
    values = {"cohort": cohort, "request_id": request_id, **policy_values(policy)}
    end, pause = time.monotonic() + PATIENCE_SECONDS, min(pause, PATIENCE_SECONDS / 4)
    while True:
        time.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - not for secrets
        row = statement(engine, lambda connection: connection.execute(_SETTLE, values).one_or_none())
        if row is None:
            statement(engine, lambda connection: connection.execute(ENSURE, {"cohort": cohort}))
            continue
        is_settled, *found = row
        if is_settled or time.monotonic() > end:
            if not is_settled:
                message = (
                    "the counter of cohort %s lags, nothing is lost: the next completion or the sweeper adds its shards"
                )
                _log.warning(message, cohort)
            return counted_from(cohort, request_id, policy, *found)
        pause = max(1.5 * pause, 0.002)
