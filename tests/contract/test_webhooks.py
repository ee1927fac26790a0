"""Webhooks from the event to the receiver: in order, at least once, nothing lost."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.answers import CompletedAnswer
from chalicelib.domain.errors import BadRequestError, NotFoundError, WebhookError
from chalicelib.domain.service_accounts import ServiceAccount
from chalicelib.domain.tasks import Difficulty, Result
from chalicelib.domain.webhooks import MAX_AGE, EventType, new_secret
from chalicelib.services.webhooks import MAX_REFUSALS, deliver
from chalicelib.storage.service_store import PostgresServiceStore
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.user_store import PostgresUserStore
from chalicelib.storage.webhook_sender import WebhookSender
from chalicelib.storage.webhook_store import PostgresWebhooks
from ops import webhooks
from tests.support.api import World
from tests.support.fronts import free_port
from tests.support.log_lines import logged
from tests.support.outboxes import POLICY, Outbox
from tests.support.receivers import NoBus, Receiver, is_genuine, listening

pytestmark = pytest.mark.slow


def tasks_of(receiver: Receiver) -> list[str]:
    return [one["data"]["task_id"] for one in receiver.accepted]


def test_a_completion_arrives_signed(deliveries: Outbox) -> None:
    receiver = Receiver()
    with listening(receiver) as url:
        secret = deliveries.add(url)
        (task_id,) = deliveries.complete(1)
        assert deliveries.deliver() == 1
        assert deliveries.deliver() == 0
    ((headers, body),) = receiver.seen
    assert is_genuine(secret, headers, body)
    assert not is_genuine(new_secret(), headers, body)
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    (event,) = receiver.accepted
    assert (event["type"], event["data"]["task_id"], event["data"]["user_id"]) == ("completion", task_id, "ada")
    assert (event["data"]["is_correct"], event["data"]["actual_time_seconds"]) == (True, 30.0)
    assert (event["data"]["subject"], event["data"]["difficulty"], event["data"]["learner_id"]) == (
        "Math",
        "hard",
        None,
    )
    assert datetime.fromisoformat(event["timestamp"]) >= datetime.fromisoformat(event["data"]["completed_at"])


def test_a_full_disk_is_one_line_a_minute_and_loses_nothing(deliveries: Outbox) -> None:
    """PostgreSQL refuses to note deliveries, so the event is sent again until it can be noted."""
    receiver = Receiver()
    with listening(receiver) as url, logged() as said:
        deliveries.add(url)
        (task_id,) = deliveries.complete(1)
        with deliveries.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END$$"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER full_disk BEFORE UPDATE ON webhook_deliveries EXECUTE FUNCTION full_disk()"
            )
        assert [deliveries.deliver() for _ in range(5)] == [0] * 5
        with deliveries.engine.begin() as connection:
            connection.exec_driver_sql("DROP FUNCTION full_disk CASCADE")
        assert deliveries.deliver() == 1
    assert tasks_of(receiver) == [task_id] * 6
    errors = [line for line in map(json.loads, said.getvalue().splitlines()) if line["level"] == "ERROR"]
    assert len(errors) == 1
    assert "not sent or noted" in errors[0]["message"]


def test_repeats_and_corrections_are_no_events(deliveries: Outbox) -> None:
    deliveries.add("http://127.0.0.1:1/")
    (task_id,) = deliveries.complete(1)
    tasks = PostgresTaskStore(deliveries.api, "default")
    for correct in (True, False):
        tasks.complete("ada", task_id, Result(correct, 30.0), None, POLICY)
    (found,) = deliveries.operator.receivers()
    assert found.waiting == 1


def test_each_answer_of_a_batch_is_one_event_in_order(deliveries: Outbox) -> None:
    receiver, begin = Receiver(), datetime(2026, 1, 5, tzinfo=UTC)
    answers = [
        CompletedAnswer(f"student {n % 3}", f"a-{n}", "Math", "Algebra", Difficulty.EASY, True, 5.0, begin + n * MINUTE)
        for n in range(20)
    ]
    with listening(receiver) as url:
        deliveries.add(url)
        for _ in range(2):
            PostgresTaskStore(deliveries.api, "default").add_answers(answers[::-1], POLICY)
        assert deliveries.deliver() == 20
    assert tasks_of(receiver) == [one.task_id for one in answers]


MINUTE = timedelta(minutes=1)


def serve(deliveries: Outbox, name: str, *learners: str) -> dict[str, str]:
    account = ServiceAccount(f"id of {name}", name, frozenset(), "")
    values = {"id": account.id, "name": name}
    with deliveries.engine.connect() as connection:
        connection.execute(text("INSERT INTO service_accounts (id, name, scopes) VALUES (:id, :name, '{}')"), values)
    ids = {learner: account.user_id(learner) for learner in learners}
    PostgresServiceStore(deliveries.api).add_learners(account.id, ids, 0)
    return ids


@pytest.mark.parametrize("in_a_batch", [False, True])
def test_a_service_hears_of_its_own_learners_only(deliveries: Outbox, *, in_a_batch: bool) -> None:
    ids = [*serve(deliveries, "school", "pupil").values(), *serve(deliveries, "club", "player").values(), "ada"]
    receivers = {name: Receiver() for name in ("school", "club", None)}
    with ExitStack() as stack:
        for name, receiver in receivers.items():
            url = stack.enter_context(listening(receiver))
            deliveries.operator.add(url, new_secret(), list(EventType), name)
        if in_a_batch:
            answers = [CompletedAnswer(one, "a", "Math", "Algebra", Difficulty.EASY, True) for one in ids]
            PostgresTaskStore(deliveries.api, "default").add_answers(answers, POLICY)
        else:
            for one in ids:
                deliveries.complete(1, one)
        assert deliveries.deliver() == 5
    heard = {
        name: {one["data"]["user_id"]: one["data"]["learner_id"] for one in receiver.accepted}
        for name, receiver in receivers.items()
    }
    assert heard == {"school": {ids[0]: "pupil"}, "club": {ids[1]: "player"}, None: dict.fromkeys(ids)}


def test_a_service_hears_of_trainings(deliveries: Outbox) -> None:
    serve(deliveries, "school")
    deliveries.operator.add("http://127.0.0.1:1/", new_secret(), list(EventType), "school")
    PostgresTracker(deliveries.trainer).fail_request(deliveries.lease(), "no memory", POLICY)
    assert deliveries.operator.receivers()[0].waiting == 1


def test_trainings_and_promotions_are_events(deliveries: Outbox) -> None:
    receiver, tracker = Receiver(), PostgresTracker(deliveries.trainer)
    with listening(receiver) as url:
        deliveries.add(url)
        for version in ("v1", "v1", "v2"):
            more: dict[str, Any] = {"counted": 0, "n_samples": 7, "policy": POLICY, "seconds": 1.5}
            tracker.finish(deliveries.lease(), version=version, **more)
        tracker.fail_request(deliveries.lease(), "no memory", POLICY)
        for again in ("v1", "v1"):
            PostgresTracker(deliveries.api).set_model_version("default", again)
        deliveries.deliver()
    complete, promoted = "training.complete", "version.promoted"
    assert sorted(receiver.types[:2]) == [complete, promoted]
    assert sorted(receiver.types) == sorted([complete] * 3 + [promoted] * 3 + ["training.failed"])
    found = [one["data"] for one in receiver.accepted if one["type"] == promoted]
    assert [(one["previous_version"], one["model_version"]) for one in found] == [
        (None, "v1"),
        ("v1", "v2"),
        ("v2", "v1"),
    ]
    (failed,) = [one["data"] for one in receiver.accepted if one["type"] == "training.failed"]
    assert (failed["error"], failed["failures"]) == ("no memory", 1)
    done = next(one["data"] for one in receiver.accepted if one["type"] == complete)
    assert (done["model_version"], done["n_samples"], done["seconds"]) == ("v1", 7, 1.5)


def test_a_receiver_gets_the_events_of_its_cohort_that_it_chose(deliveries: Outbox) -> None:
    receivers = [Receiver() for _ in range(3)]
    with listening(receivers[0]) as one, listening(receivers[1]) as two, listening(receivers[2]) as three:
        deliveries.add(one)
        deliveries.add(two, EventType.TRAINING_FAILED)
        deliveries.add(three, cohort="other")
        deliveries.complete(2)
        assert deliveries.deliver() == 2
    assert [len(receiver.accepted) for receiver in receivers] == [2, 0, 0]


def test_nothing_is_lost_while_a_receiver_is_down(deliveries: Outbox) -> None:
    receiver, port = Receiver(), free_port()
    with listening(receiver, port) as url:
        deliveries.add(url)
        expected = deliveries.complete(3)
        assert deliveries.deliver() == 3
    expected += deliveries.complete(3)
    for _ in range(4):
        assert deliveries.deliver() == 0
        deliveries.pause_is_over()
    (found,) = deliveries.operator.receivers()
    assert (found.waiting, found.dead, found.failures) == (3, 0, 4)
    assert "refused" in (found.last_error or "")
    with listening(receiver, port):
        expected += deliveries.complete(1)
        assert deliveries.deliver() == 4
    assert tasks_of(receiver) == expected
    assert deliveries.operator.receivers()[0].failures == 0


def test_a_receiver_that_fails_is_left_alone_for_a_while(deliveries: Outbox) -> None:
    receiver = Receiver()
    receiver.statuses = [500, 500, 204]
    with listening(receiver) as url:
        deliveries.add(url)
        expected = deliveries.complete(3)
        assert deliveries.deliver() == deliveries.deliver() == 0
        assert len(receiver.seen) == 1
        deliveries.pause_is_over()
        assert deliveries.deliver() == 0
        deliveries.pause_is_over()
        assert deliveries.deliver() == 3
    assert tasks_of(receiver) == expected
    first = {headers["webhook-id"] for headers, _ in receiver.seen[:3]}
    assert first == {receiver.ids[0]}
    assert len(set(receiver.ids)) == 3


def test_a_slow_receiver_delays_no_other_and_no_completion(deliveries: Outbox) -> None:
    slow, quick = Receiver(), Receiver()
    slow.held = threading.Event()
    with listening(slow) as one, listening(quick) as two, ThreadPoolExecutor(1) as pool:
        for url in (one, two):
            deliveries.add(url)
        deliveries.complete(2)
        running = pool.submit(deliveries.deliver, budget=0.01)
        running.result(timeout=30)
        assert slow.accepted == []
        deliveries.complete(1)
        slow.held.set()
        deliveries.pause_is_over()
        while deliveries.deliver():
            pass
    assert len(quick.accepted) == 3
    assert len(set(slow.ids)) == 3


def test_two_programs_do_not_deliver_to_one_receiver_at_once(deliveries: Outbox) -> None:
    receiver = Receiver()
    with listening(receiver) as url, ThreadPoolExecutor(4) as pool:
        deliveries.add(url)
        expected = deliveries.complete(20)
        assert sum(pool.map(lambda _: deliveries.deliver(), range(4))) == 20
    assert tasks_of(receiver) == expected


def test_an_event_is_sent_again_if_its_program_died(deliveries: Outbox) -> None:
    receiver = Receiver()
    with listening(receiver) as url:
        deliveries.add(url)
        expected = deliveries.complete(1)
        (taken,) = deliveries.operator.take(60)
        assert deliveries.operator.take(60) == []
        (delivery,) = deliveries.operator.next_events(taken)
        WebhookSender(private=True).send(url, {"webhook-id": delivery.message_id}, delivery.body)
        with deliveries.engine.connect() as connection:
            connection.execute(text("UPDATE webhook_receivers SET lease_expires_at = now() - interval '1 second'"))
        assert deliveries.deliver() == 1
    assert tasks_of(receiver) == expected * 2
    assert len(set(receiver.ids)) == 1


def test_a_refused_event_dies_and_those_behind_it_arrive(deliveries: Outbox) -> None:
    receiver = Receiver()
    receiver.statuses = [*[422] * MAX_REFUSALS, 204]
    with listening(receiver) as url:
        deliveries.add(url)
        expected = deliveries.complete(3)
        for _ in range(MAX_REFUSALS):
            assert deliveries.deliver() == 0
            deliveries.pause_is_over()
        assert deliveries.deliver() == 2
        assert tasks_of(receiver) == expected[1:]
        (found,) = deliveries.operator.receivers()
        assert (found.waiting, found.dead) == (0, 1)
        assert deliveries.operator.replay(found.id, None) == 1
        assert deliveries.deliver() == 1
    assert tasks_of(receiver) == [*expected[1:], expected[0]]


def test_failures_of_other_kinds_are_not_refusals(deliveries: Outbox) -> None:
    receiver = Receiver()
    receiver.statuses = [*[500] * MAX_REFUSALS, 422, 204]
    with listening(receiver) as url:
        deliveries.add(url)
        deliveries.complete(1)
        for _ in range(MAX_REFUSALS + 1):
            assert deliveries.deliver() == 0
            deliveries.pause_is_over()
        assert deliveries.deliver() == 1


@pytest.mark.parametrize("error", [WebhookError("alert \0\n ü"), ValueError("label too long")])
def test_every_failure_is_noted(deliveries: Outbox, error: Exception) -> None:
    class Failing(WebhookSender):
        def send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
            raise error

    deliveries.add("http://127.0.0.1:1/")
    deliveries.complete(1)
    assert deliver(PostgresWebhooks(deliveries.api, "default"), Failing(private=True), NoBus()) == 0
    (found,) = deliveries.operator.receivers()
    assert (found.waiting, found.failures) == (1, 1)
    assert found.last_error is not None
    assert found.last_error.isascii()
    assert found.last_error.isprintable()


def test_old_events_die_together_if_the_receiver_fails(deliveries: Outbox) -> None:
    deliveries.add("http://127.0.0.1:1/")
    receiver = Receiver()
    receiver.statuses = [410]
    with listening(receiver) as url:
        deliveries.add(url)
        deliveries.add("http://127.0.0.1:2/")
        deliveries.complete(3)
        deliveries.deliver()
    with deliveries.engine.connect() as connection:
        connection.execute(text("UPDATE webhook_deliveries SET created_at = now() - interval '4 days' WHERE id <> 9"))
        connection.execute(text("UPDATE webhook_receivers SET failures = 0 WHERE id <> 1"))
    PostgresWebhooks(deliveries.api, "default").prune()
    assert [(one.waiting, one.dead) for one in deliveries.operator.receivers()] == [(0, 3), (0, 3), (3, 0)]


def test_a_program_without_the_lease_changes_nothing(deliveries: Outbox) -> None:
    deliveries.add("http://127.0.0.1:1/")
    deliveries.complete(1)
    (late,) = deliveries.operator.take(60)
    (delivery,) = deliveries.operator.next_events(late)
    with deliveries.engine.connect() as connection:
        connection.execute(text("UPDATE webhook_receivers SET lease_expires_at = now() - interval '1 second'"))
    assert deliveries.operator.next_events(late) == []
    (taken,) = deliveries.operator.take(60)
    deliveries.operator.failed(late, delivery, "late", wait=60, refused=True, dead=True, gone=True)
    deliveries.operator.delivered(late, [delivery])
    deliveries.operator.release(late)
    assert deliveries.operator.take(60) == []
    assert deliveries.operator.next_events(taken) == [delivery]
    (found,) = deliveries.operator.receivers()
    assert (found.waiting, found.failures, found.disabled_at) == (1, 0, None)


def test_each_receiver_has_time_of_its_own(deliveries: Outbox) -> None:
    receivers, budget, is_over = [Receiver() for _ in range(12)], 2.0, threading.Event()

    class Slow(WebhookSender):
        def send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
            is_over.wait(10)  # the first ones use up the time that all of them once shared
            return super().send(url, headers, body)

    with ExitStack() as stack:
        for receiver in receivers:
            deliveries.add(stack.enter_context(listening(receiver)))
        deliveries.complete(1)
        timer = threading.Timer(budget + 0.1, is_over.set)
        timer.start()
        assert deliver(PostgresWebhooks(deliveries.api, "default"), Slow(private=True), NoBus(), budget=budget) == 12


def test_nothing_is_sent_of_a_student_who_was_deleted(deliveries: Outbox) -> None:
    receiver = Receiver()

    class Erasing(WebhookSender):
        def send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
            PostgresUserStore(deliveries.engine, "default").erase("ada")
            return super().send(url, headers, body)

    with listening(receiver) as url:
        deliveries.add(url)
        deliveries.complete(1, "eve")
        deliveries.complete(3, "ada")
        expected = deliveries.complete(1, "eve")
        deliver(PostgresWebhooks(deliveries.api, "default"), Erasing(private=True), NoBus())
    assert tasks_of(receiver)[1:] == expected


def test_an_event_that_is_too_old_dies(deliveries: Outbox) -> None:
    receiver = Receiver()
    receiver.statuses = [500]
    with listening(receiver) as url:
        deliveries.add(url)
        deliveries.complete(1)
        deliveries.deliver(now=lambda: datetime.now(UTC) + MAX_AGE + MINUTE)
    (found,) = deliveries.operator.receivers()
    assert (found.waiting, found.dead) == (0, 1)


def test_a_receiver_that_is_gone_is_disabled(deliveries: Outbox) -> None:
    receiver = Receiver()
    receiver.statuses = [410, 204]
    with listening(receiver) as url:
        deliveries.add(url)
        expected = deliveries.complete(2)
        deliveries.deliver()
        deliveries.pause_is_over()
        assert deliveries.deliver() == 0
        deliveries.complete(1)  # of a receiver that is disabled, no events are kept
        (found,) = deliveries.operator.receivers()
        assert found.disabled_at is not None
        deliveries.operator.replay(found.id, None)
        assert deliveries.deliver() == 2
    assert tasks_of(receiver) == expected


def test_an_operator_can_send_all_since_a_time_again(deliveries: Outbox) -> None:
    receiver = Receiver()
    with listening(receiver) as url:
        deliveries.add(url)
        expected = deliveries.complete(3)
        deliveries.deliver()
        (found,) = deliveries.operator.receivers()
        assert deliveries.operator.replay(found.id, None) == 0
        assert deliveries.operator.replay(found.id, datetime.now(UTC) + MINUTE) == 0
        assert deliveries.operator.replay(found.id, datetime.now(UTC) - MINUTE) == 3
        assert deliveries.deliver() == 3
    assert tasks_of(receiver) == expected * 2
    assert receiver.ids[:3] == receiver.ids[3:]


def test_an_operator_can_skip_an_event_and_remove_a_receiver(deliveries: Outbox) -> None:
    deliveries.add("http://127.0.0.1:1/")
    deliveries.complete(2)
    (found,) = deliveries.operator.receivers()
    deliveries.operator.skip(found.id)
    assert (deliveries.operator.receivers()[0].waiting, deliveries.operator.receivers()[0].dead) == (1, 1)
    deliveries.operator.skip(found.id)
    with pytest.raises(NotFoundError, match="no event"):
        deliveries.operator.skip(found.id)
    deliveries.operator.remove(found.id)
    assert deliveries.operator.receivers() == []
    for change in (deliveries.operator.remove, lambda id_: deliveries.operator.replay(id_, None)):
        with pytest.raises(NotFoundError, match="no receiver"):
            change(found.id)


def test_old_events_are_deleted_and_waiting_ones_are_not(deliveries: Outbox) -> None:
    deliveries.add("http://127.0.0.1:1/")
    deliveries.complete(4)
    ages = {1: "delivered_at = now() - interval '8 days'", 2: "delivered_at = now()"}
    ages |= {3: "dead_at = now() - interval '31 days'", 4: "attempts = 0"}
    with deliveries.engine.connect() as connection:
        for n, change in ages.items():
            old = "created_at = now() - interval '60 days'"
            connection.execute(text(f"UPDATE webhook_deliveries SET {old}, {change} WHERE id = :n"), {"n": n})
        PostgresWebhooks(deliveries.api, "default").prune()
        left = connection.execute(text("SELECT id FROM webhook_deliveries ORDER BY id")).scalars().all()
    assert left == [2, 4]


def test_the_deletion_of_an_account_deletes_its_events(deliveries: Outbox) -> None:
    deliveries.add("http://127.0.0.1:1/")
    deliveries.complete(2)
    deliveries.complete(1, "eve")
    PostgresUserStore(deliveries.api, "default").erase("ada")
    assert deliveries.operator.receivers()[0].waiting == 1


@pytest.mark.parametrize(
    "change", ["url = 'https://example.org/'", "secret = ''", "service_id = NULL", "events = '{}'"]
)
def test_the_api_may_not_change_where_events_go(deliveries: Outbox, change: str) -> None:
    deliveries.add("http://127.0.0.1:1/")
    with deliveries.api.connect() as connection, pytest.raises(DBAPIError, match="permission denied"):
        connection.execute(text(f"UPDATE webhook_receivers SET {change}"))


def command(deliveries: Outbox, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    webhooks.add_arguments(parser)
    container = World().container()
    container.engine, container.sender = deliveries.engine, WebhookSender(private=False)
    return webhooks.run(container, parser.parse_args(arguments))


def test_an_operator_adds_and_lists_receivers(deliveries: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(deliveries, "add", "https://app.example.org/hooks", "--events", "completion, training.failed") == 0
    secret = capsys.readouterr().out.splitlines()[1]
    assert secret.startswith("whsec_")
    deliveries.complete(2)
    assert command(deliveries, "list") == 0
    listed = capsys.readouterr().out
    assert all(part in listed for part in ("https://app.example.org/hooks", "completion,training.failed", "never"))
    assert secret not in listed
    assert command(deliveries, "list", "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["waiting"], shown["dead"], shown["failures"]) == (2, 0, 0)
    assert "secret" not in shown
    for arguments in (("skip", "1"), ("replay", "1", "--since", "2026-01-01"), ("remove", "1")):
        assert command(deliveries, *arguments) == 0
    assert "1 event will be sent again to receiver 1." in capsys.readouterr().out
    assert deliveries.operator.receivers() == []


def test_an_operator_adds_the_receiver_of_a_service(deliveries: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    ids = serve(deliveries, "school", "pupil")
    assert command(deliveries, "add", "https://app.example.org/", "--service", "school") == 0
    deliveries.complete(1, ids["pupil"])
    deliveries.complete(1, "ada")
    capsys.readouterr()
    assert command(deliveries, "list", "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["service"], shown["waiting"]) == ("school", 1)
    with pytest.raises(NotFoundError, match="no service account 'scool'"):
        command(deliveries, "add", "https://app.example.org/", "--service", "scool")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "http://app.example.org/"], "must begin with https"),
        (["add", "https://app.example.org/", "--events", "all"], "unknown event all"),
        (["replay", "1", "--since", "yesterday"], "not a time"),
    ],
)
def test_what_an_operator_mistypes_is_named(deliveries: Outbox, arguments: list[str], message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        command(deliveries, *arguments)
