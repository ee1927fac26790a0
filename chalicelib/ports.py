"""What the use cases need of the outside, as protocols.

The adapters in :mod:`chalicelib.storage` implement these against PostgreSQL, S3, SQS and Cognito; the fakes of the
tests implement them in memory, and one suite holds both to the same behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from chalicelib.domain.accounts import Caller
from chalicelib.domain.predictions import Prediction
from chalicelib.domain.results import CalibrationRow, DayRow, DriftRow, PredictedAnswer, TopicRow, Totals
from chalicelib.domain.tasks import NewTask, PracticeTask, Result
from chalicelib.domain.training import Champion, Counted, TrackerRow, TrainingPolicy, TrainingRequest
from chalicelib.features.state import UserState


@dataclass(frozen=True, slots=True)
class PredictionContext:
    """What one statement reads for a prediction: the student's state and the version that should serve."""

    state: UserState
    model_version: str | None


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which of a student's tasks to list; subject and topic are keys.

    ``search`` is found in the subject, the topic or the task's content, whatever its case.
    """

    subject: str | None = None
    topic: str | None = None
    completed: bool | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a completing PATCH did. ``counted`` is None for a repeat or a correction: those never count."""

    task: PracticeTask
    counted: Counted | None


class TaskStore(Protocol):
    """Practice tasks and practice state of one cohort, each method one transaction."""

    @property
    def cohort(self) -> str:
        """The cohort whose tracker counts the completions."""
        ...

    def prediction_context(self, user_id: str) -> PredictionContext:
        """The student's state and the tracker's model version, by one statement."""
        ...

    def insert(self, user_id: str, new: NewTask, prediction: Prediction) -> PracticeTask:
        """Store a new task. Raises UnauthenticatedError when the account was deleted."""
        ...

    def get(self, user_id: str, task_id: str) -> PracticeTask:
        """One task of the student; NotFoundError for unknown, foreign and malformed ids alike."""
        ...

    def newest_of_subject(self, user_id: str, subject_key: str) -> PracticeTask:
        """The newest task of a subject; NotFoundError where there is none."""
        ...

    def page(
        self, user_id: str, wanted: TaskFilter, limit: int, before: tuple[datetime, str] | None
    ) -> list[PracticeTask]:
        """Up to ``limit`` tasks, newest first, strictly before the (created_at, id) of ``before``."""
        ...

    def complete(
        self, user_id: str, task_id: str, result: Result, session_id: str | None, policy: TrainingPolicy
    ) -> Completion:
        """Complete a task once, count it, and request a training when it is due (DESIGN section 4)."""
        ...

    def set_session(self, user_id: str, task_id: str, session_id: str) -> PracticeTask:
        """Store the front end's study session id of a task."""
        ...

    def delete(self, user_id: str, task_id: str) -> None:
        """Delete a task; a completed one takes its effect on the state and the totals with it."""
        ...


@dataclass(frozen=True, slots=True)
class TopicChoice:
    """One topic that may be recommended. ``subject`` and ``topic`` are as last written, ``topic_key`` is normalised.

    ``own`` is True where the student has tasks on it, False where it is only known from others.
    """

    subject: str
    topic: str
    topic_key: str
    own: bool


class RecommendationStore(Protocol):
    """Where the candidates come from."""

    def topics(self, user_id: str, subject_key: str | None, own: int, others: int) -> list[TopicChoice]:
        """Up to ``own`` topics of the student, most recent first, then up to ``others`` that others practise.

        The latter are those of the most students in a bounded sample. No topic comes twice; the cost is bounded.
        """
        ...


class AnalyticsStore(Protocol):
    """Aggregates over practice tasks, each method one statement."""

    def totals(self, user_id: str) -> Totals:
        """Sums over all tasks of the student."""
        ...

    def days(self, user_id: str, since: datetime, utc_offset_minutes: int) -> list[DayRow]:
        """Days with completions at or after ``since``, newest first."""
        ...

    def topics(self, user_id: str, decay_answers: float, limit: int) -> list[TopicRow]:
        """Topics with completions, most recently practised first."""
        ...

    def calibration(self, user_id: str | None, n_bins: int) -> list[CalibrationRow]:
        """Completed predictions by version and bin; of everybody when ``user_id`` is None."""
        ...

    def latest_predicted(self, user_id: str, limit: int) -> list[PredictedAnswer]:
        """Those of the student's ``limit`` newest answers that a model had predicted, newest first."""
        ...

    def drift(self, limit: int, window: int, n_bins: int) -> list[DriftRow]:
        """Everybody's ``limit`` newest completions in windows of ``window`` each, window 0 the newest."""
        ...


class UserStore(Protocol):
    """The rows of ``users``."""

    def add(self, user_id: str, email: str, full_name: str | None) -> None:
        """Store a new account's row."""
        ...

    def get(self, user_id: str) -> tuple[str | None, str | None]:
        """(email, full_name) of an account that is not deleted, else UnauthenticatedError."""
        ...

    def set_full_name(self, user_id: str, full_name: str | None) -> None:
        """Change the name."""
        ...

    def erase(self, user_id: str) -> None:
        """Delete the student's tasks and state, and blank the row, keeping its id as deleted."""
        ...


class Tracker(Protocol):
    """The row of a cohort in ``embedding_model_tracker``. All times are judged by the database's clock."""

    def read(self, cohort: str) -> TrackerRow:
        """The cohort's row, made if it is not there."""
        ...

    def set_counter(self, cohort: str, value: int) -> TrackerRow:
        """Set ``n_samples_since_training``."""
        ...

    def set_model_version(self, cohort: str, version: str | None) -> None:
        """Say which version serves, so that the next creation notices."""
        ...

    def request_training(self, cohort: str, reason: str) -> TrainingRequest | None:
        """Make a request by force; None when one is live already."""
        ...

    def mark_enqueued(self, request: TrainingRequest) -> None:
        """Stamp that the request's message was sent."""
        ...

    def unsent_requests(self, grace_seconds: float, resend_seconds: float) -> list[TrainingRequest]:
        """Requests never stamped as sent for ``grace_seconds``, or sent and not taken up for ``resend_seconds``."""
        ...

    def free_abandoned(self, after_seconds: float, resend_seconds: float) -> list[str]:
        """Clear requests that no worker holds, sent again after ``after_seconds`` and in vain for ``resend_seconds``.

        Returns their cohorts.
        """
        ...

    def ping(self) -> None:
        """Raise DatabaseUnavailableError when the database does not answer."""
        ...


class TrainingQueue(Protocol):
    """The FIFO queue of training requests."""

    def send(self, request: TrainingRequest) -> None:
        """Send the message; group = cohort, de-duplication id = request id. QueueUnavailableError on failure."""
        ...

    def check(self) -> None:
        """Raise QueueUnavailableError when the queue does not answer."""
        ...


class ModelRegistry(Protocol):
    """Published models: ``models/<cohort>/<version>/…`` and the pointer ``models/<cohort>/champion.json``."""

    def read_champion(self, cohort: str, etag: str | None = None) -> tuple[Champion, str] | None:
        """The pointer and its ETag; None when there is none, or when it still has the given ``etag``.

        Raises RegistryUnavailableError, or ModelError for a malformed pointer.
        """
        ...

    def champion_exists(self, cohort: str) -> bool:
        """Whether there is a pointer."""
        ...

    def champion_etag(self, cohort: str) -> str | None:
        """The pointer's ETag, whatever its content; None when there is none."""
        ...

    def write_champion(self, cohort: str, champion: Champion, expected_etag: str | None) -> str:
        """Move the pointer by conditional PUT (None: there must be none yet); PointerConflictError when lost."""
        ...

    def read_version(self, cohort: str, version: str, names: Sequence[str] | None = None) -> dict[str, bytes]:
        """The files of a version by name, checked against the sizes and digests in its ``metadata.json``."""
        ...

    def read_metadata(self, cohort: str, version: str) -> Mapping[str, Any]:
        """The version's ``metadata.json``; NotFoundError where there is none."""
        ...

    def write_version(
        self,
        cohort: str,
        version: str,
        files: Mapping[str, bytes],
        metadata: Mapping[str, Any],
        still_ours: Callable[[], object] = ...,
    ) -> Mapping[str, Any]:
        """Write the files, then ``metadata.json`` with their sizes and sha256, last; returns the metadata.

        ``still_ours`` raises LeaseLostError for a worker that was overtaken; nothing is written over what another wrote
        since it was asked.
        """
        ...

    def annotate_version(self, cohort: str, version: str, notes: Mapping[str, Any]) -> None:
        """Add to a version's ``metadata.json``, such as why it was promoted or not; the files stay as they are."""
        ...

    def list_versions(self, cohort: str) -> list[str]:
        """Versions that have a ``metadata.json``, newest first."""
        ...

    def delete_version(self, cohort: str, version: str) -> None:
        """Delete a version's files, ``metadata.json`` first, so that a half-deleted version is no version."""
        ...


class Identity(Protocol):
    """Accounts and tokens (Cognito)."""

    def register(self, email: str, password: str, full_name: str | None) -> str:
        """Make a confirmed account and return its id (``sub``); BadRequestError when the e-mail is taken."""
        ...

    def login(self, email: str, password: str) -> str:
        """An access token; UnauthenticatedError for whatever is wrong."""
        ...

    def verify(self, token: str) -> Caller:
        """The caller of a valid access token; UnauthenticatedError otherwise."""
        ...

    def email_verified(self, user_id: str) -> bool:
        """Whether the account's e-mail address was verified."""
        ...

    def check_password(self, email: str, password: str) -> None:
        """Raise BadRequestError unless this is the account's password."""
        ...

    def change_password(self, email: str, old: str, new: str) -> None:
        """Change the password; BadRequestError when the old one is wrong."""
        ...

    def delete(self, user_id: str) -> None:
        """Delete the account; one that is gone already is no error."""
        ...

    def add_to_admins(self, email: str) -> None:
        """Put an account into the group of administrators; NotFoundError when no account has the e-mail."""
        ...
