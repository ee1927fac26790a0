"""The SQS queue as the API and the worker use it, on moto's FIFO queue with its redrive policy."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import msgspec
import pytest

from chalicelib.domain.training import TrainingRequest
from chalicelib.storage.training_queue import SqsTrainingQueue, request_from_json

REQUESTED_AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def a_request(cohort: str = "default") -> TrainingRequest:
    return TrainingRequest(str(uuid.uuid4()), cohort, REQUESTED_AT, "threshold")


def test_a_request_survives_its_message() -> None:
    request = a_request()
    assert request_from_json(msgspec.json.encode(request).decode()) == request


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"request_id": 1, "cohort": "c", "requested_at": "2026-01-01T00:00:00Z", "reason": "r"}',
        '{"request_id": "no uuid", "cohort": "c", "requested_at": "2026-01-01T00:00:00Z", "reason": "r"}',
    ],
)
def test_what_is_no_request_is_recognised(body: str) -> None:
    assert request_from_json(body) is None


def test_the_version_of_a_request_is_the_same_at_every_delivery() -> None:
    request = TrainingRequest("aabbccdd-0000-4000-8000-000000000000", "default", REQUESTED_AT, "forced")
    assert request.version == "20260102T030405Z-aabbccdd"


@pytest.mark.slow
def test_what_is_sent_is_received_once_and_deleted(queue: SqsTrainingQueue) -> None:
    request = a_request()
    queue.send(request)
    delivery = queue.receive(1)
    assert delivery is not None
    assert (delivery.request, delivery.receive_count) == (request, 1)
    assert queue.receive(0) is None
    queue.delete(delivery)
    assert queue.depth() == (0, 0)


@pytest.mark.slow
def test_the_same_request_sent_twice_is_one_message(queue: SqsTrainingQueue) -> None:
    request = a_request()
    queue.send(request)
    queue.send(request)
    assert queue.depth() == (1, 0)


@pytest.mark.slow
def test_a_message_given_back_comes_again_and_counts_its_deliveries(queue: SqsTrainingQueue) -> None:
    queue.send(a_request())
    first = queue.receive(1)
    assert first is not None
    queue.extend(first, 0)
    second = queue.receive(1)
    assert second is not None
    assert second.receive_count == 2


@pytest.mark.slow
def test_after_three_deliveries_a_message_is_in_the_dead_letter_queue(
    queue: SqsTrainingQueue, dead_letters: SqsTrainingQueue
) -> None:
    request = a_request()
    queue.send(request)
    for _ in range(3):
        delivery = queue.receive(1)
        assert delivery is not None
        queue.extend(delivery, 0)
    assert queue.receive(1) is None
    dead = dead_letters.receive(1)
    assert dead is not None
    assert dead.request == request


@pytest.mark.slow
def test_changing_the_visibility_of_a_deleted_message_is_harmless(queue: SqsTrainingQueue) -> None:
    queue.send(a_request())
    delivery = queue.receive(1)
    assert delivery is not None
    queue.delete(delivery)
    queue.extend(delivery, 0)
    assert queue.receive(0) is None
