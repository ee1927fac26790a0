"""The room on the disk of a stack on one machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from chalicelib.domain.errors import DiskFullError

MINIMUM_FREE = 64_000_000
"""Bytes of free room below which the disk counts as full: PostgreSQL needs four files of its log, of 16 MB each."""


class LocalDisk:
    """Implements :class:`chalicelib.ports.Disk` for the file system of a directory."""

    def __init__(self, directory: str, minimum: int = MINIMUM_FREE) -> None:
        self._directory = Path(directory)
        self._minimum = minimum

    def check(self) -> None:
        """Raise DiskFullError if there is too little room, or if the directory is gone."""
        try:
            free = shutil.disk_usage(self._directory).free
        except OSError as error:
            raise DiskFullError(f"the disk of {self._directory} cannot be read: {error.strerror}") from error
        if free < self._minimum:
            room, needed = (f"{n / 1_000_000:.1f} MB" for n in (free, self._minimum))
            raise DiskFullError(f"the disk of {self._directory} is full: {room} are free, {needed} are needed")
