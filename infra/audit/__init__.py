"""The audit of the supply chain: ``python -m infra.audit``, or ``make audit``.

Each module is one check. It returns its findings, one line each, and a remark for the summary. It needs the packages of
all groups in ``.venv``, because a package's licence is in its installed metadata.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    """The result of a check. ``checked`` is False if a service that it needs did not answer."""

    findings: list[str]
    remark: str
    checked: bool = True


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ``.venv`` in the checkout. The caller reads its status."""
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
