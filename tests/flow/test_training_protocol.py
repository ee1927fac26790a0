"""From five completions to an embedding prediction, and what happens when a step of it happens twice or not at all.

Real PostgreSQL, moto for S3 and SQS, the real Keras job.
"""

from __future__ import annotations

import io
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from chalicelib import logs
from chalicelib.config import settings_from
from chalicelib.domain.errors import LeaseLostError
from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import Difficulty, NewTask, Result, TaskChange
from chalicelib.domain.training import TrainingRequest, TrainingState
from chalicelib.services import tasks as task_service
from chalicelib.services import training
from chalicelib.services.predictions import predict_for
from chalicelib.services.versions import prune, rollback, successor
from chalicelib.storage.aws import aws_client
from chalicelib.storage.tracker import Lease, PostgresTracker
from chalicelib.wiring import Container, build
from tests.support.archives import version_files
from training_job.__main__ import poll
from training_job.gate import Verdict
from training_job.process import TrainingProcess
from training_job.publish import publish
from training_job.wiring import build as build_worker
from training_job.worker import Worker, handle

pytestmark = pytest.mark.slow


class Stack:
    """The API's container and a worker on the same services."""

    def __init__(self, environment: Mapping[str, str], process: TrainingProcess) -> None:
        settings = settings_from(environment)
        self.api: Container = build(settings)
        self.worker: Worker = build_worker(settings, process)
        self.process = process

    def complete(self, n: int, user: str = "ada", correct: bool | None = None, timed: bool = True) -> list[bool]:
        """Create and complete ``n`` tasks through the services; returns which of them queued a training.

        Answers that are not ``timed`` train one network only.
        """
        queued = []
        for i in range(n):
            new = NewTask("Math", f"topic {i % 3}", Difficulty.MEDIUM, "?")
            task = task_service.create_task(self.api.tasks, self.api.champion, user, new)
            right = i % 3 != 0 if correct is None else correct
            change = TaskChange(is_correct=right, actual_time_seconds=timed * (20.0 + i))
            _, note = task_service.update_task(
                self.api.tasks,
                self.api.champion,
                self.api.tracker,
                self.api.queue,
                self.api.policy,
                user,
                task.id,
                change,
            )
            assert note is not None
            queued.append(note.queued)
        return queued

    def status(self) -> training.ModelStatus:
        return training.status(self.api.tracker, self.api.policy, self.api.settings.cohort)

    def champion(self) -> str | None:
        found = self.worker.registry.read_champion(self.api.settings.cohort)
        return found[0].version if found else None

    def end_wait(self) -> None:
        """Let the wait after a failed training be over."""
        query = "UPDATE embedding_model_tracker SET next_training_at = clock_timestamp() WHERE cohort = :cohort"
        with self.api.engine.begin() as connection:
            connection.execute(text(query), {"cohort": self.api.settings.cohort})

    def live_request(self) -> TrainingRequest:
        row = self.api.tracker.read(self.api.settings.cohort)
        assert row.training_request_id is not None
        assert row.training_requested_at is not None
        return TrainingRequest(row.training_request_id, row.cohort, row.training_requested_at, "threshold")


@pytest.fixture
def stack(environment: dict[str, str], training_process: TrainingProcess) -> Iterator[Stack]:
    stack = Stack({**environment, "COHORT": f"c{uuid.uuid4().hex[:8]}", "LEASE_SECONDS": "30"}, training_process)
    yield stack
    stack.api.engine.dispose()
    stack.worker.engine.dispose()


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    logs.configure("json", "INFO", stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_a_trainings_lines_carry_its_request_cohort_and_version(stack: Stack, log_lines: io.StringIO) -> None:
    stack.complete(10)
    request = stack.live_request()
    assert poll(stack.worker, 1)
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    worker_lines = [line for line in lines if line["logger"] == "studysmart.worker"]
    said = {line["message"].split(" (")[0] for line in worker_lines}
    assert {"Background training started", "Total samples: 10", "Background training complete"} <= said
    for line in worker_lines:
        assert (line["training_request_id"], line["version"]) == (request.request_id, request.version)
        assert line["cohort"] == request.cohort


def test_five_completions_lead_to_an_embedding_prediction(stack: Stack) -> None:
    assert stack.complete(9) == [False] * 9
    stack.api.tracker.set_counter(stack.api.settings.cohort, 4)
    before = predict_for(stack.api.tasks, stack.api.champion, "ada", "Math", "Topic 1", Difficulty.MEDIUM)
    assert before.source is Source.DEFAULT
    assert stack.complete(1) == [True]
    assert stack.status().training is TrainingState.QUEUED
    assert poll(stack.worker, 1)
    status = stack.status()
    assert (status.counter, status.training, status.last_error) == (0, TrainingState.IDLE, None)
    assert (status.n_samples_last_training, status.n_samples_total) == (10, 10)
    assert status.model_version == stack.champion()
    after = predict_for(stack.api.tasks, stack.api.champion, "ada", "Math", "TOPIC 1", Difficulty.MEDIUM)
    assert (after.source, after.model_version) == (Source.EMBEDDING, stack.champion())
    newcomer = predict_for(stack.api.tasks, stack.api.champion, "bob", "Math", "topic 1", Difficulty.MEDIUM)
    assert newcomer.source is Source.LNIRT
    assert not poll(stack.worker, 1)


def publish_without_finishing(
    stack: Stack, request: TrainingRequest, still_ours: Callable[[], object] = lambda: None
) -> None:
    """Do what a worker does that dies after its publish."""
    stack.process.train(stack.api.settings, request, still_ours=still_ours, report=lambda _: None)


def test_a_message_delivered_again_after_the_publish_publishes_nothing_more(stack: Stack) -> None:
    stack.complete(10)
    request = stack.live_request()
    publish_without_finishing(stack, request)
    pointer = stack.worker.registry.read_champion(request.cohort)
    assert stack.status().counter == 10
    assert poll(stack.worker, 1)
    assert stack.worker.registry.read_champion(request.cohort) == pointer
    assert (stack.status().counter, stack.status().training) == (0, TrainingState.IDLE)
    assert stack.worker.registry.list_versions(request.cohort) == [request.version]


class RolledBack(PostgresTracker):
    """A tracker before whose last transaction of a training an operator rolls back."""

    def __init__(self, stack: Stack, version: str) -> None:
        super().__init__(stack.worker.engine)
        api = stack.api
        self._roll_back: Callable[[], object] = lambda: rollback(
            api.registry, api.tracker, api.settings.cohort, version
        )

    def finish(self, lease: Lease, **how: Any) -> TrainingRequest | None:
        self._roll_back()
        return super().finish(lease, **how)


def test_a_rollback_between_publish_and_finish_stands(stack: Stack) -> None:
    write_servable(stack, "v0")
    stack.complete(10)
    assert poll(replace(stack.worker, tracker=RolledBack(stack, "v0")), 1)
    assert (stack.champion(), stack.status().model_version) == ("v0", "v0")
    assert (stack.status().counter, stack.status().training) == (0, TrainingState.IDLE)


def test_a_message_delivered_again_does_not_undo_a_rollback_that_came_meanwhile(stack: Stack) -> None:
    write_servable(stack, "v0")
    stack.complete(10)
    request = stack.live_request()
    publish_without_finishing(stack, request)
    assert stack.champion() == request.version
    rollback(stack.api.registry, stack.api.tracker, request.cohort, "v0")
    assert poll(stack.worker, 1)
    assert (stack.champion(), stack.status().model_version) == ("v0", "v0")
    assert (stack.status().counter, stack.status().n_samples_last_training) == (0, 10)


def test_twenty_trainings_in_one_worker_leave_no_memory_behind(stack: Stack) -> None:
    assert stack.complete(10, timed=False)[-1]
    cohort, sizes = stack.api.settings.cohort, list[list[int]]()
    while len(sizes) < 20:
        assert poll(stack.worker, 1)
        request = stack.api.tracker.request_training(cohort, "forced")
        assert request is not None
        training.send_request(stack.api.tracker, stack.api.queue, request)
        assert stack.process.pid is not None
        sizes.append([psutil.Process(pid).memory_info().rss for pid in (os.getpid(), stack.process.pid)])
    assert len(stack.worker.registry.list_versions(cohort)) == 20
    grown = [after - before for before, after in zip(sizes[1], sizes[-1], strict=True)]
    assert sum(grown) <= 50e6, grown


def test_a_malformed_pointer_is_mended_by_a_training(stack: Stack, environment: dict[str, str]) -> None:
    cohort = stack.api.settings.cohort
    s3 = aws_client("s3", environment["AWS_REGION"])
    s3.put_object(Bucket=environment["REGISTRY_BUCKET"], Key=f"models/{cohort}/champion.json", Body=b"{")
    stack.complete(10)
    request = stack.live_request()
    assert poll(stack.worker, 1)
    assert (stack.status().last_error, stack.champion()) == (None, request.version)


def write_servable(stack: Stack, version: str) -> None:
    files = version_files(version=version)
    del files["metadata.json"]
    stack.worker.registry.write_version(stack.api.settings.cohort, version, files, {})


def test_a_second_training_meets_the_champion_and_its_verdict_is_kept(stack: Stack) -> None:
    stack.complete(10)
    assert poll(stack.worker, 1)
    first = stack.champion()
    assert stack.complete(5) == [False] * 4 + [True]
    assert poll(stack.worker, 1)
    status = stack.status()
    assert (status.counter, status.n_samples_last_training, status.last_error) == (0, 15, None)
    (newest,) = set(stack.worker.registry.list_versions(stack.api.settings.cohort)) - {first}
    promotion = stack.worker.registry.read_metadata(stack.api.settings.cohort, newest)["promotion"]
    assert promotion["champion_log_loss"] > 0
    assert promotion["log_loss_low"] <= promotion["log_loss_difference"] <= promotion["log_loss_high"]
    assert promotion["n_unseen"] > 0
    assert stack.champion() == (newest if promotion["promoted"] else first)
    assert status.model_version == stack.champion()


def test_a_worse_challenger_is_kept_not_promoted_and_says_so(stack: Stack) -> None:
    stack.complete(10)
    assert poll(stack.worker, 1)
    registry, cohort, first = stack.worker.registry, stack.api.settings.cohort, stack.champion()
    assert first is not None
    files = registry.read_version(cohort, first)
    metadata = {**registry.read_metadata(cohort, first), "request_id": "r2"}
    models = {name: body for name, body in files.items() if name != "metadata.json"}
    worse = Verdict(False, "worse on the hold-out", {"difference": 0.1})
    served = publish(
        registry,
        cohort,
        "20990101T000000Z-00000002",
        models,
        metadata,
        lambda *_: worse,
        datetime.now(UTC),
        lambda: None,
    )
    assert served == first == stack.champion()
    kept = registry.read_metadata(cohort, "20990101T000000Z-00000002")
    assert kept["promotion"] == {"promoted": False, "reason": "worse on the hold-out", "difference": 0.1}


def test_a_champion_of_an_older_state_is_not_served_and_loses_to_the_next_training(
    stack: Stack, environment: dict[str, str]
) -> None:
    stack.complete(10)
    assert poll(stack.worker, 1)
    old, registry, cohort = stack.champion(), stack.worker.registry, stack.api.settings.cohort
    assert old is not None
    files = registry.read_version(cohort, old)
    metadata = json.loads(files.pop("metadata.json"))
    vocabulary = json.loads(files["vocabulary.json"])
    older = {**vocabulary, "state_schema": vocabulary["state_schema"] - 1}
    registry.write_version(cohort, old, {**files, "vocabulary.json": json.dumps(older).encode()}, metadata)

    def predicted_by_a_new_process() -> tuple[Source, str | None]:
        api = Stack({**environment, "COHORT": cohort}, stack.process).api
        prediction = predict_for(api.tasks, api.champion, "ada", "Math", "topic 1", Difficulty.MEDIUM)
        api.engine.dispose()
        return prediction.source, prediction.model_version

    assert predicted_by_a_new_process() == (Source.DEFAULT, None)
    assert stack.complete(5) == [False] * 4 + [True]
    assert poll(stack.worker, 1)
    assert stack.status().last_error is None
    assert stack.champion() != old
    assert predicted_by_a_new_process() == (Source.EMBEDDING, stack.champion())


def test_a_message_of_a_request_that_is_over_is_dropped(stack: Stack) -> None:
    over = TrainingRequest(str(uuid.uuid4()), stack.api.settings.cohort, datetime.now(UTC), "threshold")
    stack.worker.queue.send(over)
    assert poll(stack.worker, 1)
    assert stack.worker.queue.depth() == (0, 0)
    assert stack.champion() is None


def test_a_worker_that_lost_its_lease_does_not_publish(stack: Stack) -> None:
    stack.complete(10)
    request = stack.live_request()
    slow = stack.worker.tracker.take_lease(request, 0.0)
    assert isinstance(slow, Lease)
    quick = stack.worker.tracker.take_lease(request, 30.0)
    assert isinstance(quick, Lease)
    with pytest.raises(LeaseLostError):
        publish_without_finishing(stack, request, lambda: stack.worker.tracker.renew_lease(slow, 30.0))
    assert stack.champion() is None
    assert stack.worker.registry.list_versions(request.cohort) == []


def test_five_more_completions_during_a_training_make_the_next_request_at_once(stack: Stack) -> None:
    stack.complete(10)
    request = stack.live_request()
    lease = stack.worker.tracker.take_lease(request, 30.0)
    assert isinstance(lease, Lease)
    assert stack.complete(6) == [False] * 6
    following = stack.worker.tracker.finish(lease, counted=10, n_samples=10, version="v1", policy=stack.worker.policy)
    assert following is not None
    assert following.request_id != request.request_id
    status = stack.status()
    assert (status.counter, status.training) == (6, TrainingState.QUEUED)


def test_answers_of_one_class_only_are_skipped_without_an_error(stack: Stack) -> None:
    stack.complete(10, correct=True)
    assert poll(stack.worker, 1)
    status = stack.status()
    assert (status.training, status.last_error, status.counter) == (TrainingState.IDLE, None, 10)
    assert status.progress is not None
    assert status.progress["phase"] == "skipped"
    assert stack.complete(1, correct=False) == [True]


def test_a_training_that_fails_three_times_is_dead_says_why_and_can_be_triggered_again(
    stack: Stack, environment: dict[str, str]
) -> None:
    stack.complete(10)
    broken = Stack(
        {**environment, "COHORT": stack.api.settings.cohort, "REGISTRY_BUCKET": "no-such-bucket"}, stack.process
    )
    request = stack.live_request()
    for attempt in range(1, 4):
        delivery = broken.worker.queue.receive(20)
        assert delivery is not None
        assert (delivery.request, delivery.receive_count) == (request, attempt)
        handle(broken.worker, delivery)
        broken.worker.queue.extend(delivery, 0)
    assert broken.worker.queue.receive(1) is None
    status = stack.status()
    assert status.training is TrainingState.IDLE
    assert status.last_error is not None
    assert "no-such-bucket" in status.last_error or "NoSuchBucket" in status.last_error
    assert (status.training_failures, status.wait_reason) == (1, "failures")
    assert stack.complete(1) == [False], "failures are not repeated at every completion"
    stack.end_wait()
    assert stack.complete(1) == [True]
    assert poll(stack.worker, 1)
    assert (stack.status().last_error, stack.status().training_failures) == (None, 0)
    assert stack.champion() is not None


def test_a_request_whose_message_was_never_sent_is_sent_by_the_sweeper(
    stack: Stack, environment: dict[str, str]
) -> None:
    stack.complete(9)
    queue_url = environment["TRAINING_QUEUE_URL"] + "-that-is-not-there"
    deaf = Stack({**environment, "COHORT": stack.api.settings.cohort, "TRAINING_QUEUE_URL": queue_url}, stack.process)
    assert deaf.complete(1) == [True]
    assert stack.status().training is TrainingState.QUEUED
    request = stack.live_request()
    unsent = stack.api.tracker.unsent_requests(grace_seconds=-1, resend_seconds=600)
    assert request in unsent
    training.send_request(stack.api.tracker, stack.api.queue, request)
    delivery = stack.worker.queue.receive(1)
    assert delivery is not None
    assert delivery.request == request


def test_versions_beyond_the_retention_are_deleted_but_no_recent_champion(stack: Stack) -> None:
    registry, cohort = stack.worker.registry, stack.api.settings.cohort
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    versions = [f"{moment + timedelta(days=i):%Y%m%dT%H%M%SZ}-{i:08x}" for i in range(6)]
    for version in versions:
        registry.write_version(cohort, version, {"lnirt.json": b"{}"}, {})
    first = successor(None, versions[0], "r0")
    etag = registry.write_champion(cohort, first, None)
    registry.write_champion(cohort, successor(first, versions[1], "r1"), etag)
    assert prune(registry, cohort, keep=2) == [versions[3], versions[2]]
    assert registry.list_versions(cohort) == [versions[5], versions[4], versions[1], versions[0]]


def test_a_zero_second_completion_is_learnt_as_correctness_only(stack: Stack) -> None:
    task = stack.api.tasks.insert(
        "ada",
        NewTask("Math", "t", Difficulty.EASY, "?"),
        predict_for(stack.api.tasks, stack.api.champion, "ada", "Math", "t", Difficulty.EASY),
    )
    stack.api.tasks.complete("ada", task.id, Result(True, 0.0), None, stack.api.policy)
    (row,) = stack.api.tasks.prediction_context("ada").state.rows
    assert (row.attempts, row.correct, row.timed, row.sum_log_seconds) == (1, 1, 0, 0.0)
