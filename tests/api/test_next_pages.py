"""Every list leads to its next page, relative to the address of the request."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest

from chalicelib.api import export
from tests.support.api import TASK, Api

TOPICS = ["five", "four", "three", "two", "one"]


@pytest.fixture
def practised(student: Api) -> Api:
    for topic in reversed(TOPICS):
        task = student.post("/practice-tasks", {**TASK, "topic": topic}).json
        student.patch(f"/practice-tasks/{task['id']}", {"is_correct": True, "actual_time_seconds": 9})
    return student


def topics_of(body: str) -> list[str]:
    """The topics in the order in which they stand in an answer."""
    return sorted((topic for topic in TOPICS if topic in body), key=body.index)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", ["/practice-tasks", "/analytics/topics", "/analytics/items", "/export"])
def test_following_the_links_gives_everything_once(
    practised: Api, monkeypatch: pytest.MonkeyPatch, path: str, slash: str
) -> None:
    monkeypatch.setattr(export, "MAX_ROWS", 2)
    address, seen = f"{path}{slash}" + ("" if path == "/export" else "?limit=2"), []
    while address:
        page = practised.get(address)
        assert page.status == 200, page.body
        seen += topics_of(page.body)
        link = page.headers.get("link", "")
        assert not link.startswith(("</", "<http"))
        address = urljoin(address, link[1 : link.index(">")]) if link else ""
    assert seen == (TOPICS[::-1] if path == "/export" else TOPICS)
