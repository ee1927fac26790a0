"""Checks every published version against its metadata, and that the versions that may be needed can be served."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.domain.errors import ModelError, NotFoundError
from chalicelib.ports import ModelRegistry
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.versions import OTHER, check_name, roles


@dataclass(frozen=True, slots=True)
class VersionFault:
    """One fault of the registry. ``version`` is None for a fault of the pointer itself.

    ``role`` is the role of the version in the pointer. ``pinned`` marks the pinned champion.
    """

    version: str | None
    role: str
    text: str
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a check. ``unserved`` are intact versions that this program cannot serve and nothing needs."""

    checked: list[str]
    faults: list[VersionFault]
    unserved: list[VersionFault]


def verify(registry: ModelRegistry, cohort: str) -> Verification:
    """Check each file's size and digest in every version, and that the version can be served.

    An intact version of another feature schema cannot be served. The result lists it in ``faults`` if the pointer names
    it, because such a version serves or a rollback may choose it. The result lists all other such versions in
    ``unserved``.
    """
    found = Verification([], [], [])
    champion = None
    try:
        pointer = registry.read_champion(cohort)
        champion = pointer[0] if pointer else None
    except ModelError as error:
        found.faults.append(VersionFault(None, "pointer", str(error)))
    named = roles(champion)
    for version in sorted({*registry.list_versions(cohort), *named}, reverse=True):
        role = named.get(version, OTHER)
        texts, refusal = _faults(registry, cohort, version)
        if texts or refusal:
            # Retention may have deleted the version during the reading, or a training may have written it again.
            if role == OTHER and version not in registry.list_versions(cohort):
                continue
            texts, refusal = _faults(registry, cohort, version)
        found.checked.append(version)
        pinned = champion is not None and champion.pinned and champion.version == version
        found.faults.extend(VersionFault(version, role, text, pinned) for text in texts)
        if refusal is not None:
            kind = found.unserved if role == OTHER else found.faults
            kind.append(VersionFault(version, role, refusal, pinned))
    return found


def _faults(registry: ModelRegistry, cohort: str, version: str) -> tuple[list[str], str | None]:
    """Return the faults of a version's files, and the reason why it cannot be served.

    The reason is None if the version can be served, or if its files have faults.
    """
    try:
        names = list(registry.read_metadata(cohort, version)["files"])
    except NotFoundError:
        return ["metadata.json is missing"], None
    except ModelError as error:
        return [str(error)], None
    files: dict[str, bytes] = {}
    texts = []
    for name in names:
        try:
            files |= registry.read_version(cohort, version, [name])
        except (ModelError, NotFoundError) as error:
            texts.append(str(error))
    if texts:
        return texts, None
    try:
        check_name(Predictor.from_files(files), version)
    except ModelError as error:
        return [], str(error)
    return [], None
