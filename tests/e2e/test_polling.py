"""How often the pages ask the server: for the status of the model, and for assets that they have."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.api import World
from tests.support.page_data import sign_in_as_admin
from tests.support.visits import Visit

pytestmark = pytest.mark.slow

MINIMUM_GAP = 15.0

_RECORD = """
window.polls = [];
window.pending = 0;
const send = window.fetch;
window.fetch = async (url, options) => {
  if (String(url).endsWith("/model/status")) window.polls.push(performance.now() / 1000);
  window.pending += 1;
  try {
    const response = await send(url, options);
    const body = [204, 205, 304].includes(response.status) ? null : await response.arrayBuffer();
    return new Response(body, response);
  } finally { window.pending -= 1; }
};
"""
_HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def recorded(visit: Visit, path: str) -> Page:
    """Open a page whose clock moves only when it is told to, and whose requests are recorded."""
    visit.page.clock.install()
    visit.page.add_init_script(_RECORD)
    visit.open(path)
    expect(visit.page.locator("#counter")).to_contain_text("/5")
    visit.stop_clock()
    return visit.page


def polls_within(page: Page, seconds: int, each: int = 1) -> list[float]:
    """Let time pass on the page; return the seconds at which it asked."""
    before = page.evaluate("polls.length")
    for _ in range(0, seconds, each):
        page.clock.run_for(each * 1_000)
        while page.evaluate("pending") > 0:
            page.wait_for_timeout(5)
    found: list[float] = page.evaluate("polls")
    return found[before:]


def gaps(polls: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(polls)]


def start_training(world: World) -> None:
    lease = datetime.now(UTC) + timedelta(hours=1)
    request = "0a1b2c3d-0000-4000-8000-000000000000"
    world.database.change_tracker("default", training_request_id=request, lease_expires_at=lease)


@pytest.mark.parametrize("path", ["dashboard", "dashboard/tasks"])
def test_students_pages_ask_four_times_a_minute_at_most(visit: Visit, world: World, path: str) -> None:
    visit.sign_in_directly()
    start_training(world)
    page = recorded(visit, path)
    between = gaps(polls_within(page, 180))
    assert 8 <= len(between) <= 12
    assert min(between) >= MINIMUM_GAP
    assert max(between) <= MINIMUM_GAP * 1.26 + 2, "a pause is up to 26 % longer, and time passes in steps of a second"
    assert len({round(gap, 1) for gap in between}) > 1, "pages that are opened together must not stay together"


@pytest.mark.parametrize("failing", [False, True])
def test_polls_become_rarer_while_nothing_changes(at_tasks: Visit, failing: bool) -> None:
    at_tasks.failures_expected = True
    page = recorded(at_tasks, "dashboard")

    def answer(route: Route) -> None:
        if failing:
            route.fulfill(status=503, json={"detail": "away"})
        else:
            route.continue_()

    page.route("**/model/status", answer)
    between = gaps(polls_within(page, 900, each=5))
    assert 6 <= len(between) <= 20
    assert min(between) >= MINIMUM_GAP
    assert between[-1] > 50
    shown = "Status unknown" if failing else "No personal predictions yet"
    expect(page.locator("#training-state")).to_have_text(shown)


def test_the_models_page_follows_a_training_closely(visit: Visit, world: World) -> None:
    sign_in_as_admin(visit, world)
    start_training(world)
    page = recorded(visit, "dashboard/models")
    assert 10 <= len(polls_within(page, 40)) <= 40
    world.database.change_tracker("default", training_request_id=None, lease_expires_at=None)
    polls_within(page, 10)
    assert len(polls_within(page, 120)) <= 8


def test_answers_do_not_make_the_page_ask_more_often(at_tasks: Visit) -> None:
    at_tasks.create_by_api(4)
    page = recorded(at_tasks, "dashboard/tasks")
    start = page.evaluate("polls.length")
    for _ in range(4):
        open_task = page.locator('.task[data-completed="false"]').first
        open_task.get_by_label("Seconds").fill("30")
        open_task.get_by_role("button", name="Correct", exact=True).click()
        polls_within(page, 5)
    expect(page.locator("#counter")).to_have_text("4/5")
    found = page.evaluate("polls")
    assert len(found) - start <= 2
    assert min(gaps(found), default=MINIMUM_GAP) >= MINIMUM_GAP


@pytest.mark.parametrize("path", ["dashboard", "dashboard/models"])
def test_a_hidden_page_does_not_ask(visit: Visit, world: World, path: str) -> None:
    sign_in_as_admin(visit, world)
    start_training(world)
    page = recorded(visit, path)
    polls_within(page, 20)
    page.evaluate(_HIDE, True)
    assert polls_within(page, 600, each=30) == []
    before = page.evaluate("polls.length")
    page.evaluate(_HIDE, False)
    polls_within(page, 1)
    assert page.evaluate("polls.length") == before + 1
    for hidden in (True, False, True, False, True):
        page.evaluate(_HIDE, hidden)
    assert polls_within(page, 30) == []


def test_an_asset_is_loaded_once_for_all_pages(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("dashboard")
    visit.expect_loaded()
    loaded: set[str] = visit.page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    session = visit.page.context.new_cdp_session(visit.page)
    session.send("Network.enable")
    asked: dict[str, str] = {}
    cached: set[str] = set()  # the ids of requests
    session.on("Network.requestWillBeSent", lambda event: asked.update({event["requestId"]: event["request"]["url"]}))
    session.on("Network.requestServedFromCache", lambda event: cached.add(event["requestId"]))

    def note_disk_cache(event: dict[str, Any]) -> None:  # reported for icons instead of the event above
        if event["response"].get("fromDiskCache"):
            cached.add(event["requestId"])

    session.on("Network.responseReceived", note_disk_cache)
    visit.open("dashboard/tasks")
    visit.expect_loaded()
    again = {request: address for request, address in asked.items() if "/static/" in address and address in loaded}
    assert len(again) > 8
    visit.wait_for(lambda: again.keys() <= cached, f"{len(again)} assets from the cache")
