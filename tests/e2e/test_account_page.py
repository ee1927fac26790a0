"""The account page: name, address, password, sessions, time zone, export and deletion."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.test_accessibility import expect_no_violations
from tests.support.api import PASSWORD, World
from tests.support.visits import Visit, hold_background_requests

pytestmark = pytest.mark.slow

NEW_PASSWORD = "a password that is remembered"
EMAIL = "ada@example.org"


@pytest.fixture
def at_account(visit: Visit) -> Visit:
    """A new student on the account page, reached from the header."""
    visit.sign_up()
    visit.page.get_by_role("link", name="Ada", exact=True).click()
    expect(visit.page.get_by_role("heading", name="Account", exact=True)).to_be_visible()
    visit.expect_loaded()
    return visit


def form(page: Page, name: str) -> Locator:
    return page.locator(f"#{name}-form")


def change_password(page: Page, current: str, new: str) -> None:
    page.get_by_label("Current password").fill(current)
    page.get_by_label("New password").fill(new)
    page.get_by_role("button", name="Change the password").click()


def delete_account(page: Page, password: str) -> None:
    page.get_by_label("Password, to confirm the deletion").fill(password)
    page.get_by_role("button", name="Delete my account").click()


def other_session(visit: Visit) -> Page:
    """Sign in in another browser and return its tasks page."""
    browser = visit.page.context.browser
    assert browser is not None
    page = browser.new_context(locale="en-GB").new_page()
    page.goto(f"{visit.url}/login?next=dashboard/tasks")
    page.get_by_label("Email address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("#submit").click()
    expect(page.locator("#counter")).to_have_text("0/5")
    return page


def test_the_name_is_changed_and_shown_in_the_header(at_account: Visit) -> None:
    page = at_account.page
    expect(page.get_by_label("Name")).to_have_value("Ada")
    page.get_by_label("Name").fill(" Ada <b>Lovelace</b> ")
    page.reload()
    expect(page.get_by_label("Name")).to_have_value(" Ada <b>Lovelace</b> ")  # what was typed is kept
    page.get_by_role("button", name="Save the name").click()
    expect(form(page, "name").get_by_role("status")).to_have_text("Name saved.")
    expect(page.locator("#who")).to_have_text("Ada <b>Lovelace</b>")
    page.get_by_label("Name").fill("")
    page.get_by_role("button", name="Save the name").click()
    expect(page.locator("#who")).to_have_text(EMAIL)
    page.reload()
    expect(page.locator("#who")).to_have_text(EMAIL)
    expect(page.get_by_label("Name")).to_have_value("")


def test_the_address_is_verified_with_a_code(at_account: Visit, world: World) -> None:
    at_account.failures_expected = True
    page = at_account.page
    expect(page.locator("#address")).to_have_text(f"{EMAIL} Not verified")
    page.get_by_role("button", name="Verify the address").click()
    expect(page.locator("#code-error")).to_have_text("Enter the code from the email.")
    page.get_by_role("button", name="Send another code").click()
    expect(form(page, "code").get_by_role("status")).to_contain_text("A code has been sent")
    expect(page.get_by_label("Code from the email")).to_be_focused()
    address, code = world.identity.outbox[-1]
    assert address == EMAIL
    assert len(world.identity.outbox) == 2
    page.get_by_label("Code from the email").fill(f"{code}9")
    page.get_by_role("button", name="Verify the address").click()
    expect(form(page, "code").get_by_role("alert")).to_have_text("The code is wrong or has expired")
    page.get_by_label("Code from the email").fill(f" {code} ")
    page.get_by_role("button", name="Verify the address").click()
    expect(page.locator("#address")).to_have_text(f"{EMAIL} Verified")
    expect(form(page, "code")).to_be_hidden()
    page.reload()
    expect(page.locator("#address")).to_have_text(f"{EMAIL} Verified")
    expect(form(page, "code")).to_be_hidden()


@pytest.mark.parametrize(
    ("current", "new", "message"),
    [
        ("", NEW_PASSWORD, "Enter your current password."),
        (PASSWORD, "", "Enter a new password."),
        (PASSWORD, "short", "Use at least 8 characters."),
        ("a wrong password", NEW_PASSWORD, "Incorrect password"),
        (PASSWORD, f" {NEW_PASSWORD}", "Password should not begin or end with a space"),
    ],
)
def test_a_password_is_not_changed(at_account: Visit, current: str, new: str, message: str) -> None:
    at_account.failures_expected = True
    page = at_account.page
    change_password(page, current, new)
    expect(form(page, "password").locator(".error:not(:empty)")).to_contain_text(message)
    expect(page.get_by_label("New password")).to_have_value(new)
    assert at_account.login() != ""


def test_a_new_password_ends_other_sessions_only(at_account: Visit) -> None:
    other = other_session(at_account)
    hold_background_requests(other)
    other.get_by_label("Subject").fill("Mathematics")
    other.get_by_label("Topic", exact=True).fill("Fractions")
    other.get_by_label("Exercise").fill("typed before the session ended")
    page = at_account.page
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_label("New password")).to_have_attribute("type", "text")
    change_password(page, PASSWORD, NEW_PASSWORD)
    expect(form(page, "password").get_by_role("status")).to_contain_text("Password changed.")
    expect(page.get_by_label("New password")).to_have_value("")
    expect(page.get_by_label("New password")).to_have_attribute("type", "password")

    other.get_by_role("button", name="Create task").click()
    expect(other.locator("#notices")).to_contain_text("Your session has ended")
    other.get_by_label("Email address").fill(EMAIL)
    other.get_by_label("Password").fill(NEW_PASSWORD)
    other.locator("#submit").click()
    expect(other.get_by_label("Exercise")).to_have_value("typed before the session ended")
    other.context.close()

    page.evaluate("localStorage.setItem('studysmart:/:ends', '1')")  # the new refresh token is used
    page.reload()
    expect(page.locator("#who")).to_have_text("Ada")
    at_account.expect_loaded()


def test_signing_out_everywhere_ends_every_session(at_account: Visit) -> None:
    other = other_session(at_account)
    page = at_account.page
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page.locator("#notices span")).to_contain_text("You are signed out on this device.")
    other.reload()
    expect(other.locator("#notices span")).to_contain_text("Your session has ended")
    other.context.close()
    page.reload()
    expect(page.locator("#notices")).to_be_empty()
    at_account.sign_in()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_charts_follow_the_chosen_time_zone(at_account: Visit) -> None:
    page = at_account.page
    zone = page.get_by_label("Days begin at midnight in")
    expect(zone.locator("option:checked")).to_have_text("Europe/Berlin (as this browser)")
    page.clock.set_fixed_time("2026-03-10T23:30:00Z")  # 00:30 of Wednesday in Berlin, 19:30 of Tuesday in New York
    for name, weekday in (("America/New_York", "Tuesday"), ("Asia/Tokyo", "Wednesday"), ("", "Wednesday")):
        zone.select_option(name)
        expect(page.locator("#zone-now")).to_contain_text(weekday)
        with page.expect_request("**/analytics/summary*") as asked:
            page.goto(f"{at_account.url}/dashboard")
        assert f"tz={(name or 'Europe/Berlin').replace('/', '%2F')}" in asked.value.url
        expect(page.locator(".week .today .hidden")).to_contain_text(weekday)
        page.goto(f"{at_account.url}/dashboard/account")
        expect(zone).to_have_value(name)


def test_an_unknown_zone_falls_back_to_its_offset(at_account: Visit) -> None:
    at_account.failures_expected = True
    page = at_account.page
    page.clock.set_fixed_time("2026-03-10T12:00:00Z")
    page.get_by_label("Days begin at midnight in").select_option("America/St_Johns")
    expect(page.locator("#zone-now")).to_contain_text("09:30")
    page.route("**/analytics/summary?tz=*", lambda route: route.fulfill(status=422, json={"detail": []}))
    with page.expect_request("**/analytics/summary?utc_offset_minutes=*") as asked:
        page.goto(f"{at_account.url}/dashboard")
    assert asked.value.url.endswith("=-150")
    at_account.expect_loaded()


def test_answers_are_exported(at_account: Visit, tmp_path: Path) -> None:
    at_account.finish_by_api(3)
    with at_account.page.expect_download() as started:
        at_account.page.get_by_role("button", name="Export your answers").click()
    started.value.save_as(tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["topic"] for row in csv.DictReader(file)] == ["Fractions"] * 3


def test_the_account_is_deleted_with_the_right_password(at_account: Visit, world: World) -> None:
    at_account.failures_expected = True
    page = at_account.page
    at_account.finish_by_api(2)
    page.get_by_role("button", name="Delete my account").click()
    expect(page.locator("#password-error")).to_have_text("Enter your password.")
    delete_account(page, "a wrong password")
    expect(form(page, "deletion").get_by_role("alert")).to_have_text("Incorrect password")
    assert len(world.database.tasks) == 2
    delete_account(page, PASSWORD)
    expect(page.locator("#notices span")).to_have_text("Your account and its data have been deleted.")
    assert len(world.database.tasks) == 0
    assert page.evaluate("[...Object.keys(localStorage)].filter((name) => name.startsWith('studysmart'))") == []
    at_account.sign_in()
    expect(page.get_by_role("alert")).to_have_text("Incorrect email or password")


def test_a_failed_load_can_be_repeated(visit: Visit) -> None:
    visit.failures_expected = True
    visit.shorten_timers()
    page = visit.page
    visit.sign_up()
    page.route("**/auth/me", lambda route: route.fulfill(status=503, body=""))
    visit.open("dashboard/account")
    expect(page.locator("#notices")).to_contain_text("could not complete the request")
    page.unroute("**/auth/me")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#address")).to_contain_text(EMAIL)


def test_the_account_page_with_errors_is_accessible(at_account: Visit) -> None:
    page = at_account.page
    for button in ("Verify the address", "Change the password", "Delete my account"):
        page.get_by_role("button", name=button).click()
    page.get_by_role("button", name="Save the name").click()
    expect(form(page, "name").get_by_role("status")).not_to_be_empty()
    expect_no_violations(page)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_the_account_page_fits_a_narrow_window(at_account: Visit, width: int) -> None:
    page = at_account.page
    page.get_by_label("Name").fill("Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 3)
    page.get_by_role("button", name="Save the name").click()
    expect(page.locator("#who")).to_contain_text("Donau")
    page.set_viewport_size({"width": width, "height": 640})
    at_account.expect_no_sideways_scrolling()
    tops = page.locator(".brand, #sign-out").evaluate_all("nodes => nodes.map(node => node.offsetTop)")
    assert max(tops) - min(tops) < 20  # the long name does not push the button into another row
