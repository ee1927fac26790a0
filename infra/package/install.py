"""Unpacks the pinned wheels for the Lambda, by pip, which takes them from its cache the second time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.package.errors import PackageError
from infra.package.pins import Pin
from infra.package.target import PLATFORMS, PYTHON


def install(pins: Sequence[Pin], directory: Path) -> None:
    """Install exactly ``pins`` into ``directory``; PackageError when there is no wheel, or a hash differs.

    Wheels only: a source distribution would be built for the Python that runs here.
    """
    lock = directory.with_name("lock.txt")
    lock.write_text("".join(f"{pin.requirement}\n" for pin in pins))
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "--target", str(directory)]
    options += ["--implementation", "cp", "--python-version", ".".join(map(str, PYTHON))]
    for platform in PLATFORMS:
        options += ["--platform", platform]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    done = subprocess.run([*command, *options, "-r", str(lock)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageError(f"pip could not install the pins for the Lambda:\n{done.stderr.strip()}")
