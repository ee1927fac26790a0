"""Keys of items."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.items import IMPORTED_CONTENT, item_key
from chalicelib.domain.tasks import MAX_KEY_LENGTH, Difficulty

EASY, HARD = Difficulty.EASY, Difficulty.HARD


def test_a_key_never_changes() -> None:
    # Databases and published versions hold keys: another function would be another set of items.
    assert item_key("Mathematics", "Fractions", EASY, "1/2 + 1/3 = ?", None) == 6918273720006832291
    assert item_key("Mathematics", "Fractions", EASY, "1/2 + 1/3 = ?", "q-17") == -1989937422809348698


@pytest.mark.parametrize(
    ("subject", "topic", "content"),
    [
        (" maths ", "FRACTIONS", "1/2  +\n1/3"),
        ("Maths", "Frac\u200btions", "1/2 +\u00a01/3\u200b"),
        ("\uff2daths", "Fractions", "\uff11/2 + 1/3"),
    ],
)
def test_texts_are_compared_as_names_are(subject: str, topic: str, content: str) -> None:
    assert item_key(subject, topic, EASY, content, None) == item_key("Maths", "Fractions", EASY, "1/2 + 1/3", None)


@pytest.mark.parametrize(
    "other",
    [
        ("Physics", "Fractions", EASY, "1/2", None),
        ("Maths", "Sums", EASY, "1/2", None),
        ("Maths", "Fractions", HARD, "1/2", None),
        ("Maths", "Fractions", EASY, "1/3", None),
        ("Maths", "Fractions", EASY, "1/2", "1/2"),
        ("Maths Fractions", "", EASY, "1/2", None),
    ],
)
def test_other_texts_are_other_items(other: tuple[str, str, Difficulty, str, str | None]) -> None:
    assert item_key(*other) != item_key("Maths", "Fractions", EASY, "1/2", None)


def test_an_item_id_is_enough() -> None:
    assert item_key("Maths", "Sums", EASY, "1 + 1", " Q-17 ") == item_key("Physics", "Heat", HARD, "", "q-17")


def test_long_texts_differ_by_their_ends() -> None:
    long = "x" * (2 * MAX_KEY_LENGTH)
    assert item_key("Maths", "Sums", EASY, long + "1", None) != item_key("Maths", "Sums", EASY, long + "2", None)


@pytest.mark.parametrize("content", ["", " \n", "\u200b", IMPORTED_CONTENT, IMPORTED_CONTENT.upper()])
def test_no_text_of_its_own_is_no_item(content: str) -> None:
    assert item_key("Maths", "Sums", EASY, content, None) is None
    assert item_key("Maths", "Sums", EASY, content, "q-17") is not None


@given(st.text(), st.text(), st.none() | st.text(min_size=1))
def test_any_text_has_a_key_that_fits_a_bigint(content: str, topic: str, item_id: str | None) -> None:
    key = item_key("Maths", topic, EASY, content, item_id)
    assert key is None or -(2**63) <= key < 2**63
    assert key == item_key("Maths", topic, EASY, content, item_id)
