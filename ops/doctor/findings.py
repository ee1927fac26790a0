"""What the doctor can find: a code, what is wrong, and how to mend it. docs/operations.md says more of each code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding. ``repairable`` says that ``doctor --repair`` mends it."""

    code: str
    mend: str
    repairable: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. ``about`` has the ids and numbers that ``what`` says in words."""

    kind: Kind
    what: str
    about: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return {
            "code": self.kind.code,
            "what": self.what,
            "mend": self.kind.mend,
            "repairable": self.kind.repairable,
            **self.about,
        }


_REPAIR = "studysmart doctor --repair"

UNREACHABLE = Kind("unreachable", "start the service or mend the environment, then ask the doctor again")
DATABASE_REVISION = Kind("database-revision", "studysmart migrate, with the program that the API runs")
SCHEMA_DIFFERS = Kind("schema-differs", "restore a backup, or make what is missing as migrations/versions does")

STATE_DIFFERS = Kind("state-differs", f"{_REPAIR} replays the student's answers and stores the state", True)
ANSWERS_MISCOUNTED = Kind("answers-miscounted", f"{_REPAIR} counts the student's answers", True)
ANSWERS_MISNUMBERED = Kind("answers-misnumbered", f"{_REPAIR} numbers the student's answers anew in their order", True)
DELETED_HAS_TASKS = Kind(
    "deleted-account-has-tasks",
    "look at them, then DELETE FROM practice_tasks WHERE user_id = '…', and doctor --repair for the totals",
)

TOTAL_DIFFERS = Kind("total-differs", f"{_REPAIR} sets the total to the number of completed tasks", True)
COUNTER_ABOVE_TOTAL = Kind(
    "counter-above-total",
    "nothing to mend: answers were deleted or it was set by hand, and the next training subtracts it",
)
"""A remark: deleting answers lowers the total and not the counter."""
TRAINING_DUE = Kind("training-due", "the next completion asks for it, or studysmart train")
REQUEST_UNSENT = Kind("request-unsent", f"{_REPAIR} sends it; see to it that the sweeper runs each minute", True)
REQUEST_IDLE = Kind(
    "request-not-taken-up", f"start a worker (python -m training_job); {_REPAIR} sends the message again", True
)
LEASE_EXPIRED = Kind(
    "lease-expired", f"start a worker: the message comes again by itself; {_REPAIR} sends it again when it is due", True
)
TRAINING_FAILED = Kind("training-failed", "mend what the error says, then studysmart train; a success clears it")

VERSION_DIFFERS = Kind("version-differs", f"{_REPAIR} makes the tracker name the version of the pointer", True)
POINTER_MALFORMED = Kind("pointer-malformed", "studysmart models rollback V; the next training mends it too")
CHAMPION_DAMAGED = Kind("champion-damaged", "studysmart models rollback V to a whole version, or studysmart train")
PAST_DAMAGED = Kind("past-champion-damaged", "restore its files from the bucket's older object versions or a backup")
VERSION_DAMAGED = Kind(
    "version-damaged", "nothing needs it: it goes with studysmart models prune, or restore its files"
)
VERSION_INCOMPLETE = Kind(
    "version-incomplete", f"{_REPAIR} deletes the files; its training died and was done again", True
)

QUEUE_BACKLOG = Kind("queue-backlog", "start a worker (python -m training_job), or look into its log")
DEAD_LETTERS = Kind(
    "dead-letters",
    f"see last_error and the worker's log; {_REPAIR} deletes those whose request is over; others: purge the queue",
    True,
)

KINDS = [kind for kind in list(globals().values()) if isinstance(kind, Kind)]
"""Every kind, in the order of the examination."""
