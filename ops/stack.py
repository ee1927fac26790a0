"""Finds what a command works on: a stack running on this machine, or the deployment that the environment names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.errors import ConfigurationError, StudySmartError

DEFAULT_STATE_DIR = ".local"


class NoStackError(StudySmartError):
    """There is nothing to work on; the text is for the operator."""


class _StackFile(msgspec.Struct):
    """The content of ``stack.json``. Services without an API have no address."""

    pid: int
    url: str | None
    environment: dict[str, str]


class Stack:
    """A one-machine stack that is running."""

    def __init__(self, state_dir: Path, url: str | None, environment: Mapping[str, str]) -> None:
        self.state_dir = state_dir
        self.environment = environment
        self._url = url

    @property
    def url(self) -> str:
        """The address of the API. Raises NoStackError when only the services are running."""
        if self._url is None:
            raise NoStackError(f"the stack in {self.state_dir} runs without an API; start it with `make run`")
        return self._url


def state_directory(state_dir: str | None) -> Path:
    """Return the directory that the option names, else ``STATE_DIR``, else ``.local``."""
    return Path(state_dir or os.environ.get("STATE_DIR") or DEFAULT_STATE_DIR)


def running_stack(state_dir: Path) -> Stack | None:
    """Return the stack that runs on a state directory, or None.

    Raises NoStackError when the stack was killed: its ``stack.json`` is still there, and its process is gone.
    """
    path = state_dir / "stack.json"
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_StackFile)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        raise NoStackError(f"{path} cannot be read: {error}") from error
    if not _is_alive(content.pid):
        raise NoStackError(
            f"the stack in {state_dir} is not running (process {content.pid} is gone); start it with `make run`"
        )
    return Stack(state_dir, content.url, content.environment)


def require_stack(state_dir: str | None) -> Stack:
    """Return the running stack of the option's directory, ``STATE_DIR`` or ``.local``. Raises NoStackError."""
    directory = state_directory(state_dir)
    stack = running_stack(directory)
    if stack is None:
        raise NoStackError(f"no stack is running in {directory} (start one with `make run`)")
    return stack


def enter(state_dir: str | None) -> None:
    """Put the variables of the running stack into this process's environment, where boto3 also reads them.

    Without a running stack the environment stays as it is, if it names a database and no directory was requested by
    option. Raises NoStackError otherwise.
    """
    if state_dir is None and "DATABASE_URL" in os.environ and running_stack(state_directory(None)) is None:
        return
    os.environ.update(require_stack(state_dir).environment)


def connect(state_dir: str | None) -> wiring.Container:
    """Return the adapters of the running stack, else of what the environment names. Raises NoStackError."""
    enter(state_dir)
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
