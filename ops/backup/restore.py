"""``studysmart restore DIR``: a backup into an empty stack, then the doctor.

Nothing is written before every file of the backup was read and compared with its digest. The tables are filled in one
transaction, which ends only after the registry's files, each version's metadata after its other files, and the pointers
at the end. So a restore that is interrupted leaves empty tables and perhaps some files of the same backup: the same
command again goes on from there.

Exit status 0 done, 1 refused or interrupted, or the doctor has findings.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

from chalicelib.domain.errors import BackupError, ConflictError
from chalicelib.services import training
from chalicelib.storage.model_registry import METADATA
from chalicelib.storage.registry_files import POINTER, RegistryFiles
from chalicelib.wiring import Container
from ops.backup.command import registry_files
from ops.backup.files import Backup
from ops.backup.store import TABLES, filling
from ops.doctor import command as doctor
from ops.doctor.checks import Doctor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="of a backup")


def run(container: Container, options: argparse.Namespace) -> int:
    """Restore, and examine what came of it."""
    begun = time.monotonic()
    backup = Backup(options.directory)
    restore(container, registry_files(container), backup)
    rows = ", ".join(f"{entry['rows']:,} {table}" for table, entry in backup.manifest["tables"].items())
    print(f"{rows}, {len(backup.manifest['registry']):,} registry files restored in {time.monotonic() - begun:.1f} s")
    for missing in backup.manifest["left_out"]:
        print(f"warning: {missing}", file=sys.stderr)
    training.sweep(container.tracker, container.queue)
    begun = time.monotonic()
    examined = Doctor(container).examine()
    print("\n".join(doctor.as_lines(examined, time.monotonic() - begun)))
    return 1 if examined.findings else 0


def restore(container: Container, files: RegistryFiles, backup: Backup) -> None:
    """Fill an empty stack.

    Raises BackupError for a backup that is damaged or of another revision, ConflictError for a stack that is not empty,
    UnavailableError; then the tables are as empty as before.
    """
    backup.check()
    _check_revision(container, backup)
    objects = {str(entry["key"]): str(entry["file"]) for entry in backup.manifest["registry"]}
    there = _already_there(files, backup, objects)
    with filling(container.engine) as tables:
        for table in TABLES:
            entry = backup.manifest["tables"][table]
            with backup.decompressed(entry["file"]) as stream:
                rows = tables.fill(table, stream)
            if rows != entry["rows"]:
                raise BackupError(f"{table} has {rows} rows, not the {entry['rows']} that the manifest says")
        for key in sorted(objects, key=_turn):
            if key not in there:
                files.add(key, backup.read(objects[key]))


def _turn(key: str) -> tuple[int, str]:
    """Files, then metadata, then pointers: what is there is whole at any time."""
    return 2 if key.endswith(f"/{POINTER}") else 1 if key.endswith(f"/{METADATA}") else 0, key


def _check_revision(container: Container, backup: Backup) -> None:
    import migrations

    found, wanted = migrations.revision(container.engine), backup.manifest["revision"]
    if found != wanted:
        raise BackupError(
            f"the backup is of revision {wanted}, the database at {found or 'none'}: restore it with the program that "
            "wrote it (studysmart migrate, restore), then migrate with the new one"
        )


def _already_there(files: RegistryFiles, backup: Backup, objects: dict[str, str]) -> set[str]:
    """Keys that an interrupted restore of the same backup left. Raises ConflictError for any other object."""
    there = set()
    for found in files.objects():
        name = objects.get(found.key)
        if name is None or hashlib.sha256(files.read(found.key)).hexdigest() != backup.digest(name):
            raise ConflictError(f"the registry is not empty: it has {found.key}, which is not of this backup")
        there.add(found.key)
    return there
