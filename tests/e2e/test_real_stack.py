"""The pages on a whole one-machine stack: PostgreSQL, the queue, the worker, and a training by Keras."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support import stacks
from tests.support.visits import visiting

pytestmark = pytest.mark.slow

TRAINING_MS = 180_000
ANSWERS_BEFORE = 9
"""One less than a first training needs. The counter is over its threshold by then."""


@pytest.fixture
def stack_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    stack = stacks.start(tmp_path_factory.mktemp("stack"))
    yield stack.api.url.rstrip("/")
    stacks.end(stack)


def test_the_page_stays_usable_during_a_training(browser: Browser, stack_url: str) -> None:
    with visiting(browser, stack_url) as visit:
        page = visit.page
        visit.sign_up()
        visit.finish_by_api(ANSWERS_BEFORE)
        page.get_by_role("link", name="New task").click()
        expect(page.locator("#counter")).to_have_text(f"{ANSWERS_BEFORE}/5")
        expect(page.locator(".task")).to_have_count(ANSWERS_BEFORE)
        visit.create_task("the tenth")
        expect(page.locator(".task").first).to_contain_text("Default")
        visit.answer_first("Correct", 30)
        expect(page.locator("#training-state")).to_contain_text("being updated", timeout=TRAINING_MS)
        visit.create_task("during the training")
        visit.answer_first("Incorrect", 50)
        expect(page.locator(".task").first.locator(".verdict")).to_contain_text("Incorrect in 50 s")

        news = page.locator("#training-news")
        expect(news).to_contain_text("have been updated", timeout=TRAINING_MS)
        # A training reads the answers a moment after it starts, so the last answer is either learnt or still counted.
        learnt = re.search(r"learnt from (\d+) answers", news.inner_text())
        assert learnt is not None, news.inner_text()
        expect(page.locator("#counter")).to_have_text(f"{ANSWERS_BEFORE + 2 - int(learnt[1])}/5")
        visit.create_task("after it")
        expect(page.locator(".task").first).not_to_contain_text("Default")
        expect(page.locator(".task").first).to_contain_text("model")
