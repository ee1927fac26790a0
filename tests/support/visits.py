"""A visit to the pages in Chromium, which fails if something goes wrong in the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from tests.support.api import PASSWORD
from tests.support.waiting import wait_for

TIMEOUT_MS = 30_000
TIME_ZONE = "Europe/Berlin"

# Runs before the scripts of each document, but stores the token only once: a test may sign out afterwards.
_STORE_TOKEN = """
if (sessionStorage.getItem("token stored") === null) {
  localStorage.setItem("studysmart:/:token", "%s");
  sessionStorage.setItem("token stored", "yes");
}
"""
_SHORTEN_TIMERS = """
const setTimer = window.setTimeout;
window.setTimeout = (callback, milliseconds = 0, ...rest) => setTimer(callback, milliseconds / 20, ...rest);
"""

expect.set_options(timeout=TIMEOUT_MS)


@dataclass
class Visit:
    """A page in a browser context of its own, and what went wrong in it."""

    page: Page
    url: str
    token: str = ""
    errors: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)
    failures_expected: bool = False
    """Set by tests that make requests fail: Chromium itself writes failed requests to the console."""

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}/{path}")

    def shorten_timers(self) -> None:
        """Make timers of the pages 20 times as fast, for tests that wait for retries."""
        self.page.add_init_script(_SHORTEN_TIMERS)

    def stop_clock(self) -> None:
        """Let time pass on the page only by `page.clock.run_for`, however slow this machine is.

        After it, no timer of a page fires until the next `run_for`, not even in a page that is opened later.
        """
        # The moment must still be in the future when the command arrives in the page.
        self.page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))

    def sign_up(self, email: str = "ada@example.org") -> None:
        """Create an account on the login page and arrive at the overview."""
        self.open("login")
        self.page.get_by_role("button", name="Create an account").click()
        self.page.get_by_label("Name").fill("Ada")
        self.page.get_by_label("Email address").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Create account", exact=True).click()
        expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()
        self.token = self.page.evaluate("localStorage.getItem('studysmart:/:token')") or ""

    def sign_in(self, email: str = "ada@example.org", password: str = PASSWORD) -> None:
        """Fill in and send the form of the login page."""
        self.page.get_by_label("Email address").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.locator("#submit").click()

    def register(self, email: str) -> None:
        """Create an account by the API."""
        account = {"email": email, "password": PASSWORD, "full_name": "Ada"}
        self.page.request.post(f"{self.url}/auth/register", data=account)

    def login(self, email: str = "ada@example.org") -> str:
        """Return a token from the API."""
        account = {"email": email, "password": PASSWORD}
        return str(self.page.request.post(f"{self.url}/auth/login", data=account).json()["access_token"])

    def sign_in_directly(self, email: str = "ada@example.org") -> None:
        """Create an account unless there is one, and give its token to the pages."""
        self.register(email)
        self.token = self.login(email)
        self.page.add_init_script(_STORE_TOKEN % self.token)

    def fill_task(self, content: str = "1/2 + 1/3", topic: str = "Fractions") -> None:
        self.page.get_by_label("Subject").fill("Mathematics")
        self.page.get_by_label("Topic", exact=True).fill(topic)
        self.page.get_by_role("radio", name="Hard").check()
        self.page.get_by_label("Exercise").fill(content)

    def create_task(self, content: str = "1/2 + 1/3", topic: str = "Fractions") -> None:
        """Create a task on the tasks page and wait for its card."""
        expect(self.page.locator("#tasks")).not_to_have_attribute("aria-busy", "true")
        before = self.page.locator(".task").count()
        self.fill_task(content, topic)
        self.page.get_by_role("button", name="Create task").click()
        expect(self.page.locator(".task")).to_have_count(before + 1)

    def answer_first(self, name: str = "Correct", seconds: int = 30) -> None:
        task = self.page.locator(".task").first
        task.get_by_label("Seconds").fill(str(seconds))
        task.get_by_role("button", name=name, exact=True).click()

    def finish_tasks(self, number: int) -> None:
        """Create and complete tasks on the tasks page, one after the other."""
        for index in range(number):
            self.create_task(f"exercise {index}")
            self.answer_first("Correct" if index % 2 else "Incorrect", 20 + index)
            expect(self.page.locator(".task").first).to_have_attribute("data-completed", "true")

    def create_by_api(self, number: int, **changes: str) -> list[str]:
        """Create tasks by the API, with topics T0, T1, …; returns their ids."""
        return [self._call("post", "practice-tasks", _task(topic=f"T{n}") | changes)["id"] for n in range(number)]

    def finish_by_api(self, number: int, **changes: str) -> None:
        """Create and complete tasks on one topic by the API, the first one incorrectly."""
        for n in range(number):
            [task] = self.create_by_api(1, **{"topic": "Fractions"} | changes)
            result = {"completed": True, "is_correct": n % 3 > 0, "actual_time_seconds": 20 + n}
            self._call("patch", f"practice-tasks/{task}", result)

    def _call(self, method: str, path: str, body: object) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.token}"}
        response = self.page.request.fetch(f"{self.url}/{path}", method=method, data=body, headers=headers)
        assert response.ok, response.text()
        found: dict[str, str] = response.json()
        return found

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Poll until the condition holds. Meanwhile Playwright calls the routes of the test."""
        wait_for(lambda: self.page.evaluate("true") and condition(), what=what)

    def expect_loaded(self) -> None:
        """Wait until no section of the page is loading."""
        expect(self.page.locator("main [aria-busy=true], main .pending")).to_have_count(0)

    def expect_no_sideways_scrolling(self) -> None:
        """Wait until the page fits its window: charts follow a change of width a moment later."""
        wait_for(
            lambda: self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"),
            seconds=TIMEOUT_MS / 1000,
            what="a page as narrow as its window",
        )

    def note_console(self, message: ConsoleMessage) -> None:
        if "Service Worker registration blocked by Playwright" in message.text:
            return
        network = message.text.startswith("Failed to load resource")
        if network and message.location.get("url", "").endswith("/favicon.ico"):
            return  # the whole browser asks for one where a document is no page, the headless shell never does
        if message.type in ("error", "warning") and not (network and self.failures_expected):
            self.errors.append(message.text)

    def note_request(self, request: Request) -> None:
        if request.url.startswith(("data:", "blob:", "about:")):
            return
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.foreign_requests.append(request.url)


def _task(topic: str) -> dict[str, str]:
    return {"subject": "Physics", "topic": topic, "difficulty": "easy", "task_content": "?"}


def hold_background_requests(page: Page) -> None:
    """Hold back what the tasks page sends by itself. The answers to an ended session would leave the page too early."""
    for path in ("model/status", "predictions*", "analytics/topics*"):
        page.route(f"**/{path}", lambda route: None)


@contextmanager
def visiting(
    browser: Browser, url: str, locale: str = "en-GB", offline_shell: bool = False, touch: bool = False
) -> Iterator[Visit]:
    """Visit the pages at ``url``; fails at the end on errors in the console or requests to another host."""
    # Requests of a service worker would pass by the routes of tests.
    workers: Literal["allow", "block"] = "allow" if offline_shell else "block"
    context = browser.new_context(
        locale=locale,
        timezone_id=TIME_ZONE,
        service_workers=workers,
        has_touch=touch,
        viewport={"width": 390, "height": 844} if touch else {"width": 1280, "height": 720},
    )
    context.set_default_timeout(TIMEOUT_MS)
    visit = Visit(context.new_page(), url)
    visit.page.on("console", visit.note_console)
    visit.page.on("pageerror", lambda error: visit.errors.append(f"exception: {error}"))
    visit.page.on("request", visit.note_request)
    try:
        yield visit
    finally:
        context.close()
    assert visit.errors == [], "\n".join(visit.errors)
    assert visit.foreign_requests == []
