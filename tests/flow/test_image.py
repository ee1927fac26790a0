"""The image holds all that it runs: its tree, built in an empty directory, trains, migrates and commands."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from chalicelib.config import settings_from
from chalicelib.domain.tasks import Difficulty, NewTask
from chalicelib.services import tasks as task_service
from chalicelib.services.tasks import TaskChange
from chalicelib.storage.aws import aws_client
from chalicelib.wiring import build
from infra.local import postgres
from infra.local.event_source import event_of
from infra.package import template
from tests.images import Image, allowed, instructions

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "training_job" / "Dockerfile").read_text()
LAMBDA = ["python", "-m", "awslambdaric", "training_job.lambda_handler.handler"]

runs_the_image = pytest.mark.skipif(
    (sys.version_info[:2], sys.platform, platform.machine()) != ((3, 13), "linux", "x86_64"),
    reason="the image is Python 3.13 on Linux, x86-64",
)


class RuntimeApi:
    """Lambda's Runtime API for one event: hands it out, and takes the answer."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        self.answers: Queue[tuple[str, Any]] = Queue()
        self._over = threading.Event()
        body = json.dumps(event).encode()
        given = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if given.is_set():
                    outer._over.wait()
                given.set()
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "r1")
                self.send_header("Lambda-Runtime-Deadline-Ms", "99999999999999")
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:1:function:f")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
                outer.answers.put((self.path.rpartition("/")[2], content))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(tmp_path_factory.mktemp("image"), ROOT)
    image.build(DOCKERFILE)
    return image


@pytest.fixture
def empty_database(postgres_server: postgres.Postgres) -> Iterator[str]:
    """A database without tables."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(postgres_server, name)
    yield postgres_server.url(name)
    postgres.drop_database(postgres_server, name)


@pytest.mark.slow
@runs_the_image
def test_the_image_migrates_trains_as_a_lambda_and_says_so(
    image: Image, empty_database: str, aws: Mapping[str, str]
) -> None:
    environment = {**aws, "DATABASE_URL": empty_database}
    migrated = image.run(["studysmart", "migrate"], **environment)
    assert (migrated.returncode, migrated.stdout) == (0, "The tables are up to date.\n"), migrated.stderr
    ten_answers(environment)
    assert invoke(image, LAMBDA, environment, sqs_event(environment)) == ("response", {"batchItemFailures": []})
    # The operator's Lambda, of the same image.
    command = [*LAMBDA[:-1], "ops.lambda_handler.handler"]
    kind, answer = invoke(image, command, environment, {"arguments": ["status", "--json"]})
    assert (kind, answer["status"]) == ("response", 0)
    status = json.loads(answer["output"])
    assert (status["counter"], status["n_samples_last_training"], status["last_error"]) == (0, 10, None)
    # The image's own command, with nothing to do.
    idle = image.run([*json.loads(image.command), "--once"], **environment)
    assert (idle.returncode, idle.stderr.count("Traceback")) == (0, 0), idle.stderr


def ten_answers(environment: Mapping[str, str]) -> None:
    api = build(settings_from(environment))
    for i in range(10):
        task = task_service.create_task(api.tasks, api.champion, "ada", NewTask("Math", "t", Difficulty.MEDIUM, "?"))
        change = TaskChange(is_correct=i % 3 != 0, actual_time_seconds=20.0 + i)
        task_service.update_task(api.tasks, api.tracker, api.queue, api.policy, "ada", task.id, change)
    api.engine.dispose()


def sqs_event(environment: Mapping[str, str]) -> dict[str, Any]:
    sqs = aws_client("sqs", environment["AWS_REGION"], read_timeout=30)
    received = sqs.receive_message(
        QueueUrl=environment["TRAINING_QUEUE_URL"], WaitTimeSeconds=20, MessageSystemAttributeNames=["All"]
    )
    return event_of(received["Messages"])


def invoke(
    image: Image, command: list[str], environment: Mapping[str, str], event: Mapping[str, Any]
) -> tuple[str, Any]:
    """Start the command as Lambda does, and give it one event; ("response" or "error", its answer)."""
    runtime = RuntimeApi(event)
    lambdas = {"AWS_LAMBDA_RUNTIME_API": runtime.address, "AWS_LAMBDA_FUNCTION_NAME": "f"}
    process = subprocess.Popen(
        [str(image.path("/opt/venv/bin/python")), *command[1:]],
        cwd=image.path("."),
        env={**image.variables, **environment, **lambdas},
        stdin=subprocess.DEVNULL,
    )
    try:
        return runtime.answers.get(timeout=180)
    finally:
        process.kill()
        process.wait()
        runtime.close()


def test_the_template_starts_what_the_image_holds() -> None:
    programs = template.read_part(ROOT / "infra/programs.yaml")["Resources"]
    files = {file.as_posix() for file in allowed(ROOT)}
    for name in ("TrainingFunction", "OperatorFunction"):
        *client, handler = programs[name]["Properties"]["ImageConfig"]["Command"]
        assert client == LAMBDA[:-1]
        assert f"{handler.rpartition('.')[0].replace('.', '/')}.py" in files
    # ECS reads its own check only: it is the image's.
    check = next(rest for word, rest in instructions(DOCKERFILE) if word == "HEALTHCHECK").partition("CMD ")[2]
    (container,) = programs["TrainingTask"]["Properties"]["ContainerDefinitions"]
    assert container["HealthCheck"]["Command"] == ["CMD", *json.loads(check)]


def test_the_image_does_not_run_as_root_and_is_pinned() -> None:
    parsed = instructions(DOCKERFILE)
    assert [rest for word, rest in parsed if word == "USER"] == ["10001"]
    bases = [rest.split()[0] for word, rest in parsed if word == "FROM"]
    assert len(set(bases)) == 1
    assert bases[0].partition(":")[2].startswith("3.13.")
    assert any("--require-hashes" in rest for word, rest in parsed if word == "RUN")


def test_the_context_holds_no_page_and_nothing_of_the_tests() -> None:
    files = allowed(ROOT)
    assert {file.parts[0] for file in files} == {"chalicelib", "training_job", "ops", "infra", "migrations"}
    assert [file for file in files if "web" in file.parts or file.suffix == ".pyc"] == []
