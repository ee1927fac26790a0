"""Parts of a computation that say which process computes them, and wait so that a test can interrupt them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.waiting import wait_for


def squared(number: int, folder: Path) -> int:
    """Tell the process that computes, and wait until the test lets it go on."""
    (folder / f"{number}.{os.getpid()}").touch()
    wait_for((folder / "go").exists, what="the test")
    return number * number


def own_process(_: int) -> int:
    """Return the id of the process that computes."""
    return os.getpid()


def processes(folder: Path) -> list[int]:
    """The processes that began a part."""
    return sorted({int(path.suffix[1:]) for path in folder.glob("*.*")})
