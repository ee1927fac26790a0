"""The life of an account by the pages of a whole one-machine stack, with codes from ``studysmart outbox``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ops import cli
from tests.support import stacks
from tests.support.api import PASSWORD
from tests.support.visits import Visit, visiting
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

EMAIL = "ada@example.org"
SECOND, THIRD = "battery staple", "third password"
MINUTE_MS = 60_000

NewestCode = Callable[[str], str]


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.RunningStack]:
    stack = stacks.start(tmp_path_factory.mktemp("stack"))
    yield stack
    stacks.end(stack)


@pytest.fixture
def newest_code(stack: stacks.RunningStack, capsys: pytest.CaptureFixture[str]) -> NewestCode:
    """Wait for a message whose subject has a word, and return the newest one's code."""

    def codes(word: str) -> list[str]:
        assert cli.main(["--state-dir", str(stack.state), "outbox", EMAIL, "--json"]) == 0
        return [one["code"] for one in json.loads(capsys.readouterr().out) if word in one["subject"]]

    def read(word: str) -> str:
        wait_for(lambda: codes(word), what=f"a message about {word!r}")  # the page's request may still be on its way
        return codes(word)[-1]

    return read


def test_the_life_of_an_account(
    browser: Browser, stack: stacks.RunningStack, newest_code: NewestCode, tmp_path: Path
) -> None:
    url = stack.api.url.rstrip("/")
    with visiting(browser, url) as own, visiting(browser, url) as elsewhere:
        own.failures_expected = elsewhere.failures_expected = True
        own.sign_up(EMAIL)
        verify_address(own, newest_code)
        refresh_token(own)
        reset_password(own, newest_code)
        end_other_session(own.page, elsewhere)
        export_answers(own.page, tmp_path / "answers.csv")
        delete_account(own)


def verify_address(visit: Visit, newest_code: NewestCode) -> None:
    page = visit.page
    visit.open("dashboard/account")
    expect(page.locator("#address")).to_have_text(f"{EMAIL} Not verified")
    page.get_by_label("Code from the email").fill(newest_code("verify"))
    page.get_by_role("button", name="Verify the address").click()
    expect(page.locator("#address")).to_have_text(f"{EMAIL} Verified")


def refresh_token(visit: Visit) -> None:
    """Practise with an access token that the server refuses, as it would an expired one."""
    page = visit.page
    visit.finish_by_api(1)
    visit.open("dashboard/tasks")
    expect(page.locator(".task")).to_have_count(1)
    page.evaluate("localStorage.setItem('studysmart:/:token', localStorage.getItem('studysmart:/:token') + 'x')")
    visit.create_task("after the token has expired")
    visit.answer_first("Correct", 30)
    expect(page.locator(".verdict").first).to_contain_text("Correct in 30 s")


def reset_password(visit: Visit, newest_code: NewestCode) -> None:
    page = visit.page
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/login")
    page.get_by_role("button", name="Forgot your password?").click()
    page.get_by_label("Email address").fill(EMAIL)
    page.get_by_role("button", name="Send the code").click()
    page.get_by_label("Code from the email").fill(newest_code("password"))
    page.get_by_label("New password").fill(SECOND)
    page.get_by_role("button", name="Set the new password").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def end_other_session(own: Page, elsewhere: Visit) -> None:
    elsewhere.open("login?next=dashboard/tasks")
    elsewhere.sign_in(EMAIL, PASSWORD)
    expect(elsewhere.page.get_by_role("alert")).to_have_text("Incorrect email or password")
    elsewhere.sign_in(EMAIL, SECOND)
    elsewhere.fill_task("typed before the session ended")
    own.get_by_role("link", name="Ada", exact=True).click()
    expect(own.locator("#address")).to_contain_text(EMAIL)
    for current, new in (("wrong", THIRD), (SECOND, THIRD)):
        own.get_by_label("Current password").fill(current)
        own.get_by_label("New password").fill(new)
        own.get_by_role("button", name="Change the password").click()
        shown = own.locator("#password-form").get_by_role("alert" if current == "wrong" else "status")
        expect(shown).to_contain_text("Incorrect password" if current == "wrong" else "Password changed")
    # The page of tasks asks for the state of the training from time to time, and is refused.
    expect(elsewhere.page.locator("#notices")).to_contain_text("Your session has ended", timeout=MINUTE_MS)
    elsewhere.sign_in(EMAIL, THIRD)
    expect(elsewhere.page.get_by_label("Exercise")).to_have_value("typed before the session ended")
    own.reload()
    expect(own.locator("#address")).to_have_text(f"{EMAIL} Verified")


def export_answers(page: Page, path: Path) -> None:
    with page.expect_download() as started:
        page.get_by_role("button", name="Export your answers").click()
    started.value.save_as(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert [row["topic"] for row in csv.DictReader(file)] == ["Fractions", "Fractions"]


def delete_account(visit: Visit) -> None:
    page = visit.page
    for password in (SECOND, THIRD):
        page.get_by_label("Password, to confirm the deletion").fill(password)
        page.get_by_role("button", name="Delete my account").click()
        if password == SECOND:
            expect(page.locator("#deletion-form").get_by_role("alert")).to_have_text("Incorrect password")
    expect(page.locator("#notices span")).to_have_text("Your account and its data have been deleted.")
    visit.sign_in(EMAIL, THIRD)
    expect(page.get_by_role("alert")).to_have_text("Incorrect email or password")
    visit.sign_up(EMAIL)  # the address is free again
    expect(page.locator("#last-tasks")).to_contain_text("No tasks yet")
