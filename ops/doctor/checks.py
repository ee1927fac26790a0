"""The invariants: one function for each part, which returns its findings.

What lies in PostgreSQL alone is judged in a snapshot. What lies in two places (tracker and pointer, pointer and files,
queue) cannot be: there a finding counts only when a second look, a moment later, finds it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chalicelib.domain.errors import DatabaseUnavailableError, ModelError, UnavailableError
from chalicelib.domain.training import Champion
from chalicelib.services import model_check
from chalicelib.services.models import CHAMPION, OTHER
from chalicelib.services.training import RESEND_SECONDS, SEND_GRACE_SECONDS
from chalicelib.storage.aws import aws_client
from chalicelib.storage.registry_files import RegistryFiles, Remains
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.wiring import Container
from ops.doctor import findings as kinds
from ops.doctor.findings import Finding
from ops.doctor.store import Inspected, PostgresDoctorStore, TrackerFacts
from ops.doctor.students import examine

SWEEP_SECONDS = 60.0
"""How often the sweeper runs on AWS."""

REMAINS_AGE = timedelta(hours=1)
"""Files without metadata that are younger may belong to a publish that is under way."""

SECOND_LOOK_SECONDS = 1.0

PARTS = frozenset({"schema", "database", "files", "pointer", "queue"})
"""What an examination looks at: tables, their contents, the registry's objects, tracker against pointer, messages."""


@dataclass(slots=True)
class Examination:
    """What was looked at, what is wrong, and what is odd without being wrong."""

    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    students: int = 0
    answers: int = 0
    versions: int = 0


class Doctor:
    """One container's services under examination."""

    def __init__(self, container: Container, second_look_seconds: float = SECOND_LOOK_SECONDS) -> None:
        settings = container.settings
        self.container = container
        self.store = PostgresDoctorStore(container.engine)
        self.files = RegistryFiles(aws_client("s3", settings.aws_region, read_timeout=30.0), settings.registry_bucket)
        self.queue = SqsTrainingQueue(aws_client("sqs", settings.aws_region), settings.training_queue_url)
        self._second_look_seconds = second_look_seconds

    def examine(self, now: datetime | None = None, parts: Collection[str] = PARTS) -> Examination:
        """Look at everything; a service that does not answer is a finding and keeps no other part from being seen.

        ``now`` is the time by which files are old. With fewer ``parts`` it looks at those only.
        """
        done = Examination()
        trackers: list[TrackerFacts] = []
        try:
            done.findings += self._schema() if "schema" in parts else []
            if not done.findings and "database" in parts:
                trackers = self._database(done)
        except DatabaseUnavailableError as error:
            done.findings.append(Finding(kinds.UNREACHABLE, str(error), {"service": "database"}))
        others: tuple[tuple[str, str, Callable[[], list[Finding]]], ...] = (
            ("files", "registry", lambda: self._files(done, trackers, now or datetime.now(UTC))),
            ("pointer", "registry", lambda: self._twice(self._announced) if trackers else []),
            ("queue", "queue", lambda: self._queue(trackers)),
        )
        down: set[str] = set()
        for part, service, look in others:
            try:
                done.findings += look() if part in parts and service not in down else []
            except UnavailableError as error:
                down.add(service)
                done.findings.append(Finding(kinds.UNREACHABLE, str(error), {"service": service}))
        return done

    def _schema(self) -> list[Finding]:
        """Revision and tables. With a finding here nothing else of the database can be read."""
        import migrations

        engine = self.container.engine
        found, needed = migrations.revision(engine), migrations.newest_revision()
        if found != needed:
            what = f"the database is at revision {found or 'none'}, this program needs {needed}"
            return [Finding(kinds.DATABASE_REVISION, what, {"revision": found, "needed": needed})]
        return [Finding(kinds.SCHEMA_DIFFERS, text, {"difference": text}) for text in migrations.missing(engine)]

    def _database(self, done: Examination) -> list[TrackerFacts]:
        read: Inspected = self.store.inspect(examine, done.findings.extend)
        done.students, done.answers = read.students, read.answers
        for user_id, n_tasks in self.store.left_over():
            what = f"account {user_id} was deleted and has {n_tasks} tasks"
            done.findings.append(Finding(kinds.DELETED_HAS_TASKS, what, {"user_id": user_id, "n_tasks": n_tasks}))
        trackers, completed = self.store.trackers()
        total = sum(tracker.total for tracker in trackers)
        if total != completed:
            what = f"n_samples_total is {total}, of {completed} completed tasks"
            done.findings.append(Finding(kinds.TOTAL_DIFFERS, what, {"n_samples_total": total, "completed": completed}))
        for tracker in trackers:
            done.findings += self._training(tracker)
            if tracker.counter > tracker.total:
                what = f"cohort {tracker.cohort}: the counter is {tracker.counter}, above the total of {tracker.total}"
                about = {"cohort": tracker.cohort, "counter": tracker.counter, "total": tracker.total}
                done.remarks.append(Finding(kinds.COUNTER_ABOVE_TOTAL, what, about))
        return trackers

    def _training(self, tracker: TrackerFacts) -> list[Finding]:
        """Whether a training that is due is asked for, and one that was asked for gets on."""
        found = []

        def add(kind: kinds.Kind, what: str, **numbers: object) -> None:
            found.append(Finding(kind, f"cohort {tracker.cohort}: {what}", {"cohort": tracker.cohort, **numbers}))

        policy, settings = self.container.policy, self.container.settings
        if tracker.request_id is None:
            skipped = tracker.progress is not None and tracker.progress.get("phase") == "skipped"
            due = tracker.counter >= policy.threshold and tracker.total >= policy.minimum_samples
            if due and not skipped:
                what = f"the counter is {tracker.counter} of {policy.threshold}, and no training is requested"
                add(kinds.TRAINING_DUE, what, counter=tracker.counter, threshold=policy.threshold)
        elif tracker.lease_over_for is not None:
            if tracker.lease_over_for > settings.lease_seconds:
                what = f"request {tracker.request_id}: its worker's lease is over for {tracker.lease_over_for:.0f} s"
                add(kinds.LEASE_EXPIRED, what, request_id=tracker.request_id, seconds=tracker.lease_over_for)
        elif tracker.enqueued_age is None:
            if (tracker.requested_age or 0.0) > SEND_GRACE_SECONDS + SWEEP_SECONDS:
                what = f"request {tracker.request_id}: not sent for {tracker.requested_age:.0f} s"
                add(kinds.REQUEST_UNSENT, what, request_id=tracker.request_id, seconds=tracker.requested_age)
        elif tracker.enqueued_age > RESEND_SECONDS:
            what = f"request {tracker.request_id}: sent {tracker.enqueued_age:.0f} s ago, and no worker took it up"
            add(kinds.REQUEST_IDLE, what, request_id=tracker.request_id, seconds=tracker.enqueued_age)
        if tracker.last_error is not None and not tracker.running:
            add(kinds.TRAINING_FAILED, f"the last training failed: {tracker.last_error}", last_error=tracker.last_error)
        return found

    def _files(self, done: Examination, trackers: list[TrackerFacts], now: datetime) -> list[Finding]:
        cohorts = [tracker.cohort for tracker in trackers] or [self.container.settings.cohort]
        found = [finding for cohort in cohorts for finding in self._versions(done, cohort)]
        for remains in self.old_remains(trackers, now):
            what = (
                f"version {remains.version} of cohort {remains.cohort}: {len(remains.files)} files and no metadata.json"
            )
            about = {"cohort": remains.cohort, "version": remains.version, "n_files": len(remains.files)}
            found.append(Finding(kinds.VERSION_INCOMPLETE, what, about))
        return found

    def _versions(self, done: Examination, cohort: str) -> list[Finding]:
        """The cohort's files; :func:`model_check.verify` looks twice by itself."""
        verification = model_check.verify(self.container.registry, cohort)
        done.versions += len(verification.checked)
        found = []
        for fault in verification.faults:
            if fault.version is None:
                found.append(Finding(kinds.POINTER_MALFORMED, f"cohort {cohort}: {fault.text}", {"cohort": cohort}))
                continue
            kind = {CHAMPION: kinds.CHAMPION_DAMAGED, OTHER: kinds.VERSION_DAMAGED}.get(fault.role, kinds.PAST_DAMAGED)
            pin = ", pinned: the pin falls with the next training" if fault.pinned else ""
            what = f"cohort {cohort}, {fault.role} {fault.version}{pin}: {fault.text}"
            about = {"cohort": cohort, "version": fault.version, "role": fault.role, "pinned": fault.pinned}
            found.append(Finding(kind, what, about))
        return found

    def _announced(self) -> list[Finding]:
        """Whether each tracker names the version that its pointer names."""
        found = []
        for tracker in self.store.trackers()[0]:
            try:
                pointer = self.container.registry.read_champion(tracker.cohort)
            except ModelError:
                continue  # a finding of its own
            champion = pointer[0] if pointer else None
            version = champion.version if champion else None
            if version == tracker.model_version or _just_published(tracker, champion):
                continue
            what = f"cohort {tracker.cohort}: the tracker names {tracker.model_version}, the pointer {version}"
            about = {"cohort": tracker.cohort, "tracker": tracker.model_version, "pointer": version}
            found.append(Finding(kinds.VERSION_DIFFERS, what, about))
        return found

    def old_remains(self, trackers: list[TrackerFacts], now: datetime) -> list[Remains]:
        """Remains of a publish that died: old, and not of the version that is being made."""
        in_the_making = {tracker.version_in_the_making for tracker in trackers}
        return [
            remains
            for remains in self.files.remains()
            if now - remains.newest > REMAINS_AGE and remains.version not in in_the_making
        ]

    def _queue(self, trackers: list[TrackerFacts]) -> list[Finding]:
        found = self._twice(lambda: self._backlog(sum(tracker.request_id is not None for tracker in trackers)))
        dead = self.queue.dead_letters()
        n_dead = sum(dead.depth()) if dead is not None else 0
        if n_dead:
            found.append(Finding(kinds.DEAD_LETTERS, f"{n_dead} messages failed too often", {"n_messages": n_dead}))
        return found

    def _backlog(self, live: int) -> list[Finding]:
        waiting, in_flight = self.queue.depth()
        if waiting <= live + 1:
            return []
        what = f"{waiting} messages wait ({in_flight} are being worked on), for {live} live requests"
        return [Finding(kinds.QUEUE_BACKLOG, what, {"waiting": waiting, "in_flight": in_flight, "live": live})]

    def _twice(self, look: Callable[[], list[Finding]]) -> list[Finding]:
        """What two looks find: what lies in two places may be seen in the middle of a change."""
        first = look()
        if not first:
            return []
        time.sleep(self._second_look_seconds)
        before = {(finding.kind, finding.about.get("cohort")) for finding in first}
        return [finding for finding in look() if (finding.kind, finding.about.get("cohort")) in before]


def _just_published(tracker: TrackerFacts, champion: Champion | None) -> bool:
    """Whether the tracker's transaction of a training that moved the pointer is still to come."""
    return tracker.request_id is not None and champion is not None and champion.request_id == tracker.request_id
