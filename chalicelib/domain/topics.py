"""The keys by which topics are compared: a topic is known within its subject."""

from __future__ import annotations

from chalicelib.domain.tasks import name_key

SEPARATOR = "\x1f"
"""The character between the two parts of a key. It counts as white space, so no key of a name contains it."""

MAX_PART_LENGTH = 250
"""Maximum length of a part: an index of PostgreSQL holds 2,700 bytes. Only names that NFKC lengthens are cut."""


def topic_key(subject: str, topic: str) -> str:
    """Return the key of a topic from the names of the subject and of the topic."""
    return joined_key(name_key(subject), name_key(topic))


def joined_key(subject: str, topic: str) -> str:
    """Return the key of a topic from the keys of its two names. ``TOPIC_KEY`` of the storage gives the same."""
    return f"{subject[:MAX_PART_LENGTH]}{SEPARATOR}{topic[:MAX_PART_LENGTH]}"


def split_key(key: str) -> tuple[str, str]:
    """Return the keys of the two names. Versions from before topics had subjects have keys with an empty subject."""
    subject, _, topic = key.rpartition(SEPARATOR)
    return subject, topic
