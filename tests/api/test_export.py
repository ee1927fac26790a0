"""The export of a student's own answers."""

from __future__ import annotations

import csv
import io

import pytest

from chalicelib.api import export
from tests.support.api import Api, create

TEXTS = ["=1+1", 'a "quote", a comma', "two\r\nlines", "\u00e4\U0001f600", " spaces ", "NULL", "\\N"]


def answer(student: Api, text: str, *, correct: bool = True) -> str:
    task = create(student, subject=text, topic=text, task_content=text, solution_content=text)
    student.patch(f"/practice-tasks/{task['id']}", {"is_correct": correct, "actual_time_seconds": 9})
    return str(task["id"])


def test_completed_tasks_are_exported_as_csv(student: Api, other: Api) -> None:
    ids = [answer(student, text, correct=n % 2 == 0) for n, text in enumerate(TEXTS)]
    create(student)
    answer(other, "x")
    page = student.get("/export")
    assert (page.status, page.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    rows = list(csv.DictReader(io.StringIO(page.body, newline="")))
    assert [row["task_id"] for row in rows] == ids
    assert [(row["topic"], row["task_content"], row["solution_content"]) for row in rows] == [(t, t, t) for t in TEXTS]
    assert [row["is_correct"] for row in rows[:2]] == ["True", "False"]


def test_the_pages_together_are_one_file(student: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [answer(student, f"t{n}") for n in range(5)]
    monkeypatch.setattr(export, "MAX_ROWS", 2)
    path, file = "/export", ""
    while path:
        page = student.get(path)
        file += page.body
        link = page.headers.get("link", "")
        path = "/" + link.partition(">")[0].removeprefix("<") if link else ""
    assert [row["task_id"] for row in csv.DictReader(io.StringIO(file, newline=""))] == ids


def test_an_export_without_answers_has_the_columns_only(student: Api) -> None:
    assert student.get("/export").body == ",".join(export.COLUMNS) + "\r\n"
    assert student.get("/export?after=x").status == 422
