"""The OpenAPI document: complete, true, and as generators of clients need it."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.api import openapi, root
from tests.support import documented
from tests.support.api import Api, World


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(root.documented)


def test_operations_answer_exactly_the_documented_statuses(world: World) -> None:
    driver = documented.drive(world)
    assert driver.missing() == {}
    assert driver.operations_documented() == 1.0


def test_an_undocumented_status_is_noticed(world: World) -> None:
    driver = documented.Driver(world)
    del driver.document["paths"]["/auth/login"]["post"]["responses"]["401"]
    with pytest.raises(AssertionError, match="POST /auth/login: 401 is not documented"):
        driver.call("login", Api())


def test_every_operation_and_property_is_described(document: dict[str, Any]) -> None:
    assert documented.undescribed(document) == []
    assert documented.properties_described(document) == 1.0
    document["components"]["schemas"]["User"]["properties"]["id"].pop("description")
    assert documented.undescribed(document) == ["User.id"]


def test_every_body_and_answer_has_a_valid_example(document: dict[str, Any]) -> None:
    assert documented.examples(document) == 1.0


def test_no_default_makes_an_optional_field_required(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, one in schema.get("properties", {}).items():
            assert "default" not in one, f"{name}.{field}"
    required = document["components"]["schemas"]["NewTask"]["required"]
    assert required == ["subject", "topic", "difficulty", "task_content"]


def test_answers_require_every_field_that_is_always_there(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("PracticeTask", "WelcomeAnswer", "TokenAnswer", "VersionSummary"):
        assert schemas[name]["required"] == list(schemas[name]["properties"]), name
    assert set(schemas["UpdatedTask"]["properties"]) - set(schemas["UpdatedTask"]["required"]) == {"training"}


def test_enumerations_keep_the_order_of_their_source(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Difficulty"]["enum"] == ["easy", "medium", "hard", "expert"]
    assert schemas["TrainingState"]["enum"] == ["idle", "queued", "running"]


def test_a_created_task_is_found_by_its_location(student: Api) -> None:
    driver_path = {"/practice-tasks": "practice-tasks/", "/practice-tasks/": ""}
    body = {"subject": "A", "topic": "B", "difficulty": "easy", "task_content": ""}
    for path, prefix in driver_path.items():
        answer = student.post(path, body)
        assert answer.headers["location"] == f"{prefix}{answer.json['id']}"
