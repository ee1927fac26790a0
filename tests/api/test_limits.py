"""What one student, one account and one address may do, over the API."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib import wiring
from tests.support.api import DONE, PASSWORD, TASK, Answer, Api, World, create, sign_up


@pytest.fixture
def student(world: World) -> Api:
    return sign_up(world)


def limit(world: World, **settings: int) -> None:
    """Use other limits from now on."""
    world.settings = {name.upper(): str(value) for name, value in settings.items()}
    wiring.install(world.container())


def refused(answer: Answer, name: str) -> None:
    assert answer.status == 429, answer.body
    assert f"({name})" in answer.json["detail"]
    assert 1 <= int(answer.headers["retry-after"]) <= 3_600


def post(api: Api, **fields: Any) -> Answer:
    return api.post("/practice-tasks", {**TASK, **fields})


def test_creations_of_an_hour_are_bounded(world: World, student: Api) -> None:
    limit(world, creations_per_hour=3)
    for _ in range(3):
        create(student)
    assert student.post("/practice-tasks", {}).status == 422, "what is not valid does not count"
    refused(post(student), "CREATIONS_PER_HOUR")
    create(sign_up(world, "grace@example.org"))


def test_completions_and_deletions_of_an_hour_are_bounded(world: World, student: Api) -> None:
    tasks = [create(student)["id"] for _ in range(3)]
    limit(world, completions_per_hour=2)
    assert student.patch(f"/practice-tasks/{tasks[0]}", DONE).status == 200
    assert student.delete(f"/practice-tasks/{tasks[1]}").status == 204
    refused(student.patch(f"/practice-tasks/{tasks[2]}", DONE), "COMPLETIONS_PER_HOUR")


def test_exported_pages_of_an_hour_are_bounded(world: World, student: Api) -> None:
    limit(world, exports_per_hour=1)
    assert student.get("/export").status == 200
    refused(student.get("/export"), "EXPORTS_PER_HOUR")


def test_a_new_topic_beyond_the_limit_is_refused(world: World, student: Api) -> None:
    limit(world, topics=2)
    first = create(student, topic="Algebra")
    create(student, topic="Geometry")
    refused(post(student, topic="Fractions"), "TOPICS")
    create(student, topic="GEOMETRY")
    assert student.patch(f"/practice-tasks/{first['id']}", DONE).status == 200
    create(student, topic="algebra")
    open_one = create(student, topic="geometry")
    refused(student.patch(f"/practice-tasks/{open_one['id']}", {"topic": "Fractions"}), "TOPICS")
    assert student.patch(f"/practice-tasks/{open_one['id']}", {"topic": "Algebra"}).status == 200


def test_open_tasks_are_bounded_and_completions_make_room(world: World, student: Api) -> None:
    limit(world, open_tasks=2)
    tasks = [create(student)["id"] for _ in range(2)]
    refused(post(student), "OPEN_TASKS")
    student.patch(f"/practice-tasks/{tasks[0]}", DONE)
    create(student)
    refused(post(student), "OPEN_TASKS")
    student.delete(f"/practice-tasks/{tasks[1]}")
    create(student)


def test_stored_texts_are_bounded_also_by_edits(world: World, student: Api) -> None:
    limit(world, stored_bytes=1_000)
    task = create(student, task_content="é" * 200)
    create(student, task_content="?", solution_content="x" * 299, answer_content="x" * 100)
    refused(post(student, task_content="x" * 300), "STORED_BYTES")
    refused(student.patch(f"/practice-tasks/{task['id']}", {"answer_content": "x" * 300}), "STORED_BYTES")
    assert student.patch(f"/practice-tasks/{task['id']}", {"answer_content": "x" * 200}).status == 200
    student.delete(f"/practice-tasks/{task['id']}")
    create(student, task_content="x" * 600)


def test_a_repeated_request_makes_no_second_task_at_a_limit(world: World, student: Api) -> None:
    limit(world, open_tasks=1)
    key = {"Idempotency-Key": "one"}
    first = student.post("/practice-tasks", TASK, headers=key)
    assert student.post("/practice-tasks", TASK, headers=key).json == first.json
    refused(student.post("/practice-tasks", TASK, headers={"Idempotency-Key": "two"}), "OPEN_TASKS")


def test_password_guesses_are_bounded(world: World, student: Api, anyone: Api) -> None:
    limit(world, failed_sign_ins=3)
    account = {"email": "ada@example.org", "password": PASSWORD}
    for _ in range(3):
        assert anyone.post("/auth/login", account).status == 200
        assert anyone.post("/auth/login", {**account, "password": "wrong"}).status == 401
    refused(anyone.post("/auth/login", account), "FAILED_SIGN_INS")
    sign_up(world, "grace@example.org")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/delete-account", {"password": "wrong"}),
        ("/auth/change-password", {"current_password": "wrong", "new_password": PASSWORD}),
        ("/auth/verify-email", {"code": "x"}),
        ("/auth/reset-password", {"email": "ada@example.org", "code": "x", "new_password": PASSWORD}),
    ],
)
def test_guesses_of_passwords_and_codes_are_bounded(world: World, student: Api, path: str, body: Any) -> None:
    limit(world, failed_sign_ins=2)
    assert [student.post(path, body).status for _ in range(2)] == [400, 400]
    refused(student.post(path, body), "FAILED_SIGN_INS")


def test_registrations_of_an_address_are_bounded(world: World, anyone: Api) -> None:
    limit(world, sign_ups_per_hour=2)
    for n in range(2):
        sign_up(world, f"student{n}@example.org")
    refused(anyone.post("/auth/register", {"email": "c@example.org", "password": PASSWORD}), "SIGN_UPS_PER_HOUR")


def test_codes_by_mail_are_bounded(world: World, student: Api) -> None:
    limit(world, mails_per_hour=1, address_mails_per_hour=3)
    assert student.post("/auth/forgot-password", {"email": "ada@example.org"}).status == 200
    refused(student.post("/auth/forgot-password", {"email": "ADA@example.org"}), "MAILS_PER_HOUR")
    assert student.post("/auth/send-verification").status == 200
    refused(student.post("/auth/forgot-password", {"email": "b@example.org"}), "ADDRESS_MAILS_PER_HOUR")


def test_every_operation_documents_429_and_503(anyone: Api) -> None:
    paths = anyone.get("/openapi.json").json["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert {"429", "503"} <= operation["responses"].keys(), f"{method} {path}"
