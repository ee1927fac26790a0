"""Runs a command of the one-machine stack so that it cannot outlive the process that started it.

It is called as ``python -I -S child.py [options] -- COMMAND ...`` and uses only the standard library, so that it takes
a few milliseconds. On Linux the kernel kills the command with its parent (PR_SET_PDEATHSIG), and this process becomes
the command. Elsewhere this process stays, watches its parent, and stops the command when the parent is gone.

Ctrl-C in the terminal reaches every process of the foreground group. The command ignores it, because the supervisor
stops all processes in order.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522
_POLL_SECONDS = 0.5


def _become(user: str) -> None:
    """Change from root to another user, but keep the right to enter directories that only root may enter.

    PostgreSQL refuses to run as root. The other user could not reach a checkout or state directory below ``/root``, and
    the permissions of these directories are not ours to change.
    """
    account = pwd.getpwnam(user)
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        # Both keep the rights of root over setuid, until capset drops all but one. The second, which a container may
        # refuse, also makes access(2) honour that right: PostgreSQL asks access(2) whether it can run its programs.
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = "/"
    if libc is not None:
        mask = 1 << _CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        rights = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
        # Some containers refuse it, because their root has no such right. Then the directories must be open to others.
        if libc.capset(header, rights) == 0:
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def _exec_bound_to(parent: int, command: list[str], stop_signal: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # Here, because the change of user clears the setting.
    libc.prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is needed


def _watch(parent: int, command: list[str], stop_signal: int) -> int:
    child = subprocess.Popen(command, close_fds=False)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        try:
            return child.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                child.send_signal(stop_signal)


def main() -> int:
    """Set up the process and run the command."""
    parser = argparse.ArgumentParser(prog="child.py")
    parser.add_argument("--parent", type=int, required=True, help="id of the process with which the command ends")
    parser.add_argument("--user", help="when root: the user to run as")
    parser.add_argument("--nice", type=int, default=0, help="number by which to lower the priority")
    parser.add_argument("--stop-signal", default="SIGKILL", help="signal for the command when the parent is gone")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    stop_signal = signal.Signals[arguments.stop_signal]

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(arguments.nice)
    if arguments.user and os.geteuid() == 0:
        _become(arguments.user)
    if sys.platform == "linux":
        _exec_bound_to(arguments.parent, command, stop_signal)
    return _watch(arguments.parent, command, stop_signal)


if __name__ == "__main__":
    sys.exit(main())
