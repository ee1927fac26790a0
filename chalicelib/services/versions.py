"""The published versions: which there are, and which of them serves.

Whoever changes which version serves does it by one conditional PUT on the pointer, then writes the tracker's
``model_version``, so that the next creation notices. When a process dies in between, doing the same again ends it:
moving the pointer to where it is changes nothing, and the tracker is written all the same.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from chalicelib.domain.errors import ConflictError, ModelError, NotFoundError, PointerConflictError
from chalicelib.domain.training import Champion
from chalicelib.ports import ModelRegistry, Tracker
from chalicelib.prediction.predictor import Predictor

T = TypeVar("T")

_log = logging.getLogger("studysmart.models")

POINTER_ATTEMPTS = 3
"""How often the pointer is read and moved again after another moved it in between."""

PAST_CHAMPION_DAYS = 30
"""How long a version that was the champion is remembered and kept."""

CHAMPION, PREVIOUS, PAST, OTHER = "champion", "previous", "past", "other"
"""What a version is to the pointer."""


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """One version for a list. ``role`` is champion, previous, past or other.

    ``promoted`` and ``reason`` are the gate's verdict; ``metrics`` what was measured on answers held out of the
    training, by name; ``training_reason`` what asked for the training. What the metadata do not say is None. ``fault``
    says why the metadata could not be read.
    """

    version: str
    role: str
    trained_at: str | None = None
    n_samples: int | None = None
    size_bytes: int | None = None
    promoted: bool | None = None
    reason: str | None = None
    trained_seconds: float | None = None
    training_reason: str | None = None
    metrics: dict[str, float] | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a cohort, newest first, and what the pointer says; ``fault`` is why it could not be read."""

    champion: str | None
    promoted_at: str | None
    pinned: bool
    fault: str | None
    versions: list[VersionSummary]


def list_versions(registry: ModelRegistry, cohort: str) -> Versions:
    """Every version with what its metadata say of it, and those that the pointer names and that are gone."""
    champion, fault = None, None
    try:
        found = registry.read_champion(cohort)
        champion = found[0] if found else None
    except ModelError as error:
        fault = str(error)
    names = sorted({*registry.list_versions(cohort), *roles(champion)}, reverse=True)
    known = roles(champion)
    with ThreadPoolExecutor(max_workers=8) as pool:
        summaries = list(pool.map(lambda name: _summary(registry, cohort, name, known.get(name, OTHER)), names))
    if champion is None:
        return Versions(None, None, False, fault, summaries)
    return Versions(champion.version, champion.promoted_at, champion.pinned, fault, summaries)


def roles(champion: Champion | None) -> dict[str, str]:
    """What each version that the pointer names is to it."""
    if champion is None:
        return {}
    named = {version: PAST for version, _ in champion.past}
    if champion.previous is not None:
        named[champion.previous] = PREVIOUS
    return {**named, champion.version: CHAMPION}


def _summary(registry: ModelRegistry, cohort: str, version: str, role: str) -> VersionSummary:
    try:
        metadata = registry.read_metadata(cohort, version)
    except (ModelError, NotFoundError) as error:
        return VersionSummary(version, role, fault=str(error))
    promotion = metadata.get("promotion")
    verdict: Mapping[str, Any] = promotion if isinstance(promotion, dict) else {}
    sizes = [entry.get("size") for entry in metadata["files"].values() if isinstance(entry, dict)]
    return VersionSummary(
        version,
        role,
        trained_at=_of(str, metadata.get("trained_at")),
        n_samples=_of(int, metadata.get("n_samples")),
        size_bytes=sum(size for size in sizes if isinstance(size, int)),
        promoted=_of(bool, verdict.get("promoted")),
        reason=_of(str, verdict.get("reason")),
        trained_seconds=(_numbers(metadata) or {}).get("trained_seconds"),
        training_reason=_of(str, metadata.get("reason")),
        metrics=_numbers(metadata.get("validation")),
    )


def _of(kind: type[T], value: Any) -> T | None:
    """The value if it is of this kind: metadata are a file that anybody may have written."""
    return value if isinstance(value, kind) else None


def _numbers(value: Any) -> dict[str, float] | None:
    """The entries that are finite numbers; None for what is no mapping."""
    if not isinstance(value, dict):
        return None
    numbers = {str(name): number for name, number in value.items() if type(number) in (int, float)}
    return {name: float(number) for name, number in numbers.items() if math.isfinite(number)}


def rollback(registry: ModelRegistry, tracker: Tracker, cohort: str, version: str) -> Champion:
    """Let a version serve; a pinned cohort stays pinned. Returns the pointer as it is afterwards.

    Raises NotFoundError where there is no such version, ConflictError when it cannot be served, PointerConflictError
    when the pointer would not hold still.
    """
    request_id = _servable(registry, cohort, version)

    def change(now: Champion | None) -> Champion:
        if now is not None and now.version == version:
            return now
        return successor(now, version, request_id, pinned=now is not None and now.pinned)

    return _moved(registry, tracker, cohort, change)


def pin(registry: ModelRegistry, tracker: Tracker, cohort: str, version: str | None = None) -> Champion:
    """Keep trainings from replacing the champion, or a ``version`` that becomes it by the same move.

    Raises NotFoundError where there is no such version (or no champion), ConflictError when it cannot be served.
    """
    request_id = None if version is None else _servable(registry, cohort, version)

    def change(now: Champion | None) -> Champion:
        if version is None and now is None:
            raise NotFoundError("there is no champion to pin")
        if now is not None and version in (None, now.version):
            return replace(now, pinned=True)
        assert version is not None
        return successor(now, version, request_id, pinned=True)

    return _moved(registry, tracker, cohort, change)


def unpin(registry: ModelRegistry, tracker: Tracker, cohort: str) -> Champion:
    """Let trainings replace the champion again. Raises NotFoundError when there is no champion."""

    def change(now: Champion | None) -> Champion:
        if now is None:
            raise NotFoundError("there is no champion to unpin")
        return replace(now, pinned=False)

    return _moved(registry, tracker, cohort, change)


def _servable(registry: ModelRegistry, cohort: str, version: str) -> str | None:
    """Read a version as serving it would, and give the id of the request that made it."""
    try:
        files = registry.read_version(cohort, version)
        check_name(Predictor.from_files(files), version)
    except NotFoundError as error:
        raise NotFoundError(f"version {version} is not in the registry") from error
    except ModelError as error:
        raise ConflictError(f"version {version} cannot be served: {error}") from error
    return _of(str, registry.read_metadata(cohort, version).get("request_id"))


def check_name(predictor: Predictor, version: str) -> None:
    """Raise ModelError when a version's metadata are those of another."""
    if predictor.version != version:
        raise ModelError(f"metadata.json of version {version} is that of version {predictor.version}")


def _moved(
    registry: ModelRegistry, tracker: Tracker, cohort: str, change: Callable[[Champion | None], Champion]
) -> Champion:
    for _attempt in range(POINTER_ATTEMPTS):
        before, etag = read_pointer(registry, cohort)
        wanted = change(before)
        if wanted != before:
            try:
                registry.write_champion(cohort, wanted, etag)
            except PointerConflictError as error:
                _log.warning("reading the pointer again: %s", error)
                continue
            _log.info("cohort %s is served by %s%s", cohort, wanted.version, ", pinned" if wanted.pinned else "")
        announce(registry, tracker, cohort)
        return wanted
    raise PointerConflictError(f"the champion of cohort {cohort} was moved {POINTER_ATTEMPTS} times meanwhile")


def read_pointer(registry: ModelRegistry, cohort: str) -> tuple[Champion | None, str | None]:
    """The champion and the pointer's ETag, by which it can be replaced.

    A malformed pointer names no champion, but it has an ETag, so that whoever has a version to serve can mend it.
    """
    try:
        return registry.read_champion(cohort) or (None, None)
    except ModelError:
        # Read between its ETag and its replacement: who mended it meanwhile is read, or is not overwritten.
        etag = registry.champion_etag(cohort)
    try:
        return registry.read_champion(cohort) or (None, None)
    except ModelError as error:
        _log.error("the pointer of cohort %s names no champion: %s", cohort, error)
        return None, etag


def announce(registry: ModelRegistry, tracker: Tracker, cohort: str) -> str | None:
    """Make the tracker name the version that the pointer names, and return it; None while no pointer can be read.

    The pointer is read again after the tracker was written: of two who move it at once, the later one is announced.
    """
    version: str | None = None
    for _attempt in range(POINTER_ATTEMPTS):
        try:
            found = registry.read_champion(cohort)
        except ModelError as error:
            _log.error("the tracker of cohort %s stays as it is: %s", cohort, error)
            return None
        version = found[0].version if found else None
        if tracker.read(cohort).model_version == version:
            break
        tracker.set_model_version(cohort, version)
    return version


def successor(champion: Champion | None, version: str, request_id: str | None, *, pinned: bool = False) -> Champion:
    """The pointer that makes ``version`` the champion after ``champion``, remembering 30 days of past ones."""
    now = datetime.now(UTC)
    past: list[tuple[str, str]] = []
    previous = None
    if champion is not None:
        same = champion.version == version
        previous = champion.previous if same else champion.version
        past = [*champion.past] if same else [(champion.version, now.isoformat()), *champion.past]
    return Champion(
        version=version,
        previous=previous,
        promoted_at=now.isoformat(),
        request_id=request_id,
        pinned=pinned,
        past=tuple(entry for entry in past if _is_recent(entry[1], now)),
    )


def _is_recent(until: str, now: datetime) -> bool:
    """Whether a champion's end is within the days that are remembered; one that nobody can read is."""
    try:
        return datetime.fromisoformat(until) >= now - timedelta(days=PAST_CHAMPION_DAYS)
    except (ValueError, TypeError):
        return True


def prune(registry: ModelRegistry, cohort: str, keep: int, *, dry_run: bool = False) -> list[str]:
    """Delete versions beyond the newest ``keep``; returns them, and with ``dry_run`` only that.

    The champion, pinned or not, its predecessor, and past champions of 30 days stay. Nothing is deleted while the
    pointer cannot be read: nobody knows then what it names.
    """
    doomed: list[str] = []
    for version in registry.list_versions(cohort)[keep:]:
        # Read anew for each: a rollback may have come meanwhile.
        kept = _kept(registry, cohort)
        if kept is None:
            return doomed
        if version in kept:
            continue
        if not dry_run:
            registry.delete_version(cohort, version)
            _log.info("version %s is past its retention and was deleted", version)
        doomed.append(version)
    return doomed


def _kept(registry: ModelRegistry, cohort: str) -> set[str | None] | None:
    """The versions that the pointer keeps; None when there is none that could say so."""
    try:
        found = registry.read_champion(cohort)
    except ModelError as error:
        _log.error("nothing is deleted while the pointer cannot be read: %s", error)
        return None
    if found is None:
        return None
    champion, now = found[0], datetime.now(UTC)
    recent = {version for version, until in champion.past if _is_recent(until, now)}
    return {champion.version, champion.previous, *recent}
