"""``chalice local`` on the services of the stack: the whole API, as a Chalice user expects it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.fronts import free_port
from tests.support.stacks import Api, RunningStack
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = {"email": "ada@example.org", "password": "a long password"}
TASK = {"subject": "Mathematics", "topic": "Fractions", "difficulty": "medium", "task_content": "1/2 + 1/3"}
WITH_SERVICES = """eval "$(studysmart --state-dir "$0" env)" && export PYTHONPATH="$PYTHONPATH:$PWD/others"
exec chalice local --port "$1"
"""
WITHOUT = 'exec chalice local --port "$1" --no-autoreload'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what Chalice needs, whose files a test may change."""
    project = tmp_path / "project"
    for name in (".chalice", "chalicelib"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", project)
    # By the package watchdog, Chalice sees every change in the folder, also those of the database: here one at once.
    watchdog = project / "others" / "watchdog"
    watchdog.mkdir(parents=True)
    (watchdog / "__init__.py").touch()
    (watchdog / "events.py").write_text("class FileSystemEventHandler: pass\n")
    (watchdog / "observers.py").write_text(
        "class Observer:\n    def schedule(self, handler, *_, **__): handler()\n    def start(self): pass\n"
    )
    return project


@pytest.fixture
def services(started: Callable[..., RunningStack], project: Path) -> RunningStack:
    """The services, with their state in the project's folder, where ``make services`` puts it."""
    return started(project / ".local", "--services")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What ``chalice local`` prints."""
    return tmp_path / "chalice"


@contextmanager
def chalice_local(command: str, services: Path, project: Path, log: Path) -> Iterator[Api]:
    """Run ``chalice local`` in a project's folder, as a person starts it."""
    port = free_port()
    programs = str(Path(sys.executable).parent)
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", command, str(services), str(port)],
            cwd=project,
            env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(project)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    api = Api(f"http://127.0.0.1:{port}")
    try:
        wait_for(lambda: answers(api) or process.poll() is not None, what="chalice local")
        assert process.poll() is None, log.read_text()
        yield api
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(120)


@pytest.fixture
def api(services: RunningStack, project: Path, log: Path) -> Iterator[Api]:
    """``chalice local`` with the environment of the services."""
    with chalice_local(WITH_SERVICES, services.state, project, log) as api:
        yield api


def answers(api: Api, version: str | None = None) -> bool:
    """Return whether the API answers now, and with this version if one is given."""
    try:
        root = api.http.get("/")
    except httpx.TransportError:
        return False  # starting, or restarting
    return root.is_success and version in (None, root.json()["version"])


def test_chalice_local_serves_the_api_on_the_services(
    services: RunningStack, api: Api, project: Path, log: Path
) -> None:
    assert api.get("/health")["status"] == "healthy"
    assert [line.partition(" INFO ")[2] for line in log.read_text().splitlines() if "GET /health - 200" in line] == [
        "studysmart.api: GET /health - 200"
    ]
    assert services.child("infra.local.api") is None
    user = api.post("/auth/register", ACCOUNT)
    api.login(ACCOUNT)
    assert api.get("/auth/me")["id"] == user["id"]
    for number in range(1, 6):
        task = api.post("/practice-tasks", TASK)
        answer = api.patch(f"/practice-tasks/{task['id']}", {"is_correct": True, "actual_time_seconds": 30})
        assert answer["training"] == {"counter": number, "threshold": 5, "queued": False}
    for path, status in (("/practice-tasks/nowhere", 404), ("/dashboard", 200)):
        assert api.http.get(path).status_code == status

    version = project / "chalicelib" / "__init__.py"
    version.write_text(re.sub(r'(?<=VERSION = ")[^"]*', "changed", version.read_text()))
    wait_for(lambda: answers(api, "changed"), what="the reload of the changed file")


def test_health_names_the_settings_that_are_missing(project: Path, log: Path) -> None:
    with chalice_local(WITHOUT, project, project, log) as api:
        health = api.http.get("/health")
        assert health.status_code == 503
        for name in ("DATABASE_URL", "REGISTRY_BUCKET", "TRAINING_QUEUE_URL", "USER_POOL_ID", "AWS_REGION"):
            assert f"{name} is not set" in health.json()["detail"]
        assert api.http.get("/practice-tasks").status_code == 503
        for path in ("/nowhere", "/no/such/path", "/practice-tasks/1/2/3"):
            unknown = api.http.get(path)
            assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not Found"})
        assert api.http.delete("/health").status_code == 405
        assert api.http.options("/no/such/path").status_code == 204
