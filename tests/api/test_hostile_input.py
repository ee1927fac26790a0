"""Whatever a client sends, PostgreSQL's refusals never become a 500."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from app import app
from chalicelib import wiring
from chalicelib.api import unmatched
from chalicelib.storage.database import connect
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.user_store import PostgresUserStore
from tests.support.api import TASK, Api, World, sign_up

pytestmark = pytest.mark.slow

STRINGS = [
    "\x01a\x1f\x7f",
    "\ufdfa" * 200,
    "\ufffe\uffff",
    "\U0010ffff" * 200,
    "\u0390" * 200,
    "\ufb03" * 200,
    "a" + "\u0301" * 199,
    "'; DROP TABLE users; --",
    "%s %(x)s :x {x} $1 ? \\",
    "\u202e\u200b.\u2028",
]


@pytest.fixture
def student(world: World, database_url: str) -> Iterator[Api]:
    """A student whose data is in a real PostgreSQL."""
    unmatched.add_local_depths(app)
    engine = connect(database_url, pool_size=2)
    container = world.container()
    container.tasks = PostgresTaskStore(engine, "default")
    container.users = PostgresUserStore(engine, "default")
    container.tracker = PostgresTracker(engine)
    wiring.install(container)
    yield sign_up(world)
    engine.dispose()


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_any_text_is_kept_and_found_again(student: Api) -> None:
    for text in STRINGS:
        body = {**TASK, "subject": text, "topic": text, "task_content": text, "answer_content": text}
        created = student.post("/practice-tasks", body)
        assert created.status == 201, (text, created.body)
        assert [created.json[name] for name in ("subject", "topic", "task_content")] == [text] * 3
        segment = quote(text, safe="")
        assert student.get(f"/practice-tasks/subject/{segment}/latest").json["id"] == created.json["id"], text
        assert student.get(f"/practice-tasks?topic={segment}").json[0]["id"] == created.json["id"], text
        done = student.patch(f"/practice-tasks/{created.json['id']}", {"is_correct": True, "actual_time_seconds": 0})
        assert done.status == 200, text
        assert student.get(f"/predictions?difficulty=easy&topic={segment}").status == 200, text
        assert student.put("/auth/me", {"full_name": text}).json["full_name"] == text


@pytest.mark.parametrize("name", ["\u200b", "\x01\x1f\x7f", "\u202e\u200b\u2028", "\ufeff \u00ad", "\u3164", "\t\n "])
def test_a_name_with_nothing_visible_is_refused(student: Api, name: str) -> None:
    answer = student.post("/practice-tasks", {**TASK, "topic": name})
    assert (answer.status, answer.json["detail"][0]["loc"]) == (422, ["body", "topic"])
    assert student.get(f"/predictions?difficulty=easy&topic={quote(name)}").status == 422


def test_an_address_with_nul_or_broken_utf_8_is_404(student: Api) -> None:
    for segment in ("%00", "a%00b", "%FF", "%ED%A0%80"):
        assert student.get(f"/practice-tasks/subject/{segment}/latest").status == 404
        assert student.get(f"/practice-tasks/{segment}").status == 404


def test_forged_cursors_are_faults_of_the_cursor(student: Api) -> None:
    student.post("/practice-tasks", TASK)
    uuid = "00000000-0000-4000-8000-000000000000"
    forged = [
        "2026-01-01T00:00:00+00:00 " + "x" * 36,
        f"0001-01-01T00:00:00+14:00 {uuid}",
        f"9999-12-31T23:59:59.999999-14:00 {uuid}",
        f"2026-01-01T00:00:00 {uuid}",
        f"nonsense {uuid}",
        f"2026-01-01T00:00:00+00:00 {uuid.upper().replace('-', '')}",
        "\0",
        "",
        " ",
    ]
    for text in forged:
        answer = student.get(f"/practice-tasks?cursor={cursor(text)}")
        assert answer.status in (200, 422), (text, answer.body)
    for raw in ("=", "a", "\u00e9", "%", "x" * 5000):
        assert student.get(f"/practice-tasks?cursor={quote(raw)}").status in (200, 422), raw


def test_the_extremes_of_numbers_are_stored(student: Api) -> None:
    for minutes in (0, 5e-324, 1e-7, 1_000_000, 0.1):
        created = student.post("/practice-tasks", {**TASK, "estimated_time_minutes": minutes})
        assert created.json["estimated_time_minutes"] == minutes
        for seconds in (0, 0.001, 86_400):
            answer = student.patch(
                f"/practice-tasks/{created.json['id']}", {"is_correct": True, "actual_time_seconds": seconds}
            )
            assert answer.json["actual_time_seconds"] == seconds
    assert student.post("/practice-tasks", TASK).status == 201
