"""``studysmart restore DIR``: restores a backup into an empty stack, then runs the doctor.

Before anything is written, every file of the backup is read and compared with its digest. The tables are filled in one
transaction. It ends after the registry is written (first the files of the versions, then their metadata, then the
pointers) and the accounts are added. So an interrupted restore leaves empty tables and perhaps some files of the same
backup, and the same command continues from there.

Exit status 0 done, 1 refused or interrupted, or the doctor has findings.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time

from chalicelib.domain.errors import BackupError, ConflictError
from chalicelib.services import training
from chalicelib.storage.model_registry import METADATA
from chalicelib.wiring import Container
from ops import tables
from ops.backup.accounts import add_accounts, local_accounts
from ops.backup.files import Backup
from ops.backup.store import TABLES, empty_tables, fill
from ops.doctor import command as doctor
from ops.doctor.checks import Doctor
from ops.places import place_of
from ops.registry_files import POINTER, RegistryFiles, registry_files
from ops.stack import Accounts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("place", metavar="DIR", help="directory of a backup, or s3://BUCKET/PREFIX")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--keep-keys",
        action="store_true",
        help="let the keys of service accounts work as in the backup, also those that were revoked since",
    )


def run(container: Container, options: argparse.Namespace) -> int:
    """Restore, and examine the result."""
    begun = time.monotonic()
    backup = Backup(place_of(options.place, container.settings.aws_region))
    accounts = local_accounts(options.state_dir)
    restore(container, registry_files(container), backup, options.keep_keys, accounts)
    manifest, seconds = backup.manifest, time.monotonic() - begun
    warnings = list(manifest.left_out)
    if manifest.accounts is not None and accounts is None:
        warnings.append("the passwords were not restored: only a stack on one machine takes them")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    revoked = manifest.tables["service_keys"].rows > 0 and not options.keep_keys
    lines = [f"{manifest.summary()} restored in {seconds:.1f} s"]
    if revoked:
        lines.append("All keys of service accounts were revoked: make new ones with `studysmart service rotate NAME`")
    if not options.json:
        tables.print_lines(lines)
    training.sweep(container.tracker, container.queue, container.policy)
    begun = time.monotonic()
    examined = Doctor(container).examine()
    as_json = {
        **manifest.as_json(),
        "keys_revoked": revoked,
        "warnings": warnings,
        "seconds": round(seconds, 3),
        "doctor": doctor.as_json(examined, []),
    }
    tables.show(options.json, as_json, doctor.as_lines(examined, time.monotonic() - begun))
    return 1 if examined.findings else 0


def restore(
    container: Container,
    files: RegistryFiles,
    backup: Backup,
    keep_keys: bool = False,
    accounts: Accounts | None = None,
) -> None:
    """Fill an empty stack. Keys of service accounts are revoked, unless they are to be kept.

    Raises BackupError for a backup that is damaged or of another revision, ConflictError for a stack that is not empty,
    UnavailableError. After each of them the tables are still empty.
    """
    backup.check()
    _check_revision(container, backup)
    objects = {entry.key: entry.file for entry in backup.manifest.registry}
    present = _present_objects(files, backup, objects)
    with empty_tables(container.engine, keep_keys) as connection:
        for table in TABLES:
            entry = backup.manifest.tables[table]
            with backup.decompressed(entry.file) as stream:
                rows = fill(connection, table, stream)
            if rows != entry.rows:
                raise BackupError(f"{table} has {rows} rows, but the manifest says {entry.rows}")
        for key in sorted(objects, key=_order):
            if key not in present:
                files.add(key, backup.read(objects[key]))
        if accounts is not None and backup.manifest.accounts is not None:
            with backup.decompressed(backup.manifest.accounts.file) as stream:
                add_accounts(accounts, stream.read())


def _order(key: str) -> tuple[int, str]:
    """Sort files before metadata before pointers, so that every version in the registry is complete at any time."""
    return 2 if key.endswith(f"/{POINTER}") else 1 if key.endswith(f"/{METADATA}") else 0, key


def _check_revision(container: Container, backup: Backup) -> None:
    import migrations

    found, needed = migrations.revision(container.engine), backup.manifest.revision
    if found != needed:
        raise BackupError(
            f"the backup is of revision {needed}, the database is at {found or 'none'}: restore it with the program "
            "that wrote it (studysmart migrate, then restore), then run studysmart migrate with this program"
        )


def _present_objects(files: RegistryFiles, backup: Backup, objects: dict[str, str]) -> set[str]:
    """Return the keys that an interrupted restore of the same backup left. Raises ConflictError for other objects."""
    present = set()
    for found in files.objects():
        name = objects.get(found.key)
        digest = None if name is None else backup.manifest.files[name].sha256
        if hashlib.sha256(files.read(found.key)).hexdigest() != digest:
            raise ConflictError(f"the registry is not empty: it has {found.key}, which is not of this backup")
        present.add(found.key)
    return present
