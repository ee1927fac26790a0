"""``studysmart outbox``: the messages that the stack of this machine would have sent by e-mail."""

from __future__ import annotations

import argparse
import json

from ops import tables
from ops.stack import NoStackError, state_directory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("email", metavar="EMAIL", nargs="?", help="only messages to this address")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the messages, newest last. Raises NoStackError."""
    directory = state_directory(options.state_dir)
    if not directory.is_dir():
        raise NoStackError(f"no stack has run in {directory}; on AWS, Cognito sends the messages itself")
    path = directory / "outbox.jsonl"
    messages = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if options.email is not None:
        messages = [message for message in messages if message["to"] == options.email.strip().lower()]
    rows = [[tables.utc_time(one["sent_at"]), one["to"], one["subject"], one["code"]] for one in messages]
    lines = tables.table(["SENT (UTC)", "TO", "SUBJECT", "CODE"], rows)
    tables.show(options.json, messages, lines if rows else ["No message has been sent yet."])
    return 0
