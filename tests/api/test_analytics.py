"""The figures over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import Difficulty, NewTask
from tests.support.api import TASK, Api, World
from tests.support.fakes.database import MemoryTaskStore


def finish(api: Api, correct: bool, seconds: int, topic: str = "Fractions") -> None:
    task = api.post("/practice-tasks", {**TASK, "topic": topic}).json
    done = api.patch(f"/practice-tasks/{task['id']}", {"is_correct": correct, "actual_time_seconds": seconds})
    assert done.status == 200


def finish_predicted(world: World, api: Api, chance: float, correct: bool) -> None:
    new = NewTask("Mathematics", "Fractions", Difficulty.HARD, "1/2 + 1/3")
    prediction = Prediction(chance, 40, 20, 80, Source.EMBEDDING, "20260101")
    task = MemoryTaskStore(world.database).insert(api.get("/auth/me").json["id"], new, prediction)
    assert api.patch(f"/practice-tasks/{task.id}", {"is_correct": correct, "actual_time_seconds": 50}).status == 200


def test_a_new_student_has_empty_figures_and_no_division_by_zero(student: Api) -> None:
    none = {"completed": 0, "correct": 0, "accuracy": None}
    assert student.get("/analytics/summary").json == {
        "tasks": 0,
        "completed": 0,
        "correct": 0,
        "accuracy": None,
        "predicted_accuracy": None,
        "mean_time_seconds": None,
        "median_time_seconds": None,
        "total_time_seconds": 0,
        "today": none,
        "last_7_days": none,
        "days": [],
    }
    assert student.get("/analytics/topics").json == []
    assert student.get("/analytics/calibration").json["overall"]["n"] == 0


def test_the_summary_counts_what_was_done_today(student: Api, other: Api) -> None:
    finish(student, True, 20)
    finish(student, False, 40)
    finish(other, True, 1)
    summary = student.get("/analytics/summary").json
    assert (summary["completed"], summary["accuracy"], summary["median_time_seconds"]) == (2, 0.5, 30)
    assert summary["today"] == {"completed": 2, "correct": 1, "accuracy": 0.5}
    assert [day["completed"] for day in summary["days"]] == [2]


def test_days_are_those_of_the_readers_zone(student: Api) -> None:
    finish(student, True, 20)
    for query, hours in [("tz=Pacific/Kiritimati", 14), ("tz=Etc/GMT%2B12&utc_offset_minutes=840", -12), ("tz=", 0)]:
        today = datetime.now(timezone(timedelta(hours=hours))).date()
        days = student.get(f"/analytics/summary?{query}").json["days"]
        assert [day["day"] for day in days] == [today.isoformat()], query


def test_topics_are_listed_with_mastery_and_its_interval(student: Api) -> None:
    finish(student, True, 20)
    finish(student, False, 20, "Algebra")
    algebra, fractions = student.get("/analytics/topics").json
    assert (algebra["topic"], fractions["topic"]) == ("Algebra", "Fractions")
    assert fractions["mastery_low"] < fractions["mastery"] < fractions["mastery_high"]
    assert algebra["mastery"] < fractions["mastery"]
    assert [row["topic"] for row in student.get("/analytics/topics?limit=1").json] == ["Algebra"]


def test_calibration_sets_predicted_against_actual_by_version(student: Api, world: World) -> None:
    finish_predicted(world, student, 0.75, True)
    finish_predicted(world, student, 0.75, False)
    finish(student, True, 10)  # predicted by default: no model to judge
    report = student.get("/analytics/calibration").json
    assert (report["overall"]["n"], report["overall"]["accuracy"]) == (2, 0.5)
    (only,) = report["overall"]["bins"]
    assert {name: only[name] for name in ("low", "high", "n")} == {"low": 0.7, "high": 0.8, "n": 2}
    assert (only["predicted"], only["actual"]) == (0.75, 0.5)
    assert only["actual_low"] == pytest.approx(1 - only["actual_high"])
    assert 0 < only["actual_low"] < 0.2
    assert [version["lnirt_model_version"] for version in report["by_version"]] == ["embedding_20260101"]


def test_calibration_over_all_is_for_admins(student: Api, admin: Api, world: World) -> None:
    finish_predicted(world, student, 0.75, True)
    assert student.get("/analytics/calibration?scope=all").status == 403
    assert admin.get("/analytics/calibration?scope=all").json["overall"]["n"] == 1
    assert admin.get("/analytics/calibration").json["overall"]["n"] == 0


def test_the_latest_predicted_answers_are_the_callers_own(student: Api, other: Api, world: World) -> None:
    finish_predicted(world, student, 0.75, True)
    finish(student, True, 10)
    (answer,) = student.get("/analytics/predicted").json
    assert (answer["predicted_correct"], answer["is_correct"], answer["actual_time_seconds"]) == (0.75, True, 50)
    assert (answer["predicted_time_low"], answer["predicted_time_high"]) == (20, 80)
    assert other.get("/analytics/predicted").json == []


def test_drift_is_for_admins_and_tells_fallbacks_and_calibration(student: Api, admin: Api, world: World) -> None:
    finish_predicted(world, student, 0.75, True)
    finish(student, False, 10)
    assert student.get("/analytics/drift").status == 403
    report = admin.get("/analytics/drift").json
    assert (report["n"], report["fallback_rate"]) == (2, 0.5)
    assert report["sources"] == {"embedding": 1, "lnirt": 0, "default": 1}
    (window,) = report["windows"]
    assert (window["n"], window["accuracy"], window["expected_calibration_error"]) == (2, 1, 0.25)
    assert admin.get("/analytics/drift?window=9").status == 422


def test_groups_are_for_admins_and_name_source_and_version(student: Api, admin: Api, world: World) -> None:
    finish_predicted(world, student, 0.75, True)
    finish(student, False, 10)
    assert student.get("/analytics/groups").status == 403
    report = admin.get("/analytics/groups").json
    assert report["n"] == 2
    assert [(group["division"], group["name"], group["n"]) for group in report["groups"][:3]] == [
        ("source", "default", 1),
        ("source", "embedding", 1),
        ("version", "20260101", 1),
    ]
    assert report["groups"][1]["difference"] == -0.25
    assert admin.get("/analytics/groups?limit=0").status == 422


def test_nobody_has_finished_anything_yet(admin: Api) -> None:
    none = {"embedding": 0, "lnirt": 0, "default": 0}
    assert admin.get("/analytics/drift").json == {"n": 0, "sources": none, "fallback_rate": None, "windows": []}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/analytics/summary?utc_offset_minutes=841", "utc_offset_minutes"),
        ("/analytics/summary?utc_offset_minutes=x", "utc_offset_minutes"),
        ("/analytics/summary?tz=Mars/Olympus", "tz"),
        ("/analytics/summary?tz=America", "tz"),
        ("/analytics/summary?tz=../Europe/Berlin", "tz"),
        ("/analytics/summary?tz=/etc/localtime", "tz"),
        ("/analytics/summary?tz=%00", "tz"),
        (f"/analytics/summary?tz={'x' * 300}", "tz"),
        ("/analytics/topics?limit=0", "limit"),
        ("/analytics/items?limit=501", "limit"),
        ("/analytics/calibration?scope=theirs", "scope"),
        ("/analytics/predicted?limit=1001", "limit"),
    ],
)
def test_a_wrong_parameter_is_named(student: Api, path: str, name: str) -> None:
    answer = student.get(path)
    assert answer.status == 422
    assert [fault["loc"] for fault in answer.json["detail"]] == [["query", name]]


@pytest.mark.parametrize("name", ["summary", "topics", "items", "calibration", "predicted", "drift", "groups"])
def test_figures_need_a_token(anyone: Api, name: str) -> None:
    assert anyone.get(f"/analytics/{name}").status == 401
