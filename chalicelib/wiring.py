"""The composition root of the Lambda: settings, clients, adapters. Each is created when it is first used."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib import logs
from chalicelib.config import Settings, issuers_of, policy_of, settings_from
from chalicelib.domain.limits import StudentLimits
from chalicelib.domain.training import TrainingPolicy
from chalicelib.ports import (
    AnalyticsStore,
    Cohorts,
    EventBus,
    ForeignIdentity,
    Identity,
    LimitCounts,
    ModelRegistry,
    RecommendationStore,
    Sender,
    ServiceStore,
    TaskStore,
    Tracker,
    TrainingQueue,
    UserStore,
    Webhooks,
)
from chalicelib.services.champion import ChampionCache, in_thread
from chalicelib.services.limits import Limiter
from chalicelib.services.service_accounts import ServiceAccounts
from chalicelib.services.sessions import Sessions
from chalicelib.services.training import Later, at_once
from chalicelib.storage.analytics_store import PostgresAnalyticsStore
from chalicelib.storage.aws import aws_client
from chalicelib.storage.cohort_store import PostgresCohorts
from chalicelib.storage.database import connect
from chalicelib.storage.dataset_store import S3DatasetStore
from chalicelib.storage.disk import check_disk
from chalicelib.storage.event_bus import EventBridge
from chalicelib.storage.identity import CognitoIdentity
from chalicelib.storage.issuers import ForeignTokens
from chalicelib.storage.limit_store import PostgresLimitCounts
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.storage.recommendation_store import PostgresRecommendationStore
from chalicelib.storage.service_store import PostgresServiceStore
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.timeouts import Timeouts, patient, timeouts_of
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.storage.user_store import PostgresUserStore
from chalicelib.storage.webhook_sender import WebhookSender
from chalicelib.storage.webhook_store import PostgresWebhooks

if TYPE_CHECKING:
    from sqlalchemy import Engine


KEPT_COHORTS = 64
"""Number of cohorts, besides the deployment's own, whose models a process keeps in memory."""


if TYPE_CHECKING:
    _Shared = cached_property
else:

    class _Shared(cached_property):
        """An adapter that the containers of all cohorts share. It is made when it is first used."""

        def __get__(self, container, owner=None):
            return super().__get__(container and container.root, owner)


class Container:
    """The adapters of one process. Tests pass fakes by name, such as ``Container(settings, queue=fake)``.

    A container serves one cohort, which its settings name, and :meth:`in_cohort` gives those of others.
    """

    def __init__(self, settings: Settings, root: Container | None = None, **given: Any) -> None:
        self.settings = settings
        self.root = root or self
        self.policy: TrainingPolicy = root.policy if root else policy_of(settings)
        self.later: Later = root.later if root else at_once
        self.timeouts: Timeouts = root.timeouts if root else patient(settings)
        self._others: OrderedDict[str, Container] = OrderedDict()
        self._others_lock = threading.Lock()
        vars(self).update(given)

    def in_cohort(self, cohort: str | None) -> Container:
        """Return the container of a cohort, None for the deployment's own. Those used last are kept."""
        root = self.root
        if cohort is None or cohort == root.settings.cohort:
            return root
        with root._others_lock:
            container = root._others.get(cohort)
            if container is None:
                container = Container(msgspec.structs.replace(root.settings, cohort=cohort), root)
                root._others[cohort] = container
                if len(root._others) > KEPT_COHORTS:
                    root._others.popitem(last=False)
            root._others.move_to_end(cohort)
        return container

    @_Shared
    def cohorts(self) -> Cohorts:
        """The cohorts, and the students who belong to them."""
        return PostgresCohorts(self.engine, self.settings.cohort)

    @_Shared
    def engine(self) -> Engine:
        """The database."""
        return connect(self.settings.database_url, timeouts=self.timeouts)

    @cached_property
    def tasks(self) -> TaskStore:
        """Practice tasks and practice state."""
        return PostgresTaskStore(self.engine, self.settings.cohort)

    @cached_property
    def users(self) -> UserStore:
        """The rows of accounts."""
        return PostgresUserStore(self.engine, self.settings.cohort)

    @_Shared
    def tracker(self) -> Tracker:
        """The counter and the training request."""
        return PostgresTracker(self.engine)

    @cached_property
    def analytics(self) -> AnalyticsStore:
        """Aggregates of completed tasks."""
        return PostgresAnalyticsStore(self.engine, self.settings.cohort)

    def analytics_of(self, cohort: str) -> AnalyticsStore:
        """Return the aggregates of a cohort, without a container for it."""
        return self.analytics if cohort == self.settings.cohort else PostgresAnalyticsStore(self.engine, cohort)

    @cached_property
    def recommendations(self) -> RecommendationStore:
        """Topics that may be recommended."""
        return PostgresRecommendationStore(self.engine, self.settings.cohort)

    @_Shared
    def registry(self) -> ModelRegistry:
        """The published models."""
        client = aws_client("s3", self.settings.aws_region)
        return S3ModelRegistry(client, self.settings.registry_bucket, self.settings.model_signing_key)

    @_Shared
    def datasets(self) -> S3DatasetStore:
        """The copies of answers for trainings."""
        return S3DatasetStore(aws_client("s3", self.settings.aws_region), self.settings.registry_bucket)

    @_Shared
    def queue(self) -> TrainingQueue:
        """The queue of training requests."""
        return SqsTrainingQueue(aws_client("sqs", self.settings.aws_region), self.settings.training_queue_url)

    @_Shared
    def identity(self) -> Identity:
        """Accounts and tokens."""
        return CognitoIdentity(
            lambda: aws_client("cognito-idp", self.settings.aws_region),
            pool_id=self.settings.user_pool_id,
            client_id=self.settings.user_pool_client_id,
            region=self.settings.aws_region,
            jwks_url=self.settings.jwks_url,
        )

    @_Shared
    def check_disk(self) -> Callable[[], None] | None:
        """The check of one machine's disk. None on AWS, where nothing is stored on one."""
        return None if self.settings.disk_path is None else partial(check_disk, self.settings.disk_path)

    @_Shared
    def foreign(self) -> ForeignIdentity:
        """The tokens of other issuers."""
        return ForeignTokens(issuers_of(self.settings))

    @_Shared
    def counts(self) -> LimitCounts:
        """The counts of limits."""
        return PostgresLimitCounts(self.engine)

    @_Shared
    def limiter(self) -> Limiter:
        """The limits of accounts and addresses."""
        return Limiter(self.counts, msgspec.structs.asdict(self.settings))

    @property
    def student_limits(self) -> StudentLimits:
        """The bounds of what one student has stored."""
        return StudentLimits(self.settings.open_tasks, self.settings.topics, self.settings.stored_bytes)

    @_Shared
    def sessions(self) -> Sessions:
        """The check that a token's session was not ended."""
        return Sessions(self.users, self.identity)

    @_Shared
    def service_store(self) -> ServiceStore:
        """Service accounts and the record of their actions."""
        return PostgresServiceStore(self.engine)

    @_Shared
    def service_accounts(self) -> ServiceAccounts:
        """The check of keys of service accounts."""
        return ServiceAccounts(self.service_store, self.settings.service_learners)

    @cached_property
    def webhooks(self) -> Webhooks:
        """The events that receivers wait for."""
        return PostgresWebhooks(self.engine, self.settings.cohort)

    @_Shared
    def sender(self) -> Sender:
        """The way to the receivers."""
        return WebhookSender(private=self.settings.webhook_private_addresses)

    @_Shared
    def bus(self) -> EventBus:
        """The way to a bus of EventBridge."""
        return EventBridge(lambda: aws_client("events", self.settings.aws_region), self.settings.stack_name)

    @cached_property
    def champion(self) -> ChampionCache:
        """The champion, in memory."""
        aside = at_once if self.later is at_once else in_thread
        return ChampionCache(self.registry, self.settings.cohort, self.settings.model_refresh_seconds, aside=aside)

    def log_fields(self) -> dict[str, str | None]:
        """Return the fields of each log line: the cohort, and the version once a model was loaded."""
        champion = vars(self).get("champion")
        return {"cohort": self.settings.cohort, "version": None if champion is None else champion.version}


_container: Container | None = None
_container_lock = threading.Lock()


def build(settings: Settings) -> Container:
    """Return the adapters for these settings. Connects to nothing yet."""
    return Container(settings)


def current() -> Container:
    """Return the process's container, made from the environment at the first call. Raises ConfigurationError."""
    global _container
    with _container_lock:
        if _container is None:
            settings = settings_from(os.environ)
            _container = build(settings)
            _container.timeouts = timeouts_of(settings)
            logs.configure(
                settings.log_format, settings.log_level, fields=_container.log_fields, stack=settings.stack_name
            )
        return _container


def install(container: Container | None) -> None:
    """Use this container from now on. None removes it."""
    global _container
    with _container_lock:
        _container = container
