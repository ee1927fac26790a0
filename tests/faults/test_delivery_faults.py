"""Messages that come twice, late or not at all, and two workers on one training."""

from __future__ import annotations

import json

from tests.support.faults.world import MARKS, World
from tests.support.waiting import wait_for

pytestmark = MARKS

RENEWING = "^UPDATE embedding_model_tracker SET lease_expires_at = clock_timestamp"


def message(world: World) -> str:
    """The body of the live request's message."""
    row = world.status()
    assert row.training_requested_at is not None
    request = {"request_id": row.training_request_id, "cohort": world.cohort, "reason": "threshold"}
    return json.dumps({**request, "requested_at": row.training_requested_at.isoformat()})


def test_one_message_comes_twice(world: World) -> None:
    world.complete(10)
    world.send(message(world), "another group", "another id")
    world.work()
    assert world.status().training_request_id is None
    assert "is over, its message is dropped" in world.work()
    assert world.depth() == (0, 0)
    world.check()


def test_one_message_comes_to_two_workers_at_once(patient: World) -> None:
    patient.complete(10)
    patient.send(message(patient), "another group", "another id")
    held = patient.worker_database.hold("^COPY")
    first = patient.worker()
    held.wait_until_met()
    assert "is being worked on" in patient.work()
    held.released.set()
    assert "Background training complete" in first.wait()
    patient.work_until_no_message()
    patient.check()


def test_a_paused_worker_loses_its_lease_and_does_not_publish_over_the_newer_champion(world: World) -> None:
    world.complete(10)
    resume = world.paused_worker("PUT .*/time_model.keras")
    world.work_until_idle()
    world.complete(5)
    world.work_until_idle()
    newest = world.champion
    assert world.status().n_samples_last_training == 15
    assert "no longer held by this worker" in resume()
    assert world.champion == newest
    world.check()


def test_a_slow_worker_that_dies_in_its_files_leaves_the_champions_files_whole(world: World) -> None:
    world.complete(10)
    held, slow = world.held_worker("PUT .*/time_model.keras")
    slow.pause()
    world.complete(1)
    world.work_until_idle()
    published = world.champion
    world.worker_aws.at("PUT .*/lnirt.json", act=slow.kill, cut=True)
    held.released.set()
    slow.resume()
    slow.wait()
    assert world.champion == published
    world.cold_start()
    assert world.predict() == ("embedding", published)
    world.check()


def test_a_slow_worker_does_not_write_its_verdict_over_the_champions(world: World) -> None:
    world.complete(10)
    resume = world.paused_worker("PUT .*/metadata.json")
    world.complete(1)
    world.work_until_idle()
    assert "no longer held by this worker" in resume()
    assert json.loads(world.read(world.key("metadata.json")))["n_samples"] == 11
    world.check()


def test_a_pointer_that_was_on_its_way_when_another_published_is_refused(world: World) -> None:
    world.complete(10)
    resume = world.paused_worker("PUT .*/champion.json")
    world.work_until_idle()
    published = world.champion
    assert published is not None
    assert "was moved meanwhile" in resume()
    assert world.champion == published
    world.check()


def test_a_training_longer_than_the_visibility_stays_hidden(world: World) -> None:
    world.complete(10)
    held, worker = world.held_worker()
    n_before = extensions(world)
    # Three times the length for which one heartbeat hides it.
    wait_for(lambda: extensions(world) >= n_before + 18, what="the heartbeats")
    assert world.depth() == (0, 1)
    held.released.set()
    assert "Background training complete" in worker.wait()
    assert world.depth() == (0, 0)
    world.check()


def extensions(world: World) -> int:
    return sum("ChangeMessageVisibility" in name for name in list(world.worker_aws.rules.seen))


def test_sqs_is_down_during_a_training_and_its_message_comes_again(patient: World) -> None:
    patient.complete(10)
    held, worker = patient.held_worker()
    patient.worker_aws.down("ChangeMessageVisibility")
    patient.wait_for_message()
    assert "is being worked on" in patient.work()
    held.released.set()
    assert "Background training complete" in worker.wait()
    patient.lift_faults()
    patient.work_until_no_message()
    patient.check()


def test_a_heartbeat_finds_no_postgresql_and_goes_on(world: World) -> None:
    world.complete(10)
    held, worker = world.held_worker()
    missed = world.worker_database.at(RENEWING, cut=True, times=2)
    wait_for(lambda: missed.n_met == 2, what="two heartbeats without an answer")
    n_before = extensions(world)
    wait_for(lambda: extensions(world) > n_before, what="a heartbeat that got through")
    held.released.set()
    assert "heartbeat failed, trying again" in worker.wait()
    assert (world.status().n_samples_since_training, world.status().last_error) == (0, None)
    world.check()


def test_a_message_that_is_no_request_goes_to_the_dead_letters_and_blocks_nobody(world: World) -> None:
    world.send("{}", world.cohort, "malformed")
    for _ in range(3):
        world.wait_for_message()
        assert "is no training request" in world.work()
    world.complete(10)
    wait_for(lambda: (world.work(), world.status())[1].training_request_id is None, what="the end of the training")
    assert world.status().n_samples_last_training == 10
    world.check("dead-letters")


def test_clocks_of_lambda_and_worker_are_twenty_minutes_apart(patient: World) -> None:
    patient.complete(9)
    first, second = patient.create(), patient.create()
    assert patient.lambda_process(first["id"], skew_seconds=600.0).status() == 200
    assert patient.status().training_enqueued_at is not None
    held, worker = patient.held_worker(skew_seconds=-600.0)
    # A worker whose clock is right finds the lease held: nobody's own clock judges it.
    patient.send(message(patient), "another group", "another id")
    assert "is being worked on" in patient.work()
    held.released.set()
    assert "Background training complete" in worker.wait()
    assert patient.lambda_process(second["id"], skew_seconds=600.0).status() == 200
    patient.work_until_no_message()
    patient.complete(4)
    patient.work_until_idle()
    assert patient.status().n_samples_last_training == 15
    patient.check()


def test_a_lambda_whose_clock_is_behind_takes_a_fresh_login(world: World) -> None:
    task = world.create()
    assert world.lambda_process(task["id"], skew_seconds=-600.0).status() == 200
    world.check()


def test_the_answer_to_the_pointers_move_is_lost(world: World) -> None:
    world.complete(10)
    world.worker_aws.at("PUT .*/champion.json", after=True, cut=True)
    assert "Background training complete" in world.work()
    assert (world.status().n_samples_since_training, world.status().model_version) == (0, world.champion)
    world.check()
