"""The training protocol's values: requests, the tracker's row, and the champion pointer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class TrainingState(StrEnum):
    """What ``/model/status`` says of the training."""

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"


class TrainingPolicy(msgspec.Struct, frozen=True):
    """When a completion triggers a training."""

    threshold: int = 5
    minimum_samples: int = 10


class TrainingRequest(msgspec.Struct, frozen=True):
    """The message on the training queue."""

    request_id: str
    cohort: str
    requested_at: datetime
    reason: str

    @property
    def version(self) -> str:
        """The model version that this request makes: the same however often the message is delivered."""
        return f"{self.requested_at:%Y%m%dT%H%M%SZ}-{self.request_id.replace('-', '')[:8]}"


class TrackerRow(msgspec.Struct, frozen=True):
    """One row of ``embedding_model_tracker``. ``lease_live`` is judged by the database's clock."""

    cohort: str
    n_samples_since_training: int
    n_samples_last_training: int
    n_samples_total: int
    last_trained_at: datetime | None
    model_version: str | None
    training_request_id: str | None
    training_requested_at: datetime | None
    training_enqueued_at: datetime | None
    lease_expires_at: datetime | None
    lease_live: bool
    progress: Mapping[str, Any] | None
    last_error: str | None

    @property
    def state(self) -> TrainingState:
        """Idle without a request, running while a worker holds a live lease, else queued."""
        if self.training_request_id is None:
            return TrainingState.IDLE
        return TrainingState.RUNNING if self.lease_live else TrainingState.QUEUED


class Counted(msgspec.Struct, frozen=True):
    """What one counted completion did to the tracker; ``request`` is set when it triggered a training."""

    counter: int
    threshold: int
    n_samples_total: int
    request: TrainingRequest | None


class TrainingNote(msgspec.Struct, frozen=True):
    """The ``training`` member of a completion's answer."""

    counter: int
    threshold: int
    queued: bool


@dataclass(frozen=True, slots=True)
class Champion:
    """The content of ``champion.json``: which version serves, and which served before it."""

    version: str
    previous: str | None
    promoted_at: str
    request_id: str | None
    pinned: bool = False
    past: tuple[tuple[str, str], ...] = ()
    """(version, when it stopped being the champion) of past champions, newest first."""
