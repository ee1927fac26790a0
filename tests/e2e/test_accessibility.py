"""axe-core finds no violation on any page, in light and in dark mode, with all details opened."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.api import World
from tests.support.page_data import V1, add_practice, publish_versions, sign_in_as_admin
from tests.support.visits import Visit

pytestmark = pytest.mark.slow

COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
"""Options for the rules whose result depends on the colour scheme."""


def violations(page: Page, **options: Any) -> list[str]:
    """Return the violations that axe-core finds, one line per element."""
    found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [f"{violation['id']}: {node['html'][:200]}" for violation in found for node in violation["nodes"]]


def expect_no_violations(page: Page) -> None:
    # Without motion no transition is under way, so no element is half transparent when axe-core checks its colours.
    page.emulate_media(reduced_motion="reduce", color_scheme="light")
    page.evaluate("document.querySelectorAll('main details').forEach(details => { details.open = true; })")
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page, **COLOURS) == []


def test_axe_finds_violations(visit: Visit) -> None:
    visit.open("login")
    visit.page.evaluate("document.querySelector('label[for=email]').remove()")
    visit.page.evaluate("document.querySelector('.lead').style.color = 'silver'")
    assert any(line.startswith("label: ") for line in violations(visit.page))
    assert any(line.startswith("color-contrast: ") for line in violations(visit.page, **COLOURS))


def test_login_page(visit: Visit) -> None:
    visit.open("login")
    visit.page.get_by_role("button", name="Create an account").click()
    visit.page.get_by_role("button", name="Create account", exact=True).click()
    expect(visit.page.locator("#email-error")).not_to_be_empty()
    expect_no_violations(visit.page)


@pytest.mark.parametrize(
    "path",
    [
        "dashboard",
        "dashboard/practice",
        "dashboard/tasks",
        "dashboard/analytics",
        "dashboard/models",
        "dashboard/account",
    ],
)
def test_page_of_a_new_student(visit: Visit, path: str) -> None:
    visit.failures_expected = True  # the models page is refused
    visit.sign_in_directly()
    visit.open(path)
    visit.expect_loaded()
    expect_no_violations(visit.page)


@pytest.mark.parametrize("path", ["dashboard", "dashboard/tasks", "dashboard/analytics"])
def test_page_of_a_student_with_answers(visit: Visit, world: World, path: str) -> None:
    visit.sign_in_directly()
    add_practice(world)
    visit.open(path)
    visit.expect_loaded()
    expect_no_violations(visit.page)


def test_each_step_of_a_session(visit: Visit) -> None:
    page = visit.page
    visit.sign_in_directly()
    visit.create_by_api(1, solution_content="42", answer_content="42")
    visit.open("dashboard/practice")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Show the solution").click()
    expect_no_violations(page)
    page.get_by_label("Your answer").fill("41")
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".verdict")).to_contain_text("Incorrect")
    expect_no_violations(page)
    page.get_by_role("button", name="Next task").click()
    expect(page.get_by_label("Exercise")).to_be_visible()
    expect_no_violations(page)
    page.get_by_role("button", name="End the session").click()
    expect(page.locator("#summary")).to_contain_text("0 of 1")
    expect_no_violations(page)


def test_models_page_and_its_dialog(visit: Visit, world: World) -> None:
    sign_in_as_admin(visit, world)
    add_practice(world)
    publish_versions(world)
    visit.open("dashboard/models")
    visit.expect_loaded()
    expect_no_violations(visit.page)
    visit.page.get_by_role("button", name=f"Serve {V1}").click()
    expect(visit.page.get_by_role("dialog")).to_be_visible()
    expect_no_violations(visit.page)


def test_api_reference(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("docs")
    page = visit.page
    for operation in ("analytics-topics", "practice_tasks-create_task"):
        page.locator(f"#operations-{operation} .opblock-summary-control").click()
        page.get_by_role("button", name="Try it out").last.click()
    page.get_by_role("button", name="Execute").first.click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_be_visible()
    expect_no_violations(page)
