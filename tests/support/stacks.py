"""Starts the one-machine stack as it is started by hand, for the tests that need all of it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psutil

from tests.support.waiting import wait_for

START_SECONDS = 120.0


@dataclass
class RunningStack:
    """A stack, and every process that belongs to it."""

    process: subprocess.Popen[bytes]
    state: Path
    url: str
    environment: dict[str, str]

    token: str = ""
    members: list[psutil.Process] = field(default_factory=list)

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.request("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self.request("PATCH", path, body)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        content = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def login(self, account: dict[str, str]) -> None:
        self.token = self.post("/auth/login", account)["access_token"]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def family(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def child(self, module: str) -> psutil.Process | None:
        found = [process for process in alive(self.family()) if module in command_line(process)]
        return found[0] if found else None

    def log(self) -> str:
        return (self.state / "logs" / "backend.log").read_text()


def start(state: Path, port: int = 0) -> RunningStack:
    state.mkdir(exist_ok=True)
    with (state / "terminal").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local", "--port", str(port), "--state-dir", str(state)],
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
            # Not written yet, or one of an earlier stack that was killed, just removed.
            return False

    wait_for(ready, START_SECONDS, "the start of the stack")
    content = json.loads(note.read_text())
    stack = RunningStack(process, state, content["url"], content["environment"])
    stack.members = stack.family()
    return stack


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if command_line(process)]


def command_line(process: psutil.Process) -> list[str]:
    """Empty for a process that is gone or has ended and only waits to be noticed."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def end(stack: RunningStack) -> None:
    stack.process.terminate()
    stack.process.wait(30)
