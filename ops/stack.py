"""Finds what a command works on: a stack running on this machine, or the deployment that the environment names."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.errors import ConfigurationError, NotFoundError, StudySmartError

DEFAULT_STATE_DIR = ".local"


class NoStackError(StudySmartError):
    """There is nothing to work on; the text is for the operator."""


class Accounts(msgspec.Struct, frozen=True):
    """Where a stack on one machine keeps its accounts: the file with them, and the address that takes others."""

    file: str
    url: str


class Stack(msgspec.Struct):
    """A one-machine stack that is running, as ``stack.json`` in its state directory describes it."""

    pid: int
    address: str | None = msgspec.field(name="url")
    environment: dict[str, str]
    state_dir: Path = Path(DEFAULT_STATE_DIR)
    accounts: Accounts | None = None

    @property
    def url(self) -> str:
        """The address of the API. Raises NoStackError when only the services are running."""
        if self.address is None:
            raise NoStackError(f"the stack in {self.state_dir} runs without an API; start it with `make run`")
        return self.address


def state_directory(state_dir: str | None) -> Path:
    """Return the directory that the option names, else ``STATE_DIR``, else ``.local``."""
    return Path(state_dir or os.environ.get("STATE_DIR") or DEFAULT_STATE_DIR)


def running_stack(state_dir: Path) -> Stack | None:
    """Return the stack that runs on a state directory, or None.

    Raises NoStackError when the stack was killed: its ``stack.json`` is still there, and its process is gone.
    """
    path = state_dir / "stack.json"
    try:
        stack = msgspec.json.decode(path.read_bytes(), type=Stack)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        raise NoStackError(f"{path} cannot be read: {error}") from error
    if not is_alive(stack.pid):
        raise NoStackError(
            f"the stack in {state_dir} is not running (process {stack.pid} is gone); start it with `make run`"
        )
    stack.state_dir = state_dir
    return stack


def require_stack(state_dir: str | None) -> Stack:
    """Return the running stack of the option's directory, ``STATE_DIR`` or ``.local``. Raises NoStackError."""
    directory = state_directory(state_dir)
    stack = running_stack(directory)
    if stack is None:
        raise NoStackError(f"no stack is running in {directory} (start one with `make run`)")
    return stack


def enter(state_dir: str | None) -> None:
    """Put the variables of the running stack into this process's environment, where boto3 also reads them.

    A running stack overrides variables that are set, ``DATABASE_URL`` too. If no stack is running, the environment
    stays as it is: it must name a database, and ``state_dir`` must be None. Raises NoStackError if this is not so, and
    if the stack was killed.
    """
    if state_dir is None and "DATABASE_URL" in os.environ and running_stack(state_directory(None)) is None:
        return
    os.environ.update(require_stack(state_dir).environment)


def connect(state_dir: str | None, cohort: str | None = None) -> wiring.Container:
    """Return the adapters of the running stack, else of what the environment names, for a cohort.

    Raises NoStackError, NotFoundError for a cohort that does not exist.
    """
    enter(state_dir)
    try:
        container = wiring.build(settings_from(os.environ))
    except ConfigurationError as error:
        raise NoStackError(str(error)) from error
    if cohort is not None and not container.cohorts.exists(cohort):
        raise NotFoundError(f"there is no cohort {cohort} (`studysmart cohort list` shows them)")
    return container.in_cohort(cohort)


def is_alive(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs as another user
    return True
