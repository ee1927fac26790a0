"""No line of the log has personal text, whatever is asked and whatever fails, on stores in memory and on real ones."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from chalicelib import logs, wiring
from chalicelib.api import root
from chalicelib.config import settings_from
from chalicelib.storage.aws import aws_client
from chalicelib.wiring import Container
from tests.support.api import World, serving
from tests.support.log_lines import logged

MARK = "zyxwv"
"""All personal text has this mark."""

EMAIL, PASSWORD, NAME = f"{MARK}.mail@example.org", f"{MARK} password", f"{MARK} Lovelace"
NEW_PASSWORD, TOPIC, SUBJECT = f"{MARK} other password", f"{MARK} topic", f"{MARK} subject"
TASK = {"subject": SUBJECT, "topic": TOPIC, "difficulty": "easy", "task_content": f"{MARK} task"}
TASK["item_id"] = f"{MARK} item"
TASK |= {"solution_content": f"{MARK} solution", "answer_content": f"{MARK} answer"}

BODIES: dict[str, dict[str, Any]] = {
    "POST /practice-tasks": TASK,
    "PATCH /practice-tasks/{task_id}": {
        "is_correct": True,
        "actual_time_seconds": 3,
        "answer_content": f"{MARK} again",
    },
    "PUT /auth/me": {"full_name": f"{MARK} Hopper"},
    "POST /model/counter": {"counter": 1},
}
QUERIES = {
    "GET /practice-tasks": f"?subject={SUBJECT}&topic={TOPIC}&q={MARK}",
    "GET /predictions": f"?topic={TOPIC}&subject={SUBJECT}&difficulty=easy&item_id={MARK}",
    "GET /recommendations": f"?subject={SUBJECT}",
    "GET /analytics/topics": f"?after={MARK}",
}
LAST = ["POST /auth/change-password", "POST /auth/sign-out-everywhere", "POST /auth/delete-account"]


@dataclass
class Deployment:
    """An API over HTTP, and the container behind it."""

    container: Container
    client: httpx.Client
    stream: io.StringIO


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.slow)])
def deployment(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    if request.param == "memory":
        world: World = request.getfixturevalue("world")
        container = world.container()
    else:
        container = Container(settings_from(request.getfixturevalue("environment")))
    wiring.install(container)
    with logged() as stream, serving() as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        logs.configure("json", "DEBUG", stream, fields=container.log_fields)
        yield Deployment(container, client, stream)
    wiring.install(None)


def operation_names() -> list[str]:
    return [f"{operation.method} {operation.path}" for operation in root.documented if operation.documented]


def call(client: httpx.Client, name: str, task_id: str, body: Any = None) -> int:
    method, _, path = name.partition(" ")
    path = path.replace("{task_id}", task_id).replace("{subject}", SUBJECT) + QUERIES.get(name, "")
    return client.request(method, path, json=body).status_code


def sign_in(deployment: Deployment, password: str = PASSWORD) -> str:
    """Register and sign in an admin; return the refresh token."""
    account = {"email": EMAIL, "password": password}
    if password == PASSWORD:
        user = deployment.client.post("/auth/register", json={**account, "full_name": NAME}).raise_for_status().json()
        identity: Any = deployment.container.identity
        if hasattr(identity, "make_admin"):
            identity.make_admin(user["id"])
        else:
            settings = deployment.container.settings
            aws_client("cognito-idp", settings.aws_region).admin_add_user_to_group(
                UserPoolId=settings.user_pool_id, Username=user["id"], GroupName="admins"
            )
    session = deployment.client.post("/auth/login", json=account).raise_for_status().json()
    deployment.client.headers["Authorization"] = f"Bearer {session['access_token']}"
    return str(session["refresh_token"])


def personal_lines(deployment: Deployment, *secrets: str) -> list[str]:
    """Return the lines with a mark, a token, or the user's address in part."""
    lines = deployment.stream.getvalue().splitlines()
    return [line for line in lines if any(secret in line for secret in (MARK, *secrets))]


def test_no_operation_logs_personal_text(deployment: Deployment) -> None:
    client = deployment.client
    refresh_token = sign_in(deployment)
    access_token = client.headers["Authorization"].removeprefix("Bearer ")
    task_id = client.post("/practice-tasks", json=TASK, headers={"Idempotency-Key": f"{MARK}-1"}).json()["id"]
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    bodies = BODIES | {
        "POST /auth/register": {"email": EMAIL, "password": PASSWORD, "full_name": NAME},
        "POST /auth/login": {"email": EMAIL, "password": f"{MARK} wrong"},
        "POST /auth/refresh": {"refresh_token": refresh_token},
        "POST /auth/forgot-password": {"email": EMAIL},
        "POST /auth/reset-password": {"email": EMAIL, "code": "000000", "new_password": NEW_PASSWORD},
        "POST /auth/verify-email": {"code": f"{MARK}1"},
        "POST /model/pin": {"version": f"{MARK}-version"},
        "POST /model/rollback": {"version": f"{MARK}-version"},
        "POST /auth/change-password": change,
    }
    names = [name for name in operation_names() if name not in LAST]
    assert set(names) >= {*bodies} - {*LAST}
    for name in names:
        # With a body of wrong types and without a token, every error quotes what it refuses.
        for body in (bodies.get(name), {MARK: MARK, "email": MARK, "topic": [MARK], "version": {MARK: 1}}):
            assert call(client, name, task_id, body) < 500, name
        client.request(
            *name.replace("{task_id}", MARK).split(" "), content=f'{{"{MARK}": {MARK}', headers={"Origin": MARK}
        )
    client.get(f"/{MARK}/{EMAIL}?token={access_token}")
    client.get(
        "/auth/me", headers={"Authorization": f"Bearer {MARK}.{MARK}.{MARK}", "Cookie": MARK, "User-Agent": MARK}
    )
    assert call(client, LAST[0], task_id, change) == 200
    assert call(client, LAST[1], task_id) == 200
    sign_in(deployment, NEW_PASSWORD)
    assert call(client, LAST[2], task_id, {"password": NEW_PASSWORD}) == 200
    routes = {json.loads(line).get("route") for line in deployment.stream.getvalue().splitlines()}
    assert set(operation_names()) <= routes
    assert personal_lines(deployment, access_token, refresh_token, access_token.rpartition(".")[2]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE practice_tasks ADD CHECK (topic = '') NOT VALID",
        "ALTER TABLE practice_tasks ALTER COLUMN topic TYPE varchar(3) USING left(topic, 3)",
        "ALTER TABLE practice_tasks ALTER COLUMN topic TYPE integer USING 0",
        "ALTER TABLE practice_tasks ADD UNIQUE (topic_key)",
        "ALTER TABLE practice_tasks DROP COLUMN task_content",
    ],
)
def test_an_error_of_the_database_logs_no_value(environment: dict[str, str], change: str) -> None:
    container = Container(settings_from(environment))
    wiring.install(container)
    with logged() as stream, serving() as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        deployment = Deployment(container, client, stream)
        sign_in(deployment)
        with container.engine.connect() as connection:
            connection.execute(text(change))
        statuses = [client.post("/practice-tasks", json=TASK).status_code for _ in range(2)]
    wiring.install(None)
    container.engine.dispose()
    assert statuses[1] == 500
    assert "Traceback" in stream.getvalue()
    assert personal_lines(deployment) == []
