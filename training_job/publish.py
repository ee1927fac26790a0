"""Publishing a version: write, read back, compare with the champion, move the pointer.

Everything before the pointer's move changes nothing that serves. The move itself is a conditional PUT on the pointer
as it was when champion and challenger were compared, made only while the lease is held.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.domain.errors import ModelError, NotFoundError, PointerConflictError
from chalicelib.domain.training import Champion
from chalicelib.prediction.predictor import Predictor
from chalicelib.storage.model_registry import S3ModelRegistry

_log = logging.getLogger("studysmart.worker")

POINTER_ATTEMPTS = 3
PAST_CHAMPION_DAYS = 30


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a challenger becomes the champion, and why."""

    promoted: bool
    reason: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The champion as it serves, and its ``metadata.json``."""

    predictor: Predictor
    metadata: Mapping[str, Any]


Judge = Callable[[Incumbent | None, Predictor], Verdict]
"""Compares a champion (None: there is none that can be read) with a challenger on the same hold-out."""


def publish(
    registry: S3ModelRegistry,
    cohort: str,
    version: str,
    files: Mapping[str, bytes],
    metadata: Mapping[str, Any],
    judge: Judge,
    still_ours: Callable[[], object],
) -> str:
    """Write the version and promote it if the judge says so; returns the version that serves afterwards.

    ``still_ours`` raises LeaseLostError when another worker took the training over. Raises ModelError when what
    was written does not read back, PointerConflictError when the pointer would not hold still.
    """
    registry.write_version(cohort, version, files, metadata)
    challenger = Predictor.from_files(registry.read_version(cohort, version))
    for _attempt in range(POINTER_ATTEMPTS):
        found = registry.read_champion(cohort)
        champion, etag = found if found else (None, None)
        verdict = _judge(registry, cohort, champion, challenger, judge)
        registry.annotate_version(
            cohort,
            version,
            {"promotion": {"promoted": verdict.promoted, "reason": verdict.reason, **verdict.figures}},
        )
        _log.info("version %s %s: %s", version, "promoted" if verdict.promoted else "not promoted", verdict.reason)
        if not verdict.promoted and champion is not None:
            return champion.version
        still_ours()
        try:
            registry.write_champion(cohort, successor(champion, version, str(metadata["request_id"])), etag)
        except PointerConflictError as error:
            _log.warning("comparing again: %s", error)
            continue
        return version
    raise PointerConflictError(f"the champion of cohort {cohort} was moved {POINTER_ATTEMPTS} times meanwhile")


def _judge(
    registry: S3ModelRegistry, cohort: str, champion: Champion | None, challenger: Predictor, judge: Judge
) -> Verdict:
    if champion is not None and champion.pinned:
        return Verdict(False, f"champion {champion.version} is pinned", {})
    serving: Incumbent | None = None
    if champion is not None and champion.version != challenger.version:
        try:
            files = registry.read_version(cohort, champion.version)
            serving = Incumbent(Predictor.from_files(files), json.loads(files["metadata.json"]))
        except (ModelError, NotFoundError) as error:
            _log.error("champion %s cannot be read, it loses: %s", champion.version, error)
    return judge(serving, challenger)


def successor(champion: Champion | None, version: str, request_id: str) -> Champion:
    """The pointer that makes ``version`` the champion after ``champion``, remembering 30 days of past ones."""
    now = datetime.now(UTC)
    past: list[tuple[str, str]] = []
    if champion is not None and champion.version != version:
        past = [(champion.version, now.isoformat()), *champion.past]
    elif champion is not None:
        past = list(champion.past)
    oldest = (now - timedelta(days=PAST_CHAMPION_DAYS)).isoformat()
    return Champion(
        version=version,
        previous=champion.version if champion is not None and champion.version != version else None,
        promoted_at=now.isoformat(),
        request_id=request_id,
        past=tuple(entry for entry in past if entry[1] >= oldest),
    )


def prune(registry: S3ModelRegistry, cohort: str, keep: int) -> list[str]:
    """Delete versions beyond the newest ``keep``, except the champion and the past champions of 30 days."""
    found = registry.read_champion(cohort)
    if found is None:
        return []
    champion = found[0]
    kept = {champion.version, champion.previous, *(version for version, _ in champion.past)}
    doomed = [version for version in registry.list_versions(cohort)[keep:] if version not in kept]
    for version in doomed:
        registry.delete_version(cohort, version)
        _log.info("version %s is past its retention and was deleted", version)
    return doomed
