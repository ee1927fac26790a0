"""The protocols of everything outside the process, and the records that they exchange.

The adapters in :mod:`chalicelib.storage` implement them for PostgreSQL, S3, SQS and Cognito. The tests' fakes
implement them in memory, and the same contract tests run on both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from chalicelib.domain.accounts import ADMIN_GROUP, Caller, Session, TokenRule
from chalicelib.domain.answers import CompletedAnswer, GivenAnswer, StoredAnswers
from chalicelib.domain.issuers import ForeignUser
from chalicelib.domain.limits import NO_GROWTH, Limit, Usage
from chalicelib.domain.predictions import Prediction
from chalicelib.domain.results import (
    CalibrationRow,
    DayRow,
    DriftRow,
    ItemResult,
    PredictedAnswer,
    ServedAnswer,
    TopicRow,
    Totals,
)
from chalicelib.domain.service_accounts import ServiceAccount, ServiceAction
from chalicelib.domain.tasks import IdempotentRequest, NewTask, PracticeTask, Result
from chalicelib.domain.training import Champion, Counted, TrackerRow, TrainingPolicy, TrainingRequest
from chalicelib.domain.webhooks import Delivery, Outcome, Receiver
from chalicelib.features.items import NO_RECORD, ItemRecord
from chalicelib.features.state import UserState


class PredictionContext(Struct, frozen=True):
    """The stored inputs of a prediction: the student's state and the version that should serve.

    ``usage`` is about what the student has stored, None if that was not counted yet. ``item`` is the student's record
    on the item of the task to predict.
    """

    state: UserState
    model_version: str | None
    usage: Usage | None = None
    item: ItemRecord = NO_RECORD


class BatchContext(Struct, frozen=True):
    """The stored inputs of predictions for several students, by their ids.

    ``records`` holds the records on items that have answers, by student and key of the item. ``unknown`` are the
    students without an account, who have no answers either.
    """

    states: Mapping[str, UserState]
    records: Mapping[tuple[str, int], ItemRecord]
    model_version: str | None
    unknown: Collection[str] = frozenset()


class TaskFilter(Struct, frozen=True):
    """The tasks of a student to list. None means all.

    ``search`` is a text to find in the subject, the topic or the content, in any case.
    """

    subject: str | None = None
    topic: str | None = None
    completed: bool | None = None
    search: str | None = None


class Completion(Struct, frozen=True):
    """The outcome of a completion. ``counted`` is None for a repeat or a correction, which do not count.

    ``shard_of`` is a cohort inside a store, as long as the completion is in one of its shards only.
    """

    task: PracticeTask
    counted: Counted | None
    shard_of: str | None = None


class TaskStore(Protocol):
    """Practice tasks and practice state of one cohort. Each method is atomic."""

    @property
    def cohort(self) -> str:
        """The cohort whose tracker counts the completions."""

    def prediction_context(self, user_id: str, item: int | None = None) -> PredictionContext:
        """Return the student's state and record on an item's key, and the tracker's model version.

        Raises UnauthenticatedError.
        """

    def batch_context(self, items: Mapping[str, Collection[int]]) -> BatchContext:
        """Return the states of some students, their records on items by key, and the tracker's model version.

        A student who is not known, or whose account was deleted, has no answers.
        """

    def insert(
        self,
        user_id: str,
        new: NewTask,
        prediction: Prediction,
        request: IdempotentRequest | None = None,
        *,
        growth: Usage = NO_GROWTH,
    ) -> PracticeTask:
        """Store a new task, unless ``request`` has stored one already, which is returned then.

        ``growth`` is added to what the student has stored.
        Raises UnauthenticatedError if the account was deleted, and what :meth:`made_by` raises.
        """

    def made_by(self, user_id: str, request: IdempotentRequest) -> PracticeTask | None:
        """Return the task that a request stored within the last day, None if there is none.

        Raises InvalidInputError if another body was sent with the request's key.
        """

    def get(self, user_id: str, task_id: str) -> PracticeTask:
        """Return a task of the student. Raises NotFoundError, also for foreign and malformed ids."""

    def newest_of_subject(self, user_id: str, subject_key: str) -> PracticeTask:
        """Return the newest task of a subject. Raises NotFoundError."""

    def page(
        self, user_id: str, requested: TaskFilter, limit: int, before: tuple[datetime, str] | None, max_bytes: int
    ) -> list[PracticeTask]:
        """Return up to ``limit`` tasks, newest first, older than the (created_at, id) in ``before``.

        Subject and topic of the filter are keys. The texts of all tasks but the last have at most ``max_bytes``
        together.
        """

    def answers(self, user_id: str, after: int, limit: int, max_bytes: int) -> list[tuple[int, PracticeTask]]:
        """Return completed tasks after the index ``after`` with their indices, in the order of the state.

        There are at most ``limit``, whose texts have at most ``max_bytes`` together, but at least one if there is any.
        """

    def complete(
        self, user_id: str, task_id: str, result: Result, session_id: UUID | None, policy: TrainingPolicy
    ) -> Completion:
        """Complete a task, count it once, and request a training if one is due. Raises NotFoundError.

        A repeat changes nothing. Another result for a completed task is stored as a correction. A result with a time of
        its own is placed by it among the student's answers.
        """

    def known_answers(self, task_ids: Collection[str]) -> set[str]:
        """Return the ids of tasks that exist."""

    def given_answers(
        self,
        user_id: str,
        since: datetime | None,
        until: datetime | None,
        place: int | None,
        limit: int,
        *,
        ascending: bool,
    ) -> list[GivenAnswer]:
        """Return completed answers after ``since`` and not after ``until``, in the order of the state or reversed.

        They begin behind ``place``, or with None at the beginning.
        """

    def add_answers(
        self,
        answers: Sequence[CompletedAnswer],
        policy: TrainingPolicy,
        existing: Collection[str] = (),
        growth: Mapping[str, Usage] | None = None,
        *,
        of_cohort: bool = False,
    ) -> StoredAnswers:
        """Store completed answers that are new, count them once, and request a training if one is due.

        An answer whose task exists is left alone. Each is placed by its time among its student's answers. A student
        without a row gets one, unless ``existing`` has the id; with ``of_cohort`` those have to be in the store's
        cohort. ``growth`` is added to what students have stored.
        Raises NotFoundError if the account of a student was deleted, or does not exist. Then nothing is stored.
        """

    def edit(
        self,
        user_id: str,
        task_id: str,
        changes: Mapping[str, Any],
        prediction: Prediction | None,
        *,
        growth: Usage = NO_GROWTH,
    ) -> PracticeTask:
        """Store changed fields of a task, with its new prediction if one is given.

        Raises NotFoundError, and ConflictError if a prediction is given and the task has been completed.
        """

    def delete(self, user_id: str, task_id: str) -> None:
        """Delete a task, and remove a completed one from the state and the total. Raises NotFoundError."""

    def count_usage(self, user_id: str, topic: str | None) -> Usage:
        """Count what a student has stored, keep it, and look if a task has the topic, given by its key."""

    def usages(self, user_ids: Collection[str]) -> dict[str, Usage]:
        """Return what students with a row have stored, counted now for those who were not counted yet."""


class LimitCounts(Protocol):
    """The counts of limits. They are shared by all processes."""

    def add(self, limit: Limit, who: str, n: int) -> tuple[int, float]:
        """Add to a count, and return it with the seconds until it begins again."""

    def read(self, limit: Limit, who: str) -> tuple[int, float]:
        """Return a count with the seconds until it begins again."""

    def prune(self) -> None:
        """Delete the counts of windows that are long over."""


class TopicChoice(Struct, frozen=True):
    """A topic that may be recommended.

    ``subject`` and ``topic`` are as last written, ``topic_key`` is the key of both. ``own`` is True if the student has
    tasks on the topic, False if only others have.
    """

    subject: str
    topic: str
    topic_key: str
    own: bool


class RecommendationStore(Protocol):
    """The source of the topics that may be recommended."""

    def topics(self, user_id: str, subject_key: str | None, own: int, others: int) -> list[TopicChoice]:
        """Return up to ``own`` topics of the student, newest first, then up to ``others`` of other students.

        The latter are practised by the most students in a sample of bounded size. No topic is returned twice.
        """


class AnalyticsStore(Protocol):
    """Aggregates over practice tasks of one cohort's students. Each method is one statement."""

    def totals(self, user_id: str) -> Totals:
        """Return sums over all tasks of the student."""

    def days(self, user_id: str, midnights: Sequence[datetime]) -> list[DayRow]:
        """Return the days with completions, newest first. Each day begins at a midnight; the last one has no end."""

    def topics(self, user_id: str, decay_answers: float, limit: int, after: int = 0) -> list[TopicRow]:
        """Return topics with completions, most recently practised first, without the first ``after``."""

    def items(self, user_id: str, limit: int, after: int = 0) -> list[ItemResult]:
        """Return items with completions, hardest first, without the first ``after``.

        The order is that of the share of correct answers, with one correct and one incorrect answer added.
        """

    def calibration(self, user_id: str | None, n_bins: int) -> list[CalibrationRow]:
        """Return sums of completed predictions by version and bin. None means all of the cohort."""

    def latest_predicted(self, user_id: str, limit: int) -> list[PredictedAnswer]:
        """Return those of the student's ``limit`` newest answers that a model predicted, newest first."""

    def drift(self, limit: int, window: int, n_bins: int) -> list[DriftRow]:
        """Return the ``limit`` newest completions of the cohort, in windows of ``window``; 0 is the newest."""

    def newest_served(self, limit: int) -> list[ServedAnswer]:
        """Return the ``limit`` newest completions of the cohort, newest first, with what was served for them."""


class UserStore(Protocol):
    """The rows of ``users``."""

    def add(self, user_id: str, email: str, full_name: str | None) -> None:
        """Store the row of a new account, or complete an existing one that is not deleted."""

    def get(self, user_id: str) -> tuple[str | None, str | None]:
        """Return (email, full_name). Raises UnauthenticatedError if the account was deleted or does not exist."""

    def admit(self, user_id: str, user: ForeignUser, issued_at: int) -> TokenRule:
        """Make the row of another issuer's user at the first token, and return the tokens that are valid.

        A user who was deleted begins anew with a token that was issued later. A new address is stored.
        """

    def set_full_name(self, user_id: str, full_name: str | None) -> None:
        """Change the name. Raises UnauthenticatedError."""

    def token_rule(self, user_id: str) -> TokenRule | None:
        """Return the tokens of the account that are valid. None if the account has no row."""

    def end_sessions(self, user_id: str, kept: Sequence[str]) -> None:
        """Refuse all tokens issued until now, except those with the given digests."""

    def keep_token(self, user_id: str, digest: str) -> None:
        """Admit a token that was issued in the second in which the sessions were ended."""

    def erase(self, user_id: str) -> None:
        """Delete the student's tasks and state, and blank the row. The id stays, marked as deleted."""


class Cohorts(Protocol):
    """The cohorts of a deployment, and the students who belong to them."""

    @property
    def own(self) -> str:
        """The deployment's own cohort, in which students are who were put into no other one."""

    def names(self) -> list[str]:
        """Return all cohorts, also those that have only a tracker."""

    def exists(self, name: str) -> bool:
        """Return whether students can be in this cohort."""

    def of_invitation(self, digest: str) -> str | None:
        """Return the cohort for which an invitation, given by its digest, is valid."""

    def of_address(self, email: str) -> str | None:
        """Return the cohort that students with this e-mail address join, None without one."""

    def move(self, user_ids: Collection[str], cohort: str) -> int:
        """Move students to a cohort with their answers, and return how many were not in it. Raises NotFoundError."""


class ServiceStore(Protocol):
    """Service accounts, their learners, and the record of what they did."""

    def account(self, digest: str) -> ServiceAccount | None:
        """Return the account of a valid key by the key's digest, and note that the key was used.

        None means that the key is unknown, has expired or was revoked. The use is written once a minute.
        """

    def add_learners(self, service_id: str, ids: Mapping[str, str], maximum: int) -> set[str] | None:
        """Make rows for learners, given as ids in ``users`` by the app's own, and return the deleted ones.

        None means that nothing was made, because the account would have more than ``maximum`` learners then. 0 is no
        bound. Simultaneous requests may exceed it by their own learners.
        """

    def is_deleted(self, user_id: str) -> bool:
        """Return whether a learner was deleted. One without a row was not."""

    def record(self, action: ServiceAction) -> None:
        """Store an action."""

    def prune(self) -> None:
        """Delete the records of old actions."""


class Tracker(Protocol):
    """The rows of ``embedding_model_tracker``, one per cohort. Times are compared with the database's clock."""

    def read(self, cohort: str) -> TrackerRow:
        """Return the cohort's row. A missing row is created."""

    def rows(self) -> list[TrackerRow]:
        """Return the rows of all cohorts that have one."""

    def set_counter(self, cohort: str, value: int) -> TrackerRow:
        """Set ``n_samples_since_training``."""

    def set_model_version(self, cohort: str, version: str | None) -> None:
        """Store the version that serves. Warm processes read it with every creation."""

    def request_training(self, cohort: str, reason: str) -> TrainingRequest | None:
        """Request a training, whatever the counter is. Return None if a request is live already."""

    def end_waits(self, policy: TrainingPolicy) -> list[TrainingRequest]:
        """End the waits that are over. Request the trainings that became due meanwhile, and return the requests."""

    def mark_enqueued(self, request: TrainingRequest) -> None:
        """Store the time at which the request's message was sent."""

    def unsent_requests(self, grace_seconds: float, resend_seconds: float) -> list[TrainingRequest]:
        """Return the requests whose message must be sent (again).

        These were not sent for ``grace_seconds``, or they were sent and no worker took them for ``resend_seconds``.
        """

    def free_abandoned(self, after_seconds: float, resend_seconds: float) -> list[str]:
        """Clear requests that no worker will finish, and return their cohorts.

        No worker holds them, and their message was sent again ``after_seconds`` after the request, without success for
        ``resend_seconds``.
        """

    def ping(self) -> None:
        """Raise DatabaseUnavailableError if the database does not answer."""


class TrainingQueue(Protocol):
    """The FIFO queue of training requests."""

    def send(self, request: TrainingRequest) -> None:
        """Send the message: group = cohort, de-duplication id = request id. Raises QueueUnavailableError."""

    def check(self) -> None:
        """Raise QueueUnavailableError if the queue does not answer."""


class ModelRegistry(Protocol):
    """Published models: ``models/<cohort>/<version>/…`` and the pointer ``models/<cohort>/champion.json``."""

    def read_champion(self, cohort: str, etag: str | None = None) -> tuple[Champion, str] | None:
        """Return the pointer and its ETag. None means: no pointer, or one that still has the given ``etag``.

        Raises RegistryUnavailableError, ModelError for a malformed pointer.
        """

    def champion_etag(self, cohort: str) -> str | None:
        """Return the pointer's ETag, whatever its content. None means that there is no pointer."""

    def write_champion(self, cohort: str, champion: Champion, expected_etag: str | None) -> str:
        """Replace the pointer if it has the expected ETag (None: if there is none), and return the new ETag.

        Raises PointerConflictError.
        """

    def read_version(self, cohort: str, version: str, names: Sequence[str] | None = None) -> dict[str, bytes]:
        """Return files of a version by name, checked against the sizes and digests in ``metadata.json``.

        Raises NotFoundError, ModelError for damaged or missing files.
        """

    def read_metadata(self, cohort: str, version: str) -> Mapping[str, Any]:
        """Return the version's ``metadata.json``. Raises NotFoundError, ModelError."""

    def write_version(
        self,
        cohort: str,
        version: str,
        files: Mapping[str, bytes],
        metadata: Mapping[str, Any],
        still_ours: Callable[[], object] = ...,
    ) -> Mapping[str, Any]:
        """Write the files, then ``metadata.json`` with their sizes and digests; return the metadata.

        ``still_ours`` raises LeaseLostError in a worker that was overtaken. A file that another worker wrote after
        that check is not overwritten.
        """

    def annotate_version(self, cohort: str, version: str, notes: Mapping[str, Any]) -> None:
        """Add fields to a version's ``metadata.json``, such as the decision of the gate."""

    def list_versions(self, cohort: str) -> list[str]:
        """Return the versions that have a ``metadata.json``, newest first."""

    def delete_version(self, cohort: str, version: str) -> None:
        """Delete a version. ``metadata.json`` goes first, so a half-deleted version is not a version."""


class ForeignIdentity(Protocol):
    """The issuers, other than the user pool, whose tokens are accepted."""

    @property
    def issuers(self) -> Collection[str]:
        """The values of ``iss``."""

    def verify(self, token: str) -> Caller | None:
        """Return the caller of a valid token, None for a token of an issuer that the settings do not name.

        Raises UnauthenticatedError, IdentityUnavailableError if the issuer does not answer and no key is known.
        """


class Identity(Protocol):
    """Accounts and tokens (Cognito)."""

    def register(self, email: str, password: str, full_name: str | None) -> str:
        """Create an unconfirmed account and return its id (``sub``). Raises EmailTakenError.

        It can sign in, but as long as it is unconfirmed its registration can be repeated.
        """

    def confirm(self, email: str) -> None:
        """Finish a registration."""

    def account_of(self, email: str, password: str) -> tuple[str, bool] | None:
        """Return id of the account with this password, and if it is confirmed. None if there is no such account."""

    def login(self, email: str, password: str) -> Session:
        """Return new tokens. Raises UnauthenticatedError."""

    def refresh(self, refresh_token: str) -> Session:
        """Return a new access token for a refresh token. Raises UnauthenticatedError if it is no longer valid."""

    def sign_out(self, user_id: str) -> None:
        """End all refresh tokens of an account. A missing account is not an error."""

    def verify(self, token: str) -> Caller:
        """Return the caller of an access token. Raises UnauthenticatedError."""

    def email_verified(self, user_id: str) -> bool:
        """Return whether the account's e-mail address is verified."""

    def is_admin(self, user_id: str, group: str = ADMIN_GROUP) -> bool:
        """Return whether the account exists, is enabled and is in a group of administrators."""

    def check_password(self, email: str, password: str) -> None:
        """Raise BadRequestError unless this is the account's password."""

    def change_password(self, email: str, old: str, new: str) -> None:
        """Change the password. Raises BadRequestError if the old one is wrong."""

    def id_of(self, email: str) -> str:
        """Return the id of the account with this address. Raises NotFoundError."""

    def set_password(self, email: str, new: str) -> None:
        """Set the password of an account without its present one. Raises NotFoundError."""

    def set_enabled(self, email: str, enabled: bool) -> None:
        """Let an account sign in, or refuse it. Raises NotFoundError."""

    def send_reset_code(self, email: str) -> None:
        """Send a code for a new password to an address, if it has an account. The caller cannot see if it has."""

    def reset_password(self, email: str, code: str, new: str) -> None:
        """Set a new password with a code. Raises BadRequestError if the code is wrong or has expired."""

    def send_verification_code(self, token: str) -> None:
        """Send a code to the address of the access token's account. Raises UnauthenticatedError."""

    def verify_email(self, token: str, code: str) -> None:
        """Mark the address as verified. Raises BadRequestError if the code is wrong or has expired."""

    def delete(self, user_id: str) -> None:
        """Delete the account. A missing account is not an error."""

    def add_to_admins(self, email: str, group: str = ADMIN_GROUP) -> None:
        """Put an account into a group of administrators. Raises NotFoundError."""


class Webhooks(Protocol):
    """The events that receivers of webhooks wait for."""

    def take(self, seconds: float) -> list[Receiver]:
        """Lease the receivers that wait for an event and may be tried now, and return them."""

    def next_events(self, receiver: Receiver, limit: int = 1) -> list[Delivery]:
        """Return the oldest events that wait for a receiver, none if the lease has ended."""

    def delivered(self, receiver: Receiver, deliveries: Sequence[Delivery]) -> None:
        """Note that a receiver has these events."""

    def failed(
        self, receiver: Receiver, delivery: Delivery, error: str, *, wait: float, refused: bool, dead: bool, gone: bool
    ) -> None:
        """Note that an attempt failed. The receiver is left alone for ``wait`` seconds, or if ``gone`` for good."""

    def release(self, receiver: Receiver) -> None:
        """Give back the lease of a receiver."""

    def prune(self) -> None:
        """Delete events that were delivered or given up long ago."""


class Sender(Protocol):
    """Sends messages to receivers of webhooks."""

    def check(self, url: str) -> None:
        """Raise BadRequestError for an address to which nothing may be sent."""

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send a message and return the status of the answer. Raises WebhookError."""


class EventBus(Protocol):
    """Puts events on a bus, from which rules of its owner send them on."""

    def put(self, bus: str, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Put the first events that fit into one request, and return an outcome for each of them.

        Raises WebhookError if none is on the bus.
        """
