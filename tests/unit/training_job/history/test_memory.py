"""Whether memory of deleted arrays goes back to the operating system, in a process of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

_ARRAYS = """
import sys
import numpy as np
import psutil
from training_job.history.memory import release_memory

def held():
    return psutil.Process().memory_info().rss / 1e6

np.ones(31 * 2**17)  # 31 MB: when they are freed, glibc keeps arrays below this size from then on
if "release" in sys.argv:
    release_memory()
before, kept = held(), []
arrays = []
for _ in range(40):
    arrays.append(np.ones(10 * 2**17))  # 10 MB
    kept.append(np.ones(2**15))  # one of 256 KB behind each, too large for the holes that there are already
assert held() - before > 300
arrays.clear()
print(held() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_the_memory_of_deleted_arrays_goes_back() -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"))}

    def held(*arguments: str) -> float:
        command = [sys.executable, "-c", _ARRAYS, *arguments]
        return float(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)

    kept, released = held(), held("release")
    assert kept > 200, "glibc gives these arrays back by itself: the test shows nothing"
    assert released < 50
