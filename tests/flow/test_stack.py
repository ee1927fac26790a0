"""The one-machine stack as processes: it starts, survives, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.stacks import RunningStack, alive, end, start
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

WELCOME = {"message": "Welcome to StudySmart AI API", "version": "1.0.0", "docs": "/docs"}
TASK = {"subject": "Mathematics", "topic": "Fractions", "difficulty": "medium", "task_content": "1/2 + 1/3"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack for the tests that leave it running."""
    stack = start(tmp_path_factory.mktemp("shared") / "state")
    yield stack
    end(stack)


def run_and_fail(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_stack_answers_with_the_welcome(shared: RunningStack) -> None:
    assert shared.get("/") == WELCOME


def test_the_stack_is_healthy(shared: RunningStack) -> None:
    assert shared.get("/health")["status"] == "healthy"


def test_an_unknown_route_answers_in_json(shared: RunningStack) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        shared.get("/no/such/route")
    assert caught.value.code == 404
    assert "detail" in json.load(caught.value)


def test_a_port_in_use_is_one_line_and_exit_status_1(shared: RunningStack, tmp_path: Path) -> None:
    port = shared.url.rpartition(":")[2]
    done = run_and_fail("--port", port, "--state-dir", str(tmp_path / "other"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: port {port} on 127.0.0.1 cannot be used: Address already in use"]


def test_a_second_stack_on_a_directory_is_one_line_and_exit_status_1(shared: RunningStack) -> None:
    done = run_and_fail("--port", "0", "--state-dir", str(shared.state))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: a stack runs on {shared.state} already (process {shared.process.pid})"]


@pytest.mark.parametrize("module", ["training_job", "infra.local.api", "infra.local.aws"])
def test_a_process_that_dies_is_started_again(shared: RunningStack, module: str) -> None:
    wait_for(lambda: shared.child(module), what=f"the start of {module}")
    victim = shared.child(module)
    assert victim is not None
    victim.kill()
    wait_for(lambda: (found := shared.child(module)) and found.pid != victim.pid, what=f"a new {module}")
    assert shared.get("/") == WELCOME


def test_an_empty_body_of_an_endless_length_is_refused(shared: RunningStack) -> None:
    host, _, port = shared.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in connection.makefile("rb").readline()


def test_head_is_answered_without_a_body(shared: RunningStack) -> None:
    host, _, port = shared.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer.endswith(b"\r\n\r\n")


def test_sigterm_stops_everything_with_exit_status_0(started: Callable[..., RunningStack], state_dir: Path) -> None:
    stack = started(state_dir)
    family = stack.family()
    assert len(family) > 4
    end(stack)
    assert stack.process.returncode == 0
    assert alive(family) == []
    assert not (state_dir / "stack.json").exists()


def test_a_supervisor_that_is_killed_takes_its_processes_with_it(
    started: Callable[..., RunningStack], state_dir: Path
) -> None:
    stack = started(state_dir)
    family = stack.family()
    stack.process.kill()
    stack.process.wait()
    wait_for(lambda: not alive(family), what="the end of all processes")


def test_accounts_objects_and_messages_survive_a_kill_of_the_process_group(
    started: Callable[..., RunningStack], state_dir: Path
) -> None:
    stack = started(state_dir)
    account = {"email": "ada@example.org", "password": "a long password"}
    user = stack.post("/auth/register", account)
    bucket, queue = stack.environment["REGISTRY_BUCKET"], stack.environment["TRAINING_QUEUE_URL"]
    etag = stack.client("s3").put_object(Bucket=bucket, Key="kept/a b.bin", Body=b"\x00\xff" * 1000)["ETag"]
    # Of a request that is not in the tracker, so whoever receives it drops it; sent while nobody receives.
    worker = stack.child("training_job")
    if worker is not None:
        worker.suspend()
    stack.client("sqs").send_message(
        QueueUrl=queue, MessageBody="kept", MessageGroupId="other", MessageDeduplicationId="1"
    )
    os.killpg(stack.process.pid, signal.SIGKILL)
    stack.process.wait()

    again = started(state_dir)
    assert {name: again.environment[name] for name in ("REGISTRY_BUCKET", "TRAINING_QUEUE_URL", "USER_POOL_ID")} == {
        name: stack.environment[name] for name in ("REGISTRY_BUCKET", "TRAINING_QUEUE_URL", "USER_POOL_ID")
    }
    again.login(account)
    assert again.get("/auth/me")["id"] == user["id"]
    kept = again.client("s3").get_object(Bucket=bucket, Key="kept/a b.bin")
    assert (kept["ETag"], kept["Body"].read()) == (etag, b"\x00\xff" * 1000)
    assert "1 accounts, 1 objects, 1 messages of an earlier run" in again.log()


def test_a_training_survives_a_kill_of_the_process_group_and_counts_nothing_twice(
    started: Callable[..., RunningStack], state_dir: Path
) -> None:
    stack = started(state_dir)
    account = {"email": "ada@example.org", "password": "a long password"}
    stack.post("/auth/register", account)
    stack.login(account)
    for number in range(10):
        complete_a_task(stack, correct=number % 3 > 0)
    wait_for(lambda: "Background training started" in stack.log(), what="the start of the training")
    os.killpg(stack.process.pid, signal.SIGKILL)
    stack.process.wait()

    again = started(state_dir)
    again.login(account)
    wait_for(lambda: again.get("/model/status")["training"] == "idle", 180.0, "the end of the training")
    status = again.get("/model/status")
    assert (status["counter"], status["n_samples_total"], status["n_samples_last_training"]) == (0, 10, 10)
    assert status["model_version"] is not None
    assert again.post("/practice-tasks", TASK)["prediction_source"] == "embedding"


def complete_a_task(stack: RunningStack, *, correct: bool) -> None:
    task = stack.post("/practice-tasks", TASK)
    stack.patch(f"/practice-tasks/{task['id']}", {"is_correct": correct, "actual_time_seconds": 30})
