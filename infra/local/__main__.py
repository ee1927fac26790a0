"""``python -m infra.local``: everything on one machine, without docker, a cloud account or root."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from infra.local.supervisor import StackError, Supervisor


def main() -> int:
    """Run the stack until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument("--port", type=int, default=4008, help="of the API on 127.0.0.1; 0 takes any free one")
    parser.add_argument("--state-dir", type=Path, default=Path(".local"), help="where everything is kept")
    arguments = parser.parse_args()
    try:
        return Supervisor(arguments.port, arguments.state_dir.resolve()).run()
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
