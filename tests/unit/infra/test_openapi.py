"""The released document: additions pass, and what breaks clients is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from infra import openapi

TASKS = "paths//practice-tasks"
SCHEMAS = "components/schemas"


@pytest.fixture(scope="module")
def present() -> dict[str, Any]:
    return openapi.present()


def at(document: dict[str, Any], *names: str) -> Any:
    found: Any = document
    for name in names:
        found = found[name]
    return found


def schema(document: dict[str, Any], name: str) -> Any:
    return at(document, "components", "schemas", name)


def test_clients_of_the_released_document_still_work(present: dict[str, Any]) -> None:
    released = json.loads(openapi.RELEASED.read_text("utf-8"))
    assert openapi.breaking_changes(released, present) == [], "see `python -m infra.openapi`"


def test_what_is_added_or_reworded_breaks_nothing(present: dict[str, Any]) -> None:
    new = copy.deepcopy(present)
    new["paths"]["/new"] = {"get": {}}
    new["info"]["version"] = "2.0.0"
    create = at(new, "paths", "/practice-tasks", "post")
    create["summary"], create["responses"]["418"] = "Make a task", {"description": "A teapot"}
    create["parameters"].append({"name": "more", "in": "query", "required": False, "schema": {}})
    schema(new, "NewTask")["properties"]["new_field"] = {"type": "string"}
    schema(new, "NewTask")["required"].remove("task_content")
    schema(new, "NewTask")["properties"]["subject"].pop("maxLength")
    schema(new, "PracticeTask")["properties"]["new_field"] = {"type": "string"}
    schema(new, "PracticeTask")["required"].append("new_field")
    schema(new, "Difficulty")["enum"].append("absurd")
    assert openapi.breaking_changes(present, new) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda new: new["paths"].pop("/health"), "paths//health was removed"),
        (lambda new: new["paths"]["/practice-tasks"].pop("get"), f"{TASKS}/get was removed"),
        (lambda new: new["paths"]["/practice-tasks"]["post"]["responses"].pop("201"), f"{TASKS}/post/responses/201"),
        (lambda new: new["paths"]["/practice-tasks"]["get"]["parameters"].pop(0), "query subject was removed"),
        (
            lambda new: new["paths"]["/predictions"]["get"]["parameters"].append(
                {"name": "more", "in": "query", "required": True}
            ),
            "query more was added and is required",
        ),
        (lambda new: schema(new, "PracticeTask")["properties"].pop("id"), f"{SCHEMAS}/PracticeTask/properties/id was"),
        (lambda new: schema(new, "PracticeTask")["required"].remove("id"), "PracticeTask/required: id was removed"),
        (lambda new: schema(new, "User")["properties"]["id"].update(type="integer"), 'from "string" to "integer"'),
        (lambda new: schema(new, "NewTask")["required"].append("solution_content"), "solution_content was added"),
        (lambda new: schema(new, "NewTask")["properties"].pop("subject"), "NewTask/properties/subject was removed"),
        (lambda new: schema(new, "NewTask")["properties"]["subject"].update(maxLength=9), "changed from 200 to 9"),
        (lambda new: schema(new, "NewTask").update(additionalProperties=False), "additionalProperties was added"),
        (lambda new: schema(new, "Difficulty")["enum"].remove("hard"), "Difficulty/enum: hard was removed"),
        (lambda new: new["paths"]["/health"]["get"].update(operationId="probe"), '"check_health" to "probe"'),
    ],
)
def test_what_breaks_a_client_is_named(present: dict[str, Any], change: Any, named: str) -> None:
    new = copy.deepcopy(present)
    change(new)
    (found,) = openapi.breaking_changes(present, new)
    assert named in found


def test_a_breaking_document_is_written_on_demand_only(
    present: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = copy.deepcopy(present)
    old["paths"]["/gone"] = {"get": {}}
    released = tmp_path / "openapi.json"
    released.write_text(openapi.written(old))
    monkeypatch.setattr(openapi, "RELEASED", released)
    assert openapi.main([]) == 1
    assert "breaking: paths//gone was removed" in capsys.readouterr().err
    assert json.loads(released.read_text()) == old
    assert openapi.main(["--breaking"]) == 0
    assert json.loads(released.read_text()) == present
    assert openapi.main([]) == 0
