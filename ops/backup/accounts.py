"""Accounts of a stack on one machine, with the hashes of their passwords. On AWS, Cognito shows them to nobody.

They are read from the state file, which only its owner can read, and not asked for over HTTP: every user of the machine
can reach the local copy of Cognito.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from io import BufferedIOBase
from pathlib import Path
from urllib.parse import urlsplit

from chalicelib.domain.errors import BackupError, ConflictError, UnavailableError
from ops.stack import Accounts, running_stack, state_directory

FILE = "accounts.jsonl.gz"
_SECONDS = 60.0


def local_accounts(state_dir: str | None) -> Accounts | None:
    """Return where the accounts of the running stack are, None for a deployment on AWS."""
    stack = running_stack(state_directory(state_dir))
    return None if stack is None else stack.accounts


def copy_accounts(accounts: Accounts, stream: BufferedIOBase) -> int:
    """Write the accounts of a running stack to a stream, one JSON object per line; return their number."""
    try:
        with closing(sqlite3.connect(f"{Path(accounts.file).as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT key, facts FROM items WHERE kind = 'account' ORDER BY rowid").fetchall()
    except sqlite3.Error as error:
        raise BackupError(f"the accounts in {accounts.file} cannot be read: {error}") from error
    for key, facts in rows:
        stream.write(json.dumps({"key": key, "facts": json.loads(facts)}).encode() + b"\n")
    return len(rows)


def add_accounts(accounts: Accounts, lines: bytes) -> None:
    """Add accounts that :func:`copy_accounts` wrote to a running stack. Those that it has already stay as they are.

    Raises ConflictError, and adds none, if another account has the name of one of them. Raises UnavailableError.
    """
    address = urlsplit(accounts.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=_SECONDS)
    try:
        connection.request("POST", address.path, lines)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"the accounts of the stack do not answer: {error}") from error
    finally:
        connection.close()
    if answer.status == 409:
        raise ConflictError(text)
    if answer.status != 204:
        raise UnavailableError(f"the accounts of the stack answered {answer.status}: {text}")
