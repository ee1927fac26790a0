"""axe-core finds nothing on any page, in light and in dark, with everything unfolded."""

from __future__ import annotations

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.api import World

from .conftest import Visit
from .filled import V1, practised, published, settled, sign_in_as_admin

pytestmark = pytest.mark.slow

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def faults(page: Page) -> list[str]:
    """What axe-core has to say, one line for each element."""
    found = Axe().run(page).response["violations"]
    return [f"{fault['id']}: {node['html'][:200]}" for fault in found for node in fault["nodes"]]


def expect_no_faults(page: Page) -> None:
    # Transitions are over, and no element is half transparent, when axe looks at colours.
    page.emulate_media(reduced_motion="reduce")
    page.evaluate("document.querySelectorAll('main details').forEach(folded => { folded.open = true; })")
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert faults(page) == [], scheme


def test_axe_is_not_blind(visit: Visit) -> None:
    visit.open("login")
    visit.page.evaluate("document.querySelector('label[for=email]').remove()")
    assert any(fault.startswith("label: ") for fault in faults(visit.page))


def test_the_login_page(visit: Visit) -> None:
    visit.open("login")
    visit.page.get_by_role("button", name="Create an account").click()
    visit.page.get_by_role("button", name="Create account", exact=True).click()
    expect(visit.page.locator("#email-error")).not_to_be_empty()
    expect_no_faults(visit.page)


@pytest.mark.parametrize("path", ["dashboard", "dashboard/tasks", "dashboard/analytics", "dashboard/models"])
def test_a_page_of_a_new_student(visit: Visit, path: str) -> None:
    visit.failures_expected = True  # the page of models is refused
    visit.sign_in_directly()
    visit.open(path)
    settled(visit)
    expect_no_faults(visit.page)


@pytest.mark.parametrize("path", ["dashboard", "dashboard/tasks", "dashboard/analytics"])
def test_a_page_of_a_student_who_practised(visit: Visit, world: World, path: str) -> None:
    visit.sign_in_directly()
    practised(world)
    visit.open(path)
    settled(visit)
    expect_no_faults(visit.page)


def test_the_page_of_models_and_its_question(visit: Visit, world: World) -> None:
    sign_in_as_admin(visit, world)
    practised(world)
    published(world)
    visit.open("dashboard/models")
    settled(visit)
    expect_no_faults(visit.page)
    visit.page.get_by_role("button", name=f"Let {V1} serve").click()
    expect(visit.page.get_by_role("dialog")).to_be_visible()
    expect_no_faults(visit.page)


def test_the_documentation(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("docs")
    page = visit.page
    for operation in ("analytics-topics", "practice tasks-create_task"):
        page.locator(f"[id='operations-{operation.replace(' ', '_')}'] .opblock-summary-control").click()
        page.get_by_role("button", name="Try it out").last.click()
    page.get_by_role("button", name="Execute").first.click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_be_visible()
    expect_no_faults(page)
