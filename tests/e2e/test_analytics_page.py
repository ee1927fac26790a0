"""The analytics page: empty, with charts and their tables, in dark mode, on a narrow window, and after an error."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, Route, expect

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from tests.support.api import World
from tests.support.fakes.database import MemoryTaskStore
from tests.support.page_data import ODD_TOPIC, add_practice
from tests.support.visits import TIMEOUT_MS, Visit

pytestmark = pytest.mark.slow


@pytest.fixture
def at_analytics(visit: Visit, world: World) -> Visit:
    """A student with answers on the analytics page."""
    visit.sign_in_directly()
    add_practice(world)
    visit.open("dashboard/analytics")
    visit.expect_loaded()
    expect(visit.page.locator("canvas")).to_have_count(4)
    return visit


def test_topics_of_two_subjects_with_one_name_show_the_subject(visit: Visit, world: World) -> None:
    visit.sign_in_directly()
    store = MemoryTaskStore(world.database)
    for user in list(world.database.users):
        for subject, topic in (("History", "Chapter 1"), ("Biology", "chapter 1"), ("Biology", "Cells")):
            task = store.insert(user, NewTask(subject, topic, Difficulty.HARD, "?"), DEFAULT_PREDICTION)
            store.complete(user, task.id, Result(True, 20), None, TrainingPolicy(1000, 1000))
    visit.open("dashboard/analytics")
    visit.expect_loaded()
    names = ["Cells", "chapter 1 (Biology)", "Chapter 1 (History)"]
    expect(visit.page.locator("#topics .ranges").first.locator(".name")).to_have_text(names)


def test_imported_answers_have_no_predicted_share(visit: Visit, world: World) -> None:
    visit.sign_in_directly()
    add_practice(world)
    visit.page.route(
        "**/analytics/summary*", lambda route: route.fulfill(json=route.fetch().json() | {"predicted_accuracy": None})
    )
    visit.open("dashboard/analytics")
    expect(visit.page.locator("#summary")).to_contain_text("not predicted")


def images(page: Page) -> list[str]:
    """Return what each chart shows, as data URLs."""
    return list(page.locator("canvas").evaluate_all("all => all.map(canvas => canvas.toDataURL())"))


def wait_until_all_change(page: Page, before: list[str]) -> None:
    """Wait until every chart is drawn differently, checked frame by frame."""
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while any(one == other for one, other in zip(before, images(page), strict=True)):
        assert time.monotonic() < deadline, "a chart stays as it was"
        page.evaluate("new Promise(done => requestAnimationFrame(done))")


def test_without_tasks_the_page_says_what_to_do(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("dashboard/analytics")
    expect(visit.page.locator("#days")).to_contain_text("No tasks done in the last 30 days")
    expect(visit.page.locator("#topics")).to_contain_text("No tasks done yet")
    expect(visit.page.locator("#items")).to_contain_text("None of the exercises that you wrote down")
    expect(visit.page.locator("#calibration")).to_contain_text("No model has predicted")
    expect(visit.page.locator("canvas")).to_have_count(0)


def test_the_hardest_exercises_are_listed(at_analytics: Visit) -> None:
    rows = at_analytics.page.locator("#items tbody tr")
    expect(rows).to_have_count(8)
    expect(rows.first).to_contain_text("exercise 21")
    expect(rows.first).to_contain_text("0 of 1")
    at_analytics.page.set_viewport_size({"width": 390, "height": 844})
    fits = "element => element.scrollWidth <= element.clientWidth"
    assert at_analytics.page.locator("#items .scroll").evaluate(fits), "the table is wider than a phone"


def test_formulas_of_the_hardest_exercises_are_drawn(visit: Visit, world: World) -> None:
    visit.sign_in_directly()
    store = MemoryTaskStore(world.database)
    for user in list(world.database.users):
        new = NewTask("Mathematics", "Roots", Difficulty.MEDIUM, "Solve $x^2 = 4$.", item_id="sheet 3, no. 2")
        task = store.insert(user, new, DEFAULT_PREDICTION)
        store.complete(user, task.id, Result(False, 20), None, TrainingPolicy(1000, 1000))
    visit.open("dashboard/analytics")
    row = visit.page.locator("#items tbody tr")
    expect(row.locator(".katex")).to_have_count(1)
    expect(row).to_contain_text("Medium (sheet 3, no. 2)")
    expect(row).not_to_contain_text("$")


@pytest.mark.parametrize("path", ["dashboard", "dashboard/analytics"])
def test_days_are_those_of_the_readers_time_zone(visit: Visit, world: World, path: str) -> None:
    visit.sign_in_directly()
    add_practice(world)
    with visit.page.expect_request("**/analytics/summary?tz=Europe%2FBerlin"):
        visit.open(path)
    visit.expect_loaded()
    visit.failures_expected = True
    refusal = {"detail": [{"loc": ["query", "tz"], "msg": "unknown", "type": "time_zone"}]}
    visit.page.route("**/analytics/summary?tz=*", lambda route: route.fulfill(status=422, json=refusal))
    with visit.page.expect_request(re.compile(r"summary\?utc_offset_minutes=(60|120)$")):
        visit.page.reload()
    visit.expect_loaded()
    expect(visit.page.locator(".figure", has_text="Today")).to_contain_text("24")


def test_every_chart_has_a_label_and_a_table(at_analytics: Visit) -> None:
    page = at_analytics.page
    labels = page.locator(".plot").evaluate_all("plots => plots.map(plot => [plot.role, plot.ariaLabel])")
    assert [role for role, _ in labels] == ["img"] * 4
    assert "Chance 30 to 40" in labels[2][1]
    expect(page.locator("#days tbody tr")).to_have_count(1)
    expect(page.locator("#days tbody tr")).to_contain_text("24")
    expect(page.locator("#topics tbody tr")).to_have_count(4)
    bins = page.locator("#calibration table").first.locator("tbody tr")
    expect(bins).to_have_count(3)
    expect(bins.last).to_contain_text("80 % to 90 %")
    page.get_by_text("Table: 18 recent predictions").click()
    expect(page.locator("#calibration table").last.locator("tbody tr")).to_have_count(18)


def test_topics_show_their_name_mastery_and_pace(at_analytics: Visit) -> None:
    page = at_analytics.page
    name = page.locator("#topics .ranges .name").first
    expect(name).to_have_text(ODD_TOPIC)
    expect(name.locator("b")).to_have_count(0)
    mark = page.locator("#topics .mark").first.bounding_box()
    band = page.locator("#topics .band").first.bounding_box()
    assert mark is not None
    assert band is not None
    assert band["x"] < mark["x"] + mark["width"] / 2 < band["x"] + band["width"]
    paces = page.locator("#topics .pace li")
    expect(paces).to_have_count(4)
    expect(paces.first).to_contain_text("85 % slower")


def test_sentences_fit_their_numbers(visit: Visit, world: World) -> None:
    visit.sign_in_directly()
    add_practice(world)

    def keep_one(route: Route) -> None:
        rows = route.fetch().json()
        route.fulfill(json=[rows[0] | {"time_ratio": 2.49}])

    visit.page.route("**/analytics/topics", keep_one)
    visit.page.route("**/analytics/predicted", keep_one)
    visit.open("dashboard/analytics")
    expect(visit.page.locator("#topics .pace")).to_contain_text("2.5 times as long")
    expect(visit.page.locator("#calibration")).to_contain_text("Table: 1 recent prediction")


def test_one_version_can_be_shown_alone(at_analytics: Visit) -> None:
    page, all_models = at_analytics.page, images(at_analytics.page)
    expect(page.locator("#calibration .said")).to_contain_text("18 predictions")
    page.get_by_label("Predicted by").select_option(index=1)
    expect(page.locator("#calibration .said")).to_contain_text("6 predictions")
    expect(page.locator("canvas")).to_have_count(4)
    expect(page.locator("#calibration table").first.locator("tbody tr")).to_have_count(1)
    assert images(page)[:2] == all_models[:2]
    assert images(page)[2] != all_models[2]


def test_charts_follow_the_colour_scheme_and_the_width(at_analytics: Visit) -> None:
    page = at_analytics.page
    page.emulate_media(color_scheme="light")
    light = images(page)
    page.emulate_media(color_scheme="dark")
    wait_until_all_change(page, light)
    page.set_viewport_size({"width": 340, "height": 700})
    plot = page.locator(".plot").first
    expect(page.locator("canvas").first).to_have_js_property("clientWidth", plot.evaluate("plot => plot.clientWidth"))
    at_analytics.expect_no_sideways_scrolling()


def test_pointing_at_a_chart_shows_its_figures(at_analytics: Visit) -> None:
    page = at_analytics.page
    over = page.locator("#calibration .u-over").first
    box = over.bounding_box()
    assert box is not None
    over.hover(position={"x": box["width"] * 0.85, "y": box["height"] / 2})
    expect(page.locator("#calibration .readout").first).to_contain_text("Chance 80 to 90 %: 6 tasks")
    page.locator("#calibration .u-over").last.hover()
    expect(page.locator("#calibration .readout").last).to_contain_text("Hard: predicted")


def test_a_section_that_fails_can_be_loaded_again(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    visit.sign_in_directly()
    add_practice(world)

    def refuse(route: Route) -> None:
        route.fulfill(status=500, json={"detail": "no"})

    visit.page.route("**/analytics/topics", refuse)
    visit.open("dashboard/analytics")
    expect(visit.page.locator("#topics")).to_contain_text("Could not be loaded")
    expect(visit.page.locator("#days tbody tr")).to_have_count(1)
    visit.page.unroute("**/analytics/topics")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.locator("#topics tbody tr")).to_have_count(4)
