"""``studysmart backup DIR``: saves tables and registry, consistent with each other, while the API is running.

DIR is a directory, or a prefix in a bucket (``s3://BUCKET/PREFIX``).

All tables are read in one snapshot. The pointers are in S3 and no part of the snapshot, so trackers and pointers are
read again until they name the same versions. After that every version is copied. A version that a pointer has named is
kept for 30 days, so nothing is lost when a pointer moves during the backup. On one machine, the accounts are saved with
the hashes of their passwords. Cognito on AWS does not show them: there only the rows are backed up.

Exit status 0 done, 1 no backup, or a backup without a version that was damaged already (printed, and in the manifest).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.errors import ModelError, NotFoundError
from chalicelib.storage.model_registry import METADATA, champion_from_json
from chalicelib.wiring import Container
from ops import tables
from ops.backup import store
from ops.backup.accounts import FILE, copy_accounts, local_accounts
from ops.backup.files import BackupWriter, Manifest, ObjectEntry, TableEntry, file_name
from ops.places import Place, place_of
from ops.registry_files import POINTER, ROOT, RegistryFiles, registry_files
from ops.stack import Accounts

AGREEMENT_SECONDS = 10.0
"""The time to wait for tracker and pointer to agree. A training takes some milliseconds from one to the other."""

_PAUSE_SECONDS = 0.1
_READS = 3
"""A version counts as damaged after this many reads, because a repeated training may be writing it again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "place", metavar="DIR", help="directory or s3://BUCKET/PREFIX, new or empty; it will contain personal data"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(container: Container, options: argparse.Namespace) -> int:
    """Back up, and print what was saved."""
    begun = time.monotonic()
    manifest, warnings = back_up(
        container,
        registry_files(container),
        place_of(options.place, container.settings.aws_region),
        accounts=local_accounts(options.state_dir),
    )
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    seconds = time.monotonic() - begun
    as_json = {**manifest.as_json(), "warnings": warnings, "seconds": round(seconds, 3)}
    tables.show(options.json, as_json, [f"{manifest.summary()} backed up in {seconds:.1f} s"])
    return 1 if warnings else 0


def back_up(
    container: Container,
    files: RegistryFiles,
    place: Place,
    agreement_seconds: float = AGREEMENT_SECONDS,
    accounts: Accounts | None = None,
) -> tuple[Manifest, list[str]]:
    """Write a backup; return its manifest and warnings for the operator. Raises BackupError, UnavailableError."""
    import migrations

    writer = BackupWriter(place)
    deadline = time.monotonic() + agreement_seconds
    # No snapshot contains the pointers. So a new snapshot is taken until its trackers agree with the pointers.
    while True:
        with store.snapshot(container.engine) as connection:
            pointers, needed, disagreements = _read_pointers(connection, files)
            # When the time is up, a backup of trackers and pointers that differ, with a warning, is better than none.
            if not disagreements or time.monotonic() >= deadline:
                revision = migrations.revision(container.engine)
                tables = {table: _copy_table(connection, writer, table) for table in store.TABLES}
                break
        time.sleep(_PAUSE_SECONDS)
    keys, left_out = _copy_versions(files, writer, needed)
    for key, content in pointers.items():
        writer.add(file_name(key), content)
        keys.append(key)
    registry = [ObjectEntry(key, file_name(key)) for key in keys]
    # After the tables, so that each of their users has an account: an account is made before its row.
    kept = None if accounts is None else _copy_accounts(accounts, writer)
    now = datetime.now(UTC).isoformat()
    manifest = Manifest(now, revision, tables, registry, left_out, writer.files, accounts=kept)
    writer.finish(manifest)
    return manifest, [*disagreements, *left_out]


def _copy_table(connection: Any, writer: BackupWriter, table: str) -> TableEntry:
    name = f"{table}.tsv.gz"
    with writer.compressed(name) as stream:
        return TableEntry(name, store.copy(connection, table, stream))


def _copy_accounts(accounts: Accounts, writer: BackupWriter) -> TableEntry:
    with writer.compressed(FILE) as stream:
        return TableEntry(FILE, copy_accounts(accounts, stream))


def _read_pointers(connection: Any, files: RegistryFiles) -> tuple[dict[str, bytes], set[tuple[str, str]], list[str]]:
    """Return the pointers by key, the (cohort, version) pairs that they or the trackers name, and disagreements."""
    pointers: dict[str, bytes] = {}
    needed: set[tuple[str, str]] = set()
    disagreements: list[str] = []
    for cohort, version in store.model_versions(connection).items():
        key = f"{ROOT}{cohort}/{POINTER}"
        named = set() if version is None else {version}
        serving = None
        try:
            pointers[key] = files.read(key)
            champion = champion_from_json(pointers[key])
            serving = champion.version
            named |= {serving, *(old for old, _ in champion.past)}
        except NotFoundError:
            pass  # no pointer yet, or a tracker that names a version without one
        except ModelError as error:
            disagreements.append(f"cohort {cohort}: {error}")
            serving = version
        if serving != version:
            disagreements.append(
                f"cohort {cohort}: the tracker names {version}, the pointer {serving}; both are in the backup, and "
                "studysmart doctor says how to fix it"
            )
        needed.update((cohort, name) for name in named)
    return pointers, needed, disagreements


def _copy_versions(
    files: RegistryFiles, writer: BackupWriter, needed: set[tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """Copy every intact version; return the keys, and a sentence for each version that is damaged or missing."""
    found = {(each.cohort, each.version) for each in files.objects() if each.key.endswith(f"/{METADATA}")}
    keys: list[str] = []
    left_out: list[str] = []
    for cohort, version in sorted({(c, v) for c, v in found if v is not None} | needed):
        try:
            contents = _read_version(files, f"{ROOT}{cohort}/{version}/")
        except (NotFoundError, ModelError) as error:
            # Retention may delete a version that nothing needs during the backup.
            if isinstance(error, ModelError) or (cohort, version) in needed:
                left_out.append(f"version {version} of cohort {cohort} is not in the backup: {error}")
            continue
        for key, content in contents.items():
            writer.add(file_name(key), content)
            keys.append(key)
    return keys, left_out


def _read_version(files: RegistryFiles, prefix: str, reads: int = _READS) -> dict[str, bytes]:
    """Return the objects of a version by key, ``metadata.json`` last. Raises NotFoundError, ModelError."""
    try:
        raw = files.read(f"{prefix}{METADATA}")
        try:
            described = {str(name): str(entry["sha256"]) for name, entry in json.loads(raw)["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"its {METADATA} is malformed: {error!r}") from error
        contents = {f"{prefix}{name}": _read_file(files, prefix, name, digest) for name, digest in described.items()}
        return {**contents, f"{prefix}{METADATA}": raw}
    except ModelError:
        if reads == 1:
            raise
        return _read_version(files, prefix, reads - 1)


def _read_file(files: RegistryFiles, prefix: str, name: str, digest: str) -> bytes:
    try:
        content = files.read(f"{prefix}{name}")
    except NotFoundError as error:
        raise ModelError(f"its {name} is missing") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(f"its {name} is damaged")
    return content
