"""Whether every published version is what its metadata say, and whether those that may be needed can be served."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.domain.errors import ModelError, NotFoundError
from chalicelib.ports import ModelRegistry
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.models import OTHER, check_name, roles


@dataclass(frozen=True, slots=True)
class VersionFault:
    """One fault of the registry. ``version`` is None for a fault of the pointer itself.

    ``role`` is what the version is to the pointer. ``pinned`` says that it is the pinned champion.
    """

    version: str | None
    role: str
    text: str
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found. ``unserved`` are whole versions that this program cannot serve and that nothing needs."""

    checked: list[str]
    faults: list[VersionFault]
    unserved: list[VersionFault]


def verify(registry: ModelRegistry, cohort: str) -> Verification:
    """Read every version, one at a time: each file's size and digest, and whether the version can be served.

    Versions of another feature schema are whole and cannot be served: that is a fault of the champion, its predecessor
    and past champions, to which a rollback may lead, and a remark for all others.
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
            # Deleted by retention, or written again by a repeated training, while it was read?
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
    """What is damaged or missing; and, where nothing is, why the version cannot be served, or None."""
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
