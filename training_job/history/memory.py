"""Memory of large histories."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # their numbers in glibc's malloc.h

KEPT_BYTES = 16 * 2**20
"""Freed memory that the C library may keep at the end of each of its areas: about that of a few training batches."""

LARGE_BYTES = 8 * 2**20
"""Size from which the memory of an array goes back to the operating system as soon as the array is deleted.

It is above the 5 MB of a training batch, which would otherwise have to ask for its memory in each step."""


def release_memory() -> None:
    """Give freed memory back to the operating system, and let glibc do so from now on when a large array is deleted.

    Otherwise it stays with the process in pieces, and the next step of a training takes new memory in addition to it.
    Other C libraries than glibc are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt") and hasattr(library, "malloc_trim"):
        # Otherwise glibc raises both thresholds when it has freed a large array.
        library.mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        library.malloc_trim(0)
