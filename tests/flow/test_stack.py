"""The one-machine stack as processes: it starts, survives, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.stacks import RunningStack, alive, end, start
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

WELCOME = {"message": "Welcome to StudySmart AI API", "version": "1.0.0", "docs": "/docs"}
ACCOUNT = {"email": "ada@example.org", "password": "a long password"}
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


def answer_to(stack: RunningStack, request: bytes) -> bytes:
    """What the API answers to the bytes of a request."""
    with socket.create_connection((stack.api.http.base_url.host, stack.api.http.base_url.port or 0), 30) as connection:
        connection.sendall(request)
        return connection.makefile("rb").read()


def test_the_stack_answers_with_the_welcome(shared: RunningStack) -> None:
    assert shared.api.get("/") == WELCOME


def test_the_stack_is_healthy(shared: RunningStack) -> None:
    assert shared.api.get("/health")["status"] == "healthy"


def test_an_unknown_route_answers_in_json(shared: RunningStack) -> None:
    answer = shared.api.http.get("/no/such/route")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_a_port_in_use_is_one_line_and_exit_status_1(shared: RunningStack, tmp_path: Path) -> None:
    port = shared.api.url.rpartition(":")[2]
    done = run_and_fail("--port", port, "--state-dir", str(tmp_path / "other"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: port {port} on 127.0.0.1 cannot be used: Address already in use"]


def test_an_address_of_another_machine_is_one_line(tmp_path: Path) -> None:
    done = run_and_fail("--port", "0", "--host", "192.0.2.1", "--state-dir", str(tmp_path / "other"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: port 0 on 192.0.2.1 cannot be used: ")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has every address of 127.0.0.0/8")
def test_the_api_is_served_on_the_host_that_is_named(tmp_path: Path) -> None:
    stack = start(tmp_path / "state", "--host", "127.0.0.2")
    try:
        assert stack.api.http.base_url.host == "127.0.0.2"
        assert stack.api.get("/") == WELCOME
        assert "127.0.0.1" in stack.environment["AWS_ENDPOINT_URL"]
        processes = psutil.Process(stack.process.pid).children(recursive=True)
        addresses = [found.laddr for process in processes for found in process.net_connections("tcp")]
        assert {ip for ip, port in addresses if port == stack.api.http.base_url.port} == {"127.0.0.2"}
    finally:
        end(stack)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--port", "99999"], "the port must be a number from 0 to 65535, not 99999"),
        (["--port", "http"], "the port must be a number from 0 to 65535, not http"),
        (["--port", "0", "--state-dir", "{file}"], "{file}: File exists"),
        (["--port", "0", "--state-dir", "{file}/deeper"], "{file}/deeper: Not a directory"),
    ],
)
def test_a_start_that_cannot_work_is_one_line(tmp_path: Path, arguments: list[str], problem: str) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run_and_fail(*(argument.format(file=file) for argument in arguments))
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines() == [f"error: {problem.format(file=file)}"]


def test_a_wrong_number_of_workers_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_WORKERS", "17")
    done = run_and_fail("--port", "0", "--state-dir", str(tmp_path / "other"))
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: TRAINING_WORKERS='17' is not a whole number from 1 to 16"]


def test_a_second_stack_on_a_directory_is_refused(shared: RunningStack) -> None:
    done = run_and_fail("--port", "0", "--state-dir", str(shared.state))
    assert done.returncode == 1
    pid = shared.process.pid
    assert done.stderr.splitlines() == [f"error: a stack is already running in {shared.state} (process {pid})"]


@pytest.mark.parametrize("module", ["training_job", "infra.local.api", "infra.local.proxy", "infra.local.aws"])
def test_a_process_that_dies_is_restarted(shared: RunningStack, module: str) -> None:
    wait_for(lambda: shared.child(module), what=f"the start of {module}")
    victim = shared.child(module)
    assert victim is not None
    victim.kill()
    n = 2 if module == "training_job" else 1

    def replaced() -> bool:
        found = [child.pid for child in shared.children(module)]
        return len(found) == n and victim.pid not in found

    wait_for(replaced, what=f"a new {module}")
    assert shared.api.get("/") == WELCOME


def test_a_body_of_an_absurd_length_is_refused(shared: RunningStack) -> None:
    answer = answer_to(shared, b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_head_is_answered_without_a_body(shared: RunningStack) -> None:
    answer = answer_to(shared, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


def test_sigterm_stops_everything_with_exit_status_0(started: Callable[..., RunningStack], state_dir: Path) -> None:
    stack = started(state_dir)
    family = stack.family()
    assert len(family) > 4
    end(stack)
    assert stack.process.returncode == 0
    assert alive(family) == []
    assert not (state_dir / "stack.json").exists()


def test_a_killed_supervisor_takes_its_processes_with_it(started: Callable[..., RunningStack], state_dir: Path) -> None:
    stack = started(state_dir)
    family = stack.family()
    stack.process.kill()
    stack.process.wait()
    wait_for(lambda: not alive(family), what="the end of all processes")


def test_accounts_objects_and_messages_survive_a_kill(started: Callable[..., RunningStack], state_dir: Path) -> None:
    stack = started(state_dir)
    user = stack.api.post("/auth/register", ACCOUNT)
    bucket, queue = stack.environment["REGISTRY_BUCKET"], stack.environment["TRAINING_QUEUE_URL"]
    etag = stack.client("s3").put_object(Bucket=bucket, Key="kept/a b.bin", Body=b"\x00\xff" * 1000)["ETag"]
    # The tracker knows no such request, so a worker would drop it; the workers sleep while it is sent.
    for worker in stack.children("training_job"):
        worker.suspend()
    stack.client("sqs").send_message(
        QueueUrl=queue, MessageBody="kept", MessageGroupId="other", MessageDeduplicationId="1"
    )
    os.killpg(stack.process.pid, signal.SIGKILL)
    stack.process.wait()

    again = started(state_dir)
    names = ("REGISTRY_BUCKET", "TRAINING_QUEUE_URL", "USER_POOL_ID")
    assert [again.environment[name] for name in names] == [stack.environment[name] for name in names]
    again.api.login(ACCOUNT)
    assert again.api.get("/auth/me")["id"] == user["id"]
    kept = again.client("s3").get_object(Bucket=bucket, Key="kept/a b.bin")
    assert (kept["ETag"], kept["Body"].read()) == (etag, b"\x00\xff" * 1000)
    assert "1 accounts, 1 objects, 1 messages of an earlier run" in again.log()


def test_a_training_survives_a_kill_and_counts_once(started: Callable[..., RunningStack], state_dir: Path) -> None:
    stack = started(state_dir)
    stack.api.post("/auth/register", ACCOUNT)
    stack.api.login(ACCOUNT)
    for number in range(10):
        complete_a_task(stack, correct=number % 3 > 0)
    wait_for(lambda: "Background training started" in stack.log(), what="the start of the training")
    os.killpg(stack.process.pid, signal.SIGKILL)
    stack.process.wait()

    again = started(state_dir)
    again.api.login(ACCOUNT)
    wait_for(lambda: again.api.get("/model/status")["training"] == "idle", 180.0, "the end of the training")
    status = again.api.get("/model/status")
    assert (status["counter"], status["n_samples_total"], status["n_samples_last_training"]) == (0, 10, 10)
    assert status["model_version"] is not None
    assert again.api.post("/practice-tasks", TASK)["prediction_source"] == "embedding"


def complete_a_task(stack: RunningStack, *, correct: bool) -> None:
    task = stack.api.post("/practice-tasks", TASK)
    stack.api.patch(f"/practice-tasks/{task['id']}", {"is_correct": correct, "actual_time_seconds": 30})
