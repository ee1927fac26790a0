"""The training protocol: the worker dies at each of its steps, and another one finishes its work."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest

from infra.local import postgres
from tests.support.faults.databases import kill_and_restart
from tests.support.faults.rules import Rule
from tests.support.faults.world import MARKS, World

pytestmark = MARKS

TAKING_THE_LEASE = "^UPDATE [^-]*training_enqueued_at = coalesce"
FINISHING = r"^WITH changed AS \( UPDATE embedding_model_tracker k SET n_samples"


def committing(world: World, **what: object) -> Rule:
    """A rule at the COMMIT of the transaction that ends a training."""
    rule = Rule("^COMMIT", **what)  # type: ignore[arg-type]
    world.worker_database.at(FINISHING, after=True, act=lambda: world.worker_database.rules.add(rule))
    return rule


BEFORE_THE_POINTER: dict[str, Callable[[World], Rule]] = {
    "at receive": lambda world: world.worker_aws.at("ReceiveMessage", after=True),
    "taking the lease": lambda world: world.worker_database.at(TAKING_THE_LEASE, after=True),
    "holding the lease": lambda world: world.worker_aws.at("ChangeMessageVisibility"),
    "in the dataset": lambda world: world.worker_database.at("^COPY"),
    "in an epoch": lambda world: world.worker_database.at('^UPDATE [^-]*SET progress = .* -- .*"epoch"'),
    "between two files": lambda world: world.worker_aws.at("PUT .*/time_model.keras"),
    "before the metadata": lambda world: world.worker_aws.at("PUT .*/metadata.json"),
    "before the pointer": lambda world: world.worker_aws.at("PUT .*/champion.json"),
}
AFTER_THE_POINTER: dict[str, Callable[[World], Rule]] = {
    "after the pointer": lambda world: world.worker_aws.at("PUT .*/champion.json", after=True),
    "before the tracker's transaction": lambda world: world.worker_database.at(FINISHING),
    "before the commit": committing,
}
AFTER_THE_COMMIT: dict[str, Callable[[World], Rule]] = {
    "after the commit": lambda world: committing(world, after=True),
    "before the deletion": lambda world: world.worker_aws.at("DeleteMessage"),
    "after the deletion": lambda world: world.worker_aws.at("DeleteMessage", after=True),
}


@pytest.mark.parametrize("place", BEFORE_THE_POINTER)
def test_a_worker_killed_before_its_publish(world: World, place: str) -> None:
    world.complete(10, seconds=0.0)
    world.killed_worker(BEFORE_THE_POINTER[place](world), keras=place == "in an epoch")
    assert world.champion is None
    world.work_until_idle(keras=place == "in an epoch")
    assert (world.status().n_samples_since_training, world.status().n_samples_last_training) == (0, 10)
    assert world.predict() == ("embedding", world.champion)
    world.check()


@pytest.mark.parametrize("place", AFTER_THE_POINTER)
def test_a_worker_killed_between_its_publish_and_its_end(world: World, place: str) -> None:
    world.complete(10)
    world.killed_worker(AFTER_THE_POINTER[place](world))
    published = world.champion
    assert published is not None
    assert world.status().n_samples_since_training == 10
    world.complete(2)
    world.work_until_idle()
    assert world.champion == published
    # The two that came meanwhile are not in the version that was published.
    assert (world.status().n_samples_since_training, world.status().n_samples_last_training) == (2, 10)
    world.check()


@pytest.mark.parametrize("place", AFTER_THE_COMMIT)
def test_a_worker_killed_after_its_training_was_counted(world: World, place: str) -> None:
    world.complete(10)
    world.killed_worker(AFTER_THE_COMMIT[place](world))
    assert (world.status().n_samples_since_training, world.status().training_request_id) == (0, None)
    if place != "after the deletion":
        world.wait_for_message()
        assert "is over, its message is dropped" in world.work()
    assert world.depth() == (0, 0)
    world.check()


def test_a_worker_killed_before_it_sends_the_next_request(world: World) -> None:
    world.complete(10)
    held, worker = world.held_worker("PUT .*/champion.json")
    world.complete(6)
    world.worker_aws.at("SendMessage", act=worker.kill, cut=True)
    held.released.set()
    worker.wait()
    status = world.status()
    assert (status.n_samples_since_training, status.training_enqueued_at) == (6, None)
    assert status.training_request_id is not None
    assert world.sweep() == 1
    world.work_until_idle()
    assert (world.status().n_samples_since_training, world.status().n_samples_last_training) == (0, 16)
    world.check()


def test_a_worker_that_is_killed_takes_its_training_along(world: World) -> None:
    world.complete(10)
    held, worker = world.held_worker()
    family = psutil.Process(worker.pid).children(recursive=True)
    assert len(family) == 2, "the process that forks, and its fork"
    worker.kill()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    held.released.set()
    world.work_until_idle()
    world.check()


def test_a_training_that_is_killed_has_failed_and_the_worker_goes_on(world: World) -> None:
    world.complete(10)
    held, worker = world.held_worker()
    psutil.Process(worker.pid).children(recursive=True)[-1].kill()
    said = worker.wait()
    held.released.set()
    assert "Background training failed: the training process was killed by signal 9 (out of memory?)" in said
    assert "killed by signal 9" in (world.status().last_error or "")
    assert world.champion is None
    world.work_until_idle()
    assert world.status().last_error is None
    world.check()


def test_a_worker_that_is_asked_to_stop_gives_its_training_back(world: World) -> None:
    world.complete(10, seconds=0.0)
    held, worker = world.held_worker(keras=True)
    family = psutil.Process(worker.pid).children(recursive=True)
    worker.terminate()
    assert "training is given back" in worker.wait()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    world.wait_for_message()
    held.released.set()
    world.work_until_idle()
    assert world.status().last_error is None
    world.check()


def test_postgresql_is_killed_during_a_training(fragile: World, fragile_server: postgres.Postgres) -> None:
    fragile.complete(10, seconds=0.0)
    held, worker = fragile.held_worker("PUT .*/correctness_model.keras", keras=True)
    kill_and_restart(fragile_server)
    held.released.set()
    assert "Background training complete" in worker.wait()
    assert (fragile.status().n_samples_since_training, fragile.status().last_error) == (0, None)
    fragile.check()


def test_postgresql_is_away_when_a_training_ends(world: World) -> None:
    world.complete(10)
    away = world.worker_database.down(FINISHING)
    assert "PostgreSQL does not answer" in world.work()
    assert away.n_met == 2
    world.worker_database.rules.clear()
    assert world.champion is not None
    world.work_until_idle()
    world.check()


def test_the_answer_to_the_end_of_a_training_is_lost(world: World) -> None:
    world.complete(10)
    committing(world, after=True, cut=True)
    world.work()
    assert (world.status().n_samples_since_training, world.status().training_request_id) == (0, None)
    world.wait_for_message()
    assert "is over, its message is dropped" in world.work()
    world.check()


def test_a_disk_without_room_for_the_networks(world: World) -> None:
    world.complete(10, seconds=0.0)
    said = world.work(largest_file=20_000, keras=True)
    assert "Background training failed" in said
    assert "File too large" in said
    assert "OSError" in (world.status().last_error or "")
    assert world.champion is None
    world.work_until_idle()
    assert world.status().last_error is None
    world.check()


def test_a_training_fails_three_times_and_a_completion_after_the_wait_asks_again(world: World) -> None:
    world.complete(10)
    world.worker_database.down("^COPY")
    for _ in range(3):
        world.wait_for_message()
        assert "Background training failed" in world.work()
    world.worker_database.rules.clear()
    world.work_until_no_message()
    status = world.status()
    assert (status.training_request_id, status.n_samples_since_training) == (None, 10)
    assert status.last_error == "DatabaseUnavailableError: PostgreSQL does not answer: network error"
    world.check("dead-letters", "training-failed")
    assert not world.complete(1)[0]["queued"]
    world.end_wait()
    world.check("dead-letters", "training-due", "training-failed")
    assert world.complete(1)[0]["queued"]
    world.work_until_idle()
    assert (world.status().last_error, world.status().n_samples_last_training) == (None, 12)
    world.check("dead-letters")


def test_s3_is_down_in_the_middle_of_a_publish(world: World) -> None:
    world.complete(10)
    world.worker_aws.down("PUT .*/lnirt.json")
    assert "Background training failed" in world.work()
    assert world.champion is None
    world.worker_aws.rules.clear()
    world.work_until_idle()
    world.check()


def test_sqs_is_down_when_a_message_should_be_deleted(world: World, moto: psutil.Process) -> None:
    world.complete(10)
    down = world.worker_aws.at("DeleteMessage", cut=True, times=2)
    said = world.work()
    assert down.n_met == 2
    assert "deleting a message failed" in said
    world.lift_faults()
    world.work_until_no_message()
    world.check()
