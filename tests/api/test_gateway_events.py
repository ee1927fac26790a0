"""Events as API Gateway's REST API sends them, where they differ from those of Chalice's local server."""

from __future__ import annotations

import base64
import json
import logging
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from app import app
from tests.support.api import ORIGINS, TASK, Api, World, create


def invoke(method: str, resource: str, path: str, **more: Any) -> dict[str, Any]:
    """What the Lambda answers to a proxy event under the stage ``v1``."""
    event = {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": None,
        "multiValueHeaders": None,
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"resourcePath": resource, "httpMethod": method, "path": f"/v1{path}", "stage": "v1"},
        "body": None,
        "isBase64Encoded": False,
        **more,
    }
    return app(event, SimpleNamespace(aws_request_id="aws-request-1"))  # type: ignore[no-any-return]


def signed_in(api: Api) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json", "Origin": ORIGINS[0]}


def test_an_event_without_any_headers_is_answered(world: World) -> None:
    answer = invoke("GET", "/", "/")
    assert (answer["statusCode"], answer["headers"]["X-Request-Id"]) == (200, "aws-request-1")


def test_the_stage_is_not_part_of_the_logged_path(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="studysmart")
    task_id = str(uuid.uuid4())
    invoke("GET", "/practice-tasks/{task_id}", f"/practice-tasks/{task_id}", pathParameters={"task_id": task_id})
    assert f"GET /practice-tasks/{task_id} - 401" in caplog.messages
    invoke("GET", "/practice-tasks/{task_id}", "/practice-tasks/ada", pathParameters={"task_id": "ada"})
    assert "GET /practice-tasks/{task_id} - 401" in caplog.messages


def test_a_path_parameter_comes_encoded_and_is_decoded_once(student: Api) -> None:
    task = create(student, subject="a%2Fb / c")
    answer = invoke(
        "GET",
        "/practice-tasks/subject/{subject}/latest",
        "/practice-tasks/subject/a%252Fb%20%2F%20c/latest",
        pathParameters={"subject": "a%252Fb%20%2F%20c"},
        headers=signed_in(student),
    )
    assert json.loads(answer["body"])["id"] == task["id"]


@pytest.mark.parametrize("encoded", [True, False])
def test_a_body_may_come_as_base64(student: Api, encoded: bool) -> None:
    body = json.dumps({**TASK, "topic": "Br\u00fcche"}, ensure_ascii=False)
    sent = base64.b64encode(body.encode()).decode() if encoded else body
    answer = invoke(
        "POST", "/practice-tasks", "/practice-tasks", headers=signed_in(student), body=sent, isBase64Encoded=encoded
    )
    assert answer["statusCode"] == 201
    assert json.loads(answer["body"])["topic"] == "Br\u00fcche"


def test_a_missing_body_is_null_there(student: Api) -> None:
    answer = invoke("POST", "/practice-tasks", "/practice-tasks", headers=signed_in(student))
    assert json.loads(answer["body"])["detail"][0]["type"] == "missing"


def test_the_last_of_a_doubled_parameter_counts(student: Api) -> None:
    answer = invoke(
        "GET",
        "/practice-tasks",
        "/practice-tasks",
        headers=signed_in(student),
        multiValueQueryStringParameters={"limit": ["500", "5"]},
    )
    assert answer["statusCode"] == 200


def test_an_unknown_path_is_404_with_cors(world: World) -> None:
    answer = invoke(
        "PUT", "/{proxy+}", "/no/such/thing", pathParameters={"proxy": "no/such/thing"}, headers={"origin": ORIGINS[0]}
    )
    assert (answer["statusCode"], json.loads(answer["body"])) == (404, {"detail": "Not Found"})
    assert answer["headers"]["Access-Control-Allow-Origin"] == ORIGINS[0]


def test_the_next_page_is_linked_relative_to_the_stage(student: Api) -> None:
    for _ in range(2):
        create(student)
    answer = invoke(
        "GET",
        "/practice-tasks",
        "/practice-tasks",
        headers=signed_in(student),
        multiValueQueryStringParameters={"limit": ["1"]},
    )
    assert answer["headers"]["Link"].startswith("<practice-tasks?limit=1&cursor=")


def test_of_two_tokens_in_an_event_none_is_used(student: Api) -> None:
    sent = signed_in(student)
    once = {name: [value] for name, value in sent.items()}
    twice = {**once, "Authorization": [sent["Authorization"], sent["Authorization"]]}
    statuses = [
        invoke("GET", "/auth/me", "/auth/me", headers=sent, multiValueHeaders=values)["statusCode"]
        for values in (once, twice)
    ]
    assert statuses == [200, 401]
