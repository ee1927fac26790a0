"""``make demo`` in a temporary directory: the whole main job with the real training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demonstration_succeeds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.demo", "--state-dir", str(tmp_path / "none")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    told = [line for line in lines if line.startswith(("counter:", "Background"))]
    assert told == [
        *(f"counter: {n}/5" for n in range(1, 6)),
        "Background training started",
        "Background training complete",
        "counter: 0/5",
    ]
    before, after = [line for line in lines if line.startswith("Prediction")]
    assert before.endswith(("source default", "source lnirt"))
    assert after.endswith("source embedding")


def test_an_unusable_file_fails_before_anything_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.demo", "--state-dir", str(tmp_path), "--file", str(tmp_path / "none.csv")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "none.csv" in done.stderr
    assert "Started" not in done.stdout
