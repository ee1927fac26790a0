"""The operator's commands as a Lambda next to the database, with a role of its own.

``aws lambda invoke --payload '{"arguments": ["models", "list"]}'`` answers ``{"status": 0, "output": "…"}``: the exit
status of the command and the text that it printed. Files that a command writes are lost with the Lambda, so ``backup``
and ``restore`` are of no use there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from ops.cli import main


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Run one command. Raises ValueError for an event without a list of words in ``arguments``."""
    arguments = event.get("arguments")
    if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
        raise ValueError('the event must be {"arguments": ["COMMAND", …]}')
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        try:
            status: Any = main(arguments)
        except SystemExit as end:  # a wrong command line, or --help
            status = end.code
    return {"status": status, "output": output.getvalue()}
