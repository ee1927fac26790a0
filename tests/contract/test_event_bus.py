"""Events on a bus of EventBridge: in batches, again after a failure, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from chalicelib.domain.webhooks import BUS, Delivery, EventType
from chalicelib.services.webhooks import MAX_ENTRIES, MAX_REFUSALS
from chalicelib.storage.event_bus import MAX_BYTES, SOURCE, EventBridge
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.webhook_store import PostgresWebhooks
from tests.support.clouds import REGION, account
from tests.support.outboxes import POLICY, Outbox

pytestmark = pytest.mark.slow

NAME = "school-events"


@dataclass
class Cloud:
    """moto's EventBridge with a bus whose rule sends everything to a queue, and faults to order.

    ``spoiled`` are tasks of whose events EventBridge cannot read the text. With ``code`` it gives that reason.
    """

    spoiled: set[str] = field(default_factory=set)
    code: str | None = None
    sizes: list[int] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.client = boto3.client("events", region_name=REGION)
        self.client.meta.events.register("provide-client-params.events.PutEvents", self._spoil)
        self.client.meta.events.register("after-call.events.PutEvents", self._rename)
        sqs = boto3.client("sqs", region_name=REGION)
        self._sqs, self._queue = sqs, sqs.create_queue(QueueName="all")["QueueUrl"]
        self.create()

    def create(self) -> None:
        queue = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        arn = queue["Attributes"]["QueueArn"]
        self.client.create_event_bus(Name=NAME)
        self.client.put_rule(Name="all", EventBusName=NAME, EventPattern=json.dumps({"source": [SOURCE]}))
        self.client.put_targets(Rule="all", EventBusName=NAME, Targets=[{"Id": "queue", "Arn": arn}])

    def delete(self) -> None:
        self.client.remove_targets(Rule="all", EventBusName=NAME, Ids=["queue"])
        self.client.delete_rule(Name="all", EventBusName=NAME)
        self.client.delete_event_bus(Name=NAME)
        self.now += 60

    def adapter(self) -> EventBridge:
        return EventBridge(lambda: self.client, "studysmart-test", lambda: self.now)

    def arrived(self) -> list[dict[str, Any]]:
        """Everything that reached the queue since the last call."""
        found = []
        while messages := self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def tasks(self) -> list[str]:
        return [one["detail"]["data"]["task_id"] for one in self.arrived()]

    def _spoil(self, params: dict[str, Any], **_: Any) -> None:
        self.sizes.append(len(params["Entries"]))
        for entry in params["Entries"]:
            if json.loads(entry["Detail"])["data"].get("task_id") in self.spoiled:
                entry["Detail"] = "{"

    def _rename(self, parsed: dict[str, Any], **_: Any) -> None:
        for entry in parsed.get("Entries", []):
            if "ErrorCode" in entry and self.code is not None:
                entry["ErrorCode"] = self.code


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with account(monkeypatch):
        yield Cloud()


@pytest.fixture
def with_bus(deliveries: Outbox, cloud: Cloud) -> Outbox:
    deliveries.operator.use_bus(NAME)
    deliveries.bus = cloud.adapter()
    return deliveries


def test_events_arrive_in_order_and_ten_at_a_time(with_bus: Outbox, cloud: Cloud) -> None:
    expected = with_bus.complete(23)
    assert with_bus.deliver() == 23
    assert with_bus.deliver() == 0
    assert cloud.sizes == [MAX_ENTRIES, MAX_ENTRIES, 3]
    events = cloud.arrived()
    assert [one["detail"]["data"]["task_id"] for one in events] == expected
    sequence = [one["detail"]["sequence"] for one in events]
    assert sequence == sorted(sequence)
    assert len({one["detail"]["id"] for one in events}) == 23
    first = events[0]
    assert (first["source"], first["detail-type"], first["detail"]["stack"]) == (
        "studysmart",
        "completion",
        "studysmart-test",
    )
    assert first["detail"]["data"]["learner_id"] is None
    assert set(first["detail"]) == {"id", "sequence", "stack", "timestamp", "data"}


def test_every_kind_of_event_is_put_on_the_bus(with_bus: Outbox, cloud: Cloud) -> None:
    tracker = PostgresTracker(with_bus.trainer)
    with_bus.complete(1)
    tracker.finish(with_bus.lease(), version="v1", counted=0, n_samples=7, policy=POLICY, seconds=1.5)
    tracker.fail_request(with_bus.lease(), "no memory", POLICY)
    assert with_bus.deliver() == 4
    assert {one["detail-type"] for one in cloud.arrived()} == set(EventType)


def test_of_a_partial_failure_only_the_rest_is_sent_again(with_bus: Outbox, cloud: Cloud) -> None:
    expected = with_bus.complete(12)
    cloud.spoiled, cloud.code = {expected[3], expected[5]}, "InternalFailure"
    assert with_bus.deliver() == 8
    assert with_bus.deliver() == 0  # the bus is left alone for a while, and the last two wait behind
    (found,) = with_bus.operator.receivers()
    assert (found.waiting, found.dead, found.failures) == (4, 0, 1)
    assert found.last_error == "EventBridge: InternalFailure: Detail is malformed."
    assert cloud.tasks() == [one for one in expected[:10] if one not in cloud.spoiled]
    cloud.spoiled = set()
    with_bus.pause_is_over()
    assert with_bus.deliver() == 4
    assert cloud.tasks() == [expected[3], expected[5], *expected[10:]]


def test_an_entry_that_is_refused_for_ever_dies(with_bus: Outbox, cloud: Cloud) -> None:
    expected = with_bus.complete(3)
    cloud.spoiled = {expected[0]}
    for _ in range(MAX_REFUSALS):
        with_bus.deliver()
        with_bus.pause_is_over()
    (found,) = with_bus.operator.receivers()
    assert (found.waiting, found.dead) == (0, 1)
    assert cloud.tasks() == expected[1:]
    cloud.spoiled = set()
    with_bus.operator.replay(found.id, None)
    assert with_bus.deliver() == 1
    assert cloud.tasks() == expected[:1]


def test_failures_of_the_bus_are_not_refusals(with_bus: Outbox, cloud: Cloud) -> None:
    expected = with_bus.complete(1)
    cloud.spoiled, cloud.code = set(expected), "ThrottlingException"
    for _ in range(MAX_REFUSALS + 1):
        assert with_bus.deliver() == 0
        with_bus.pause_is_over()
    cloud.spoiled = set()
    assert with_bus.deliver() == 1


def test_nothing_is_lost_while_the_bus_is_away(with_bus: Outbox, cloud: Cloud) -> None:
    expected = with_bus.complete(3)
    assert with_bus.deliver() == 3
    cloud.delete()
    expected += with_bus.complete(12)
    for _ in range(3):
        assert with_bus.deliver() == 0
        with_bus.pause_is_over()
    (found,) = with_bus.operator.receivers()
    assert (found.waiting, found.dead, found.failures) == (12, 0, 3)
    assert "ResourceNotFoundException" in (found.last_error or "")
    cloud.create()
    expected += with_bus.complete(1)
    assert with_bus.deliver() == 13
    assert cloud.tasks() == expected


def test_a_request_that_is_refused_is_tried_with_one_event(with_bus: Outbox, cloud: Cloud) -> None:
    expected = with_bus.complete(3)
    client, refused = cloud.client, {"Error": {"Code": "ValidationException", "Message": "too large"}}

    class Picky:
        def describe_event_bus(self, **_: Any) -> None:
            pass

        def put_events(self, **request: Any) -> Any:
            if len(request["Entries"]) > 1:
                raise client.exceptions.ClientError(refused, "PutEvents")
            return client.put_events(**request)

    with_bus.bus = EventBridge(Picky, "studysmart-test")
    assert with_bus.deliver() == 3
    assert cloud.tasks() == expected


def test_a_request_is_not_larger_than_eventbridge_takes(cloud: Cloud) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    events = [Delivery(n, f"m{n}", "training.failed", {"error": "x" * (MAX_BYTES // 3)}, at, 0) for n in range(4)]
    assert len(cloud.adapter().put(NAME, events)) == 2
    huge = [Delivery(1, "m", "training.failed", {"error": "x" * MAX_BYTES}, at, 0), events[0]]
    assert len(cloud.adapter().put(NAME, huge)) == 1


def test_the_setting_adds_changes_and_leaves_the_bus(deliveries: Outbox) -> None:
    deliveries.operator.use_bus("")
    assert deliveries.operator.receivers() == []
    deliveries.add("http://127.0.0.1:1/")
    for name in (NAME, NAME, "other"):
        deliveries.operator.use_bus(name)
        deliveries.complete(1)
    PostgresWebhooks(deliveries.engine, "elsewhere").use_bus(NAME)
    deliveries.operator.use_bus("")
    deliveries.complete(1)
    server, bus = deliveries.operator.receivers()
    assert (bus.url, bus.waiting, bus.disabled_at is not None) == (f"{BUS}other", 3, True)
    assert (server.waiting, server.disabled_at) == (4, None)
    deliveries.operator.use_bus("other")
    assert deliveries.operator.receivers()[1].disabled_at is None
