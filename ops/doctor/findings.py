"""The kinds of findings: each has a code, a sentence, and the way to fix it. docs/operations.md explains each code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_REPAIR = "studysmart doctor --repair"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding. ``what`` is a format string over the facts of a finding."""

    code: str
    what: str
    fix: str

    @property
    def repairable(self) -> bool:
        """``doctor --repair`` fixes it, as ``fix`` says."""
        return _REPAIR in self.fix

    def found(self, **about: Any) -> Finding:
        """Return a finding of this kind with its facts."""
        return Finding(self, about)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. ``about`` holds the ids and numbers that fill its sentence."""

    kind: Kind
    about: Mapping[str, Any]

    @property
    def what(self) -> str:
        """The finding in a sentence."""
        return self.kind.what.format(**self.about)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        kind = self.kind
        return {"code": kind.code, "what": self.what, "fix": kind.fix, "repairable": kind.repairable, **self.about}


UNREACHABLE = Kind("unreachable", "{error}", "start the service or correct the environment, then run the doctor again")
DISK_FULL = Kind("disk-full", "{error}", "delete old backups and files of others, or give the machine a larger disk")
DATABASE_REVISION = Kind(
    "database-revision",
    "the database is at revision {revision}, this program needs {needed}",
    "studysmart migrate, with the program that the API runs",
)
SCHEMA_DIFFERS = Kind(
    "schema-differs", "{difference}", "restore a backup, or create what is missing as migrations/versions does"
)
STATE_DIFFERS = Kind(
    "state-differs",
    "student {user_id}: {differences}",
    f"{_REPAIR} replays the student's answers and stores the state",
)
ANSWERS_MISCOUNTED = Kind(
    "answers-miscounted",
    "student {user_id}: n_answers is {n_answers}, but {completed} tasks are completed",
    f"{_REPAIR} counts the student's answers",
)
ANSWERS_MISNUMBERED = Kind(
    "answers-misnumbered",
    "student {user_id}: answer {place} of {completed} has the index {answer_index}",
    f"{_REPAIR} renumbers the student's answers in their order",
)
ITEMS_DIFFER = Kind(
    "items-differ",
    "{n_wrong} of {n_examined} examined tasks do not have the key of their item",
    f"{_REPAIR} computes the keys of all tasks",
)
DELETED_HAS_REMAINS = Kind(
    "deleted-account-has-remains",
    "own ids or events of webhooks are left of deleted accounts: {n_rows}",
    f"{_REPAIR} deletes them",
)
DELETED_HAS_TASKS = Kind(
    "deleted-account-has-tasks",
    "account {user_id} was deleted and has {n_tasks} tasks",
    "look at them, then DELETE FROM practice_tasks WHERE user_id = '…', and doctor --repair for the totals",
)
TOTAL_DIFFERS = Kind(
    "total-differs",
    "cohort {cohort}: n_samples_total is {n_samples_total}, but {completed} tasks are completed",
    f"{_REPAIR} sets the total to the number of completed tasks",
)
COUNTER_ABOVE_TOTAL = Kind(
    "counter-above-total",
    "cohort {cohort}: the counter is {counter}, above the total of {total}",
    "nothing to fix: answers were deleted or moved, or the counter was set by hand, and the next training subtracts it",
)
"""A remark, not a fault: deleting answers lowers the total but not the counter."""
TRAINING_DUE = Kind(
    "training-due",
    "cohort {cohort}: the counter is {counter} of {threshold}, and no training is requested",
    "the next completion requests it, or studysmart --cohort NAME train",
)
REQUEST_UNSENT = Kind(
    "request-unsent",
    "cohort {cohort}: request {request_id} has not been sent for {seconds:.0f} s",
    f"{_REPAIR} sends it; make sure that the sweeper runs every minute",
)
REQUEST_IDLE = Kind(
    "request-not-taken-up",
    "cohort {cohort}: request {request_id} was sent {seconds:.0f} s ago, and no worker took it up",
    f"start a worker (python -m training_job); {_REPAIR} sends the message again",
)
LEASE_EXPIRED = Kind(
    "lease-expired",
    "cohort {cohort}: request {request_id}: the lease of its worker expired {seconds:.0f} s ago",
    f"start a worker: the message comes again by itself; {_REPAIR} sends it again when it is due",
)
TRAINING_FAILED = Kind(
    "training-failed",
    "cohort {cohort}: the last training failed: {last_error}",
    "fix what the error says, then studysmart --cohort NAME train; a success clears it",
)
VERSION_DIFFERS = Kind(
    "version-differs",
    "cohort {cohort}: the tracker names {tracker}, the pointer {pointer}",
    f"{_REPAIR} makes the tracker name the version of the pointer",
)
POINTER_MALFORMED = Kind(
    "pointer-malformed",
    "cohort {cohort}: {fault}",
    "studysmart --cohort NAME models rollback V; the next training repairs it too",
)
_VERSION_FAULT = "cohort {cohort}, {role} {version}: {fault}"
CHAMPION_DAMAGED = Kind(
    "champion-damaged",
    _VERSION_FAULT,
    "studysmart --cohort NAME models rollback V to an intact version, or studysmart --cohort NAME train",
)
PAST_DAMAGED = Kind(
    "past-champion-damaged",
    _VERSION_FAULT,
    "restore its files from the bucket's older object versions or from a backup",
)
VERSION_DAMAGED = Kind(
    "version-damaged",
    _VERSION_FAULT,
    "nothing needs it: delete it with studysmart --cohort NAME models prune, or restore its files",
)
VERSION_INCOMPLETE = Kind(
    "version-incomplete",
    "version {version} of cohort {cohort}: {n_files} files and no metadata.json",
    f"{_REPAIR} deletes the files; their training died and was repeated",
)
DATASET_DAMAGED = Kind(
    "dataset-damaged",
    "the copy of the answers of cohort {cohort}: {fault}",
    f"nothing is lost: the next training makes it again, or {_REPAIR} deletes the copy",
)
DATASET_DIFFERS = Kind(
    "dataset-differs",
    "the copy of the answers of cohort {cohort}: partition {partition} does not have the answers of the tables",
    f"{_REPAIR} deletes the copy, and the next training makes it again; answers were changed by hand",
)
QUEUE_BACKLOG = Kind(
    "queue-backlog",
    "{waiting} messages wait and {in_flight} are being processed, for {live} live requests",
    "start a worker (python -m training_job), or read its log",
)
DEAD_LETTERS = Kind(
    "dead-letters",
    "{n_messages} messages failed too often",
    f"read last_error and the worker's log; {_REPAIR} deletes those whose request is over; for others, purge the queue",
)

KINDS = [kind for kind in list(globals().values()) if isinstance(kind, Kind)]
"""Every kind, in the order of the examination."""
