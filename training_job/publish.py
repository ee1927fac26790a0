"""Publishes a version: writes it, reads it back, compares it with the champion and moves the pointer.

Nothing that serves changes before the pointer moves. The move is a conditional PUT on the pointer as it was when
champion and challenger were compared, and it is made only while the lease is held.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from chalicelib.domain.errors import ModelError, NotFoundError, PointerConflictError
from chalicelib.domain.training import Champion
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.versions import POINTER_ATTEMPTS, check_name, read_pointer, successor
from chalicelib.storage.model_registry import S3ModelRegistry
from training_job.gate import Incumbent, Judge, Verdict

_log = logging.getLogger("studysmart.worker")


def publish(
    registry: S3ModelRegistry,
    cohort: str,
    version: str,
    files: Mapping[str, bytes],
    metadata: Mapping[str, Any],
    judge: Judge,
    requested_at: datetime,
    still_ours: Callable[[], object],
) -> str:
    """Write a version, promote it if the judge says so, and return the version that serves afterwards.

    A version to which an operator has rolled back after ``requested_at`` is not replaced.
    ``still_ours`` raises LeaseLostError when another worker took the training over. Raises ModelError when the written
    files cannot be read back, PointerConflictError when version or pointer were changed again and again meanwhile.
    """
    registry.write_version(cohort, version, files, metadata, still_ours)
    challenger = Predictor.from_files(registry.read_version(cohort, version))
    for _attempt in range(POINTER_ATTEMPTS):
        champion, etag = read_pointer(registry, cohort)
        if champion is not None and champion.version == version:
            # An earlier PUT succeeded, and its answer was lost.
            return version
        verdict = _judge(registry, cohort, champion, challenger, judge, requested_at)
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
    registry: S3ModelRegistry,
    cohort: str,
    champion: Champion | None,
    challenger: Predictor,
    judge: Judge,
    requested_at: datetime,
) -> Verdict:
    if champion is None:
        return judge(None, challenger)
    try:
        files = registry.read_version(cohort, champion.version)
        serving = Incumbent(Predictor.from_files(files), json.loads(files["metadata.json"]))
        check_name(serving.predictor, champion.version)
    except (ModelError, NotFoundError) as error:
        # A pin keeps a version that serves. One that cannot would leave every student with the defaults.
        despite = ", despite its pin" if champion.pinned else ""
        replaced = f"champion {champion.version} cannot be read and is replaced{despite}: {error}"
        _log.error(replaced)
        verdict = judge(None, challenger)
        return replace(verdict, reason=f"{replaced}; {verdict.reason}")
    if champion.pinned:
        return Verdict(False, f"champion {champion.version} is pinned", {})
    if champion.stands_against(requested_at):
        return Verdict(False, f"an operator chose {champion.version} after this training was requested", {})
    return judge(serving, challenger)
