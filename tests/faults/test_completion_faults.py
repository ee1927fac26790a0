"""The completion protocol: each of its steps fails, dies, comes twice, at once or late."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psutil
import pytest

from chalicelib.domain.tasks import Difficulty
from chalicelib.storage.database import connect
from infra.local import postgres
from ops.imports.importer import import_file
from tests.support import small_disks
from tests.support.faults.databases import kill, kill_and_restart, start
from tests.support.faults.world import MARKS, TASK, World
from tests.support.servers import TEMPLATE_DATABASE
from tests.support.waiting import wait_for

pytestmark = MARKS

COMPLETING = "^WITH student AS"
CREATING = "^WITH account AS"
STAMPING = "^UPDATE embedding_model_tracker SET training_enqueued_at"


def test_sqs_is_down_at_the_fifth_completion(world: World) -> None:
    world.complete(9)
    world.api_aws.down("SendMessage")
    assert world.complete(1)[0]["queued"]
    assert world.status().training_enqueued_at is None
    world.api_aws.rules.clear()
    assert world.sweep() == 1
    world.work_until_idle()
    assert (world.status().n_samples_since_training, world.status().n_samples_last_training) == (0, 10)
    world.check()


def test_sqs_is_paused_at_the_fifth_completion_and_sends_late(world: World, moto: psutil.Process) -> None:
    world.complete(9)
    task = world.create()
    moto.suspend()
    try:
        assert world.answer(task["id"], True, 0.0).status == 200
    finally:
        moto.resume()
    world.wait_for_message()
    assert world.sweep() == 1
    assert world.depth() == (1, 0)
    world.work_until_idle()
    world.check()


def test_the_lambda_is_killed_after_commit_and_before_send(world: World) -> None:
    world.complete(9)
    task = world.create()
    world.killed_lambda(task["id"], world.api_aws.at("SendMessage"))
    assert world.status().training_enqueued_at is None
    assert world.answer(task["id"], True, 0.0).status == 200
    assert world.status().n_samples_total == 10
    assert world.sweep() == 1
    world.work_until_idle()
    world.check()


def test_the_lambda_is_killed_after_send_and_before_the_stamp(world: World) -> None:
    world.complete(9)
    task = world.create()
    world.killed_lambda(task["id"], world.api_database.at(STAMPING))
    assert world.depth() == (1, 0)
    assert world.sweep() == 1
    assert world.depth() == (1, 0)
    world.work_until_idle()
    world.check()


@pytest.mark.parametrize("after", [False, True], ids=["before it ran", "before its answer"])
def test_the_lambda_is_killed_in_the_completing_statement(world: World, after: bool) -> None:
    world.complete(3, seconds=20.0)
    task = world.create()
    world.killed_lambda(task["id"], world.api_database.at(COMPLETING, after=after))
    assert world.status().n_samples_total == 3 + after
    assert world.answer(task["id"], True, 0.0).status == 200
    assert world.status().n_samples_total == 4
    world.check()


@pytest.mark.parametrize("after", [False, True], ids=["before it ran", "before its answer"])
def test_the_connection_breaks_in_the_completing_statement(world: World, after: bool) -> None:
    world.complete(9)
    task = world.create()
    world.api_database.at(COMPLETING, after=after, cut=True)
    assert world.answer(task["id"]).status == 200
    status = world.status()
    assert (status.n_samples_since_training, status.n_samples_total) == (10, 10)
    assert status.training_request_id is not None
    # Who had the request did not live to hear of it: then the sweeper sends.
    assert (status.training_enqueued_at is None) == after
    assert world.sweep() == after
    assert world.depth() == (1, 0)
    world.check()


def test_the_connection_breaks_at_every_try_and_the_client_tries_again(world: World) -> None:
    world.complete(2, seconds=20.0)
    task = world.create()
    world.api_database.at(COMPLETING, after=True, cut=True)
    world.api_database.down("^BEGIN")
    assert world.answer(task["id"]).status == 503
    world.api_database.rules.clear()
    assert world.answer(task["id"]).status == 200
    assert world.status().n_samples_total == 3
    world.check()


def test_the_answer_to_a_creation_is_lost(world: World) -> None:
    world.api_database.at(CREATING, after=True, cut=True)
    task = world.create()
    listed = world.student.get("/practice-tasks").json
    assert [one["id"] for one in listed] == [task["id"]]
    assert world.answer(task["id"]).status == 200
    world.check()


def test_one_completion_comes_twice_at_once(world: World) -> None:
    task = world.create()
    held = world.api_database.hold(COMPLETING, times=2)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(world.student.patch, *completing(task["id"])) for _ in range(2))
        wait_for(lambda: held.n_met == 2, what="two completing statements")
        held.released.set()
        assert (first.result().status, second.result().status) == (200, 200)
    world.ledger.acknowledge(task["id"], (True, 20.0))
    assert world.status().n_samples_total == 1
    world.check()


def completing(task_id: str) -> tuple[str, dict[str, object]]:
    return f"/practice-tasks/{task_id}", {"is_correct": True, "actual_time_seconds": 20.0}


def test_ten_completions_of_one_student_come_at_once(world: World) -> None:
    tasks = [world.create(f"topic {n % 3}") for n in range(10)]
    held = world.api_database.hold(COMPLETING, times=4)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(world.answer, task["id"]) for task in tasks]
        wait_for(lambda: held.n_met == 4, what="four completing statements")
        held.released.set()
        assert [answer.result().status for answer in answers] == [200] * 10
    assert sum(answer.result().json["training"]["queued"] for answer in answers) == 1
    assert world.depth() == (1, 0)
    world.check()


def test_postgresql_is_killed_during_a_request(fragile: World, fragile_server: postgres.Postgres) -> None:
    fragile.complete(4, seconds=20.0)
    task = fragile.create()
    held = fragile.api_database.hold(COMPLETING)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fragile.answer, task["id"])
        held.wait_until_met()
        kill_and_restart(fragile_server)
        held.released.set()
        # The connection breaks with the server, and the second try may come before the server is back.
        assert answer.result(60).status in (200, 503)
    assert fragile.answer(task["id"]).status == 200
    assert fragile.status().n_samples_total == 5
    fragile.check()


def test_postgresql_is_away_and_comes_back(fragile: World, fragile_server: postgres.Postgres) -> None:
    fragile.complete(4, seconds=20.0)
    task = fragile.create()
    kill(fragile_server)
    try:
        assert fragile.answer(task["id"]).status == 503
        assert fragile.student.get("/health").status == 503
    finally:
        start(fragile_server)
    assert fragile.answer(task["id"]).status == 200
    assert fragile.status().n_samples_total == 5
    fragile.check()


def test_postgresql_is_paused_during_a_request(fragile: World, fragile_server: postgres.Postgres) -> None:
    task = fragile.create()
    assert fragile_server.process is not None
    server = psutil.Process(fragile_server.process.pid)
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(fragile.answer, task["id"])
            wait_for(lambda: fragile.ledger.unanswered, what="the request")
            for process in processes:
                process.resume()
            assert answer.result(60).status == 200
    finally:
        for process in processes:
            process.resume()
    fragile.check()


@pytest.mark.parametrize("seed", range(2))
def test_completion_correction_deletion_and_import_of_one_student_are_raced(
    world: World, seed: int, tmp_path: Path
) -> None:
    random = Random(seed)
    student = world.student.get("/auth/me").json["id"]
    tasks = [world.create(f"topic {n % 3}")["id"] for n in range(24)]
    paths = [history(tmp_path / f"{n}.csv", student, n) for n in range(2)]

    def delete(task: str) -> None:
        world.ledger.deleted.add(task)
        assert world.student.delete(f"/practice-tasks/{task}").status == 204

    def bring(path: Path) -> None:
        report = import_file(world.engine, world.cohort, path, datetime.now(UTC), lambda _: None)
        world.ledger.imported += report.added

    def correct(task: str) -> None:
        if world.answer(task, True).status == 200:
            assert world.answer(task, False, 33.0).status == 200

    work: list[Callable[[], object]] = [lambda task=task: correct(task) for task in tasks[:18]]  # type: ignore[misc]
    work += [lambda task=task: world.answer(task, True) for task in tasks[16:20]]  # type: ignore[misc]
    work += [lambda task=task: delete(task) for task in tasks[18:]]  # type: ignore[misc]
    work += [lambda path=path: bring(path) for path in (*paths, paths[0])]  # type: ignore[misc]
    random.shuffle(work)
    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result(60)
    # Whichever of two results of one task came last is stored: both were acknowledged.
    for task in tasks[16:18]:
        stored = world.student.get(f"/practice-tasks/{task}").json
        world.ledger.acknowledged[task] = (stored["is_correct"], stored["actual_time_seconds"])
    assert world.ledger.imported == 20
    world.check()


def history(path: Path, student: str, seed: int) -> Path:
    """A file of ten answers of the student, unlike those of another seed."""
    lines = ["user_id,subject,topic,difficulty,is_correct,actual_time_seconds,completed_at"]
    for n in range(10):
        at = datetime(2026, 1, 1 + seed, 10, n, tzinfo=UTC).isoformat()
        lines.append(f"{student},Math,topic {n % 3},{Difficulty.MEDIUM.value},{n % 3 > 0},{20 + n},{at}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_account_is_deleted_while_its_tasks_are_completed(world: World) -> None:
    other = world.sign_up(f"{uuid.uuid4().hex}@example.org")
    world.complete(3, seconds=20.0)
    tasks = [world.create(student=other)["id"] for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(world.answer, task, True, 20.0, other) for task in tasks[:4]]
        gone = pool.submit(other.post, "/auth/delete-account", {"password": "correct horse"})
        answers += [pool.submit(world.answer, task, True, 20.0, other) for task in tasks[4:]]
        assert {answer.result().status for answer in answers} <= {200, 401, 404}
        assert gone.result().status in (200, 204)
    world.ledger.deleted |= set(tasks)
    assert world.status().n_samples_total == 3
    world.check()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    with small_disks.small_disk() as place:
        yield place


@pytest.fixture
def cramped_url(small_disk: Path, fragile_server: postgres.Postgres) -> Iterator[str]:
    """The URL of a migrated database whose tables lie there. A server that lost a tablespace would not start again."""
    shutil.chown(small_disk, "nobody")
    name = f"cramped_{uuid.uuid4().hex}"
    engine = connect(fragile_server.url("postgres"), pool_size=1)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE TABLESPACE {name} LOCATION '{small_disk}'")
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE_DATABASE} TABLESPACE {name}")
        yield fragile_server.url(name)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        connection.exec_driver_sql(f"DROP TABLESPACE {name}")
        connection.exec_driver_sql("CHECKPOINT")
    engine.dispose()


def test_postgresqls_disk_has_no_room(
    small_disk: Path, cramped_url: str, fragile_server: postgres.Postgres, make_world: Callable[..., World]
) -> None:
    world = make_world(cramped_url, fragile_server)
    world.complete(3)
    tasks = [world.create()["id"] for _ in range(60)]
    ballast = small_disk / "ballast"
    small_disks.fill(ballast)
    long = {**TASK, "topic": "topic 1", "task_content": "x" * 9_000}
    statuses = [world.student.post("/practice-tasks", long).status for _ in range(40)]
    assert set(statuses[-10:]) == {503}, statuses
    answers = [world.answer(task).status for task in tasks]
    assert set(answers) <= {200, 503}, answers
    ballast.unlink()
    assert {world.answer(task).status for task in tasks} == {200}
    assert world.status().n_samples_total == 63
    world.check()
