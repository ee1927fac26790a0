"""Items: the exercises that several students, or one student several times, practise.

An item is known by a key of 64 bits, so that tasks, models and indices need not hold the texts that it is made of. The
key depends on nothing but those texts: it is the same in each process, each database and each published version.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

from chalicelib.domain.tasks import Difficulty, NewTask, PracticeTask, name_key, normal_text
from chalicelib.domain.topics import topic_key

IMPORTED_CONTENT = "Imported answer"
"""The text of imported tasks whose file has no text: most files of history contain results, not questions."""

NAMING = frozenset(("subject", "topic", "difficulty", "task_content", "item_id"))
"""The fields of a task that its item depends on."""

_NO_ITEMS = frozenset(("", normal_text(IMPORTED_CONTENT)))
"""Normalised texts of tasks that are not the same exercise because they have the same text."""


@lru_cache(maxsize=16)  # a creation needs the key for its prediction and for its row
def item_key(subject: str, topic: str, difficulty: Difficulty, task_content: str, item_id: str | None) -> int | None:
    """Return the key of a task's item, a signed integer of 64 bits, None for a task without an item.

    Two tasks are of one item if their ``item_id`` is the same name, whatever their other fields are. Without an
    ``item_id`` they are if subject, topic, difficulty and text agree. All texts are compared as names are
    (:func:`chalicelib.domain.tasks.name_key`). Without an ``item_id``, a task has no item if nothing of its text is
    visible, or if an import made the text up.

    The key is the beginning of a SHA-256. Among a million items, two share a key with a probability of 3e-8.
    """
    if item_id is not None:
        return key_of_id(item_id)
    if (content := normal_text(task_content)) not in _NO_ITEMS:
        return _key(["text", topic_key(subject, topic), difficulty.value, content])
    return None


def key_of_id(item_id: str) -> int:
    """Return the key of the item with a name."""
    return _key(["id", name_key(item_id)])


def _key(parts: list[str]) -> int:
    # No normalised text contains the separator, which is invisible.
    digest = sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def item_of(task: NewTask | PracticeTask) -> int | None:
    """Return the key of a task's item, None for a task without an item."""
    return item_key(task.subject, task.topic, task.difficulty, task.task_content, task.item_id)
