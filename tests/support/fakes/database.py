"""In-memory stand-ins for PostgreSQL: tasks, users and tracker over one shared, locked set of tables."""

from __future__ import annotations

import threading
import time
import unicodedata
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from chalicelib.domain.accounts import TokenRule
from chalicelib.domain.answers import CompletedAnswer, GivenAnswer, StoredAnswers
from chalicelib.domain.errors import (
    ConflictError,
    DatabaseUnavailableError,
    Fault,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)
from chalicelib.domain.issuers import ForeignUser
from chalicelib.domain.items import item_of
from chalicelib.domain.limits import NO_GROWTH, Limit, Usage
from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction
from chalicelib.domain.service_accounts import Scope, ServiceAccount, ServiceAction, hint_of, key_digest, new_key
from chalicelib.domain.tasks import (
    COMPLETED_KEEPS_ITS_NAMES,
    IdempotentRequest,
    NewTask,
    PracticeTask,
    Result,
    name_key,
    text_bytes,
)
from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    Counted,
    TrackerRow,
    TrainingPolicy,
    TrainingRequest,
)
from chalicelib.features.items import ANSWERS_COUNTED, ItemRecord
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.ports import BatchContext, Completion, PredictionContext, TaskFilter


def _found(task: PracticeTask, search: str) -> bool:
    key = name_key(search)
    return key in name_key(task.subject) or key in name_key(task.topic) or _plain(search) in _plain(task.task_content)


def _text_bytes(task: PracticeTask) -> int:
    return text_bytes(task.task_content, task.solution_content, task.answer_content)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _answer(task: PracticeTask) -> Answer:
    topic, correct = topic_key(task.subject, task.topic), bool(task.is_correct)
    return Answer(topic, task.difficulty_numeric, correct, task.actual_time_seconds, task.completed_at)


def _record(item: int | None, answers: Sequence[PracticeTask]) -> ItemRecord:
    """Return the record on an item of completed tasks in their order."""
    mine = [n for n, task in enumerate(answers) if item is not None and item_of(task) == item][-ANSWERS_COUNTED:]
    if not mine:
        return ItemRecord(item)
    correct, last = sum(bool(answers[n].is_correct) for n in mine), answers[mine[-1]]
    return ItemRecord(item, len(mine), correct, bool(last.is_correct), mine[-1], last.completed_at)


@dataclass
class Account:
    """A row of ``users``; ``answers`` are the ids of its completed tasks in the order of their completion."""

    email: str | None
    full_name: str | None
    deleted: bool = False
    answers: list[str] = field(default_factory=list)
    valid_from: int = 0
    kept: frozenset[str] = frozenset()


class MemoryDatabase:
    """The tables, one lock around each use of them, and a switch that makes the database unavailable."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.lock = threading.RLock()
        self.users: dict[str, Account] = {}
        self.tasks: dict[str, PracticeTask] = {}
        self.trackers: dict[str, TrackerRow] = {"default": TrackerRow("default")}  # as a migration makes it
        self.keys: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.reasons: dict[str, str] = {}
        self.counts: dict[tuple[str, str], tuple[datetime, int]] = {}
        self.usage: dict[str, Usage] = {}
        self.service_keys: dict[str, ServiceAccount] = {}
        self.learners: dict[str, set[str]] = {}
        self.service_actions: list[ServiceAction] = []
        self.available = True
        self._now = now
        self._last = datetime.min.replace(tzinfo=UTC)

    def __enter__(self) -> MemoryDatabase:
        if not self.available:
            raise DatabaseUnavailableError("the fake database is switched off")
        self.lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def moment(self) -> datetime:
        """The present, later than any moment given before."""
        self._last = max(self._now(), self._last + timedelta(microseconds=1))
        return self._last

    def tracker(self, cohort: str) -> TrackerRow:
        """The cohort's row, with the lease judged now."""
        row = self.trackers.get(cohort, TrackerRow(cohort))
        live = row.training_request_id is not None and row.lease_expires_at is not None
        lease_live = bool(live and row.lease_expires_at and row.lease_expires_at > self._now())
        waits = row.next_training_at is not None and row.next_training_at > self._now()
        return replace(row, lease_live=lease_live, next_training_at=row.next_training_at if waits else None)

    def change_tracker(self, cohort: str, **changes: Any) -> TrackerRow:
        """Store changes of the cohort's row."""
        self.trackers[cohort] = replace(self.trackers.setdefault(cohort, TrackerRow(cohort)), **changes)
        return self.tracker(cohort)

    def lower_total(self, cohort: str, deleted: int) -> None:
        self.change_tracker(cohort, n_samples_total=max(self.tracker(cohort).n_samples_total - deleted, 0))

    def set_request(self, cohort: str, request: TrainingRequest | None, **changes: Any) -> None:
        """Replace the cohort's live request, which nobody works on yet."""
        self.change_tracker(
            cohort,
            training_request_id=request.request_id if request else None,
            training_requested_at=request.requested_at if request else None,
            training_enqueued_at=None,
            lease_expires_at=None,
            progress=None,
            **changes,
        )

    def new_request(self, cohort: str, reason: str) -> TrainingRequest:
        """Make the cohort's live training request."""
        request = TrainingRequest(str(uuid.uuid4()), cohort, self.moment(), reason)
        self.reasons[cohort] = reason
        self.set_request(cohort, request)
        return request

    def use_more(self, user_id: str, more: Usage) -> None:
        """Add to what a student has stored, if that was counted."""
        if (usage := self.usage.get(user_id)) is not None:
            open_tasks, topics = usage.open_tasks + more.open_tasks, usage.topics + more.topics
            self.usage[user_id] = Usage(open_tasks, topics, usage.n_bytes + more.n_bytes)

    def state_of(self, user_id: str) -> UserState:
        """The practice state: a replay of the account's completed tasks."""
        account = self.users.get(user_id)
        done = [self.tasks[task_id] for task_id in account.answers] if account else []
        return replay(user_id, map(_answer, done))


class MemoryStore:
    """A store on the tables, for one cohort."""

    def __init__(self, database: MemoryDatabase, cohort: str = "default") -> None:
        self._db = database
        self.cohort = cohort


def _predicted(prediction: Prediction) -> dict[str, Any]:
    return {
        "predicted_correct": prediction.correct,
        "predicted_time_seconds": prediction.seconds,
        "predicted_time_low": prediction.seconds_low,
        "predicted_time_high": prediction.seconds_high,
        "prediction_source": prediction.source,
        "model_version": prediction.model_version,
        "lnirt_model_version": prediction.lnirt_model_version,
    }


class MemoryTaskStore(MemoryStore):
    """Implements :class:`chalicelib.ports.TaskStore`."""

    def prediction_context(self, user_id: str, item: int | None = None) -> PredictionContext:
        with self._db as db:
            account = db.users.get(user_id)
            if account and account.deleted:
                raise UnauthenticatedError("This account was deleted")
            record = _record(item, [db.tasks[task_id] for task_id in account.answers] if account else [])
            version = db.tracker(self.cohort).model_version
            return PredictionContext(db.state_of(user_id), version, db.usage.get(user_id), record)

    def batch_context(self, items: Mapping[str, Collection[int]]) -> BatchContext:
        with self._db as db:
            records: dict[tuple[str, int], ItemRecord] = {}
            for user_id, keys in items.items():
                account = db.users.get(user_id, Account(None, None))
                done = [db.tasks[task_id] for task_id in account.answers]
                records |= {(user_id, key): record for key in keys if (record := _record(key, done)).attempts}
            states = {user_id: db.state_of(user_id) for user_id in items}
            unknown = {user_id for user_id in items if user_id not in db.users or db.users[user_id].deleted}
            return BatchContext(states, records, db.tracker(self.cohort).model_version, unknown)

    def count_usage(self, user_id: str, topic: str | None) -> Usage:
        with self._db as db:
            mine = [task for task in db.tasks.values() if task.user_id == user_id]
            topics = {topic_key(task.subject, task.topic) for task in mine}
            n_open = sum(not task.completed for task in mine)
            db.usage[user_id] = Usage(n_open, len(topics), sum(map(_text_bytes, mine)))
            return replace(db.usage[user_id], knows_topic=topic in topics)

    def usages(self, user_ids: Collection[str]) -> dict[str, Usage]:
        with self._db as db:
            known = [one for one in user_ids if one in db.users]
            return {one: db.usage.get(one) or replace(self.count_usage(one, None), knows_topic=False) for one in known}

    def insert(
        self,
        user_id: str,
        new: NewTask,
        prediction: Prediction,
        request: IdempotentRequest | None = None,
        *,
        growth: Usage = NO_GROWTH,
    ) -> PracticeTask:
        with self._db as db:
            if request is not None and (made := self.made_by(user_id, request)) is not None:
                return made
            account = db.users.setdefault(user_id, Account(None, None))
            if account.deleted:
                raise UnauthenticatedError("This account was deleted")
            now = db.moment()
            task = PracticeTask(
                id=str(uuid.uuid4()),
                user_id=user_id,
                subject=new.subject,
                topic=new.topic,
                difficulty=new.difficulty,
                difficulty_numeric=new.difficulty.numeric,
                task_content=new.task_content,
                solution_content=new.solution_content,
                answer_content=new.answer_content,
                estimated_time_minutes=new.estimated_time_minutes,
                actual_time_seconds=None,
                completed=False,
                completed_at=None,
                is_correct=None,
                study_session_id=new.study_session_id,
                item_id=new.item_id,
                **_predicted(prediction),
                created_at=now,
                updated_at=now,
            )
            db.tasks[task.id] = task
            db.use_more(user_id, growth)
            if request is not None:
                db.keys[user_id, request.key] = (request.digest, task.id)
            return task

    def made_by(self, user_id: str, request: IdempotentRequest) -> PracticeTask | None:
        with self._db as db:
            digest, task_id = db.keys.get((user_id, request.key), (b"", ""))
            task = db.tasks.get(task_id)
            if task is None or task.created_at <= db.moment() - timedelta(hours=24):
                return None
            if digest != request.digest:
                fault = Fault(("header", "Idempotency-Key"), "was used with another body", "value_error")
                raise InvalidInputError([fault])
            return task

    def edit(
        self,
        user_id: str,
        task_id: str,
        changes: Mapping[str, Any],
        prediction: Prediction | None,
        *,
        growth: Usage = NO_GROWTH,
    ) -> PracticeTask:
        with self._db as db:
            task = self.get(user_id, task_id)
            changed = dict(changes)
            if prediction is not None:
                if task.completed:
                    raise ConflictError(COMPLETED_KEEPS_ITS_NAMES)
                changed |= _predicted(prediction)
            if "difficulty" in changes:
                changed["difficulty_numeric"] = changes["difficulty"].numeric
            db.tasks[task.id] = replace(task, **changed, updated_at=db.moment())
            db.use_more(user_id, growth)
            return db.tasks[task.id]

    def get(self, user_id: str, task_id: str) -> PracticeTask:
        with self._db as db:
            try:
                task = db.tasks.get(str(uuid.UUID(task_id)))
            except ValueError:
                task = None
            if task is None or task.user_id != user_id:
                raise NotFoundError("Practice task not found")
            return task

    def newest_of_subject(self, user_id: str, subject_key: str) -> PracticeTask:
        found = self.page(user_id, TaskFilter(subject=subject_key), 1, None, 0)
        if not found:
            raise NotFoundError("Practice task not found")
        return found[0]

    def page(
        self, user_id: str, requested: TaskFilter, limit: int, before: tuple[datetime, str] | None, max_bytes: int
    ) -> list[PracticeTask]:
        with self._db as db:
            found = [
                task
                for task in db.tasks.values()
                if task.user_id == user_id
                and requested.subject in (None, name_key(task.subject))
                and requested.topic in (None, name_key(task.topic))
                and requested.completed in (None, task.completed)
                and (requested.search is None or _found(task, requested.search))
                and (before is None or (task.created_at, task.id) < before)
            ]
        page, size = [], 0
        for task in sorted(found, key=lambda task: (task.created_at, task.id), reverse=True)[:limit]:
            if size > max_bytes:
                break
            page.append(task)
            size += _text_bytes(task)
        return page

    def answers(self, user_id: str, after: int, limit: int, max_bytes: int) -> list[tuple[int, PracticeTask]]:
        with self._db as db:
            account, size = db.users.get(user_id, Account(None, None)), 0
            found: list[tuple[int, PracticeTask]] = []
            for n, task in list(enumerate(db.tasks[id_] for id_ in account.answers))[after + 1 :][:limit]:
                texts = (task.task_content, task.solution_content, task.answer_content)
                size += sum(len((text or "").encode()) for text in texts)
                if found and size > max_bytes:
                    break
                found.append((n, task))
            return found

    def complete(
        self, user_id: str, task_id: str, result: Result, session_id: UUID | None, policy: TrainingPolicy
    ) -> Completion:
        with self._db as db:
            task = self.get(user_id, task_id)
            done = {
                "is_correct": result.is_correct,
                "actual_time_seconds": result.seconds,
                "study_session_id": session_id or task.study_session_id,
                "completed_at": result.at or task.completed_at or db.moment(),
            }
            if task.completed:
                if any(getattr(task, name) != value for name, value in done.items()):
                    db.tasks[task.id] = replace(task, **done, updated_at=db.moment())
                    self._place(task.id)
                return Completion(db.tasks[task.id], None)
            db.tasks[task.id] = replace(task, **done, completed=True, updated_at=db.moment())
            db.users[user_id].answers.append(task.id)
            self._place(task.id)
            return Completion(db.tasks[task.id], self._count(db, policy))

    def known_answers(self, task_ids: Collection[str]) -> set[str]:
        with self._db as db:
            return {task_id for task_id in task_ids if task_id in db.tasks}

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
        with self._db as db:
            tasks = [db.tasks[id_] for id_ in db.users.get(user_id, Account(None, None)).answers]
        found = [
            GivenAnswer(
                one.id,
                one.subject,
                one.topic,
                one.difficulty,
                one.item_id,
                bool(one.is_correct),
                one.actual_time_seconds,
                one.completed_at,
                one.study_session_id,
                n,
            )
            for n, one in enumerate(tasks)
            if (since is None or (one.completed_at is not None and one.completed_at > since))
            and (until is None or (one.completed_at is not None and one.completed_at <= until))
        ]
        if ascending:
            return [one for one in found if place is None or one.place > place][:limit]
        return [one for one in reversed(found) if place is None or one.place < place][:limit]

    def add_answers(
        self,
        answers: Sequence[CompletedAnswer],
        policy: TrainingPolicy,
        existing: Collection[str] = (),
        growth: Mapping[str, Usage] | None = None,
        *,
        of_cohort: bool = False,
    ) -> StoredAnswers:
        with self._db as db:
            for one in answers:
                if one.user_id in existing and one.user_id not in db.users:
                    raise NotFoundError(f"There is no account {one.user_id}")
                if db.users.setdefault(one.user_id, Account(None, None)).deleted:
                    raise NotFoundError(f"The account of the learner {one.user_id} was deleted")
                if one.task_id in db.tasks and db.tasks[one.task_id].user_id != one.user_id:
                    raise ConflictError(f"{one.task_id} is the id of an answer of another learner")
            new = list({one.task_id: one for one in reversed(answers) if one.task_id not in db.tasks}.values())[::-1]
            moment = db.moment()
            for one in sorted(new, key=lambda one: min(one.at or moment, moment)):
                at = min(one.at or moment, moment)
                db.tasks[one.task_id] = PracticeTask(
                    id=one.task_id,
                    user_id=one.user_id,
                    subject=one.subject,
                    topic=one.topic,
                    difficulty=one.difficulty,
                    difficulty_numeric=one.difficulty.numeric,
                    task_content=one.task_content,
                    solution_content=None,
                    answer_content=None,
                    estimated_time_minutes=None,
                    actual_time_seconds=one.seconds,
                    completed=True,
                    completed_at=at,
                    is_correct=one.is_correct,
                    study_session_id=one.session_id,
                    item_id=one.item_id,
                    **_predicted(DEFAULT_PREDICTION),
                    created_at=at,
                    updated_at=at,
                )
                db.users[one.user_id].answers.append(one.task_id)
                self._place(one.task_id)
                if one.user_id not in (growth or {}):
                    db.usage.pop(one.user_id, None)
            for user_id, more in (growth or {}).items() if new else ():
                db.use_more(user_id, more)
            counted = {self.cohort: self._count(db, policy, len(new))} if new else {}
            return StoredAnswers(frozenset(one.task_id for one in new), counted)

    def _place(self, task_id: str) -> None:
        """Place an answer after all answers that are not newer."""
        task = self._db.tasks[task_id]
        answers = self._db.users[task.user_id].answers
        answers.remove(task_id)
        latest, place = datetime.min.replace(tzinfo=UTC), 0
        for other in answers:
            latest = max(latest, self._db.tasks[other].completed_at or latest)
            place += task.completed_at is None or latest <= task.completed_at
        answers.insert(place, task_id)

    def _count(self, db: MemoryDatabase, policy: TrainingPolicy, n: int = 1) -> Counted:
        before = db.tracker(self.cohort)
        row = db.change_tracker(
            self.cohort,
            n_samples_since_training=before.n_samples_since_training + n,
            n_samples_total=before.n_samples_total + n,
        )
        due = policy.is_due(row.n_samples_since_training, row.n_samples_total) and row.next_training_at is None
        request = db.new_request(self.cohort, "threshold") if due and row.training_request_id is None else None
        return Counted(row.n_samples_since_training, policy.threshold, row.n_samples_total, request)

    def delete(self, user_id: str, task_id: str) -> None:
        with self._db as db:
            task = self.get(user_id, task_id)
            del db.tasks[task.id]
            if task.completed:
                db.users[user_id].answers.remove(task.id)
                db.lower_total(self.cohort, 1)


class MemoryUserStore(MemoryStore):
    """Implements :class:`chalicelib.ports.UserStore`."""

    def add(self, user_id: str, email: str, full_name: str | None) -> None:
        with self._db as db:
            account = db.users.setdefault(user_id, Account(email, full_name))
            if not account.deleted:
                account.email, account.full_name = email, full_name or account.full_name

    def admit(self, user_id: str, user: ForeignUser, issued_at: int) -> TokenRule:
        with self._db as db:
            account = db.users.setdefault(user_id, Account(user.email, user.full_name))
            if account.deleted and account.valid_from < issued_at:
                valid_from = account.valid_from
                account = db.users[user_id] = Account(user.email, user.full_name)
                account.valid_from = valid_from
            elif not account.deleted:
                account.email = user.email or account.email
            return TokenRule(account.deleted, account.valid_from, account.kept)

    def get(self, user_id: str) -> tuple[str | None, str | None]:
        account = self._live(user_id)
        return account.email, account.full_name

    def set_full_name(self, user_id: str, full_name: str | None) -> None:
        self._live(user_id).full_name = full_name

    def erase(self, user_id: str) -> None:
        with self._db as db:
            mine = [task for task in db.tasks.values() if task.user_id == user_id]
            for task in mine:
                del db.tasks[task.id]
            db.lower_total(self.cohort, sum(task.completed for task in mine))
            db.usage.pop(user_id, None)
            if user_id in db.users:
                db.users[user_id] = Account(None, None, deleted=True, valid_from=int(time.time()))

    def token_rule(self, user_id: str) -> TokenRule | None:
        with self._db as db:
            account = db.users.get(user_id)
            return None if account is None else TokenRule(account.deleted, account.valid_from, account.kept)

    def end_sessions(self, user_id: str, kept: Sequence[str]) -> None:
        with self._db as db:
            account = db.users[user_id]
            account.valid_from, account.kept = int(time.time()), frozenset(kept)

    def keep_token(self, user_id: str, digest: str) -> None:
        with self._db as db:
            db.users[user_id].kept |= {digest}

    def _live(self, user_id: str) -> Account:
        with self._db as db:
            account = db.users.get(user_id)
            if account is None or account.deleted:
                raise UnauthenticatedError("This account does not exist")
            return account


class MemoryCohorts:
    """Implements :class:`chalicelib.ports.Cohorts` without students."""

    own = "default"

    def __init__(self, *others: str) -> None:
        self._names = sorted([self.own, *others])
        self.invitations: dict[str, str] = {}

    def names(self) -> list[str]:
        return self._names

    def exists(self, name: str) -> bool:
        return name in self._names

    def of_invitation(self, digest: str) -> str | None:
        return self.invitations.get(digest)

    def of_address(self, email: str) -> str | None:
        return None

    def move(self, user_ids: Collection[str], cohort: str) -> int:
        return 0


class MemoryServiceStore(MemoryStore):
    """Implements :class:`chalicelib.ports.ServiceStore`."""

    def create(self, name: str, *scopes: Scope, expires_at: datetime | None = None) -> str:
        """Make an account, or another key of it, and return the key."""
        key = new_key()
        with self._db as db:
            account = ServiceAccount(f"id-of-{name}", name, frozenset(scopes), hint_of(key), expires_at)
            db.service_keys[key_digest(key)] = account
        return key

    def revoke(self, key: str) -> None:
        with self._db as db:
            del db.service_keys[key_digest(key)]

    def account(self, digest: str) -> ServiceAccount | None:
        with self._db as db:
            return db.service_keys.get(digest)

    def add_learners(self, service_id: str, ids: Mapping[str, str], maximum: int) -> set[str] | None:
        with self._db as db:
            mine = db.learners.setdefault(service_id, set())
            fresh = {user_id for user_id in ids.values() if user_id not in db.users}
            n_present = sum(not db.users[user_id].deleted for user_id in mine)
            if maximum and fresh and n_present + len(fresh) > maximum:
                return None
            mine |= fresh
            for user_id in fresh:
                db.users[user_id] = Account(None, None)
            return {user_id for user_id in ids.values() if db.users[user_id].deleted}

    def is_deleted(self, user_id: str) -> bool:
        with self._db as db:
            return user_id in db.users and db.users[user_id].deleted

    def record(self, action: ServiceAction) -> None:
        with self._db as db:
            db.service_actions.append(action)

    def prune(self) -> None:
        with self._db as db:
            db.service_actions.clear()


class MemoryLimitCounts(MemoryStore):
    """Implements :class:`chalicelib.ports.LimitCounts`."""

    def add(self, limit: Limit, who: str, n: int) -> tuple[int, float]:
        with self._db as db:
            count, seconds = self.read(limit, who)
            if seconds == 0.0:
                db.counts[limit.setting, who] = (db.moment(), 0)
            began, _ = db.counts[limit.setting, who]
            db.counts[limit.setting, who] = (began, count + n)
            return self.read(limit, who)

    def read(self, limit: Limit, who: str) -> tuple[int, float]:
        with self._db as db:
            if (found := db.counts.get((limit.setting, who))) is None:
                return 0, 0.0
            left = limit.seconds - (db.moment() - found[0]).total_seconds()
            return (found[1], left) if left > 0 else (0, 0.0)

    def prune(self) -> None:
        with self._db as db:
            old = db.moment() - timedelta(days=1)
            db.counts = {key: found for key, found in db.counts.items() if found[0] >= old}


class MemoryTracker(MemoryStore):
    """Implements :class:`chalicelib.ports.Tracker`."""

    def read(self, cohort: str) -> TrackerRow:
        with self._db as db:
            return db.tracker(cohort)

    def rows(self) -> list[TrackerRow]:
        with self._db as db:
            return [db.tracker(cohort) for cohort in sorted(db.trackers)]

    def set_counter(self, cohort: str, value: int) -> TrackerRow:
        with self._db as db:
            return db.change_tracker(cohort, n_samples_since_training=value)

    def set_model_version(self, cohort: str, version: str | None) -> None:
        with self._db as db:
            if cohort in db.trackers:
                db.change_tracker(cohort, model_version=version)

    def request_training(self, cohort: str, reason: str) -> TrainingRequest | None:
        with self._db as db:
            live = db.tracker(cohort).training_request_id is not None
            return None if live else db.new_request(cohort, reason)

    def end_waits(self, policy: TrainingPolicy) -> list[TrainingRequest]:
        with self._db as db:
            requests = []
            for cohort, stored in list(db.trackers.items()):
                row = db.tracker(cohort)
                if stored.next_training_at is None or row.next_training_at or row.training_request_id:
                    continue
                db.change_tracker(cohort, next_training_at=None)
                if policy.is_due(row.n_samples_since_training, row.n_samples_total):
                    requests.append(db.new_request(cohort, "threshold"))
            return requests

    def mark_enqueued(self, request: TrainingRequest) -> None:
        with self._db as db:
            if db.tracker(request.cohort).training_request_id == request.request_id:
                db.change_tracker(request.cohort, training_enqueued_at=db.moment())

    def unsent_requests(self, grace_seconds: float, resend_seconds: float) -> list[TrainingRequest]:
        with self._db as db:
            now = db.moment()
            return [
                TrainingRequest(row.training_request_id, cohort, row.training_requested_at, db.reasons[cohort])
                for cohort, row in ((cohort, db.tracker(cohort)) for cohort in list(db.trackers))
                if row.training_request_id is not None
                and row.training_requested_at is not None
                and not row.lease_live
                and (
                    row.training_requested_at < now - timedelta(seconds=grace_seconds)
                    if row.training_enqueued_at is None
                    else row.training_enqueued_at < now - timedelta(seconds=resend_seconds)
                )
            ]

    def free_abandoned(self, after_seconds: float, resend_seconds: float) -> list[str]:
        with self._db as db:
            after, freed = timedelta(seconds=after_seconds), []
            old = db.moment() - timedelta(seconds=resend_seconds)
            for cohort in list(db.trackers):
                row = db.tracker(cohort)
                requested, sent = row.training_requested_at, row.training_enqueued_at
                if requested and sent and not row.lease_live and requested + after <= sent < old:
                    wait = min(FIRST_WAIT_SECONDS * 2**row.training_failures, LONGEST_WAIT_SECONDS)
                    db.set_request(
                        cohort,
                        None,
                        last_error="training was abandoned: no worker finished it",
                        training_failures=row.training_failures + 1,
                        next_training_at=db.moment() + timedelta(seconds=wait),
                    )
                    freed.append(cohort)
            return freed

    def ping(self) -> None:
        with self._db:
            pass
