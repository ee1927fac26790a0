"""Creating, listing, reading and deleting practice tasks."""

from __future__ import annotations

import re
import uuid
from urllib.parse import quote

import pytest

from tests.support.api import TASK, TASK_FIELDS, Api, World, create


def test_a_new_task_has_every_field_and_a_prediction(student: Api) -> None:
    task = create(student)
    assert list(task) == TASK_FIELDS
    assert task["user_id"] == student.get("/auth/me").json["id"]
    assert (task["predicted_correct"], task["predicted_time_seconds"]) == (0.5, 60)
    assert (task["prediction_source"], task["lnirt_model_version"]) == ("default", "fallback_default")
    assert (task["completed"], task["completed_at"], task["is_correct"]) == (False, None, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", task["created_at"])


def test_what_was_sent_is_echoed_as_sent(student: Api) -> None:
    session = str(uuid.uuid4())
    sent = {
        "subject": "  Ma\u0301the/matik 100% ",
        "topic": "Bru\u0308che \U0001f600",
        "difficulty": "expert",
        "task_content": "a\n<b>\"'\\ \u2028",
        "solution_content": "",
        "answer_content": "7",
        "estimated_time_minutes": 5,
        "study_session_id": session,
    }
    task = create(student, **sent)
    assert {name: task[name] for name in sent} == sent
    assert task["difficulty_numeric"] == 4
    assert '"estimated_time_minutes":5,' in student.get(f"/practice-tasks/{task['id']}").body


def test_predictions_of_the_client_are_ignored(student: Api) -> None:
    task = create(student, predicted_correct=0.99, predicted_time_seconds=1, lnirt_model_version="mine", user_id="x")
    assert (task["predicted_correct"], task["predicted_time_seconds"]) == (0.5, 60)
    assert task["lnirt_model_version"] == "fallback_default"


def test_a_list_is_a_bare_array_newest_first(student: Api, other: Api) -> None:
    assert student.get("/practice-tasks").body == "[]"
    ids = [create(student)["id"] for _ in range(3)]
    create(other)
    assert [task["id"] for task in student.get("/practice-tasks").json] == ids[::-1]


def test_a_list_can_be_filtered_by_names_however_they_are_written(student: Api) -> None:
    requested = create(student, subject="Caf\u00e9", topic="Stra\u00dfe")
    create(student)
    for query in ("subject=%20CAFE%CC%81%20", "topic=STRA%C3%9FE", "subject=Caf%C3%A9%E2%80%8B&topic=%20stra%C3%9Fe"):
        assert [task["id"] for task in student.get(f"/practice-tasks?{query}").json] == [requested["id"]]


def test_a_list_can_be_filtered_by_completion(student: Api) -> None:
    done, still_open = create(student)["id"], create(student)["id"]
    student.patch(f"/practice-tasks/{done}", {"is_correct": True, "actual_time_seconds": 3})
    assert [task["id"] for task in student.get("/practice-tasks?completed=true").json] == [done]
    assert [task["id"] for task in student.get("/practice-tasks?completed=false").json] == [still_open]


def test_a_blank_filter_is_no_filter(student: Api) -> None:
    task = create(student)
    assert student.get("/practice-tasks?subject=&topic=&completed=&limit=&cursor=").json == [task]


def test_fifty_tasks_are_a_page_by_default(student: Api) -> None:
    for _ in range(51):
        create(student)
    assert len(student.get("/practice-tasks").json) == 50


def test_following_the_link_header_gives_each_task_once(student: Api) -> None:
    ids = [create(student, subject="A/b & c")["id"] for _ in range(5)]
    create(student)
    path, seen = f"/practice-tasks?limit=2&subject={quote('a/B & C', safe='')}", []
    for _ in range(3):
        page = student.get(path)
        seen += [task["id"] for task in page.json]
        link = re.fullmatch(r'<(.+)>; rel="next"', page.headers.get("link", ""))
        if link is None:
            break
        assert not link[1].startswith(("/", "http"))
        path = f"/{link[1]}"
    assert seen == ids[::-1]
    assert link is None


def test_a_search_is_kept_in_the_link_header(student: Api) -> None:
    ids = [create(student, task_content=f"find me & you {n}")["id"] for n in range(3)]
    create(student)
    first = student.get(f"/practice-tasks?limit=2&q={quote('FIND me & ')}")
    assert [task["id"] for task in first.json] == ids[:0:-1]
    link = re.fullmatch(r'<(.+)>; rel="next"', first.headers["link"])
    assert link is not None
    assert [task["id"] for task in student.get(f"/{link[1]}").json] == ids[:1]


def test_the_last_page_has_no_link(student: Api) -> None:
    create(student)
    assert "link" not in student.get("/practice-tasks?limit=1").headers


@pytest.mark.parametrize(
    ("query", "field", "kind"),
    [
        ("limit=0", "limit", "greater_than_equal"),
        ("limit=101", "limit", "less_than_equal"),
        ("limit=many", "limit", "int_parsing"),
        ("limit=1.5", "limit", "int_parsing"),
        ("completed=perhaps", "completed", "bool_parsing"),
        ("cursor=nonsense", "cursor", "value_error"),
        ("cursor=%00", "cursor", "value_error"),
        (f"subject={'x' * 201}", "subject", "string_too_long"),
    ],
)
def test_a_faulty_query_names_its_parameter(student: Api, query: str, field: str, kind: str) -> None:
    answer = student.get(f"/practice-tasks?{query}")
    assert answer.status == 422
    assert [(fault["loc"], fault["type"]) for fault in answer.json["detail"]] == [(["query", field], kind)]


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("Mathematics", "mathematics"),
        ("Linear Algebra", "Linear%20Algebra"),
        ("AC/DC", "AC%2FDC"),
        ("AC/DC", "ac%2fdc"),
        ("100% sure", "100%25%20sure"),
        ("a%2Fb", "a%252Fb"),
        ("C++", "C++"),
        ("\u00c4sthetik", "A%CC%88sthetik"),
        ("What? #1 & more", "What%3F%20%231%20%26%20more"),
        ("\u65e5\u672c\u8a9e", "%E6%97%A5%E6%9C%AC%E8%AA%9E"),
    ],
)
def test_the_newest_task_of_a_subject_is_found_by_any_name(student: Api, name: str, segment: str) -> None:
    create(student, subject=name)
    newest = create(student, subject=name)
    create(student, subject="Something else")
    answer = student.get(f"/practice-tasks/subject/{segment}/latest")
    assert answer.status == 200
    assert answer.json["id"] == newest["id"]


@pytest.mark.parametrize("segment", ["History", "%00", "%FF", "%"])
def test_a_subject_without_tasks_is_404(student: Api, segment: str) -> None:
    create(student)
    assert student.get(f"/practice-tasks/subject/{segment}/latest").status == 404


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_unknown_foreign_and_malformed_ids_look_the_same(student: Api, other: Api, method: str) -> None:
    foreign = create(other)["id"]
    answers = {
        (answer.status, answer.body)
        for task_id in (str(uuid.uuid4()), foreign, "7", "x" * 300, "%00", "%2e%2e", "'; DROP TABLE users; --")
        for answer in [
            student.call(method, f"/practice-tasks/{quote(task_id, safe='%')}", {} if method == "PATCH" else None)
        ]
    }
    assert {status for status, _ in answers} == {404}
    assert other.get(f"/practice-tasks/{foreign}").status == 200


def test_a_deleted_task_is_gone(student: Api) -> None:
    task = create(student)
    deleted = student.delete(f"/practice-tasks/{task['id']}")
    assert (deleted.status, deleted.body) == (204, "")
    assert student.get(f"/practice-tasks/{task['id']}").status == 404
    assert student.delete(f"/practice-tasks/{task['id']}").status == 404


def test_deleting_a_completed_task_takes_it_out_of_the_total(student: Api) -> None:
    task = create(student)
    student.patch(f"/practice-tasks/{task['id']}", {"is_correct": True, "actual_time_seconds": 3})
    student.delete(f"/practice-tasks/{task['id']}")
    assert student.get("/model/status").json["n_samples_total"] == 0


def test_a_prediction_needs_no_task(student: Api) -> None:
    answer = student.get("/predictions?subject=Mathematics&topic=Fractions&difficulty=hard")
    assert answer.status == 200
    assert answer.json == {
        "subject": "Mathematics",
        "topic": "Fractions",
        "difficulty": "hard",
        "difficulty_numeric": 3,
        "predicted_correct": 0.5,
        "predicted_time_seconds": 60,
        "predicted_time_low": None,
        "predicted_time_high": None,
        "prediction_source": "default",
        "model_version": None,
        "lnirt_model_version": "fallback_default",
        "explanation": [],
    }
    assert student.get("/practice-tasks").json == []


def test_a_prediction_needs_topic_and_difficulty(student: Api) -> None:
    faults = student.get("/predictions?difficulty=brutal").json["detail"]
    assert {(fault["loc"][1], fault["type"]) for fault in faults} == {("topic", "missing"), ("difficulty", "enum")}


def test_only_an_admin_may_ask_for_another_student(student: Api, admin: Api) -> None:
    path = "/predictions?topic=Fractions&difficulty=easy&user_id=imported-7"
    assert student.get(path).status == 403
    assert admin.get(path).status == 200


def test_everything_is_503_while_the_database_is_away(student: Api, world: World) -> None:
    world.database.available = False
    for answer in (student.post("/practice-tasks", TASK), student.get("/practice-tasks"), student.get("/model/status")):
        assert answer.status == 503
        assert isinstance(answer.json["detail"], str)
        assert "fake" not in answer.body


def test_a_task_is_created_while_the_registry_is_away(student: Api, world: World) -> None:
    world.registry.available = False
    assert create(student)["prediction_source"] == "default"
