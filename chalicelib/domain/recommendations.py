"""What may be recommended, as a store reads it."""

from __future__ import annotations

import msgspec


class TopicChoice(msgspec.Struct, frozen=True):
    """One topic that may be recommended. ``subject`` and ``topic`` are as last written, ``topic_key`` is normalised.

    ``own`` is True where the student has tasks on it, False where it is only known from others.
    """

    subject: str
    topic: str
    topic_key: str
    own: bool
