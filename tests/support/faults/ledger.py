"""A ledger of what the API acknowledged, and its comparison with what is stored.

The three figures are counted, not derived from a test's outcome: ``lost``, ``double_counted``, ``double_published``.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, text

_COMPLETED = text("SELECT CAST(id AS text), is_correct, actual_time_seconds FROM practice_tasks WHERE completed")
_ATTEMPTS = text("SELECT coalesce(sum(attempts), 0) FROM practice_state")
_TRACKER = text(
    "SELECT n_samples_since_training, n_samples_total, n_samples_last_training FROM embedding_model_tracker "
    "WHERE cohort = :cohort"
)

Result = tuple[bool, float]


@dataclass
class Ledger:
    """Results that were sent, and what became of them as far as the client knows.

    ``imported`` is how many answers imports reported as added.
    """

    acknowledged: dict[str, Result] = field(default_factory=dict)
    unanswered: dict[str, Result] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    imported: int = 0
    moves_by_hand: Counter[str] = field(default_factory=Counter)

    def acknowledge(self, task_id: str, result: Result) -> None:
        """Note that the API said 200 to a result."""
        self.unanswered.pop(task_id, None)
        self.acknowledged[task_id] = result


@dataclass(frozen=True)
class Figures:
    """0 each, when nothing went wrong."""

    lost: int
    double_counted: int
    double_published: int


def figures(ledger: Ledger, engine: Engine, cohort: str, s3: Any, bucket: str) -> Figures:
    """Count what was lost or happened twice.

    A completion is lost when it was acknowledged and is not stored with its result, when no total or state has it, or
    when neither the counter nor a training covers it. It is counted twice when total, states or the counter have more
    than there is. A version is published twice when the pointer was written for it more often than once and by hand.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        stored = {row[0]: (row[1], row[2]) for row in connection.execute(_COMPLETED)}
        attempts = int(connection.execute(_ATTEMPTS).scalar_one())
        counter, total, trained = connection.execute(_TRACKER, {"cohort": cohort}).one_or_none() or (0, 0, 0)
        connection.exec_driver_sql("COMMIT")
    kept = {task: result for task, result in ledger.acknowledged.items() if task not in ledger.deleted}
    missing = sum(stored.get(task) != result for task, result in kept.items())
    possible = set(kept) | set(ledger.unanswered)
    unknown = len(stored.keys() - possible) - ledger.imported
    differences = [total - len(stored), attempts - len(stored)]
    if not ledger.deleted:
        # A deletion lowers the total and not the counter, so only without one it is known what is left to train.
        differences.append(counter - (len(stored) - trained))
    return Figures(
        lost=missing + max(0, -unknown) + sum(max(0, -difference) for difference in differences),
        double_counted=max(0, unknown) + sum(max(0, difference) for difference in differences),
        double_published=_published_again(ledger, cohort, s3, bucket),
    )


def _published_again(ledger: Ledger, cohort: str, s3: Any, bucket: str) -> int:
    """How often the pointer was written for a version that it had been written for, by the bucket's own history."""
    writes = Counter(champion["version"] for champion in pointers(s3, bucket, cohort) if "version" in champion)
    writes.subtract(ledger.moves_by_hand)
    return sum(max(0, n - 1) for n in writes.values())


def pointers(s3: Any, bucket: str, cohort: str) -> list[dict[str, Any]]:
    """Everything that the champion's pointer ever said, newest first; empty for what is no JSON object."""
    key = f"models/{cohort}/champion.json"
    found = s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", [])
    said = []
    for version in found:
        raw = s3.get_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])["Body"].read()
        try:
            content = json.loads(raw)
        except ValueError:
            content = {}
        said.append(content if isinstance(content, dict) else {})
    return said
