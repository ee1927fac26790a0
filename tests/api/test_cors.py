"""A front end on another origin is a normal client, also where something goes wrong."""

from __future__ import annotations

import pytest

from chalicelib.api.cors import cors_headers
from tests.support.api import ORIGINS, TASK, Api, World

FOREIGN = "https://elsewhere.example"


@pytest.mark.parametrize("origin", ORIGINS)
def test_each_allowed_origin_is_echoed(anyone: Api, origin: str) -> None:
    answer = anyone.get("/", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "Origin"
    assert "Link" in answer.headers["access-control-expose-headers"]


def test_a_foreign_origin_is_not_allowed(anyone: Api) -> None:
    answer = anyone.get("/", headers={"Origin": FOREIGN})
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


def test_errors_can_be_read_across_origins(student: Api, world: World) -> None:
    headers = {"Origin": ORIGINS[0]}
    answers = [
        student.get("/nothing", headers=headers),
        student.delete("/auth/me", headers=headers),
        student.post("/practice-tasks", {}, headers=headers),
        student.get("/practice-tasks/7", headers=headers),
        student.get("/auth/me", headers=headers, token="wrong"),
        student.post("/practice-tasks", TASK, headers={**headers, "Content-Type": "text/plain"}),
    ]
    world.database.available = False
    answers.append(student.get("/practice-tasks", headers=headers))
    assert [answer.status for answer in answers] == [404, 405, 422, 404, 401, 415, 503]
    assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {ORIGINS[0]}


@pytest.mark.parametrize("path", ["/", "/practice-tasks", "/practice-tasks/7", "/auth/login", "/nothing/here"])
def test_a_preflight_is_answered_on_every_path(anyone: Api, path: str) -> None:
    asked = {
        "Origin": ORIGINS[1],
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,content-type,x-trace",
    }
    answer = anyone.call("OPTIONS", path, headers=asked)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == ORIGINS[1]
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type,x-trace"
    assert "access-control-max-age" in answer.headers


def test_a_preflight_names_the_methods_of_its_path(anyone: Api) -> None:
    answer = anyone.call("OPTIONS", "/practice-tasks/7", headers={"Origin": ORIGINS[0]})
    assert answer.headers["access-control-allow-methods"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


def test_a_preflight_of_a_foreign_origin_allows_nothing(anyone: Api) -> None:
    answer = anyone.call("OPTIONS", "/practice-tasks", headers={"Origin": FOREIGN})
    assert "access-control-allow-origin" not in answer.headers


def test_without_configured_origins_there_are_no_headers() -> None:
    assert cors_headers(ORIGINS[0], ()) == {}


def test_a_star_allows_any_origin_without_credentials() -> None:
    headers = cors_headers(FOREIGN, ("*",))
    assert headers["Access-Control-Allow-Origin"] == FOREIGN
    assert "Access-Control-Allow-Credentials" not in headers
