"""Builds the Lambda's zip and its CloudFormation template: ``python -m infra.package``, or ``make package``.

:mod:`.build` has the steps in their order. Decision 8 says why Chalice's own packager is not used.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

PYTHON: Final = "3.13"
"""Version of the Lambda's Python. The zip's wheels and bytecode and the template's ``Runtime`` follow it."""

BYTECODE_TAG: Final = "cpython-313"
"""Name of this Python's implementation in the names of bytecode and extension modules."""


ARCHITECTURES: Final = ("x86_64", "arm64")
"""The processors that Lambda offers, in its words."""


class PackageError(Exception):
    """The zip or the template cannot be built, or must not be deployed."""


def run(command: Sequence[str], failure: str, environment: Mapping[str, str], directory: Path | None = None) -> str:
    """Run a command and return its output. Raises PackageError, with all that it printed, if it fails."""
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackageError(f"{failure}:\n{done.stdout.strip()}\n{done.stderr.strip()}")
    return done.stdout
