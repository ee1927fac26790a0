"""The pages without a network: the shell is kept, and practice goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from chalicelib.api import pages
from tests.support.api import World
from tests.support.visits import Visit, visiting
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

_KEPT = "caches.keys().then(async names => names.length ? (await (await caches.open(names[0])).keys()).length : 0)"


@pytest.fixture
def student(browser: Browser, url: str) -> Iterator[Visit]:
    """A student with six open tasks whose browser has kept the shell."""
    with visiting(browser, url, offline_shell=True) as visit:
        visit.failures_expected = True
        visit.sign_in_directly()
        visit.create_by_api(6)
        visit.open("dashboard/practice")
        expect(visit.page.locator("#ahead")).to_contain_text("6 open tasks")
        shell = len(pages.imported_modules("practice.js"))
        wait_for(lambda: visit.page.evaluate(_KEPT) > shell, what="the shell in the cache")
        wait_for(lambda: visit.page.evaluate("navigator.serviceWorker.controller !== null"), what="the worker")
        yield visit


def test_a_session_begins_and_goes_on_without_a_network(student: Visit, world: World) -> None:
    page = student.page
    page.context.set_offline(True)
    page.reload()
    expect(page.locator("#ahead")).to_contain_text("6 open tasks")
    page.get_by_role("button", name="Start", exact=True).click()
    for n in range(5):
        expect(page.locator("#step")).to_contain_text(f"Task {n + 1} of 10")
        page.locator("#task-place").get_by_role("button", name="Correct", exact=True).click()
        page.get_by_role("button", name="Next task").click()
    page.reload()
    expect(page.locator("#step")).to_contain_text("Task 6 of 10, 5 right")
    expect(page.locator("#connection")).to_contain_text("5 answers will be sent later.")
    assert not any(task.completed for task in world.database.tasks.values())
    page.context.set_offline(False)
    wait_for(lambda: world.database.tracker("default").n_samples_total == 5, what="five answers")
    expect(page.locator("#connection")).to_be_empty()
    assert sum(task.completed for task in world.database.tasks.values()) == 5


def test_a_page_that_was_never_opened_leads_to_practice(student: Visit) -> None:
    student.page.context.set_offline(True)
    student.page.goto(f"{student.url}/dashboard/analytics")
    expect(student.page).to_have_url(f"{student.url}/dashboard/practice")
    expect(student.page.locator("#ahead")).to_contain_text("6 open tasks")


def test_the_app_can_be_installed(student: Visit) -> None:
    session = student.page.context.new_cdp_session(student.page)
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [error["errorId"] for error in errors if error["errorId"] != "in-incognito"] == []


def test_nothing_personal_is_in_the_cache(student: Visit) -> None:
    kept = student.page.evaluate(
        "caches.keys().then(async names => (await (await caches.open(names[0])).keys()).map(({ url }) => url))"
    )
    root = student.url + "/"
    assert {address.removeprefix(root).split("/")[0] for address in kept} == {"dashboard", "static"}
    student.page.get_by_role("button", name="Sign out").click()
    expect(student.page.locator("#submit")).to_be_visible()
    assert student.page.evaluate("Object.keys(localStorage).filter(name => name.includes('choices'))") == []
