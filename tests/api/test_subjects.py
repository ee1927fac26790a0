"""Topics of the same name in two subjects, over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import Champion
from tests.support.api import TASK, Api, World, sign_up
from tests.support.archives import version_files

NAME = "Chapter 1"
HISTORY, BIOLOGY = topic_key("History", NAME), topic_key("Biology", NAME)
WITHIN_SUBJECTS = {"topic 0": HISTORY, "topic 1": BIOLOGY}
WITHOUT_SUBJECTS = {"topic 0": "chapter 1"}


def publish(world: World, names: dict[str, str]) -> None:
    """Publish a version whose first topics have other names."""
    files = {name: body for name, body in version_files().items() if name != "metadata.json"}
    for name in ("lnirt.json", "vocabulary.json"):
        for old, new in names.items():
            files[name] = files[name].replace(f'"{old}"'.encode(), f'"{new}"'.replace("\x1f", r"\u001f").encode())
    world.registry.write_version("default", "v1", files, {})
    world.registry.write_champion("default", Champion("v1", None, "2026-01-31T00:00:00+00:00", None), None)


def practise(api: Api, subject: str, correct: bool) -> dict[str, Any]:
    task = api.post("/practice-tasks", {**TASK, "subject": subject, "topic": NAME}).json
    done = api.patch(f"/practice-tasks/{task['id']}", {"is_correct": correct, "actual_time_seconds": 20}).json
    assert isinstance(done, dict)
    return done


def predict(api: Api, subject: str | None = None) -> tuple[float, str]:
    about = {"topic": NAME, "difficulty": "medium", **({} if subject is None else {"subject": subject})}
    found = api.get(f"/predictions?{urlencode(about)}").json
    assert found["subject"] == subject
    return found["predicted_correct"], found["prediction_source"]


@pytest.fixture
def studied(student: Api, world: World) -> Api:
    """A student who is good at the chapter of history, and bad at that of biology."""
    publish(world, WITHIN_SUBJECTS)
    for _ in range(3):
        practise(student, "Biology", correct=False)
        practise(student, "History", correct=True)
    return student


def test_each_subject_has_its_own_prediction(studied: Api) -> None:
    history, biology, unknown = predict(studied, " HISTORY"), predict(studied, "Biology"), predict(studied, "Latin")
    assert history[0] > biology[0]
    assert [source for _, source in (history, biology, unknown)] == ["embedding", "embedding", "lnirt"]


def test_without_a_subject_the_topic_practised_last_is_meant(studied: Api) -> None:
    assert predict(studied) == predict(studied, "History")
    practise(studied, "Biology", correct=True)
    assert predict(studied) == predict(studied, "Biology")


def test_without_a_subject_a_newcomer_gets_a_topic_of_the_version(world: World) -> None:
    publish(world, WITHIN_SUBJECTS)
    newcomer = sign_up(world, "new@example.org")
    assert predict(newcomer) == predict(newcomer, "History")
    assert predict(newcomer, "Latin")[1] == "default"


def test_analytics_list_each_subject(studied: Api) -> None:
    found = [(each["subject"], each["topic"], each["accuracy"]) for each in studied.get("/analytics/topics").json]
    assert found == [("History", NAME, 1.0), ("Biology", NAME, 0.0)]
    answers = studied.get("/analytics/predicted").json
    assert {answer["subject"] for answer in answers} == {"History", "Biology"}


def test_recommendations_predict_each_subject(studied: Api) -> None:
    found = studied.get("/recommendations?limit=50").json
    chances = {each["subject"]: each["predicted_correct"] for each in found if each["difficulty"] == "medium"}
    assert chances.keys() == {"History", "Biology"}
    for subject, chance in chances.items():
        assert chance == pytest.approx(predict(studied, subject)[0], abs=1e-3)


def test_an_open_task_moves_to_another_subject_with_its_prediction(studied: Api) -> None:
    task = studied.post("/practice-tasks", {**TASK, "subject": "Biology", "topic": NAME}).json
    moved = studied.patch(f"/practice-tasks/{task['id']}", {"subject": "History"}).json
    assert task["predicted_correct"] == pytest.approx(predict(studied, "Biology")[0], abs=1e-3)
    assert moved["predicted_correct"] == pytest.approx(predict(studied, "History")[0], abs=1e-3)


def test_a_version_from_before_subjects_serves_all_of_them(student: Api, world: World) -> None:
    publish(world, WITHOUT_SUBJECTS)
    for _ in range(2):
        practise(student, "History", correct=True)
        practise(student, "Biology", correct=False)
    assert predict(student, "History") == predict(student, "Biology") == predict(student)
    assert predict(student)[1] == "embedding"
