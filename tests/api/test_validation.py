"""Bodies: every fault at once, clear types, broken JSON, sizes and encodings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.api import validation
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.tasks import NewTask, TaskChange
from tests.support.api import TASK, Api


def faults(api: Api, body: Any) -> set[tuple[str, str]]:
    answer = api.post("/practice-tasks", body)
    assert answer.status == 422, answer.body
    assert all(fault.keys() == {"loc", "msg", "type"} for fault in answer.json["detail"])
    return {(fault["loc"][1], fault["type"]) for fault in answer.json["detail"]}


def test_an_empty_object_misses_every_required_field(student: Api) -> None:
    assert faults(student, {}) == {(name, "missing") for name in ("subject", "topic", "difficulty", "task_content")}


def test_all_faults_are_named_at_once(student: Api) -> None:
    body = {
        "subject": "",
        "topic": "x" * 201,
        "difficulty": "brutal",
        "task_content": 5,
        "solution_content": [],
        "estimated_time_minutes": "5",
        "study_session_id": "none",
    }
    assert faults(student, body) == {
        ("subject", "string_too_short"),
        ("topic", "string_too_long"),
        ("difficulty", "enum"),
        ("task_content", "string_type"),
        ("solution_content", "string_type"),
        ("estimated_time_minutes", "float_type"),
        ("study_session_id", "uuid_parsing"),
    }


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("subject", None, "string_type"),
        ("subject", True, "string_type"),
        ("subject", " \t\u3000", "string_too_short"),
        ("subject", "a\0b", "value_error"),
        ("task_content", "a\0b", "value_error"),
        ("topic", {}, "string_type"),
        ("difficulty", "Easy", "enum"),
        ("difficulty", 1, "enum"),
        ("difficulty", None, "enum"),
        ("estimated_time_minutes", True, "float_type"),
        ("estimated_time_minutes", -1, "greater_than_equal"),
        ("estimated_time_minutes", 1e300, "less_than_equal"),
    ],
)
def test_a_wrong_value_is_named(student: Api, field: str, value: Any, kind: str) -> None:
    assert faults(student, {**TASK, field: value}) == {(field, kind)}


@pytest.mark.parametrize("name", ["x", "x" * 200, "\U0001f600" * 200])
def test_names_may_have_1_to_200_characters(student: Api, name: str) -> None:
    assert student.post("/practice-tasks", {**TASK, "topic": name}).json["topic"] == name


def test_optional_fields_may_be_null(student: Api) -> None:
    optional = ("solution_content", "answer_content", "estimated_time_minutes", "study_session_id")
    assert student.post("/practice-tasks", TASK | dict.fromkeys(optional)).status == 201


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"{'a': 1}",
        b'{"topic": NaN}',
        b'{"topic": Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"{} {}",
    ],
)
def test_broken_json_is_json_invalid(student: Api, raw: bytes) -> None:
    answer = student.post("/practice-tasks", raw=raw)
    assert answer.status == 422
    assert [(fault["loc"][0], fault["type"]) for fault in answer.json["detail"]] == [("body", "json_invalid")]


@pytest.mark.parametrize("raw", [b"", b"  \n"])
def test_no_body_is_a_missing_body(student: Api, raw: bytes) -> None:
    answer = student.post("/practice-tasks", raw=raw)
    assert [(fault["loc"], fault["type"]) for fault in answer.json["detail"]] == [(["body"], "missing")]


@pytest.mark.parametrize("raw", [b"[]", b"null", b"5", b'"text"', b"true"])
def test_a_body_that_is_no_object_is_refused(student: Api, raw: bytes) -> None:
    answer = student.post("/practice-tasks", raw=raw)
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["body"]


def test_a_byte_order_mark_is_ignored(student: Api) -> None:
    import json

    assert student.post("/practice-tasks", raw=b"\xef\xbb\xbf" + json.dumps(TASK).encode()).status == 201


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("Application/JSON; Charset=UTF-8", 201),
        ('application/json; charset="utf-8"', 201),
        ("application/vnd.api+json", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("image/png", 415),
        ("application/json; charset=latin-1", 415),
    ],
)
def test_only_json_in_utf_8_is_read(student: Api, content_type: str, status: int) -> None:
    answer = student.post("/practice-tasks", TASK, headers={"Content-Type": content_type})
    assert answer.status == status
    assert isinstance(answer.json, dict)


def test_a_body_without_a_content_type_is_taken_for_json(student: Api) -> None:
    import json

    answer = student.post("/practice-tasks", raw=json.dumps(TASK).encode(), headers={"Content-Type": ""})
    assert answer.status == 201


def test_a_body_over_the_limit_is_413(student: Api) -> None:
    answer = student.post("/practice-tasks", {**TASK, "task_content": "x" * 1_000_000})
    assert answer.status == 413
    assert isinstance(answer.json["detail"], str)


json_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=250) | st.sampled_from([[], {}, [5]])
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([NewTask, TaskChange]),
    st.dictionaries(
        st.sampled_from([*NewTask.__struct_fields__, *TaskChange.__struct_fields__, "more"]), json_values, max_size=9
    ),
)
def test_any_values_are_either_read_or_refused_by_name(model: Any, values: dict[str, Any]) -> None:
    try:
        read = validation._read(model, values, ("body",), strict=True)
        named = None
    except InvalidInputError as error:
        read, named = None, {fault.loc[1] for fault in error.faults}
    known = {*model.__struct_fields__, "more"}
    assert isinstance(read, model) if named is None else named and named <= known
