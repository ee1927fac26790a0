"""Values of the training protocol: requests, the tracker's row, and the champion pointer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from itertools import zip_longest
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from chalicelib.domain.fields import about

_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


VersionName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""The name of a model version, which is a part of keys in S3 and is stored with predictions."""


class TrainingState(StrEnum):
    """The state of a cohort's training, as ``/model/status`` shows it."""

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"


FIRST_WAIT_SECONDS = 30.0
"""Minimum wait after a failed training. It doubles with each failure that follows."""

LONGEST_WAIT_SECONDS = 3_600.0
"""Maximum to which failures lengthen the wait."""


class WaitReason(StrEnum):
    """The reason why the next automatic training has to wait."""

    DUTY = "duty"
    FAILURES = "failures"


class TrainingPolicy(Struct, frozen=True):
    """The rules that decide when a training is due, and how long the next one waits.

    ``duty`` is the largest share of the time that automatic trainings may take.
    """

    threshold: int = 5
    minimum_samples: int = 10
    duty: float = 1.0

    def is_due(self, counter: int, total: int) -> bool:
        """Return whether a training is due after ``counter`` completions since the last one, ``total`` in all.

        :func:`chalicelib.storage.tracker.due_sql` is the same rule in SQL.
        """
        return counter >= self.threshold and total >= self.minimum_samples

    def wait_after(self, seconds: float) -> float:
        """Return the seconds that the next automatic training waits after one that took ``seconds``."""
        return seconds * (1 / self.duty - 1)


class TrainingRequest(Struct, frozen=True):
    """The message on the training queue."""

    request_id: Annotated[str, Meta(pattern=_UUID)]
    cohort: str
    requested_at: Annotated[datetime, Meta(tz=True)]
    reason: str

    @property
    def version(self) -> str:
        """The model version that this request creates, the same at each delivery of the message."""
        return f"{self.requested_at:%Y%m%dT%H%M%SZ}-{self.request_id.replace('-', '')[:8]}"


class TrackerRow(Struct, frozen=True):
    """A row of ``embedding_model_tracker``. ``lease_live`` was decided by the database's clock.

    ``training_failures`` counts the failed trainings since the last success. ``next_training_at`` is the earliest time
    of the next automatic training, None if that time is over.
    """

    cohort: str
    n_samples_since_training: int = 0
    n_samples_last_training: int = 0
    n_samples_total: int = 0
    last_trained_at: datetime | None = None
    model_version: str | None = None
    training_request_id: str | None = None
    training_requested_at: datetime | None = None
    training_enqueued_at: datetime | None = None
    lease_expires_at: datetime | None = None
    lease_live: bool = False
    progress: Mapping[str, Any] | None = None
    last_error: str | None = None
    training_seconds: float | None = None
    training_failures: int = 0
    next_training_at: datetime | None = None

    @property
    def wait_reason(self) -> WaitReason | None:
        """The reason why an automatic training has to wait, None if it may start now."""
        if self.next_training_at is None:
            return None
        return WaitReason.FAILURES if self.training_failures else WaitReason.DUTY

    @property
    def state(self) -> TrainingState:
        """Idle without a request, running while a worker holds a live lease, queued otherwise."""
        if self.training_request_id is None:
            return TrainingState.IDLE
        return TrainingState.RUNNING if self.lease_live else TrainingState.QUEUED


class Counted(Struct, frozen=True):
    """The tracker after a counted completion. ``request`` is set if the completion triggered a training."""

    counter: int
    threshold: int
    n_samples_total: int
    request: TrainingRequest | None


Counter = Annotated[int, about("Number of completions since the last training", 3)]
Threshold = Annotated[int, about("Number of completions that trigger a training", 5)]


class TrainingNote(Struct, frozen=True):
    """The counter towards the next training, in the answer to a completion."""

    counter: Counter
    threshold: Threshold
    queued: Annotated[bool, about("This completion triggered a training", False)]


RECENT_CHAMPIONS = 100
"""Number of past champions that the pointer remembers one by one."""


class Champion(Struct, frozen=True):
    """The content of ``champion.json``: the version that serves, and the versions that served before.

    ``past`` holds (version, end of its time as the champion), newest first: the last :data:`RECENT_CHAMPIONS`, and
    before them the last of each day. ``rolled_back_at`` is the time at which an
    operator chose the version, None if a training did: trainings that were requested before it do not replace it.
    """

    version: VersionName
    previous: VersionName | None
    promoted_at: str
    request_id: str | None
    pinned: bool = False
    past: tuple[tuple[VersionName, str], ...] = ()
    rolled_back_at: str | None = None

    def stands_against(self, requested_at: datetime) -> bool:
        """Return True if a training that was requested at this time must not replace the version."""
        if self.rolled_back_at is None:
            return False
        try:
            return datetime.fromisoformat(self.rolled_back_at) > requested_at
        except (ValueError, TypeError):
            return False  # a pointer that somebody wrote by hand

    def periods(self) -> dict[str, tuple[str | None, str | None]]:
        """Return the last time of each version as the champion: its beginning if it is known, and its end."""
        # Behind the recent ones, the champion before it may be one that was not remembered.
        begins = [end for _, end in self.past[1:RECENT_CHAMPIONS]]
        found = {version: (begin, end) for (version, end), begin in reversed([*zip_longest(self.past, begins)])}
        return {**found, self.version: (self.promoted_at, None)}


class FileEntry(Struct, frozen=True):
    """Size and SHA-256 digest of a file."""

    size: Annotated[int, Meta(ge=0, le=1 << 40)]
    sha256: str

    @classmethod
    def of(cls, body: bytes) -> FileEntry:
        """Return the entry of a file with this content."""
        return cls(len(body), sha256(body).hexdigest())


class VersionFiles(Struct, frozen=True):
    """The part of a version's ``metadata.json`` that serving needs."""

    files: dict[str, FileEntry]
    signature: str = ""


class Promotion(Struct, frozen=True):
    """The decision of the gate on a version."""

    promoted: bool
    reason: str


class VersionMetadata(VersionFiles, frozen=True):
    """The part of a version's ``metadata.json`` that lists show.

    ``reason`` is the reason of the training. ``validation`` holds the scores on the answers that were held out.
    """

    trained_at: str | None = None
    n_samples: int | None = None
    trained_seconds: float | None = None
    request_id: str | None = None
    reason: str | None = None
    validation: dict[str, Any] = field(default_factory=dict)
    promotion: Promotion | None = None
