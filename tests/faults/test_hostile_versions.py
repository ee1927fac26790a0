"""Versions that somebody else wrote into the registry: they are refused, or they serve; they do no harm."""

from __future__ import annotations

from benchmarks.model_fuzz import figures, hostile, run, served
from tests.support.archives import version_files


def test_hostile_versions_do_no_harm() -> None:
    files = version_files()
    assert served(files) is None
    n = sum(1 for _ in hostile(files))
    found = figures(run(files, n + 60, seed=1))
    assert found["escaped"] == []
    assert found["refused"] > n * 0.8
