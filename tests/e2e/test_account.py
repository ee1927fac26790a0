"""A forgotten password is replaced with a code that comes by e-mail."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.test_accessibility import expect_no_violations
from tests.support.api import PASSWORD, World
from tests.support.visits import Visit

pytestmark = pytest.mark.slow

NEW_PASSWORD = "a password that is remembered"


def request_code(visit: Visit, email: str) -> None:
    visit.page.get_by_role("button", name="Forgot your password?").click()
    expect(visit.page.locator("#password")).to_be_hidden()
    visit.page.get_by_label("Email address").fill(email)
    visit.page.get_by_role("button", name="Send the code").click()
    expect(visit.page.locator("#notices span")).to_have_text(
        f"If {email} has an account, a code has been sent to it. It may take a minute to arrive."
    )
    expect(visit.page.get_by_label("Code from the email")).to_be_focused()


def test_a_forgotten_password_is_replaced(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    page = visit.page
    visit.register("ada@example.org")
    visit.open("login?next=dashboard/tasks")
    request_code(visit, "ada@example.org")
    email, code = world.identity.outbox[-1]
    assert email == "ada@example.org"
    page.get_by_label("Code from the email").fill("no code")
    page.get_by_label("New password").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Set the new password").click()
    expect(page.locator("#code-error")).not_to_be_empty()
    page.get_by_label("Code from the email").fill(f"{code}9")
    page.get_by_role("button", name="Set the new password").click()
    expect(page.get_by_role("alert")).to_have_text("The code is wrong or has expired")
    page.get_by_label("Code from the email").fill(f" {code} ")
    page.get_by_role("button", name="Set the new password").click()
    expect(page).to_have_url(f"{visit.url}/dashboard/tasks")
    visit.expect_loaded()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    visit.sign_in(password=PASSWORD)
    expect(page.get_by_role("alert")).to_have_text("Incorrect email or password")
    visit.sign_in(password=NEW_PASSWORD)
    expect(page).to_have_url(f"{visit.url}/dashboard")


def test_a_code_is_used_in_a_later_visit(visit: Visit, world: World) -> None:
    visit.register("ada@example.org")
    visit.open("login")
    request_code(visit, "ada@example.org")
    page = visit.page
    page.reload()
    page.get_by_role("button", name="Forgot your password?").click()
    page.get_by_role("button", name="I have a code").click()
    page.get_by_label("Email address").fill("ada@example.org")
    page.get_by_label("Code from the email").fill(world.identity.outbox[-1][1])
    page.get_by_label("New password").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Set the new password").click()
    expect(page).to_have_url(f"{visit.url}/dashboard")


def test_an_unknown_address_is_answered_like_a_known_one(visit: Visit, world: World) -> None:
    visit.open("login")
    request_code(visit, "nobody@example.org")
    assert world.identity.outbox == []


def test_the_forms_to_recover_a_password_are_accessible(visit: Visit) -> None:
    page = visit.page
    visit.open("login")
    page.get_by_role("button", name="Forgot your password?").click()
    page.get_by_role("button", name="Send the code").click()
    expect(page.locator("#email-error")).to_have_text("Enter your email address.")
    expect_no_violations(page)
    page.get_by_role("button", name="I have a code").click()
    page.get_by_role("button", name="Set the new password").click()
    expect(page.locator("#code-error")).to_have_text("Enter the code from the email.")
    expect(page.locator("#password-error")).to_have_text("Enter your password.")
    expect_no_violations(page)
    page.get_by_role("button", name="Send another code").click()
    expect(page.get_by_role("button", name="Send the code")).to_be_visible()
