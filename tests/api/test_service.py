"""Welcome, health, documentation, and paths and methods that do not exist."""

from __future__ import annotations

import json
from functools import partial

import pytest

from chalicelib import wiring
from chalicelib.domain.errors import DiskFullError
from chalicelib.storage.disk import check_disk
from tests.support.api import TASK, Api, World
from tests.support.log_lines import logged
from tests.support.small_disks import fill, small_disk


def test_the_root_answers_exactly_the_welcome(anyone: Api) -> None:
    answer = anyone.get("/")
    assert answer.status == 200
    assert answer.body == '{"message":"Welcome to StudySmart AI API","version":"1.0.0","docs":"/docs"}'


def test_health_names_each_part(anyone: Api) -> None:
    answer = anyone.get("/health")
    assert answer.status == 200
    assert answer.json == {
        "status": "healthy",
        "database": "ok",
        "registry": "ok",
        "queue": "ok",
        "model_version": None,
    }


@pytest.mark.parametrize("part", ["database", "registry", "queue"])
def test_health_is_503_when_one_part_does_not_answer(anyone: Api, world: World, part: str) -> None:
    getattr(world, part).available = False
    answer = anyone.get("/health")
    assert answer.status == 503
    assert answer.json["status"] != "healthy"
    assert answer.json[part] != "ok"


def test_health_is_503_when_the_disk_is_full(anyone: Api, world: World) -> None:
    with small_disk(2) as place:
        container = world.container()
        container.check_disk = partial(check_disk, str(place), 1_000_000)
        wiring.install(container)
        assert anyone.get("/health").json["disk"] == "ok"
        fill(place / "ballast")
        answer = anyone.get("/health")
        assert (answer.status, answer.json["status"], answer.json["disk"]) == (503, "unhealthy", "unavailable")
        with pytest.raises(DiskFullError, match="MB are free"):
            container.check_disk()
        (place / "ballast").unlink()
        assert anyone.get("/health").status == 200


def test_a_full_disk_is_one_line_a_minute(anyone: Api, world: World) -> None:
    now = [0.0]
    container = world.container()
    with small_disk(2) as place, logged(clock=lambda: now[0]) as said:
        container.check_disk = partial(check_disk, str(place), 1_000_000)
        wiring.install(container)
        fill(place / "ballast")
        for _ in range(50):
            anyone.get("/health")
        now[0] = 61.0
        anyone.get("/health")
    errors = [line for line in map(json.loads, said.getvalue().splitlines()) if line["level"] == "ERROR"]
    assert [line.get("left_out") for line in errors] == [None, 49]
    assert errors[1]["message"].endswith("(49 such lines before were left out)")


def test_an_outage_is_one_line_a_minute_and_named_by_each(student: Api, world: World) -> None:
    world.database.available = False
    with logged() as said:
        answers = [student.post("/practice-tasks", TASK) for _ in range(20)]
    assert {answer.status for answer in answers} == {503}
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    warnings = [line["message"] for line in lines if line["level"] in ("WARNING", "ERROR")]
    assert len(warnings) == len({warning.partition(":")[0] for warning in warnings}) <= 2
    assert [line["error"] for line in lines if "duration_ms" in line] == ["DatabaseUnavailableError"] * 20


@pytest.mark.parametrize(
    ("headers", "marked"),
    [
        ({"User-Agent": "ELB-HealthChecker/2.0"}, True),
        ({"User-Agent": "Amazon-Route53-Health-Check-Service (ref 1; report http://amzn.to/1vsZADi)"}, True),
        ({"User-Agent": "kube-probe/1.33"}, True),
        ({"User-Agent": "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)"}, True),
        ({"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}, None),
        ({"X-Probe": "1"}, True),
        ({}, None),
    ],
)
def test_probes_are_marked_in_the_log(anyone: Api, headers: dict[str, str], marked: bool | None) -> None:
    with logged() as said:
        anyone.get("/health", headers=headers)
        anyone.get("/", headers=headers)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [line.get("probe") for line in lines if line.get("route") == "GET /health"] == [marked]
    assert [line.get("probe") for line in lines if line.get("route") == "GET /"] == [None], "real requests are counted"


def test_only_one_machine_has_a_disk(world: World) -> None:
    assert world.container().check_disk is None
    world.settings["DISK_PATH"] = "/nowhere"
    check = world.container().check_disk
    assert check is not None
    with pytest.raises(DiskFullError, match="cannot be read"):
        check()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("POST", "/nothing"),
        ("GET", "/nothing/at/all"),
        ("DELETE", "/practice-tasks/1/2/3/4/5"),
        ("GET", "/docs/../../etc/passwd"),
        ("GET", "/docs/unknown.js"),
    ],
)
def test_an_unknown_path_is_404_in_json(anyone: Api, method: str, path: str) -> None:
    answer = anyone.call(method, path)
    assert (answer.status, answer.json) == (404, {"detail": "Not Found"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/", "GET, HEAD, OPTIONS"),
        ("PUT", "/practice-tasks", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/practice-tasks/1", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET", "/auth/login", "OPTIONS, POST"),
    ],
)
def test_a_known_path_with_another_method_is_405(anyone: Api, method: str, path: str, allowed: str) -> None:
    answer = anyone.call(method, path)
    assert (answer.status, answer.json) == (405, {"detail": "Method Not Allowed"})
    assert answer.headers["allow"] == allowed


def test_head_is_answered_like_get(anyone: Api) -> None:
    assert anyone.call("HEAD", "/").status == 200


def test_a_trailing_slash_is_the_same_path(student: Api) -> None:
    assert student.get("/practice-tasks/").json == []


def test_the_description_names_every_route_of_the_contract(anyone: Api) -> None:
    document = anyone.get("/openapi.json").json
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert document["openapi"].startswith("3.1")
    assert {
        ("GET", "/"),
        ("GET", "/health"),
        ("POST", "/auth/register"),
        ("POST", "/auth/login"),
        ("GET", "/auth/me"),
        ("PUT", "/auth/me"),
        ("POST", "/auth/change-password"),
        ("POST", "/auth/delete-account"),
        ("POST", "/practice-tasks"),
        ("GET", "/practice-tasks"),
        ("GET", "/practice-tasks/subject/{subject}/latest"),
        ("GET", "/practice-tasks/{task_id}"),
        ("PATCH", "/practice-tasks/{task_id}"),
        ("DELETE", "/practice-tasks/{task_id}"),
        ("GET", "/predictions"),
        ("GET", "/recommendations"),
        ("GET", "/model/status"),
        ("POST", "/model/train"),
        ("POST", "/model/counter"),
        ("GET", "/model/versions"),
        ("POST", "/model/rollback"),
    } <= found


def test_every_reference_in_the_description_resolves(anyone: Api) -> None:
    text = anyone.get("/openapi.json").body
    document = json.loads(text)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= document["components"]["schemas"].keys()


def test_the_description_is_valid_openapi(anyone: Api) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(anyone.get("/openapi.json").json)


def test_the_description_holds_the_limits_that_are_enforced(anyone: Api) -> None:
    schemas = anyone.get("/openapi.json").json["components"]["schemas"]
    assert schemas["NewTask"]["properties"]["topic"]["maxLength"] == 200
    assert schemas["Difficulty"]["enum"] == ["easy", "medium", "hard", "expert"]


def test_the_documentation_with_a_slash_leads_to_the_one_without(anyone: Api) -> None:
    answer = anyone.get("/docs/")
    assert (answer.status, answer.headers["location"]) == (302, "../docs")
