"""Commands, ports and files that the processes of the one-machine stack share."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_CHILD = Path(__file__).with_name("child.py")


def child_command(
    command: Sequence[str], *, user: str | None = None, nice: int = 0, stop_signal: str = "SIGKILL"
) -> list[str]:
    """Return a command line that runs ``command`` and ends it with this process (see :mod:`infra.local.child`)."""
    options = ["--parent", str(os.getpid()), "--nice", str(nice), "--stop-signal", stop_signal]
    if user is not None:
        options += ["--user", user]
    return [sys.executable, "-I", "-S", str(_CHILD), *options, "--", *command]


ACCOUNTS_PATH = "/studysmart/accounts"
"""The path at which the moto server takes accounts of a backup."""

LOOPBACK = "127.0.0.1"
"""The address of this machine that no other machine reaches."""


def bound_socket(port: int, host: str = LOOPBACK) -> socket.socket:
    """Return a socket bound to an IPv4 address but not listening yet; port 0 takes a free one. Raises OSError.

    The supervisor binds and its children listen, so a restarted child still finds its port held for it.
    """
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
    except OSError:
        server.close()
        raise
    return server


def url_of(bound: socket.socket) -> str:
    """Return the URL at which this machine reaches a socket."""
    host, port = bound.getsockname()
    return f"http://{LOOPBACK if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - nothing is bound here


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file completely or not at all, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=2, sort_keys=True)
    temporary.replace(path)
