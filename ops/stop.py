"""``studysmart stop``: ends the stack that runs on this machine, as Ctrl-C in its terminal does."""

from __future__ import annotations

import argparse
import os
import signal
import time

from ops.arguments import number
from ops.stack import NoStackError, is_alive, require_stack

_POLL_SECONDS = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--wait", type=number(0, 600), default=30.0, metavar="SECONDS", help="time for the stack to end (default: 30)"
    )


def run(options: argparse.Namespace) -> int:
    """Ask the stack to end, and wait until it has ended."""
    stack = require_stack(options.state_dir)
    try:
        os.kill(stack.pid, signal.SIGTERM)
    except PermissionError as error:
        raise NoStackError(f"process {stack.pid} of the stack in {stack.state_dir} belongs to another user") from error
    deadline = time.monotonic() + options.wait
    while is_alive(stack.pid):
        if time.monotonic() > deadline:
            raise NoStackError(f"the stack in {stack.state_dir} (process {stack.pid}) has not ended yet")
        time.sleep(_POLL_SECONDS)
    print(f"The stack in {stack.state_dir} is stopped.")
    return 0
