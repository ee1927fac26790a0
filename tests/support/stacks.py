"""Starts the one-machine stack as a person starts it, for the tests that need all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil

from tests.support.waiting import wait_for

START_SECONDS = 120.0


@dataclass
class RunningStack:
    """A stack, its API, and every process that belongs to it."""

    process: subprocess.Popen[bytes]
    state: Path
    environment: dict[str, str]
    api: Api
    members: list[psutil.Process] = field(default_factory=list)

    def client(self, service: str) -> Any:
        make: Any = boto3.client  # the stubs accept only literal names
        return make(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def family(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def children(self, module: str) -> list[psutil.Process]:
        return [process for process in alive(self.family()) if module in command_line(process)]

    def child(self, module: str) -> psutil.Process | None:
        found = self.children(module)
        return found[0] if found else None

    def command(self, *arguments: str) -> str:
        """Run ``studysmart`` on the stack in a process of its own, and return what it prints. It must succeed."""
        run = "import sys; from ops.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", run, "--state-dir", str(self.state), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def log(self) -> str:
        return (self.state / "logs" / "backend.log").read_text()


class Api:
    """An API over HTTP. Every request must succeed, unless :attr:`http` is used directly."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def get(self, path: str) -> Any:
        return self._json("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._json("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._json("PATCH", path, body)

    def login(self, account: dict[str, str]) -> None:
        self.http.headers["Authorization"] = f"Bearer {self.post('/auth/login', account)['access_token']}"

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.http.request(method, path, json=body).raise_for_status().json()


def start(state: Path, *options: str) -> RunningStack:
    state.mkdir(exist_ok=True)
    with (state / "terminal").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local", "--port", "0", "--state-dir", str(state), *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    note = state / "stack.json"

    def ready() -> bool:
        assert process.poll() is None, (state / "terminal").read_text()
        try:
            return bool(json.loads(note.read_text())["pid"] == process.pid)
        except FileNotFoundError:
            # Not written yet, or just removed because it was of an earlier stack that was killed.
            return False

    wait_for(ready, START_SECONDS, "the start of the stack")
    content = json.loads(note.read_text())
    stack = RunningStack(process, state, content["environment"], Api(content["url"] or ""))
    stack.members = stack.family()
    return stack


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if command_line(process)]


def command_line(process: psutil.Process) -> list[str]:
    """Empty for a process that is gone, or has ended and waits to be collected."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def end(stack: RunningStack) -> None:
    stack.process.terminate()
    stack.process.wait(120)
