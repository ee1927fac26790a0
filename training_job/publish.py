"""Publishing a version: write, read back, compare with the champion, move the pointer.

Everything before the pointer's move changes nothing that serves. The move itself is a conditional PUT on the pointer
as it was when champion and challenger were compared, made only while the lease is held.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.domain.errors import ModelError, NotFoundError, PointerConflictError
from chalicelib.domain.training import Champion
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.versions import POINTER_ATTEMPTS, check_name, read_pointer, successor
from chalicelib.storage.model_registry import S3ModelRegistry

_log = logging.getLogger("studysmart.worker")


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
    was written does not read back, PointerConflictError when version or pointer would not hold still.
    """
    registry.write_version(cohort, version, files, metadata, still_ours)
    challenger = Predictor.from_files(registry.read_version(cohort, version))
    for _attempt in range(POINTER_ATTEMPTS):
        champion, etag = read_pointer(registry, cohort)
        if champion is not None and champion.version == version:
            return version  # it was moved, and the answer got lost
        verdict = _judge(registry, cohort, champion, challenger, judge)
        still_ours()
        registry.annotate_version(
            cohort,
            version,
            {"promotion": {"promoted": verdict.promoted, "reason": verdict.reason, **verdict.figures}},
        )
        words = "promoted" if verdict.promoted else "not promoted"
        scores = {f"holdout_{name}": value for name, value in metadata.get("validation", {}).items()}
        published = {"promoted": verdict.promoted, **scores}
        _log.info("version %s %s: %s", version, words, verdict.reason, extra=published)
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
    if champion is None:
        return judge(None, challenger)
    try:
        files = registry.read_version(cohort, champion.version)
        serving = Incumbent(Predictor.from_files(files), json.loads(files["metadata.json"]))
        check_name(serving.predictor, champion.version)
    except (ModelError, NotFoundError) as error:
        _log.error("champion %s cannot be read, it loses%s: %s", champion.version, _and_its_pin(champion), error)
        verdict = judge(None, challenger)
        unread = f"champion {champion.version} cannot be read and loses{_and_its_pin(champion)} ({error})"
        return replace(verdict, reason=f"{unread}; {verdict.reason}")
    if champion.pinned:
        return Verdict(False, f"champion {champion.version} is pinned", {})
    return judge(serving, challenger)


def _and_its_pin(champion: Champion) -> str:
    """A pin keeps a version that serves; one that cannot serve would leave every student with the defaults."""
    return ", its pin too" if champion.pinned else ""
