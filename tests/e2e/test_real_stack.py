"""The pages on the whole one-machine stack: real PostgreSQL, the queue, the worker, and a training by Keras."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from .conftest import Visit, visiting

pytestmark = pytest.mark.slow

START_SECONDS = 90
TRAINING_MS = 180_000
ANSWERS_BEFORE = 9
"""One less than the samples a first training needs; the counter is then over its threshold."""


@pytest.fixture(scope="module")
def stack_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a stack of the test's own."""
    state = tmp_path_factory.mktemp("stack")
    log = state / "output"
    command = [sys.executable, "-m", "infra.local", "--port", "0", "--state-dir", str(state)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _wait_for_url(process, state / "stack.json", log)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_url(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready.exists():
            return str(json.loads(ready.read_text())["url"]).rstrip("/")
        time.sleep(0.1)
    pytest.fail(f"the stack did not start:\n{log.read_text()[-3000:]}")


def test_a_training_runs_behind_a_page_that_stays_usable(browser: Browser, stack_url: str) -> None:
    with visiting(browser, stack_url) as visit:
        page = visit.page
        visit.sign_up()
        _practise_by_api(visit, ANSWERS_BEFORE)
        page.get_by_role("link", name="New task").click()
        expect(page.locator("#counter")).to_have_text(f"{ANSWERS_BEFORE}/5")
        visit.create_task("the tenth")
        expect(page.locator(".task").first).to_contain_text("Default")
        visit.answer_first("Correct", 30)
        expect(page.locator("#training-state")).to_have_text("Training", timeout=TRAINING_MS)
        visit.create_task("while it trains")
        visit.answer_first("Incorrect", 50)
        expect(page.locator(".task").first.locator(".verdict")).to_contain_text("Incorrect in 50 s")

        expect(page.locator("#training-news")).to_contain_text("Training is done", timeout=TRAINING_MS)
        expect(page.locator("#counter")).to_have_text("1/5")
        visit.create_task("after it")
        expect(page.locator(".task").first).not_to_contain_text("Default")
        expect(page.locator(".task").first).to_contain_text("model")


def _practise_by_api(visit: Visit, number: int) -> None:
    token = visit.page.evaluate("localStorage.getItem('studysmart:/:token')")
    headers = {"Authorization": f"Bearer {token}"}
    for index in range(number):
        task = {"subject": "Mathematics", "topic": "Fractions", "difficulty": "hard", "task_content": f"{index}"}
        created = visit.page.request.post(f"{visit.url}/practice-tasks", data=task, headers=headers)
        result = {"completed": True, "is_correct": index % 3 > 0, "actual_time_seconds": 20 + 5 * index}
        address = f"{visit.url}/practice-tasks/{created.json()['id']}"
        assert visit.page.request.patch(address, data=result, headers=headers).ok
