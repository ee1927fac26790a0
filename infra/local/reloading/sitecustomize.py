"""Limits the reloader of ``chalice local`` to the files of the API.

Chalice restarts when any file below the project's folder changes. In a checkout these include the database and the logs
of the stack, which change all the time, and tens of thousands of files in the virtual environment. ``studysmart env``
puts this folder into PYTHONPATH; Python then imports this module when it starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

WATCHED = (".chalice", "chalicelib")


def walk(project: str, followlinks: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the folders and files of the API, in the form of ``os.walk``."""
    yield project, [], ["app.py"]
    for name in WATCHED:
        for folder, folders, files in os.walk(Path(project) / name, followlinks=followlinks):
            if "__pycache__" in folders:
                folders.remove("__pycache__")
            yield folder, folders, files


if "local" in sys.orig_argv and "chalice" in [Path(word).name for word in sys.orig_argv[:3]]:
    from chalice.cli.filewatch import stat
    from chalice.utils import OSUtils

    class ApiFiles(OSUtils):  # type: ignore[misc]  # Chalice has no types
        """Chalice's door to the file system, as the reloader uses it."""

        walk = staticmethod(walk)

    stat.OSUtils = ApiFiles
    # Where the package watchdog is installed, Chalice would watch the whole folder by it, and restart without end.
    sys.modules["chalice.cli.filewatch.eventbased"] = None  # type: ignore[assignment]  # importing it raises ImportError
