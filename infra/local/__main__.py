"""Run everything on one machine, without Docker, a cloud account or root: ``python -m infra.local``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from infra.local.postgres import PostgresError
from infra.local.supervisor import StackError, Supervisor


def main() -> int:
    """Run the stack until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument("--port", type=int, default=4008, help="port of the API on 127.0.0.1 (0: any free port)")
    parser.add_argument("--state-dir", type=Path, default=Path(".local"), help="directory that keeps everything")
    parser.add_argument("--services", action="store_true", help="start all but the API, for `chalice local`")
    options = parser.parse_args()
    if not 0 <= options.port <= 65_535:
        parser.error("the port must be 0 to 65535")
    try:
        return Supervisor(options.state_dir.resolve(), None if options.services else options.port).run()
    except (StackError, PostgresError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
