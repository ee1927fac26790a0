"""Finds what a command works on: a stack that runs on this machine, or the deployment that the environment names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.errors import ConfigurationError

DEFAULT_STATE_DIR = ".local"


class NoStackError(Exception):
    """There is nothing to work on; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A one-machine stack that runs: its address, state directory and environment variables."""

    url: str
    state_dir: Path
    environment: Mapping[str, str]


def running_stack(state_dir: Path) -> Stack | None:
    """The stack on a state directory, as its ``stack.json`` says; None where none is.

    Raises NoStackError when there is a file and its process is gone (the machine or the stack was killed).
    """
    path = state_dir / "stack.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stack = Stack(str(content["url"]), state_dir, dict(content["environment"]))
        pid = int(content["pid"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoStackError(f"{path} cannot be read: {error!r}") from error
    if not _is_alive(pid):
        raise NoStackError(f"the stack in {state_dir} is not running (process {pid} is gone); start it with `make run`")
    return stack


def connect(state_dir: str | None) -> wiring.Container:
    """Adapters for the stack in ``state_dir``, or ``STATE_DIR``, or ``.local``; else for what the environment names.

    A directory that was asked for by option must hold a running stack. The stack's variables are put into this
    process's environment, because boto3 reads its endpoint and keys from there. Raises NoStackError.
    """
    directory = Path(state_dir or os.environ.get("STATE_DIR") or DEFAULT_STATE_DIR)
    stack = running_stack(directory)
    if stack is not None:
        os.environ.update(stack.environment)
    elif state_dir is not None or "DATABASE_URL" not in os.environ:
        raise NoStackError(f"no stack is running in {directory} (start one with `make run`)")
    try:
        return wiring.build(settings_from(os.environ))
    except ConfigurationError as error:
        raise NoStackError(str(error)) from error


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
