"""The published versions, and the pointer that says which of them serves.

A change of the version that serves has two steps: one conditional PUT on the pointer, then the tracker's
``model_version``, from which warm processes learn of the change. If a process dies between the steps, a repetition
completes the change: the pointer stays, and the tracker is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated

import msgspec
from msgspec.structs import replace

from chalicelib.domain.errors import ConflictError, ModelError, NotFoundError, PointerConflictError
from chalicelib.domain.fields import ServedVersion, Timestamp, Version, about
from chalicelib.domain.model_files import MAX_MAGNITUDE
from chalicelib.domain.training import RECENT_CHAMPIONS, Champion, VersionMetadata
from chalicelib.ports import Cohorts, ModelRegistry, Tracker
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.groups import Served

_log = logging.getLogger("studysmart.models")

POINTER_ATTEMPTS = 3
"""Maximum number of attempts to move the pointer while another process moves it too."""

PAST_CHAMPION_DAYS = 30
"""Number of days for which past champions are remembered and kept."""

NOTHING_SERVED: Mapping[str, Served] = {}

CHAMPION, PREVIOUS, PAST, OTHER = "champion", "previous", "past", "other"
"""Roles of a version, as the pointer names it."""


class VersionSummary(msgspec.Struct, frozen=True):
    """A version in a list. ``role`` is champion, previous, past or other.

    ``from`` and ``until`` are the last time in which it was the champion, as far as the pointer remembers.

    ``promoted`` and ``reason`` are the decision of the gate, ``training_reason`` is the reason of the training, and
    ``metrics`` are the scores on the answers that were held out, ``served_n`` and ``served_log_loss`` those of the
    predictions that students saw. Values that the metadata lacks are None. ``fault``
    says why the metadata could not be read.
    """

    version: Version
    role: Annotated[str, about("`champion`, `previous`, `past` or `other`", CHAMPION)]
    from_: Annotated[Timestamp, about("Time at which it last became the champion")] | None = msgspec.field(
        name="from", default=None
    )
    until: Annotated[str, about("Time at which it was last replaced, in ISO 8601", None)] | None = None
    trained_at: Annotated[Timestamp, about("Time at which its training ended, in ISO 8601")] | None = None
    n_samples: Annotated[int, about("Number of answers that it was trained on", 54_000)] | None = None
    size_bytes: Annotated[int, about("Size of its files", 1_250_000)] | None = None
    promoted: Annotated[bool, about("The gate let it become the champion", True)] | None = None
    reason: Annotated[str, about("Reason of the gate", "It predicts better than the champion")] | None = None
    trained_seconds: Annotated[float, about("Duration of its training, in seconds", 18.4)] | None = None
    training_reason: Annotated[str, about("Reason of its training", "threshold")] | None = None
    metrics: Annotated[dict[str, float], about("Scores on the answers that were held out", {"auc": 0.78})] | None = None
    served_n: Annotated[int, about("Number of the newest completions that it predicted", 120)] = 0
    served_log_loss: (
        Annotated[float, about("Log-loss of those predictions as they were served, in nats; null without any", 0.53)]
        | None
    ) = None
    fault: Annotated[str, about("Reason why its metadata could not be read", None)] | None = None


class VersionPage(msgspec.Struct, frozen=True):
    """The versions of a cohort or a page of them, newest first, and the content of the pointer.

    ``total`` counts the versions of all pages. ``fault`` says why the pointer could not be read.
    """

    champion: ServedVersion | None
    promoted_at: Annotated[Timestamp, about("Time at which the champion was chosen, in ISO 8601")] | None
    pinned: Annotated[bool, about("Trainings do not replace the champion", False)]
    fault: Annotated[str, about("Reason why the pointer could not be read", None)] | None
    versions: Annotated[list[VersionSummary], about("The versions, newest first")]
    total: Annotated[int, about("Number of versions on all pages", 1)]


def list_versions(
    registry: ModelRegistry,
    cohort: str,
    after: int = 0,
    limit: int | None = None,
    served: Mapping[str, Served] = NOTHING_SERVED,
) -> VersionPage:
    """Return versions with their metadata, newest first, also those that the pointer names and that do not exist.

    ``served`` are the scores of served predictions by version (:func:`chalicelib.services.groups.served_by_version`).

    The first ``after`` versions are left out, and those that come after the next ``limit``.
    """
    champion, fault = None, None
    try:
        found = registry.read_champion(cohort)
        champion = found[0] if found else None
    except ModelError as error:
        fault = str(error)
    named = roles(champion)
    names = sorted({*registry.list_versions(cohort), *named}, reverse=True)
    shown = names[after:][:limit]
    periods = {} if champion is None else champion.periods()

    def summary(name: str) -> VersionSummary:
        begin, end = periods.get(name, (None, None))
        n, log_loss = (scores.n, scores.log_loss) if (scores := served.get(name)) else (0, None)
        one = _summary(registry, cohort, name, named.get(name, OTHER))
        return replace(one, from_=begin, until=end, served_n=n, served_log_loss=log_loss)

    with ThreadPoolExecutor(max_workers=8) as pool:
        summaries = list(pool.map(summary, shown))
    if champion is None:
        return VersionPage(None, None, False, fault, summaries, len(names))
    return VersionPage(champion.version, champion.promoted_at, champion.pinned, fault, summaries, len(names))


def roles(champion: Champion | None) -> dict[str, str]:
    """Return the roles of the versions that the pointer names."""
    if champion is None:
        return {}
    named = {version: PAST for version, _ in champion.past}
    if champion.previous is not None:
        named[champion.previous] = PREVIOUS
    return {**named, champion.version: CHAMPION}


def _summary(registry: ModelRegistry, cohort: str, version: str, role: str) -> VersionSummary:
    try:
        metadata = _metadata(registry, cohort, version)
    except (ModelError, NotFoundError) as error:
        return VersionSummary(version, role, fault=str(error))
    decision = metadata.promotion
    scores = {name: value for name, value in metadata.validation.items() if type(value) in (int, float)}
    return VersionSummary(
        version,
        role,
        trained_at=metadata.trained_at,
        n_samples=metadata.n_samples,
        size_bytes=sum(entry.size for entry in metadata.files.values()),
        promoted=None if decision is None else decision.promoted,
        reason=None if decision is None else decision.reason,
        trained_seconds=metadata.trained_seconds,
        training_reason=metadata.reason,
        metrics={name: value for name, value in scores.items() if abs(value) <= MAX_MAGNITUDE} or None,
    )


def _metadata(registry: ModelRegistry, cohort: str, version: str) -> VersionMetadata:
    """Return a version's metadata. Raises NotFoundError, ModelError."""
    try:
        return msgspec.convert(registry.read_metadata(cohort, version), VersionMetadata)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ModelError(f"metadata.json of version {version} is malformed: {error}") from error


def rollback(registry: ModelRegistry, tracker: Tracker, cohort: str, version: str) -> Champion:
    """Make a version serve, and return the new pointer. A pinned cohort stays pinned.

    A training that was requested before does not replace it; one that is requested later may.

    Raises NotFoundError, ConflictError for a version that cannot be served, PointerConflictError.
    """
    request_id = _servable(registry, cohort, version)

    def change(now: Champion | None) -> Champion:
        same = now if now is not None and now.version == version else None
        after = same or successor(now, version, request_id, pinned=now is not None and now.pinned)
        return replace(after, rolled_back_at=datetime.now(UTC).isoformat())

    return _moved(registry, tracker, cohort, change)


def pin(registry: ModelRegistry, tracker: Tracker, cohort: str, version: str | None = None) -> Champion:
    """Keep trainings from replacing the champion, or a ``version`` that is made the champion by the same move.

    Raises NotFoundError (also without a champion), ConflictError for a version that cannot be served.
    """
    request_id = None if version is None else _servable(registry, cohort, version)

    def change(now: Champion | None) -> Champion:
        if now is not None and version in (None, now.version):
            return replace(now, pinned=True)
        if version is None:
            raise NotFoundError("there is no champion to pin")
        return successor(now, version, request_id, pinned=True)

    return _moved(registry, tracker, cohort, change)


def unpin(registry: ModelRegistry, tracker: Tracker, cohort: str) -> Champion:
    """Allow trainings to replace the champion. Raises NotFoundError if there is no champion."""

    def change(now: Champion | None) -> Champion:
        if now is None:
            raise NotFoundError("there is no champion to unpin")
        return replace(now, pinned=False)

    return _moved(registry, tracker, cohort, change)


def _servable(registry: ModelRegistry, cohort: str, version: str) -> str | None:
    """Load a version as serving would, and return the id of the request that created it."""
    try:
        files = registry.read_version(cohort, version)
        check_name(Predictor.from_files(files), version)
        return _metadata(registry, cohort, version).request_id
    except NotFoundError as error:
        raise NotFoundError(f"version {version} is not in the registry of the cohort {cohort}") from error
    except ModelError as error:
        raise ConflictError(f"version {version} cannot be served: {error}") from error


def check_name(predictor: Predictor, version: str) -> None:
    """Raise ModelError if a version's metadata names another version."""
    if predictor.version != version:
        raise ModelError(f"metadata.json of version {version} is that of version {predictor.version}")


def _moved(
    registry: ModelRegistry, tracker: Tracker, cohort: str, change: Callable[[Champion | None], Champion]
) -> Champion:
    """Apply a change to the pointer and announce it. The change is applied again if the pointer moved meanwhile."""
    for _attempt in range(POINTER_ATTEMPTS):
        before, etag = read_pointer(registry, cohort)
        after = change(before)
        if after != before:
            try:
                registry.write_champion(cohort, after, etag)
            except PointerConflictError as error:
                _log.warning("reading the pointer again: %s", error)
                continue
            _log.info("cohort %s is served by %s%s", cohort, after.version, ", pinned" if after.pinned else "")
        announce(registry, tracker, cohort)
        return after
    raise PointerConflictError(f"the champion of cohort {cohort} was moved {POINTER_ATTEMPTS} times meanwhile")


def read_pointer(registry: ModelRegistry, cohort: str) -> tuple[Champion | None, str | None]:
    """Return the champion, and the ETag by which the pointer can be replaced.

    A malformed pointer has an ETag but no champion, so that it can be replaced by a valid one.
    """
    try:
        return registry.read_champion(cohort) or (None, None)
    except ModelError:
        etag = registry.champion_etag(cohort)
    # Read again after the ETag. If another process has repaired the pointer before the ETag was read, it is found now;
    # if it repairs the pointer later, the ETag no longer matches.
    try:
        return registry.read_champion(cohort) or (None, None)
    except ModelError as error:
        _log.error("the pointer of cohort %s names no champion: %s", cohort, error)
        return None, etag


def announce(registry: ModelRegistry, tracker: Tracker, cohort: str) -> str | None:
    """Store the version that the pointer names in the tracker, and return it. Return None for a malformed pointer.

    The pointer is read again after each write. If two processes move it, the tracker ends with the later version.
    """
    version: str | None = None
    for _attempt in range(POINTER_ATTEMPTS):
        try:
            found = registry.read_champion(cohort)
        except ModelError as error:
            _log.error("the tracker of cohort %s was not changed: %s", cohort, error)
            return None
        version = found[0].version if found else None
        if tracker.read(cohort).model_version == version:
            break
        tracker.set_model_version(cohort, version)
    return version


def successor(champion: Champion | None, version: str, request_id: str | None, *, pinned: bool = False) -> Champion:
    """Return the pointer that makes ``version`` the champion. It remembers past champions of 30 days."""
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
        past=tuple(_remembered([entry for entry in past if _is_recent(entry[1], now)])),
    )


def _remembered(past: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the recent past champions, and of older ones the last of each day: a busy day has thousands."""
    recent, older = past[:RECENT_CHAMPIONS], past[RECENT_CHAMPIONS:]
    return recent + [next(of_day) for _, of_day in groupby(older, lambda entry: entry[1][:10])]


def _is_recent(end: str, now: datetime) -> bool:
    """Return whether a champion's end is recent enough to remember it. An unreadable time counts as recent."""
    try:
        return datetime.fromisoformat(end) >= now - timedelta(days=PAST_CHAMPION_DAYS)
    except (ValueError, TypeError):
        return True


def prune_all(registry: ModelRegistry, cohorts: Cohorts, keep: int) -> None:
    """Delete the old versions of every cohort."""
    for cohort in cohorts.names():
        prune(registry, cohort, keep)


def prune(registry: ModelRegistry, cohort: str, keep: int, *, dry_run: bool = False) -> list[str]:
    """Delete all versions but the newest ``keep``, and return the deleted ones. ``dry_run`` deletes nothing.

    The champion, its predecessor and the past champions of 30 days are kept. Nothing is deleted if the pointer cannot
    be read.
    """
    deleted: list[str] = []
    for version in registry.list_versions(cohort)[keep:]:
        # The pointer is read for each version, because a rollback may come in between.
        kept = _kept(registry, cohort)
        if kept is None:
            return deleted
        if version in kept:
            continue
        if not dry_run:
            registry.delete_version(cohort, version)
            _log.info("version %s is past its retention and was deleted", version)
        deleted.append(version)
    return deleted


def _kept(registry: ModelRegistry, cohort: str) -> set[str | None] | None:
    """Return the versions that the pointer keeps, or None if there is no valid pointer."""
    try:
        found = registry.read_champion(cohort)
    except ModelError as error:
        _log.error("nothing is deleted while the pointer cannot be read: %s", error)
        return None
    if found is None:
        return None
    champion, now = found[0], datetime.now(UTC)
    recent = {version for version, end in champion.past if _is_recent(end, now)}
    return {champion.version, champion.previous, *recent}
