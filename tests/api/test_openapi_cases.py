"""The OpenAPI document as a promise: generated requests and sequences of them give only what it says."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest

from tests.support import openapi_cases
from tests.support.api import Api

BOUNDED = ("--max-examples", "2", "--seed", "1")


@pytest.mark.slow
@pytest.mark.parametrize("email", [openapi_cases.STUDENT, openapi_cases.ADMIN])
def test_generated_requests_get_only_documented_answers(email: str) -> None:
    cases = openapi_cases.check(email, *BOUNDED)
    assert cases.n > 500
    assert (cases.responses_5xx, cases.violations) == (0, [])


@pytest.mark.parametrize("method", ["TRACE", "QUERY", "PROPFIND"])
def test_an_unknown_method_is_refused_with_those_allowed(url: str, method: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request(method, "/practice-tasks")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    answer.read()
    connection.request(method, "/nowhere/at/all")
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.parametrize("text", ["null", "NULL"])
def test_null_is_no_value_of_a_query_parameter(student: Api, text: str) -> None:
    answer = student.get(f"/practice-tasks?completed={text}")
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["query", "completed"]
