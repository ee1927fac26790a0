"""Chromium on the pages, served by Chalice's local server over in-memory adapters.

Every test fails on an error in the browser's console, on an exception in a script, and on a request to another host.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.api.conftest import url, world
from tests.support.api import PASSWORD

__all__ = ["url", "world"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 15_000

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Visit:
    """A page in a browser of its own, and what went wrong in it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    failures_expected: bool = False
    """Set where a test injects failures: Chromium itself then writes failed requests to the console."""

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}/{path}")

    def sign_up(self, email: str = "ada@example.org") -> None:
        """Create an account by the login page and arrive at the overview."""
        self.open("login")
        self.page.get_by_role("button", name="Create an account").click()
        self.page.get_by_label("Name").fill("Ada")
        self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Create account", exact=True).click()
        expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()

    def sign_in_directly(self, email: str = "ada@example.org") -> None:
        """Create an account by the API and hand its token to the pages, for tests that are about something else."""
        account = {"email": email, "password": PASSWORD, "full_name": "Ada"}
        self.page.request.post(f"{self.url}/auth/register", data=account)
        token = self.page.request.post(f"{self.url}/auth/login", data=account).json()["access_token"]
        self.open("login")
        self.page.evaluate("token => localStorage.setItem('studysmart:/:token', token)", token)

    def fill_task(self, content: str = "1/2 + 1/3", topic: str = "Fractions") -> None:
        self.page.get_by_label("Subject").fill("Mathematics")
        self.page.get_by_label("Topic", exact=True).fill(topic)
        self.page.get_by_role("radio", name="Hard").check()
        self.page.get_by_label("What is to be done").fill(content)

    def create_task(self, content: str = "1/2 + 1/3", topic: str = "Fractions") -> None:
        """Create a task on the page of tasks; it appears first in the list."""
        before = self.page.locator(".task").count()
        self.fill_task(content, topic)
        self.page.get_by_role("button", name="Create task").click()
        expect(self.page.locator(".task")).to_have_count(before + 1)

    def answer_first(self, name: str = "Correct", seconds: int = 30) -> None:
        task = self.page.locator(".task").first
        task.get_by_label("Seconds").fill(str(seconds))
        task.get_by_role("button", name=name, exact=True).click()

    def token(self) -> str:
        """The token that the pages use."""
        return str(self.page.evaluate("localStorage.getItem('studysmart:/:token')"))

    def create_by_api(self, number: int, **changes: str) -> None:
        """Create so many tasks past the page, with topics T0, T1, …"""
        headers = {"Authorization": f"Bearer {self.token()}"}
        for index in range(number):
            body = {"subject": "Physics", "topic": f"T{index}", "difficulty": "easy", "task_content": "?"} | changes
            assert self.page.request.post(f"{self.url}/practice-tasks", data=body, headers=headers).ok

    def finish_tasks(self, number: int) -> None:
        """Create and complete so many tasks, one after the other."""
        for index in range(number):
            self.create_task(f"exercise {index}")
            self.answer_first("Correct" if index % 2 else "Incorrect", 20 + index)
            expect(self.page.locator(".task").first).to_have_attribute("data-completed", "true")

    def note_console(self, message: ConsoleMessage) -> None:
        network = message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not (network and self.failures_expected):
            self.errors.append(message.text)

    def note_request(self, request: Request) -> None:
        if request.url.startswith(("data:", "blob:", "about:")):
            return
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.foreign.append(request.url)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next((found for found in map(shutil.which, NAMES) if found), None)
    if path is None:
        pytest.skip("no Chromium on this machine: install the package `chromium` of the system")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Browser, url: str) -> Iterator[Visit]:
    """A browser of its own at ``url``; leaving it fails when the console or a request shows something wrong."""
    context = browser.new_context(locale="en-GB", timezone_id="Europe/Berlin")
    context.set_default_timeout(PATIENCE_MS)
    visit = Visit(context.new_page(), url)
    visit.page.on("console", visit.note_console)
    visit.page.on("pageerror", lambda error: visit.errors.append(f"exception: {error}"))
    visit.page.on("request", visit.note_request)
    try:
        yield visit
    finally:
        context.close()
    assert visit.errors == []
    assert visit.foreign == []


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    with visiting(browser, url) as visit:
        yield visit


@pytest.fixture
def at_tasks(visit: Visit) -> Visit:
    """A new student on the page of tasks."""
    visit.sign_in_directly()
    visit.open("dashboard/tasks")
    expect(visit.page.locator("#counter")).to_have_text("0/5")
    return visit
