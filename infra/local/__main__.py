"""Run everything on one machine, without Docker, a cloud account or root rights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chalicelib.domain.errors import ConfigurationError
from infra.local.postgres import PostgresError
from infra.local.processes import LOOPBACK
from infra.local.supervisor import StackError, Supervisor


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument("--port", default="4008", help="port of the API (0: any free port)")
    parser.add_argument(
        "--host", default=LOOPBACK, help="IPv4 address of the API; 0.0.0.0 lets other machines reach it"
    )
    parser.add_argument("--state-dir", type=Path, default=Path(".local"), help="folder for all data (default: .local)")
    parser.add_argument("--services", action="store_true", help="start all except the API, for `chalice local`")
    return parser


def main() -> int:
    """Run the stack until Ctrl-C or SIGTERM."""
    options = parser().parse_args()
    if not options.port.isdecimal() or int(options.port) > 65_535:
        print(f"error: the port must be a number from 0 to 65535, not {options.port}", file=sys.stderr)
        return 2
    try:
        port = None if options.services else int(options.port)
        return Supervisor(options.state_dir.resolve(), port, options.host).run()
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (StackError, PostgresError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or options.state_dir}: {error.strerror or error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
