"""The room on the disk of a stack on one machine."""

from __future__ import annotations

import shutil

from chalicelib.domain.errors import DiskFullError

MINIMUM_FREE = 64_000_000
"""Bytes of free room below which the disk counts as full: PostgreSQL needs four files of its log, of 16 MB each."""


def check_disk(directory: str, minimum: int = MINIMUM_FREE) -> None:
    """Raise DiskFullError if there is too little room, or if the directory is gone."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise DiskFullError(f"the disk of {directory} cannot be read: {error.strerror}") from error
    if free < minimum:
        room, needed = (f"{n / 1_000_000:.1f} MB" for n in (free, minimum))
        raise DiskFullError(f"the disk of {directory} is full: {room} are free, {needed} are needed")
