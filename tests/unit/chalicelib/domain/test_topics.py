"""The keys by which topics are compared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.digests import digest, row_of_topic
from chalicelib.domain.tasks import MAX_NAME_LENGTH, name_key
from chalicelib.domain.topics import MAX_PART_LENGTH, SEPARATOR, split_key, topic_key

NAMES = st.text(max_size=MAX_NAME_LENGTH) | st.sampled_from(["\x1f", "a\x1fb", "\ufdfa" * MAX_NAME_LENGTH])


@given(NAMES, NAMES)
def test_a_key_holds_the_keys_of_both_names(subject: str, topic: str) -> None:
    key = topic_key(subject, topic)
    assert split_key(key) == (name_key(subject)[:MAX_PART_LENGTH], name_key(topic)[:MAX_PART_LENGTH])
    assert key.count(SEPARATOR) == 1
    assert len(key.encode("utf-8", "surrogatepass")) <= 2001


def test_spellings_of_one_topic_have_one_key() -> None:
    assert topic_key(" Mathe\u00admatics", "CHAPTER  1") == topic_key("mathematics", "Chapter 1")
    assert topic_key("a", "b c") != topic_key("a b", "c")
    assert topic_key("a\x1fb", "c") == topic_key("a b", "c")


def test_a_topic_is_found_by_its_key_or_its_digest() -> None:
    history, biology = topic_key("History", "Chapter 1"), topic_key("Biology", "Chapter 1")
    rows = {history: 3, digest(biology): 4}
    assert [row_of_topic(key, rows, 9) for key in (history, biology, topic_key("Latin", "Chapter 1"))] == [3, 4, 9]


def test_versions_without_subjects_know_a_topic_by_its_name() -> None:
    for name in ("chapter 1", digest("chapter 1")):
        assert row_of_topic(topic_key("History", "Chapter 1"), {name: 3}, 9) == 3
        assert row_of_topic(topic_key("History", "Chapter 2"), {name: 3}, 9) == 9
