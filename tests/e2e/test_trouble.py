"""Invalid input, ended sessions and failing servers are reported, and no input is lost."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Route, expect

from chalicelib import wiring
from chalicelib.domain.cohorts import invitation_digest
from tests.support.api import PASSWORD, World
from tests.support.fakes.database import MemoryCohorts
from tests.support.visits import Visit, hold_background_requests

pytestmark = pytest.mark.slow


def test_a_wrong_password_is_reported(visit: Visit) -> None:
    visit.failures_expected = True
    visit.open("login")
    visit.sign_in(password="wrong password")
    expect(visit.page.get_by_role("alert")).to_have_text("Incorrect email or password")
    expect(visit.page.get_by_label("Email address")).to_have_value("ada@example.org")
    expect(visit.page.locator("#submit")).not_to_have_attribute("aria-disabled", "true")


def test_a_reached_limit_is_named_with_the_time_to_wait(visit: Visit, world: World) -> None:
    world.settings = {"FAILED_SIGN_INS": "1"}
    wiring.install(world.container())
    visit.failures_expected = True
    visit.open("login")
    visit.sign_in(password="wrong password")
    expect(visit.page.get_by_role("alert")).to_have_text("Incorrect email or password")
    visit.sign_in(password="wrong password")
    expect(visit.page.get_by_role("alert")).to_have_text(
        "After 1 wrong passwords or codes an account has to wait (FAILED_SIGN_INS). Try again in 15 min."
    )


def test_an_email_address_that_is_taken_is_reported(visit: Visit) -> None:
    visit.failures_expected = True
    visit.register("ada@example.org")
    visit.open("login")
    visit.page.get_by_role("button", name="Create an account").click()
    visit.sign_in()
    expect(visit.page.locator("#email-error")).to_contain_text("already has an account")
    expect(visit.page.get_by_label("Email address")).to_be_focused()
    visit.page.get_by_role("button", name="Sign in", exact=True).first.click()
    visit.sign_in()
    expect(visit.page).to_have_url(f"{visit.url}/dashboard")


def test_login_errors_are_shown_next_to_their_fields(visit: Visit) -> None:
    visit.failures_expected = True
    page = visit.page
    visit.open("login")
    page.get_by_role("button", name="Create an account").click()
    page.get_by_label("Password").fill("short")
    page.locator("#submit").click()
    expect(page.locator("#email-error")).to_have_text("Enter your email address.")
    expect(page.locator("#password-error")).to_have_text("Use at least 8 characters.")
    expect(page.get_by_label("Email address")).to_be_focused()
    page.get_by_label("Email address").fill("ada@nowhere")
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("#submit").click()
    expect(page.locator("#email-error")).to_have_text("value is not a valid email address")


@pytest.mark.parametrize(
    "path", ["dashboard", "dashboard/practice", "dashboard/tasks", "dashboard/analytics", "dashboard/account"]
)
def test_a_visitor_signs_in_and_comes_back(visit: Visit, path: str) -> None:
    visit.register("ada@example.org")
    visit.open(path)
    expect(visit.page.locator("#notices span")).to_have_text("Sign in to see this page.")
    visit.sign_in()
    expect(visit.page).to_have_url(f"{visit.url}/{path}")


def test_signing_in_does_not_lead_to_another_site(visit: Visit) -> None:
    visit.register("ada@example.org")
    visit.open("login?next=//example.org/")
    visit.sign_in()
    expect(visit.page).to_have_url(f"{visit.url}/dashboard")


def test_an_ended_session_keeps_the_draft(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    hold_background_requests(page)
    at_tasks.fill_task("a long exercise")
    page.evaluate("for (const name of Object.keys(localStorage)) localStorage.setItem(name, 'ended')")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#notices")).to_contain_text("Your session has ended")
    at_tasks.sign_in()
    expect(page).to_have_url(f"{at_tasks.url}/dashboard/tasks")
    expect(page.get_by_label("Exercise")).to_have_value("a long exercise")
    expect(page.get_by_role("radio", name="Hard")).to_be_checked()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (503, "could not complete the request"),
        (500, "could not complete the request"),
        (429, "Try again in 7 s"),
        (0, "cannot be reached"),
    ],
)
def test_a_failed_creation_keeps_the_text(at_tasks: Visit, status: int, message: str) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page

    def refuse(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
        elif status == 0:
            route.abort()
        else:
            route.fulfill(status=status, body="<html>gateway</html>", headers={"Retry-After": "7"})

    page.route("**/practice-tasks", refuse)
    at_tasks.fill_task("keep me")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#new-task .form-error")).to_contain_text(message)
    expect(page.get_by_label("Exercise")).to_have_value("keep me")
    page.unroute("**/practice-tasks")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator(".task")).to_have_count(1)
    expect(page.locator("#new-task .form-error")).to_be_empty()


def test_task_errors_are_shown_next_to_their_fields(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#subject-error")).to_have_text("Enter a subject.")
    expect(page.locator("#task_content-error")).to_have_text("Enter the exercise.")
    at_tasks.fill_task()
    error = {"loc": ["body", "topic"], "msg": "String should be better", "type": "value_error"}
    page.route("**/practice-tasks", lambda route: route.fulfill(status=422, json={"detail": [error]}))
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#topic-error")).to_have_text("String should be better")
    expect(page.get_by_label("Topic", exact=True)).to_be_focused()
    expect(page.locator("#subject-error")).to_be_empty()


def test_a_repeated_completion_counts_once(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page, lost = at_tasks.page, list[Any]()

    def lose_first_response(route: Route) -> None:
        if route.request.method == "PATCH" and not lost:
            lost.append(route.fetch().status)
            route.abort()
        else:
            route.continue_()

    at_tasks.create_task()
    page.route("**/practice-tasks/*", lose_first_response)
    at_tasks.answer_first("Correct", 30)
    expect(page.locator(".verdict")).to_contain_text("Correct in 30 s")
    expect(page.locator("#counter")).to_have_text("1/5")
    assert lost == [200]


def test_a_failed_completion_can_be_sent_again(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    at_tasks.shorten_timers()
    page = at_tasks.page
    at_tasks.create_by_api(1)
    page.reload()
    page.route("**/practice-tasks/*", lambda route: route.abort())
    at_tasks.answer_first("Incorrect", 33)
    task = page.locator(".task").first
    expect(task.locator(".notice")).to_contain_text("The server cannot be reached")
    expect(task.get_by_label("Seconds")).to_have_value("33")
    expect(task.get_by_role("button", name="Correct", exact=True)).not_to_have_attribute("aria-disabled", "true")
    page.unroute("**/practice-tasks/*")
    task.get_by_role("button", name="Try again").click()
    expect(task.locator(".verdict")).to_contain_text("Incorrect in 33 s")
    expect(page.locator("#counter")).to_have_text("1/5")


def test_a_failed_list_can_be_loaded_again(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    visit.shorten_timers()
    page = visit.page
    visit.sign_in_directly()
    visit.create_by_api(1)
    world.database.available = False
    visit.open("dashboard/tasks")
    expect(page.locator("#list-notices")).to_contain_text("could not complete the request")
    expect(page.locator("#no-tasks")).to_be_hidden()  # it would say that there are no tasks
    expect(page.locator("#training-state")).to_have_text("Status unknown")
    world.database.available = True
    page.locator("#list-notices").get_by_role("button", name="Try again").click()
    expect(page.locator(".task")).to_have_count(1)


def test_a_session_does_not_claim_that_no_task_is_open(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    visit.shorten_timers()
    visit.sign_in_directly()
    visit.create_by_api(1)
    world.database.available = False
    visit.open("dashboard/practice")
    expect(visit.page.locator("#ahead")).to_contain_text("Your open tasks could not be loaded.")
    world.database.available = True
    visit.page.locator("#notices").get_by_role("button", name="Try again").click()
    expect(visit.page.locator("#ahead")).to_contain_text("It begins with your 1 open task.")


def test_a_task_deleted_elsewhere_leaves_the_list(at_tasks: Visit, world: World) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    at_tasks.create_task()
    world.database.tasks.clear()
    at_tasks.answer_first()
    expect(page.locator(".task")).to_have_count(0)
    expect(page.locator("#notices")).to_contain_text("no longer exists")


def test_a_double_click_completes_once(at_tasks: Visit, world: World) -> None:
    at_tasks.create_task()
    task = at_tasks.page.locator(".task").first
    task.get_by_label("Seconds").fill("30")
    task.get_by_role("button", name="Correct", exact=True).dblclick()
    expect(task.locator(".verdict")).to_contain_text("Correct in 30 s")
    expect(at_tasks.page.locator("#counter")).to_have_text("1/5")
    assert world.database.tracker("default").n_samples_total == 1


def test_signing_out_applies_to_all_tabs(at_tasks: Visit) -> None:
    second = at_tasks.page.context.new_page()
    second.goto(f"{at_tasks.url}/dashboard")
    second.get_by_role("button", name="Sign out").click()
    expect(at_tasks.page.locator("#submit")).to_be_visible()


def test_a_link_with_an_invitation_opens_the_form_with_its_code(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    container = world.container("physics")
    assert isinstance(container.cohorts, MemoryCohorts)
    container.cohorts.invitations[invitation_digest("let-me-in")] = "physics"
    wiring.install(container)
    visit.open("login?invitation=let-me-out")
    page = visit.page
    page.get_by_label("Email address").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("#submit").click()
    expect(page.locator("#invitation_code-error")).to_contain_text("not valid")
    assert not world.database.users
    page.get_by_label("Invitation code").fill("let-me-in")
    page.locator("#submit").click()
    page.wait_for_url("**/dashboard")
    assert len(world.database.users) == 1
