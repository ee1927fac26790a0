"""The limits of an account or an address: how much in how long, and how much in total."""

from __future__ import annotations

import msgspec

_HOUR = 3_600
_QUARTER = 900
_PARTS = 100


class Limit(msgspec.Struct, frozen=True):
    """A bound of what one account or address does in a time. ``setting`` holds its maximum, ``text`` describes it."""

    setting: str
    seconds: int
    text: str

    def describe(self, maximum: int) -> str:
        """Return a sentence for the user who reached the limit."""
        return f"{self.text.format(maximum)} ({self.setting.upper()})"


CREATIONS = Limit("creations_per_hour", _HOUR, "At most {} tasks may be created in an hour")
CHANGES = Limit("completions_per_hour", _HOUR, "At most {} tasks may be completed, changed or deleted in an hour")
EXPORTS = Limit("exports_per_hour", _HOUR, "At most {} pages may be exported in an hour")
SIGN_UPS = Limit("sign_ups_per_hour", _HOUR, "At most {} accounts may be registered from one address in an hour")
MAILS = Limit("mails_per_hour", _HOUR, "At most {} codes are sent to one account in an hour")
MAILS_OF_ADDRESS = Limit("address_mails_per_hour", _HOUR, "At most {} codes are sent from one address in an hour")
GUESSES = Limit("failed_sign_ins", _QUARTER, "After {} wrong passwords or codes an account has to wait")
GUESSES_OF_ADDRESS = Limit(
    "address_failed_sign_ins", _QUARTER, "After {} wrong passwords or codes an address has to wait"
)

SERVICE_LEARNERS = "At most {} learners may be made by one service account (SERVICE_LEARNERS)"
"""A sentence for the app whose service account has reached the bound."""

Use = tuple[Limit, str]
"""A limit, and the account or address that it bounds."""


class StudentLimits(msgspec.Struct, frozen=True):
    """Bounds of what one student has stored. 0 is no bound."""

    open_tasks: int = 0
    topics: int = 0
    n_bytes: int = 0


UNLIMITED = StudentLimits()


class Usage(msgspec.Struct, frozen=True):
    """The quantities that a student has stored. They may be too large: what is completed or deleted still counts.

    They may be a few per cent too small, because not every task is counted.

    ``knows_topic`` is True if the student has a task on the topic in question.
    """

    open_tasks: int
    topics: int
    n_bytes: int
    knows_topic: bool = False


NO_GROWTH = Usage(0, 0, 0)


def sampled(more: Usage, limits: StudentLimits, chance: float) -> Usage:
    """Return what to add to a student's usage, so that the sum is right on average. ``chance`` is random, 0 to 1.

    Each quantity is counted in steps of a hundredth of its limit. If each task changed the student's row, the tasks of
    one student would wait for each other's commits.
    """
    return Usage(
        _sampled(more.open_tasks, limits.open_tasks, chance),
        _sampled(more.topics, limits.topics, chance),
        _sampled(more.n_bytes, limits.n_bytes, chance),
    )


def _sampled(amount: int, maximum: int, chance: float) -> int:
    if amount == 0:
        return 0
    tasks = max(1, maximum // (_PARTS * amount))
    return amount * tasks if chance * tasks < 1 else 0


def reached(usage: Usage, limits: StudentLimits, more: Usage) -> str | None:
    """Return a sentence about the limit that a student would exceed with ``more``, None if there is none."""
    for now, added, maximum, text in (
        (usage.open_tasks, more.open_tasks, limits.open_tasks, "At most {} tasks may be open (OPEN_TASKS)"),
        (usage.topics, more.topics, limits.topics, "At most {} topics may be practised (TOPICS)"),
        (usage.n_bytes, more.n_bytes, limits.n_bytes, "At most {} bytes of text may be stored (STORED_BYTES)"),
    ):
        if maximum and added and now + added > maximum:
            return text.format(maximum)
    return None
