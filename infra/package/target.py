"""What the zip is built for: Lambda's runtime ``python3.13`` on x86_64, which is Amazon Linux 2023."""

from __future__ import annotations

import platform
import sys
from typing import Final

PYTHON: Final = (3, 13)
MACHINE: Final = "x86_64"
GLIBC_MINOR: Final = 34
"""Amazon Linux 2023 has glibc 2.34."""

OLDEST_GLIBC_MINOR: Final = 17
HOME: Final = "/var/task"
"""Where Lambda unpacks the zip."""

BYTECODE_TAG: Final = "cpython-313"
BYTECODE_MAGIC: Final = (3571).to_bytes(2, "little") + b"\r\n"
"""The first four bytes of every ``.pyc`` of CPython 3.13."""

ELF_MACHINE: Final = (62).to_bytes(2, "little")
"""``e_machine`` of x86-64."""

PLATFORMS: Final = (
    *(f"manylinux_2_{minor}_{MACHINE}" for minor in range(GLIBC_MINOR, OLDEST_GLIBC_MINOR - 1, -1)),
    f"manylinux2014_{MACHINE}",
)
"""The tags of wheels that run there, the newest first. pip takes a tag for itself only, so each one is named."""

MARKERS: Final = {
    "implementation_name": "cpython",
    "implementation_version": "3.13.0",
    "os_name": "posix",
    "platform_machine": MACHINE,
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.13.0",
    "python_version": "3.13",
    "sys_platform": "linux",
}
"""The Lambda's values of the environment markers in a lock (PEP 508). pip would take those of its own Python."""


def runs_here() -> bool:
    """Whether this machine could run the packaged extension modules, given the right Python."""
    return sys.platform == "linux" and platform.machine() == MACHINE
