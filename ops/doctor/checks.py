"""The checks of the doctor: one function for each part, which returns its findings.

The contents of PostgreSQL are checked in a snapshot. Facts in two places (tracker and pointer, pointer and files,
queue) have no common snapshot: there a finding counts only when a second look, a moment later, finds it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chalicelib.domain.errors import DatabaseUnavailableError, DiskFullError, ModelError, UnavailableError
from chalicelib.services.training import RESEND_SECONDS, SEND_GRACE_SECONDS
from chalicelib.services.versions import CHAMPION, OTHER
from chalicelib.storage.aws import aws_client
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.wiring import Container
from ops import model_check
from ops.doctor import dataset_check, item_keys
from ops.doctor import findings as kinds
from ops.doctor.findings import Finding
from ops.doctor.store import PostgresDoctorStore, TrackerFacts
from ops.doctor.students import examine
from ops.registry_files import Remains, registry_files

SWEEP_SECONDS = 60.0
"""The interval of the sweeper on AWS."""

REMAINS_AGE = timedelta(hours=1)
"""Younger files without metadata may belong to a publication that is still running."""

SECOND_LOOK_SECONDS = 1.0

PARTS = frozenset({"schema", "database", "files", "pointer", "datasets", "queue"})
"""The parts of an examination: tables, their contents, the registry's objects, tracker against pointer, copies of
answers, messages."""


@dataclass(slots=True)
class Examination:
    """The findings, the remarks (odd, but not wrong), and how much was examined."""

    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    students: int = 0
    answers: int = 0
    versions: int = 0


class Doctor:
    """Examines the services of one container."""

    def __init__(self, container: Container, second_look_seconds: float = SECOND_LOOK_SECONDS) -> None:
        settings = container.settings
        self.container = container
        self.store = PostgresDoctorStore(container.engine)
        self.files = registry_files(container)
        self.datasets = self.container.datasets
        self.queue = SqsTrainingQueue(aws_client("sqs", settings.aws_region), settings.training_queue_url)
        self._second_look_seconds = second_look_seconds

    def examine(self, now: datetime | None = None, parts: Collection[str] = PARTS) -> Examination:
        """Examine the given parts. A service that does not answer is a finding, and the other parts are examined.

        ``now`` decides which files are old.
        """
        done = Examination()
        if self.container.check_disk is not None:
            try:
                self.container.check_disk()
            except DiskFullError as error:
                done.findings.append(kinds.DISK_FULL.found(error=str(error)))
        trackers: list[TrackerFacts] = []
        try:
            done.findings += self._schema() if "schema" in parts else []
            if "database" in parts and all(one.kind is kinds.DISK_FULL for one in done.findings):
                trackers = self._database(done)
        except DatabaseUnavailableError as error:
            done.findings.append(kinds.UNREACHABLE.found(error=str(error), service="database"))
        others: tuple[tuple[str, str, Callable[[], list[Finding]]], ...] = (
            ("files", "registry", lambda: self._files(done, trackers, now or datetime.now(UTC))),
            ("pointer", "registry", lambda: self._twice(self._pointers) if trackers else []),
            ("datasets", "registry", lambda: self._datasets(trackers)),
            ("queue", "queue", lambda: self._queue(trackers)),
        )
        down: set[str] = set()
        for part, service, look in others:
            try:
                done.findings += look() if part in parts and service not in down else []
            except UnavailableError as error:
                down.add(service)
                done.findings.append(kinds.UNREACHABLE.found(error=str(error), service=service))
        return done

    def _schema(self) -> list[Finding]:
        """Check revision and tables. After a finding here the contents of the tables cannot be read."""
        import migrations

        engine = self.container.engine
        found, needed = migrations.revision(engine), migrations.newest_revision()
        if found != needed:
            return [kinds.DATABASE_REVISION.found(revision=found or "none", needed=needed)]
        return [kinds.SCHEMA_DIFFERS.found(difference=text) for text in migrations.missing(engine)]

    def _database(self, done: Examination) -> list[TrackerFacts]:
        done.students, done.answers = self.store.inspect(examine, done.findings.extend)
        n_wrong, n_examined = item_keys.sample(self.container.engine)
        if n_wrong:
            done.findings.append(kinds.ITEMS_DIFFER.found(n_wrong=n_wrong, n_examined=n_examined))
        for user_id, n_tasks in self.store.left_over():
            done.findings.append(kinds.DELETED_HAS_TASKS.found(user_id=user_id, n_tasks=n_tasks))
        if n_rows := self.store.remains():
            done.findings.append(kinds.DELETED_HAS_REMAINS.found(n_rows=n_rows))
        trackers, completed = self.store.trackers()
        totals = {tracker.cohort: tracker.total for tracker in trackers}
        for cohort in sorted(totals.keys() | completed):
            about = {"n_samples_total": totals.get(cohort, 0), "completed": completed.get(cohort, 0)}
            if about["n_samples_total"] != about["completed"]:
                done.findings.append(kinds.TOTAL_DIFFERS.found(cohort=cohort, **about))
        for tracker in trackers:
            done.findings += self._training(tracker)
            if tracker.counter > tracker.total:
                remark = kinds.COUNTER_ABOVE_TOTAL.found(
                    cohort=tracker.cohort, counter=tracker.counter, total=tracker.total
                )
                done.remarks.append(remark)
        return trackers

    def _training(self, tracker: TrackerFacts) -> Iterator[Finding]:
        """Check that a due training is requested, and that a requested one makes progress."""
        policy, cohort, request = self.container.policy, tracker.cohort, tracker.request_id
        if request is None:
            skipped = tracker.progress is not None and tracker.progress.get("phase") == "skipped"
            due = policy.is_due(tracker.counter, tracker.total) and not tracker.must_wait
            if due and not skipped:
                yield kinds.TRAINING_DUE.found(cohort=cohort, counter=tracker.counter, threshold=policy.threshold)
        elif tracker.lease_over_for is not None:
            if tracker.lease_over_for > self.container.settings.lease_seconds:
                yield kinds.LEASE_EXPIRED.found(cohort=cohort, request_id=request, seconds=tracker.lease_over_for)
        elif tracker.enqueued_age is None:
            if (tracker.requested_age or 0.0) > SEND_GRACE_SECONDS + SWEEP_SECONDS:
                yield kinds.REQUEST_UNSENT.found(cohort=cohort, request_id=request, seconds=tracker.requested_age)
        elif tracker.enqueued_age > RESEND_SECONDS:
            yield kinds.REQUEST_IDLE.found(cohort=cohort, request_id=request, seconds=tracker.enqueued_age)
        if tracker.last_error is not None and not tracker.running:
            yield kinds.TRAINING_FAILED.found(cohort=cohort, last_error=tracker.last_error)

    def _files(self, done: Examination, trackers: list[TrackerFacts], now: datetime) -> list[Finding]:
        cohorts = [tracker.cohort for tracker in trackers] or [self.container.settings.cohort]
        found = [finding for cohort in cohorts for finding in self._versions(done, cohort)]
        for remains in self.old_remains(trackers, now):
            about = {"cohort": remains.cohort, "version": remains.version, "n_files": len(remains.files)}
            found.append(kinds.VERSION_INCOMPLETE.found(**about))
        return found

    def _versions(self, done: Examination, cohort: str) -> Iterator[Finding]:
        """Check the cohort's files. :func:`model_check.verify` takes its own second look."""
        verification = model_check.verify(self.container.registry, cohort)
        done.versions += len(verification.checked)
        for fault in verification.faults:
            if fault.version is None:
                yield kinds.POINTER_MALFORMED.found(cohort=cohort, fault=fault.text)
                continue
            kind = {CHAMPION: kinds.CHAMPION_DAMAGED, OTHER: kinds.VERSION_DAMAGED}.get(fault.role, kinds.PAST_DAMAGED)
            text = f"{fault.text} (the next training removes its pin)" if fault.pinned else fault.text
            about = {"cohort": cohort, "version": fault.version, "role": fault.role, "pinned": fault.pinned}
            yield kind.found(**about, fault=text)

    def _pointers(self) -> list[Finding]:
        """Check that each tracker names the version that its pointer names."""
        found = []
        for tracker in self.store.trackers()[0]:
            try:
                pointer = self.container.registry.read_champion(tracker.cohort)
            except ModelError:
                continue  # _versions reports the malformed pointer
            champion = pointer[0] if pointer else None
            version = champion.version if champion else None
            # A training first moves the pointer and then updates the tracker, so between these steps the two differ.
            publishing = champion is not None and champion.request_id == tracker.request_id is not None
            if version != tracker.model_version and not publishing:
                about = {"cohort": tracker.cohort, "tracker": tracker.model_version, "pointer": version}
                found.append(kinds.VERSION_DIFFERS.found(**about))
        return found

    def _datasets(self, trackers: list[TrackerFacts]) -> list[Finding]:
        """Check the copies of answers against the tables. A copy that is out of date is no fault."""
        return [
            kinds.DATASET_DAMAGED.found(cohort=tracker.cohort, fault=fault)
            if number is None
            else kinds.DATASET_DIFFERS.found(cohort=tracker.cohort, partition=number)
            for tracker in trackers
            for number, fault in dataset_check.faults(self.container.engine, self.datasets, tracker.cohort)
        ]

    def old_remains(self, trackers: list[TrackerFacts], now: datetime) -> list[Remains]:
        """Return the old files of publications that died, except those of the live requests."""
        live = {tracker.requested_version for tracker in trackers}
        return [
            remains
            for remains in self.files.remains()
            if now - remains.newest > REMAINS_AGE and remains.version not in live
        ]

    def _queue(self, trackers: list[TrackerFacts]) -> list[Finding]:
        found = self._twice(lambda: self._backlog(sum(tracker.request_id is not None for tracker in trackers)))
        dead = self.queue.dead_letters()
        n_dead = sum(dead.depth()) if dead is not None else 0
        return [*found, kinds.DEAD_LETTERS.found(n_messages=n_dead)] if n_dead else found

    def _backlog(self, live: int) -> list[Finding]:
        waiting, in_flight = self.queue.depth()
        if waiting <= live + 1:
            return []
        return [kinds.QUEUE_BACKLOG.found(waiting=waiting, in_flight=in_flight, live=live)]

    def _twice(self, look: Callable[[], list[Finding]]) -> list[Finding]:
        """Look twice, and return the findings of the second look whose kind and cohort the first look found too.

        A single look may fall into the middle of a change, and find a difference that is gone a moment later.
        """
        first = look()
        if not first:
            return []
        time.sleep(self._second_look_seconds)
        before = {(finding.kind, finding.about.get("cohort")) for finding in first}
        return [finding for finding in look() if (finding.kind, finding.about.get("cohort")) in before]
