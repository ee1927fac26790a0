"""The page of a student's figures: empty, with charts and their tables, in the dark, narrow, and refused."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.api import World

from .conftest import PATIENCE_MS, Visit
from .filled import ODD_TOPIC, fits_its_width, practised, settled

pytestmark = pytest.mark.slow


@pytest.fixture
def at_figures(visit: Visit, world: World) -> Visit:
    """A student who has practised looks at the figures."""
    visit.sign_in_directly()
    practised(world)
    visit.open("dashboard/analytics")
    settled(visit)
    expect(visit.page.locator("canvas")).to_have_count(4)
    return visit


def pictures(page: Page) -> list[str]:
    """What is drawn, chart by chart."""
    return list(page.locator("canvas").evaluate_all("all => all.map(canvas => canvas.toDataURL())"))


def all_change(page: Page, before: list[str]) -> bool:
    """Whether every chart is drawn differently before the patience ends, looked at frame by frame."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while any(one == other for one, other in zip(before, pictures(page), strict=True)):
        if time.monotonic() > deadline:
            return False
        page.evaluate("new Promise(done => requestAnimationFrame(done))")
    return True


def test_without_tasks_the_page_says_what_to_do(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("dashboard/analytics")
    expect(visit.page.locator("#days")).to_contain_text("Nothing was done in the last 30 days")
    expect(visit.page.locator("#topics")).to_contain_text("No tasks done yet")
    expect(visit.page.locator("#calibration")).to_contain_text("No model has predicted")
    expect(visit.page.locator("canvas")).to_have_count(0)


def test_every_chart_has_a_name_and_a_table_with_its_figures(at_figures: Visit) -> None:
    page = at_figures.page
    labels = page.locator(".plot").evaluate_all("plots => plots.map(plot => [plot.role, plot.ariaLabel])")
    assert [role for role, _ in labels] == ["img"] * 4
    assert "Chance 30 to 40" in labels[2][1]
    expect(page.locator("#days tbody tr")).to_have_count(1)
    expect(page.locator("#days tbody tr")).to_contain_text("24")
    expect(page.locator("#topics tbody tr")).to_have_count(4)
    bins = page.locator("#calibration table").first.locator("tbody tr")
    expect(bins).to_have_count(3)
    expect(bins.last).to_contain_text("80 % to 90 %")
    page.get_by_text("Table: the newest 18 predicted answers").click()
    expect(page.locator("#calibration table").last.locator("tbody tr")).to_have_count(18)


def test_topics_are_text_whatever_is_in_them(at_figures: Visit) -> None:
    name = at_figures.page.locator("#topics .ranges .name").first
    expect(name).to_have_text(ODD_TOPIC)
    expect(name.locator("b")).to_have_count(0)


def test_mastery_shows_its_range_and_pace_its_side(at_figures: Visit) -> None:
    page = at_figures.page
    mark = page.locator("#topics .mark").first.bounding_box()
    band = page.locator("#topics .band").first.bounding_box()
    assert mark is not None
    assert band is not None
    assert band["x"] < mark["x"] + mark["width"] / 2 < band["x"] + band["width"]
    expect(page.locator(".pace .stretch")).to_have_count(4)
    expect(page.locator(".pace li").first).to_contain_text("slower")


def test_one_version_can_be_looked_at_alone(at_figures: Visit) -> None:
    page, all_models = at_figures.page, pictures(at_figures.page)
    expect(page.locator("#calibration .said")).to_contain_text("18 predictions")
    page.get_by_label("Predicted by").select_option(index=1)
    expect(page.locator("#calibration .said")).to_contain_text("6 predictions")
    expect(page.locator("canvas")).to_have_count(4)
    expect(page.locator("#calibration table").first.locator("tbody tr")).to_have_count(1)
    assert pictures(page)[:2] == all_models[:2]
    assert pictures(page)[2] != all_models[2]


def test_charts_follow_the_scheme_and_the_width(at_figures: Visit) -> None:
    page = at_figures.page
    page.emulate_media(color_scheme="light")
    light = pictures(page)
    page.emulate_media(color_scheme="dark")
    assert all_change(page, light)
    page.set_viewport_size({"width": 340, "height": 700})
    wide = page.locator(".plot").first
    expect(page.locator("canvas").first).to_have_js_property("clientWidth", wide.evaluate("plot => plot.clientWidth"))
    fits_its_width(page)


def test_pointing_at_a_chart_tells_its_figures(at_figures: Visit) -> None:
    page = at_figures.page
    over = page.locator("#calibration .u-over").first
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": box["width"] * 0.85, "y": box["height"] / 2})
    expect(page.locator("#calibration .readout").first).to_contain_text("Chance 80 to 90 %: 6 tasks")
    page.locator("#calibration .u-over").last.hover()
    expect(page.locator("#calibration .readout").last).to_contain_text("Hard: predicted")


def test_a_part_that_could_not_be_loaded_can_be_tried_again_and_the_others_are_there(
    visit: Visit, world: World
) -> None:
    visit.failures_expected = True
    visit.sign_in_directly()
    practised(world)

    def refuse(route: Route) -> None:
        route.fulfill(status=500, json={"detail": "no"})

    visit.page.route("**/analytics/topics", refuse)
    visit.open("dashboard/analytics")
    expect(visit.page.locator("#topics")).to_contain_text("Could not be loaded")
    expect(visit.page.locator("#days tbody tr")).to_have_count(1)
    visit.page.unroute("**/analytics/topics")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.locator("#topics tbody tr")).to_have_count(4)
