"""``studysmart backup DIR``: tables and registry, consistent with each other, while the API is running.

All tables are read in one snapshot. The pointer cannot be in it, so both are read again until they agree; then every
version is copied. A version that a pointer has named is kept for 30 days, so a pointer that moves meanwhile takes
nothing away. Accounts' passwords are Cognito's and cannot be read: only the rows are backed up.

Exit status 0 done, 1 no backup, or one that lacks a version because it was damaged already (said, and in the manifest).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chalicelib.domain.errors import BackupError, ModelError, NotFoundError
from chalicelib.storage.aws import aws_client
from chalicelib.storage.model_registry import METADATA, champion_from_json
from chalicelib.storage.registry_files import POINTER, ROOT, RegistryFiles
from chalicelib.wiring import Container
from ops.backup.files import BackupWriter, file_name
from ops.backup.store import TABLES, Snapshot, snapshot

AGREEMENT_SECONDS = 10.0
"""How long to wait for tracker and pointer to agree: a training is between the two for some milliseconds."""

_PAUSE_SECONDS = 0.1
_READS = 3
"""How often a version is read before it counts as damaged: a repeated training may write it again meanwhile."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="new or empty; it will hold personal data")


def run(container: Container, options: argparse.Namespace) -> int:
    """Back up, and say what was."""
    begun = time.monotonic()
    warnings = back_up(container, registry_files(container), options.directory)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    manifest = json.loads((options.directory / "manifest.json").read_bytes())
    rows = ", ".join(f"{entry['rows']:,} {table}" for table, entry in manifest["tables"].items())
    print(f"{rows}, {len(manifest['registry']):,} registry files backed up in {time.monotonic() - begun:.1f} s")
    return 1 if warnings else 0


def registry_files(container: Container) -> RegistryFiles:
    """The registry's objects of a container."""
    settings = container.settings
    return RegistryFiles(aws_client("s3", settings.aws_region, read_timeout=30.0), settings.registry_bucket)


@dataclass(frozen=True, slots=True)
class _Moment:
    """Tables and pointers that agree; ``disagreement`` says why they do not, if they never did."""

    tables: Snapshot
    pointers: dict[str, bytes]
    needed: dict[str, set[str]]
    disagreement: list[str]


def back_up(
    container: Container, files: RegistryFiles, directory: Path, agreement_seconds: float = AGREEMENT_SECONDS
) -> list[str]:
    """Write a backup; returns what an operator should know of it. Raises BackupError, UnavailableError."""
    import migrations

    writer = BackupWriter(directory)
    tables = {}
    with _moment(container, files, agreement_seconds) as moment:
        revision = migrations.revision(container.engine)
        for table in TABLES:
            name = f"{table}.tsv.gz"
            with writer.compressed(name) as stream:
                tables[table] = {"file": name, "rows": moment.tables.copy(table, stream)}
    registry, left_out = _copy_versions(files, writer, moment.needed)
    for key, content in moment.pointers.items():
        writer.add(file_name(key), content)
        registry.append(key)
    writer.finish(
        {
            "created_at": datetime.now(UTC).isoformat(),
            "revision": revision,
            "tables": tables,
            "registry": [{"key": key, "file": file_name(key)} for key in registry],
            "left_out": left_out,
        }
    )
    return [*moment.disagreement, *left_out]


@contextmanager
def _moment(container: Container, files: RegistryFiles, agreement_seconds: float) -> Iterator[_Moment]:
    """A snapshot of the tables together with the pointers that belong to it."""
    deadline = time.monotonic() + agreement_seconds
    while True:
        with snapshot(container.engine) as tables:
            moment = _look(tables, files)
            if not moment.disagreement or time.monotonic() >= deadline:
                yield moment
                return
        time.sleep(_PAUSE_SECONDS)


def _look(tables: Snapshot, files: RegistryFiles) -> _Moment:
    pointers: dict[str, bytes] = {}
    needed: dict[str, set[str]] = {}
    disagreement = []
    for cohort, version in tables.model_versions().items():
        named = None
        key = f"{ROOT}{cohort}/{POINTER}"
        needed[cohort] = {version} if version else set()
        try:
            pointers[key] = files.read(key)
            champion = champion_from_json(pointers[key])
            named = champion.version
            needed[cohort] |= {named, *(old for old, _ in champion.past)}
        except NotFoundError:
            pass  # no pointer yet, or a tracker that names a version without one
        except ModelError as error:
            disagreement.append(f"cohort {cohort}: {error}")
            continue
        if named != version:
            disagreement.append(
                f"cohort {cohort}: the tracker names {version}, the pointer {named}; both are in the backup, and "
                "studysmart doctor says how to mend it"
            )
    return _Moment(tables, pointers, needed, disagreement)


def _copy_versions(
    files: RegistryFiles, writer: BackupWriter, needed: dict[str, set[str]]
) -> tuple[list[str], list[str]]:
    """Copy every whole version; returns the keys, and what was left out because it is damaged or gone."""
    found = {(each.cohort, each.version) for each in files.objects() if each.key.endswith(f"/{METADATA}")}
    wanted = {(cohort, version) for cohort, versions in needed.items() for version in versions}
    keys: list[str] = []
    left_out: list[str] = []
    for cohort, version in sorted({(c, v) for c, v in found if v is not None} | wanted):
        prefix = f"{ROOT}{cohort}/{version}/"
        try:
            contents = _whole_version(files, prefix)
        except NotFoundError as error:
            if (cohort, version) in wanted:
                left_out.append(f"version {version} of cohort {cohort} is not in the backup: {error}")
            continue  # else retention deleted it meanwhile
        except ModelError as error:
            left_out.append(f"version {version} of cohort {cohort} is not in the backup: {error}")
            continue
        for key, content in contents.items():
            writer.add(file_name(key), content)
            keys.append(key)
    return keys, left_out


def _whole_version(files: RegistryFiles, prefix: str) -> dict[str, bytes]:
    """A version's objects by key, ``metadata.json`` last. Raises NotFoundError, ModelError when it is damaged."""
    for attempt in range(1, _READS + 1):
        try:
            return _read_version(files, prefix)
        except ModelError:
            if attempt == _READS:
                raise
    raise BackupError(f"{prefix} was never read")


def _read_version(files: RegistryFiles, prefix: str) -> dict[str, bytes]:
    raw = files.read(f"{prefix}{METADATA}")
    try:
        described = {str(name): str(entry["sha256"]) for name, entry in json.loads(raw)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"its {METADATA} is malformed: {error!r}") from error
    contents: dict[str, bytes] = {}
    for name, digest in described.items():
        try:
            content = files.read(f"{prefix}{name}")
        except NotFoundError as error:
            raise ModelError(f"its {name} is missing") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise ModelError(f"its {name} is damaged")
        contents[f"{prefix}{name}"] = content
    return {**contents, f"{prefix}{METADATA}": raw}
