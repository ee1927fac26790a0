"""Wrong input, ended sessions, and a server that refuses or is away: it is said, and nothing typed is lost."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect

from tests.support.api import PASSWORD, World

from .conftest import Visit

pytestmark = pytest.mark.slow


def sign_in(visit: Visit, password: str = PASSWORD) -> None:
    visit.page.get_by_label("E-mail address").fill("ada@example.org")
    visit.page.get_by_label("Password").fill(password)
    visit.page.locator("#submit").click()


def test_a_wrong_password_is_said_and_the_address_stays(visit: Visit) -> None:
    visit.failures_expected = True
    visit.open("login")
    sign_in(visit, "wrong password")
    expect(visit.page.get_by_role("alert")).to_have_text("Incorrect email or password")
    expect(visit.page.get_by_label("E-mail address")).to_have_value("ada@example.org")
    expect(visit.page.locator("#submit")).not_to_have_attribute("aria-disabled", "true")


def test_an_address_that_is_taken_is_said(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Create an account").click()
    sign_in(at_tasks)
    expect(page.locator("#email-error")).to_contain_text("has an account already")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    page.get_by_role("button", name="Sign in", exact=True).first.click()
    sign_in(at_tasks)
    expect(page).to_have_url(f"{at_tasks.url}/dashboard")


def test_faults_stand_beside_their_fields_before_and_after_the_server_sees_them(visit: Visit) -> None:
    visit.failures_expected = True
    page = visit.page
    visit.open("login")
    page.get_by_role("button", name="Create an account").click()
    page.get_by_label("Password").fill("short")
    page.locator("#submit").click()
    expect(page.locator("#email-error")).to_have_text("Enter your e-mail address.")
    expect(page.locator("#password-error")).to_have_text("Use 8 characters or more.")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    page.get_by_label("E-mail address").fill("ada@nowhere")
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("#submit").click()
    expect(page.locator("#email-error")).to_have_text("value is not a valid email address")


@pytest.mark.parametrize("path", ["dashboard", "dashboard/tasks", "dashboard/analytics"])
def test_a_stranger_is_led_to_the_login_and_back(at_tasks: Visit, path: str) -> None:
    visit = at_tasks
    visit.page.get_by_role("button", name="Sign out").click()
    expect(visit.page.locator("#submit")).to_be_visible()
    visit.open(path)
    expect(visit.page.locator("#submit")).to_be_visible()
    sign_in(visit)
    expect(visit.page).to_have_url(f"{visit.url}/{path}")


def test_a_link_cannot_lead_to_another_site_after_signing_in(at_tasks: Visit) -> None:
    visit = at_tasks
    visit.page.get_by_role("button", name="Sign out").click()
    visit.open("login?next=//example.org/")
    sign_in(visit)
    expect(visit.page).to_have_url(f"{visit.url}/dashboard")


def test_an_ended_session_keeps_what_was_typed(at_tasks: Visit, world: World) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    at_tasks.fill_task("a long exercise")
    page.evaluate("for (const name of Object.keys(localStorage)) localStorage.setItem(name, 'ended')")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#notices")).to_contain_text("Sign in to go on")
    sign_in(at_tasks)
    expect(page).to_have_url(f"{at_tasks.url}/dashboard/tasks")
    expect(page.get_by_label("What is to be done")).to_have_value("a long exercise")
    expect(page.get_by_role("radio", name="Hard")).to_be_checked()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, "cannot do that right now"),
        (500, "cannot do that right now"),
        (429, "Try again in 7 s"),
        (0, "cannot be reached"),
    ],
)
def test_a_refused_creation_is_said_keeps_the_text_and_can_be_tried_again(
    at_tasks: Visit, status: int, said: str
) -> None:
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
    expect(page.locator("#new-task .form-error")).to_contain_text(said)
    expect(page.get_by_label("What is to be done")).to_have_value("keep me")
    page.unroute("**/practice-tasks")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator(".task")).to_have_count(1)
    expect(page.locator("#new-task .form-error")).to_be_empty()


def test_faults_of_a_task_stand_beside_their_fields(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#subject-error")).to_have_text("Enter the subject.")
    expect(page.locator("#task_content-error")).to_have_text("Enter what is to be done.")
    at_tasks.fill_task()
    fault = {"loc": ["body", "topic"], "msg": "String should be better", "type": "value_error"}
    page.route("**/practice-tasks", lambda route: route.fulfill(status=422, json={"detail": [fault]}))
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#topic-error")).to_have_text("String should be better")
    expect(page.get_by_label("Topic", exact=True)).to_be_focused()
    expect(page.locator("#subject-error")).to_be_empty()


def test_a_completion_whose_answer_got_lost_is_sent_again_and_counts_once(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page, lost = at_tasks.page, []

    def lose_the_first_answer(route: Route) -> None:
        if route.request.method == "PATCH" and not lost:
            lost.append(route.fetch().status)
            route.abort()
        else:
            route.continue_()

    at_tasks.create_task()
    page.route("**/practice-tasks/*", lose_the_first_answer)
    at_tasks.answer_first("Correct", 30)
    expect(page.locator(".verdict")).to_contain_text("Correct in 30 s")
    expect(page.locator("#counter")).to_have_text("1/5")
    assert lost == [200]


def test_a_completion_while_the_server_is_away_can_be_tried_again(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    at_tasks.create_task()
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


def test_a_list_that_could_not_be_loaded_can_be_tried_again(at_tasks: Visit, world: World) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    at_tasks.create_task()
    world.database.available = False
    page.reload()
    expect(page.locator("#list-notices")).to_contain_text("cannot do that right now")
    expect(page.locator("#training-state")).to_have_text("State unknown")
    world.database.available = True
    page.locator("#list-notices").get_by_role("button", name="Try again").click()
    expect(page.locator(".task")).to_have_count(1)


def test_a_task_that_was_deleted_elsewhere_goes_from_the_list(at_tasks: Visit, world: World) -> None:
    at_tasks.failures_expected = True
    page = at_tasks.page
    at_tasks.create_task()
    world.database.tasks.clear()
    at_tasks.answer_first()
    expect(page.locator(".task")).to_have_count(0)
    expect(page.locator("#notices")).to_contain_text("no longer there")


def test_two_clicks_complete_once(at_tasks: Visit, world: World) -> None:
    at_tasks.create_task()
    task = at_tasks.page.locator(".task").first
    task.get_by_label("Seconds").fill("30")
    task.get_by_role("button", name="Correct", exact=True).dblclick()
    expect(task.locator(".verdict")).to_contain_text("Correct in 30 s")
    expect(at_tasks.page.locator("#counter")).to_have_text("1/5")
    assert world.database.tracker("default").n_samples_total == 1


def test_signing_out_in_one_tab_signs_out_the_other(at_tasks: Visit) -> None:
    second = at_tasks.page.context.new_page()
    second.goto(f"{at_tasks.url}/dashboard")
    second.get_by_role("button", name="Sign out").click()
    expect(at_tasks.page.locator("#submit")).to_be_visible()
