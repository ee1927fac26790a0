"""The durations of xAPI, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.api.statements import duration_of, is_version, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT42S", 42.0),
        ("PT1M2.5S", 62.5),
        ("PT1H", 3_600.0),
        ("P1DT1S", 86_401.0),
        ("P1W", 604_800.0),
        ("PT0S", 0.0),
        ("P", None),
        ("PT", None),
        ("P1DT", None),
        ("P1M", None),
        ("P1Y", None),
        ("42", None),
        ("-PT1S", None),
        ("PT1S ", None),
        ("PT\u0661S", None),
    ],
)
def test_a_duration_is_read(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@given(st.integers(0, 86_400_000))
def test_a_duration_is_what_was_written(milliseconds: int) -> None:
    assert seconds_of(duration_of(milliseconds / 1_000)) == pytest.approx(milliseconds / 1_000, abs=1e-9)


@pytest.mark.parametrize(("text", "known"), [("1.0", True), ("1.0.3", True), ("1.1", False), ("1.0.x", False)])
def test_versions_of_the_first_edition_are_known(text: str, *, known: bool) -> None:
    assert is_version(text) is known
