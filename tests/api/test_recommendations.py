"""What to practise next, and why a prediction is what it is, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.training import Champion
from tests.support.api import TASK, Api, World, sign_up
from tests.support.archives import forgetful_files, version_files

FIELDS = {
    "subject",
    "topic",
    "difficulty",
    "predicted_correct",
    "predicted_time_seconds",
    "prediction_source",
    "score",
    "reason",
    "due_at",
}


def practise(api: Api, topic: str, correct: bool = True, subject: str = "Mathematics") -> None:
    task = api.post("/practice-tasks", {**TASK, "topic": topic, "subject": subject}).json
    done = api.patch(f"/practice-tasks/{task['id']}", {"is_correct": correct, "actual_time_seconds": 20})
    assert done.status == 200


@pytest.fixture
def model(world: World) -> None:
    """A champion that knows ``topic 0`` to ``topic 2``."""
    serve(world, version_files())


@pytest.fixture
def forgetful(world: World) -> None:
    """A champion by which topics are forgotten."""
    serve(world, forgetful_files())


def serve(world: World, files: Mapping[str, bytes]) -> None:
    files = {name: body for name, body in files.items() if name != "metadata.json"}
    world.registry.write_version("default", "v1", files, {})
    champion = Champion("v1", None, "2026-01-31T00:00:00+00:00", None)
    world.registry.write_champion("default", champion, None)


def test_due_topics_are_listed_with_their_time(student: Api, model: None) -> None:
    assert student.get("/recommendations/due").json == []
    practise(student, "topic 0")
    for target, listed in ((0.05, 0), (0.95, 0)):
        found = student.get(f"/recommendations/due?target={target}").json
        assert len(found) == listed
    assert student.get("/recommendations/due?target=2&limit=0").status == 422


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("path", ["/recommendations?limit=50&", "/analytics/topics?", "/recommendations/due?"])
def test_a_topic_is_due_when_it_will_be_forgotten(student: Api, path: str) -> None:
    practise(student, "topic 0")
    chance = student.get("/predictions?topic=topic%200&difficulty=easy&subject=Mathematics").json["predicted_correct"]
    due = [row["due_at"] for row in student.get(f"{path}target={chance - 0.1:.3f}").json if row["topic"] == "topic 0"]
    assert any(due)
    now = datetime.now(UTC)
    assert all(now < datetime.fromisoformat(at) < now + timedelta(days=30) for at in due if at is not None)
    never = student.get(f"{path}target=0.05").json
    assert all(row["due_at"] is None for row in never if row.get("difficulty") != "expert")


@pytest.mark.usefixtures("model")
def test_where_nothing_is_forgotten_nothing_is_due(student: Api) -> None:
    practise(student, "topic 0")
    assert {row["due_at"] for row in student.get("/recommendations?limit=50&target=0.5").json} == {None}
    assert [row["due_at"] for row in student.get("/analytics/topics?target=0.5").json] == [None]


def test_where_nobody_practised_nothing_is_recommended(student: Api) -> None:
    assert student.get("/recommendations").json == []


@pytest.mark.usefixtures("model")
def test_topics_of_oneself_and_of_others_are_ranked_by_nearness_to_the_target(student: Api, world: World) -> None:
    for correct in (True, True, False):
        practise(student, "topic 0", correct)
    for number in range(5):
        practise(sign_up(world, f"other{number}@example.org"), "Topic 1")
    found = student.get("/recommendations?limit=50").json
    assert len(found) == 8
    assert all(set(one) == FIELDS for one in found)
    assert {one["topic"] for one in found} == {"topic 0", "Topic 1"}
    assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    distances = [abs(one["predicted_correct"] - 0.75) for one in found]
    assert distances == sorted(distances)
    assert {one["prediction_source"] for one in found} == {"embedding"}


@pytest.mark.usefixtures("model")
def test_a_recommendation_predicts_what_a_prediction_says(student: Api) -> None:
    practise(student, "topic 0")
    (best,) = student.get("/recommendations?limit=1&target=0.6").json
    asked = student.get(f"/predictions?topic=topic%200&difficulty={best['difficulty']}").json
    assert best["predicted_correct"] == pytest.approx(asked["predicted_correct"], abs=1e-4)
    assert best["predicted_time_seconds"] == pytest.approx(asked["predicted_time_seconds"], abs=1)


@pytest.mark.usefixtures("model")
def test_another_target_recommends_other_difficulties(student: Api) -> None:
    practise(student, "topic 0")
    easy = student.get("/recommendations?target=0.95&limit=1").json[0]
    hard = student.get("/recommendations?target=0.05&limit=1").json[0]
    assert (easy["difficulty"], hard["difficulty"]) == ("easy", "expert")


def test_a_subject_leaves_the_others_out(student: Api) -> None:
    practise(student, "Fractions")
    practise(student, "Cells", subject="Biology")
    found = student.get("/recommendations?subject=%20biology").json
    assert {(one["subject"], one["topic"]) for one in found} == {("Biology", "Cells")}


def test_before_the_first_model_topics_are_recommended_without_a_prediction(student: Api) -> None:
    practise(student, "Fractions")
    (one, *_) = student.get("/recommendations").json
    assert (one["predicted_correct"], one["prediction_source"]) == (0.5, "default")
    assert "no prediction" in one["reason"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("target=0.04", "target"),
        ("target=0.96", "target"),
        ("target=nan", "target"),
        ("target=high", "target"),
        ("limit=0", "limit"),
        ("limit=51", "limit"),
        ("limit=1.5", "limit"),
        ("subject=%20", "subject"),
    ],
)
def test_a_query_out_of_bounds_is_422(student: Api, query: str, name: str) -> None:
    answer = student.get(f"/recommendations?{query}")
    assert answer.status == 422
    assert [fault["loc"] for fault in answer.json["detail"]] == [["query", name]]


@pytest.mark.usefixtures("model")
def test_a_prediction_is_explained_and_a_task_is_not(student: Api) -> None:
    for _ in range(3):
        practise(student, "topic 0")
    explanation = student.get("/predictions?topic=Topic%200&difficulty=hard").json["explanation"]
    assert {"topic_record", "overall_record", "difficulty"} <= {one["group"] for one in explanation}
    assert all(set(one) == {"group", "text", "probability", "seconds", "hours_since_last"} for one in explanation)
    assert "explanation" not in student.post("/practice-tasks", TASK).json
