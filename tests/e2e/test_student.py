"""A student registers, practises, and sees the results."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from playwright.sync_api import Locator, Route, expect

from tests.support.api import World
from tests.support.visits import Visit

pytestmark = pytest.mark.slow


def test_a_new_student_completes_a_task(visit: Visit) -> None:
    page = visit.page
    visit.sign_up()
    page.get_by_role("link", name="New task").click()
    expect(page.locator("#counter")).to_have_text("0/5")
    page.route("**/model/status", lambda route: None)  # without polls, the counter must come with the PATCH
    visit.create_task()
    task = page.locator(".task").first
    expect(task).to_contain_text("Predicted: 50 % chance, about 1 min")
    expect(task).to_contain_text("Default")
    visit.answer_first("Correct", 42)
    expect(page.locator("#counter")).to_have_text("1/5")
    expect(task.locator(".verdict")).to_have_text("Correct in 42 s, faster than predicted")
    expect(task.locator(".result")).to_contain_text("Predicted: 50 % chance, 1 min")
    expect(task.get_by_role("meter", name="Predicted: 1 min")).to_have_attribute("value", "1")
    expect(task.get_by_role("meter", name="Actual: 42 s")).to_have_attribute("value", "0.7")
    expect(page.get_by_label("Exercise")).to_have_value("")
    expect(page.get_by_label("Topic", exact=True)).to_have_value("Fractions")


def test_a_text_typed_before_the_script_is_loaded_stays(at_tasks: Visit) -> None:
    page, held = at_tasks.page, []
    at_tasks.fill_task("the draft")
    page.route("**/tasks.js*", lambda route: held.append(route))
    page.goto(f"{at_tasks.url}/dashboard/tasks", wait_until="commit")
    page.get_by_label("Exercise").fill("typed early")
    at_tasks.wait_for(lambda: held, "the request of the script")
    held[0].continue_()
    page.unroute("**/tasks.js*")
    at_tasks.expect_loaded()
    for _ in range(2):
        expect(page.get_by_label("Exercise")).to_have_value("typed early")
        expect(page.get_by_label("Topic", exact=True)).to_have_value("Fractions")
        expect(page.get_by_role("radio", name="Hard")).to_be_checked()
        page.reload()


def test_a_name_typed_before_the_script_is_loaded_stays(at_tasks: Visit) -> None:
    page, held = at_tasks.page, []
    page.route("**/account.js*", lambda route: held.append(route))
    page.goto(f"{at_tasks.url}/dashboard/account", wait_until="commit")
    page.locator("#full_name").fill("Ada Lovelace")
    at_tasks.wait_for(lambda: held, "the request of the script")
    held[0].continue_()
    at_tasks.expect_loaded()
    expect(page.locator("#email")).to_contain_text("@")
    expect(page.locator("#full_name")).to_have_value("Ada Lovelace")


def test_a_time_of_zero_counts_as_not_recorded(at_tasks: Visit) -> None:
    at_tasks.create_task()
    at_tasks.answer_first("Correct", 0)
    expect(at_tasks.page.locator(".verdict")).to_have_text("Correct, time not recorded")


def test_the_panel_follows_a_training(at_tasks: Visit, world: World) -> None:
    page, database = at_tasks.page, world.database
    at_tasks.finish_by_api(4)
    at_tasks.shorten_timers()
    page.reload()
    expect(page.locator("#training-detail")).to_have_text("The first training needs 5 answers; there are 4.")
    at_tasks.finish_tasks(1)
    expect(page.locator("#training-state")).to_have_text("Your predictions are being updated")
    assert len(world.queue.messages) == 1

    lease = datetime.now(UTC) + timedelta(minutes=5)
    database.change_tracker("default", lease_expires_at=lease, progress={"phase": "correctness", "epoch": 4})
    at_tasks.finish_tasks(1)
    expect(page.locator("#counter")).to_have_text("6/5")

    now = datetime.now(UTC)
    database.trackers["default"] = replace(
        database.tracker("default"),
        n_samples_since_training=1,
        n_samples_last_training=5,
        last_trained_at=now,
        model_version=f"{now - timedelta(minutes=3):%Y%m%dT%H%M%SZ}-0a1b2c3d",
        training_request_id=None,
        lease_expires_at=None,
        progress=None,
    )
    expect(page.locator("#training-news")).to_have_text(
        "Your predictions have been updated. They learnt from 5 answers."
    )
    expect(page.locator("#counter")).to_have_text("1/5")
    expect(page.locator("#training-state")).to_have_text("Your predictions were updated 3 minutes ago")
    expect(page.locator("#training-detail")).to_have_text("They will be updated after 4 more answers.")


def test_a_failed_update_is_reported(at_tasks: Visit, world: World) -> None:
    world.database.change_tracker("default", last_error="the registry was away")
    at_tasks.page.reload()
    expect(at_tasks.page.locator("#training-state")).to_have_text("The last update failed")
    expect(at_tasks.page.locator("#training")).not_to_contain_text("registry")


def test_the_panel_says_when_the_next_update_may_start(at_tasks: Visit, world: World) -> None:
    later = datetime(2031, 5, 17, 12, tzinfo=UTC)
    world.database.change_tracker("default", n_samples_since_training=7, n_samples_total=9, next_training_at=later)
    at_tasks.page.reload()
    expect(at_tasks.page.locator("#counter")).to_have_text("7/5")
    expect(at_tasks.page.locator("#training-detail")).to_contain_text("They will be updated after")
    expect(at_tasks.page.locator("#training-detail")).to_contain_text("2031")
    world.database.change_tracker("default", training_failures=2, last_error="the registry was away")
    at_tasks.page.reload()
    expect(at_tasks.page.locator("#training-detail")).to_contain_text("Another one can start after")


def test_the_overview_shows_counter_tasks_and_figures(visit: Visit) -> None:
    page = visit.page
    visit.sign_in_directly()
    visit.finish_by_api(2)
    visit.open("dashboard")
    expect(page.locator("#counter")).to_have_text("2/5")
    expect(page.locator("#last-tasks li")).to_have_count(2)
    expect(page.locator("#last-tasks li").first).to_contain_text("Correct in 21 s")
    expect(page.locator("#work")).to_contain_text("50 %")
    expect(page.locator("#work")).to_contain_text("You typically take 21 s per task.")
    expect(page.locator("#who")).to_have_text("Ada")


def test_analytics_show_topics_after_the_first_tasks(at_tasks: Visit) -> None:
    page = at_tasks.page
    page.get_by_role("link", name="Analytics").click()
    expect(page.locator("#topics")).to_contain_text("No tasks done yet")
    expect(page.locator("#calibration")).to_contain_text("No model has predicted")
    at_tasks.finish_by_api(2)
    page.get_by_role("link", name="Tasks", exact=True).click()
    page.get_by_role("link", name="Analytics").click()
    expect(page.locator("#topics tbody tr")).to_have_count(1)
    expect(page.locator("#topics tbody tr")).to_contain_text("Fractions")
    expect(page.locator("#days tbody tr")).to_have_count(1)


def test_a_corrected_time_stops_the_stopwatch(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.create_task()
    task = page.locator(".task").first
    at_tasks.stop_clock()
    task.get_by_role("button", name="Start timer").click()
    page.clock.run_for(7_000)
    expect(task.get_by_label("Seconds")).to_have_value("7")
    task.get_by_label("Seconds").fill("12")
    page.clock.run_for(7_000)
    expect(task.get_by_label("Seconds")).to_have_value("12")
    task.get_by_role("button", name="Incorrect").click()
    expect(task.locator(".verdict")).to_contain_text("Incorrect in 12 s")


def test_a_running_stopwatch_survives_a_reload(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.create_task()
    page.locator(".task").first.get_by_role("button", name="Start timer").click()
    page.reload()
    expect(page.locator(".task").first.get_by_role("button", name="Pause")).to_be_visible()


_RACING_CLOCKS = """
const steady = performance.now.bind(performance), clock = Date.now.bind(Date);
window.skipped = { steady: 0, clock: 0 };
performance.now = () => steady() + window.skipped.steady;
Date.now = () => clock() + window.skipped.clock;
"""

HOUR_MS = 3_600_000


def run_stopwatch(visit: Visit, steady: float = 0.0, clock: float = 0.0, at_once: bool = True) -> Locator:
    """Create a task, start its stopwatch, and let hours pass by the steady clock and by that of the computer."""
    page = visit.page
    page.add_init_script(_RACING_CLOCKS)
    page.reload()
    visit.create_task()
    task = page.locator(".task").first
    task.get_by_role("button", name="Start timer").click()
    for _ in range(1 if at_once else 40):
        pause = [hours * HOUR_MS / (1 if at_once else 40) for hours in (steady, clock)]
        page.evaluate("([steady, clock]) => { skipped.steady += steady; skipped.clock += clock; }", pause)
        page.evaluate("new Promise(done => setTimeout(done, 260))")
    return task


@pytest.mark.parametrize(("steady", "clock"), [(9, 9), (0, 9), (9, 8)], ids=["tab frozen", "asleep", "clock set back"])
def test_a_stopwatch_that_slept_asks_for_the_time(at_tasks: Visit, steady: int, clock: int) -> None:
    task = run_stopwatch(at_tasks, steady, clock)
    task.get_by_role("button", name="Correct", exact=True).click()
    question = task.get_by_role("group", name="How long did you work on this task?")
    expect(question).to_contain_text("The timer shows 9 h. For 9 h of it, this page was not running.")
    expect(question.get_by_role("button", name="9 h")).to_be_focused()
    expect(at_tasks.page.locator("#counter")).to_have_text("0/5")
    question.get_by_role("button", name="9 h").click()
    expect(task.locator(".verdict")).to_contain_text("Correct in 9 h")


def test_a_time_that_nobody_knows_is_not_recorded(at_tasks: Visit) -> None:
    task = run_stopwatch(at_tasks, clock=2)
    task.get_by_role("button", name="Incorrect").click()
    task.get_by_role("button", name="I do not know").click()
    expect(task.locator(".verdict")).to_have_text("Incorrect, time not recorded")


def test_the_time_without_the_sleep_can_be_chosen(at_tasks: Visit) -> None:
    task = run_stopwatch(at_tasks, clock=10 / 60)
    expect(task.get_by_label("Seconds")).to_have_value(re.compile("^6(0[2-9]|[1-4][0-9])$"))
    task.locator(".watch").press("c")
    task.get_by_role("group").get_by_role("button", name=re.compile(r"^\d{1,2}\ss$")).click()
    expect(task.locator(".verdict")).to_have_text(re.compile(r"^Correct in \d{1,2}\ss"))


def test_a_stopwatch_that_runs_for_hours_asks(at_tasks: Visit) -> None:
    task = run_stopwatch(at_tasks, steady=1.1, clock=1.1, at_once=False)
    task.get_by_role("button", name="Correct", exact=True).click()
    expect(task.get_by_role("group")).to_contain_text(re.compile(r"The timer shows 1\sh\s[67]\smin\. How long"))
    task.get_by_label("Seconds").fill("600")
    expect(task.get_by_role("group")).to_be_hidden()
    task.get_by_role("button", name="Correct", exact=True).click()
    expect(task.locator(".verdict")).to_contain_text("Correct in 10 min")


@pytest.mark.parametrize("reload", [False, True], ids=["running", "reloaded"])
def test_a_clock_set_back_takes_no_time_away(at_tasks: Visit, reload: bool) -> None:
    task = run_stopwatch(at_tasks, clock=0 if reload else -1)
    if reload:
        at_tasks.page.add_init_script("window.skipped.clock = -3600_000;")
        at_tasks.page.reload()
        expect(task.get_by_role("button", name="Pause")).to_be_visible()
    expect(task.get_by_label("Seconds")).to_have_value(re.compile(r"^\d{1,2}$"))
    task.get_by_role("button", name="Correct", exact=True).click()
    expect(task.locator(".verdict")).to_have_text(re.compile(r"^Correct"))


def test_a_stopwatch_shows_a_day_at_most(at_tasks: Visit) -> None:
    task = run_stopwatch(at_tasks, clock=100)
    expect(task.get_by_label("Seconds")).to_have_value("86400")
    task.get_by_role("button", name="Correct", exact=True).click()
    task.get_by_role("button", name="24 h").click()
    expect(task.locator(".verdict")).to_contain_text("Correct in 24 h")


def test_hours_between_two_visits_are_counted_apart(at_tasks: Visit) -> None:
    task = run_stopwatch(at_tasks)
    at_tasks.page.add_init_script("window.skipped.clock = 9 * 3600_000;")
    at_tasks.page.reload()
    task.get_by_role("button", name="Correct", exact=True).click()
    expect(task.get_by_role("group")).to_contain_text("For 9 h of it")


def test_an_invalid_time_is_refused_next_to_its_field(at_tasks: Visit) -> None:
    at_tasks.create_task()
    task = at_tasks.page.locator(".task").first
    for text in ("", "abc", "1.5", "86401"):
        task.get_by_label("Seconds").evaluate("(input, text) => { input.value = text; }", text)
        task.get_by_role("button", name="Correct", exact=True).click()
        expect(task.get_by_role("alert")).to_contain_text("whole seconds")
    expect(task.get_by_label("Seconds")).to_be_focused()
    expect(at_tasks.page.locator("#counter")).to_have_text("0/5")


def test_markup_in_a_task_is_shown_as_text(at_tasks: Visit) -> None:
    nasty = "<img src=x onerror=\"document.title='gone'\"> <b>bold</b> שלום 🎯 ${root}"
    at_tasks.create_task(nasty, topic="<i>Topic</i>")
    at_tasks.create_task("long " * 2000)
    tasks = at_tasks.page.locator(".task")
    expect(tasks.nth(1)).to_contain_text(nasty)
    expect(tasks.nth(1).get_by_role("heading")).to_have_text("<i>Topic</i>")
    expect(tasks.nth(0).locator("summary")).to_be_visible()
    at_tasks.page.reload()
    expect(at_tasks.page.locator(".task").nth(1)).to_contain_text(nasty)
    expect(at_tasks.page).to_have_title("Tasks · StudySmart")


def test_the_pages_work_below_a_stage_prefix(visit: Visit) -> None:
    """A request that loses API Gateway's ``/<stage>`` prefix would not reach the application."""
    root, without_prefix = visit.url, []

    def strip(route: Route) -> None:
        path = route.request.url.removeprefix(root)
        if not path.startswith("/prod/"):
            without_prefix.append(path)
        route.continue_(url=root + path.removeprefix("/prod"))

    visit.page.route(f"{root}/**", strip)
    visit.url = f"{root}/prod"
    visit.sign_up()
    visit.page.get_by_role("link", name="Tasks", exact=True).click()
    visit.finish_tasks(1)
    visit.page.get_by_role("link", name="Analytics").click()
    expect(visit.page.locator("#topics")).to_contain_text("Fractions")
    visit.page.get_by_role("button", name="Sign out").click()
    expect(visit.page.get_by_role("button", name="Sign in", exact=True).first).to_be_visible()
    assert without_prefix == []


def test_no_page_scrolls_sideways_on_a_phone(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 360, "height": 740})
    visit.sign_in_directly()
    visit.finish_by_api(2)
    for path in ("dashboard", "dashboard/tasks", "dashboard/analytics"):
        visit.open(path)
        visit.expect_loaded()
        visit.expect_no_sideways_scrolling()


def test_a_topic_of_two_subjects_fills_in_neither(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.create_by_api(1, subject="History", topic="Chapter 1")
    at_tasks.create_by_api(1, subject="Biology", topic="Chapter 1")
    at_tasks.create_by_api(1, subject="Physics", topic="Optics")
    page.reload()
    expect(page.locator(".task")).to_have_count(3)
    page.get_by_label("Topic", exact=True).fill("Chapter 1")
    expect(page.get_by_label("Subject")).to_have_value("")
    page.get_by_label("Topic", exact=True).fill("Optics")
    expect(page.get_by_label("Subject")).to_have_value("Physics")
