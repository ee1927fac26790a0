"""``studysmart env``: the environment of the running stack, for ``chalice local`` and other programs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ops import tables
from ops.stack import require_stack

_RELOADING = str(Path(__file__).resolve().parents[1] / "infra" / "local" / "reloading")
"""A folder for PYTHONPATH: it limits the reloader of ``chalice local`` to the files of the API."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.epilog = 'Use it as: eval "$(studysmart env)"'


def run(options: argparse.Namespace) -> int:
    """Print the variables of the running stack. Raises NoStackError."""
    stack = require_stack(options.state_dir)
    # The stack's own processes write their log as JSON; a program started from this shell writes for a person.
    variables = {**stack.environment, "LOG_FORMAT": "text", "STATE_DIR": str(stack.state_dir.resolve())}
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", _RELOADING)]
    variables["PYTHONPATH"] = os.pathsep.join([_RELOADING, *paths])
    if options.json:
        tables.print_json(variables)
    else:
        for name, value in variables.items():
            quoted = value.replace("'", r"'\''")
            print(f"export {name}='{quoted}'")
    return 0
