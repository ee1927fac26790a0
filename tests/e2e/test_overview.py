"""The overview: recommendations, progress, the training panel, and the state of the connection."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Route, expect

from chalicelib.api import export
from tests.support.api import World
from tests.support.visits import Visit

pytestmark = pytest.mark.slow

RECOMMENDATION = {
    "subject": "Mathematics",
    "topic": "Fractions",
    "difficulty": "hard",
    "predicted_correct": 0.71,
    "predicted_time_seconds": 48,
    "prediction_source": "embedding",
    "score": 0.9,
    "reason": "Your chance of success is 71 %; the target is 75 %.",
}


def test_a_new_student_sees_what_to_do(visit: Visit) -> None:
    visit.sign_up()
    expect(visit.page.locator("#next")).to_contain_text("Nothing to recommend yet")
    expect(visit.page.locator("#last-tasks")).to_contain_text("No tasks yet")
    visit.page.locator("#next").get_by_role("link", name="Begin with a first task").click()
    expect(visit.page.locator("#ahead")).to_contain_text("You have no open tasks.")


def test_answers_are_exported_as_one_file(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_ROWS", 2)
    visit.sign_in_directly()
    topics = ["Größe, Länge", 'a "quote"', "=1+1", "😀", "last"]
    for topic in topics:
        visit.finish_by_api(1, topic=topic)
    visit.open("dashboard")
    with visit.page.expect_download() as saved:
        visit.page.get_by_role("button", name="Export your answers").click()
    assert saved.value.suggested_filename == "answers.csv"
    with saved.value.path().open(encoding="utf-8", newline="") as file:
        assert [row["topic"] for row in csv.DictReader(file)] == topics


def test_a_failed_export_can_be_repeated(visit: Visit) -> None:
    visit.failures_expected = True
    visit.sign_in_directly()
    visit.open("dashboard")
    visit.page.route("**/export", lambda route: route.fulfill(status=500, body="broken"))
    visit.page.get_by_role("button", name="Export your answers").click()
    expect(visit.page.locator("#notices")).to_contain_text("could not complete the request")
    visit.page.unroute("**/export")
    with visit.page.expect_download():
        visit.page.get_by_role("button", name="Try again").click()


def test_progress_is_counted_by_local_day(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.finish_by_api(2)
    visit.open("dashboard")
    days = visit.page.locator("#work .week li")
    expect(days).to_have_count(7)
    expect(days.last).to_contain_text("2 done, 50 % correct")
    expect(days.nth(5)).to_contain_text("0 done")


def test_due_topics_lead_to_a_session(visit: Visit) -> None:
    page, now = visit.page, datetime.now(UTC)
    visit.sign_in_directly()
    visit.open("dashboard")
    expect(page.locator("#due")).to_have_text("Nothing is due today.")

    def topic(name: str, days: float) -> dict[str, object]:
        about = {"subject": "Mathematics", "topic": name, "difficulty": "hard", "predicted_correct": 0.6}
        times = {"last_practised_at": now - timedelta(days=9), "due_at": now + timedelta(days=days)}
        return about | {key: at.isoformat() for key, at in times.items()}

    answers = [topic("Fractions", -2), topic("Algebra", 5)]
    page.route("**/recommendations/due*", lambda route: route.fulfill(json=answers))
    visit.open("dashboard")
    expect(page.locator("#due li")).to_have_count(1)
    expect(page.locator("#due li")).to_contain_text("Fractions Hard, now 60 %")
    expect(page.locator("#due li")).to_contain_text("due 2 days ago")
    page.locator("#due").get_by_role("link", name="Fractions").click()
    expect(page.locator("#about")).to_have_text("It begins with Fractions.")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#write-why")).to_have_text("This topic is due: your chance of success has fallen to 60 %.")
    answers.pop(0)
    visit.open("dashboard")
    expect(page.locator("#due")).to_have_text("Nothing is due today. Algebra is due in 5 days.")


def test_the_goal_of_a_day_is_shown_and_can_be_switched_off(visit: Visit) -> None:
    page = visit.page
    visit.sign_in_directly()
    visit.finish_by_api(5)
    visit.open("dashboard")
    expect(page.locator(".goal")).to_contain_text("5 of 10 tasks today")
    today = page.locator(".calendar li.today")
    expect(today).to_have_text(re.compile(r": 5 done, 60\s% correct$"))
    page.get_by_label("Goal for a day").select_option("5 tasks")
    expect(page.locator(".goal")).to_contain_text("Today's goal of 5 tasks is reached.")
    expect(today).to_contain_text("goal reached")
    page.get_by_label("Goal for a day").select_option("Off")
    page.reload()
    expect(page.locator(".goal")).to_have_text("No goal is set.")
    expect(page.get_by_label("Goal for a day")).to_have_value("0")
    cells = page.locator(".calendar li")
    assert 22 <= cells.count() <= 28


def test_a_finished_training_is_announced_with_its_effect(visit: Visit, world: World) -> None:
    page, chance = visit.page, {"now": 0.71}
    page.route(
        "**/recommendations*", lambda route: route.fulfill(json=[RECOMMENDATION | {"predicted_correct": chance["now"]}])
    )
    visit.shorten_timers()
    visit.sign_up()
    expect(page.locator("#next")).to_contain_text("71 %")
    expect(page.locator("#training-state")).to_have_text("No personal predictions yet")
    page.get_by_role("link", name="Analytics").click()
    expect(page.locator("h1")).to_have_text("Analytics")
    finish_training(world, "20260401T120000Z-0a1b2c3d", 10)
    visit.open("dashboard")
    expect(page.locator("#training-news")).to_contain_text("They learnt from 10 answers.")
    expect(page.locator("#next .change")).to_have_count(0)
    chance["now"] = 0.78
    finish_training(world, "20260401T130000Z-0a1b2c3d", 15)
    expect(page.locator("#next .change")).to_have_text("up from 71 %")
    finish_training(world, "20260401T130000Z-0a1b2c3d", 20)
    expect(page.locator("#training-news")).to_contain_text("Your predictions stay as they were")


def finish_training(world: World, version: str, samples: int) -> None:
    now = datetime.now(UTC)
    world.database.change_tracker(
        "default", last_trained_at=now, model_version=version, n_samples_last_training=samples
    )


def test_a_failed_section_can_be_loaded_again(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    page.route("**/recommendations*", lambda route: route.fulfill(status=500, body="<html>"))
    at_tasks.open("dashboard")
    expect(page.locator("#next")).to_contain_text("could not complete the request")
    expect(page.locator("#work .week li")).to_have_count(7)
    page.unroute("**/recommendations*")
    page.locator("#next").get_by_role("button", name="Try again").click()
    expect(page.locator("#next")).to_contain_text("Nothing to recommend yet")


def test_a_busy_server_is_asked_again_after_its_pause(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page, asked = at_tasks.page, []

    def busy_once(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=429, headers={"Retry-After": "5"}, json={"detail": "slow down"})
        else:
            route.continue_()

    page.route("**/recommendations*", busy_once)
    at_tasks.open("dashboard")
    expect(page.locator("#connection")).to_contain_text("Trying again")
    expect(page.locator("#next")).to_contain_text("Nothing to recommend yet")
    expect(page.locator("#connection")).to_be_empty()
    assert len(asked) == 2


def test_a_slow_server_and_a_lost_connection_are_reported(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page, held = at_tasks.page, []
    at_tasks.stop_clock()
    page.route("**/recommendations*", lambda route: held.append(route))
    at_tasks.open("dashboard")
    page.clock.run_for(4_000)
    expect(page.locator("#connection")).to_contain_text("slow to respond")
    at_tasks.wait_for(lambda: held, "the request of recommendations")
    held.pop().continue_()
    expect(page.locator("#connection")).to_be_empty()
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_contain_text("You are offline")
    page.context.set_offline(False)
    expect(page.locator("#connection")).to_be_empty()
