"""Pictures of every page: ``make screenshots`` or ``python -m lab.screenshots``.

It starts a stack of its own and takes pictures of the pages of a new student. Then it simulates some weeks of practice
(:mod:`lab.scenes`) and takes pictures of all pages in windows of several sizes, light and dark: with 300 and with 1,000
tasks, in a session, with topics that are due, with German and Arabic names, offline, and when the server fails. The
PNGs go to ``build/screenshots``.

axe-core checks what is in each picture. The exit status is 1 if it finds a violation, or if a page writes an error to
the console, such as a violation of its content security policy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

from benchmarks._browser import NoBrowserError, chromium
from benchmarks.client import ApiError
from benchmarks.local_stack import temporary_stack
from chalicelib.domain.errors import StudySmartError
from lab import scenes
from lab.scenes import Person, Scene, SceneError

OUTPUT = Path("build/screenshots")
PAGES = ("dashboard", "dashboard/practice", "dashboard/tasks", "dashboard/analytics", "dashboard/account")
MODELS = "dashboard/models"

_HIGHEST = 4_200
_PATIENCE_MS = 30_000


@dataclass(frozen=True, slots=True)
class Look:
    """A window: its size and colour scheme."""

    name: str
    width: int
    height: int
    scheme: str = "light"


DESKTOP, DARK = Look("desktop", 1200, 800), Look("dark", 1200, 800, "dark")
TABLET, PHONE, SMALL = Look("tablet", 820, 1180), Look("phone", 390, 844), Look("small", 320, 640)
LOOKS = (DESKTOP, DARK, TABLET, PHONE, Look("phone-dark", 390, 844, "dark"), SMALL)


def main() -> int:
    """Take all pictures and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.screenshots", description="Take pictures of every page.")
    parser.add_argument("--file", type=Path, help="take the answers from this CSV file instead of simulating them")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"directory for the PNGs (default: {OUTPUT})")
    options = parser.parse_args()
    try:
        answers = scenes.answers_of(options.file)
        options.output.mkdir(parents=True, exist_ok=True)
        with temporary_stack() as stack, chromium() as browser:
            people = scenes.people(stack)
            camera = Camera(browser, people, options.output)
            camera.take_empty()
            scenes.fill(people, answers)
            camera.take_full()
    except (StudySmartError, NoBrowserError, SceneError, ApiError) as error:
        print(f"No screenshots: {error}", file=sys.stderr)
        return 1
    print(f"{camera.taken} pictures are in {options.output}; faults found in them: {len(camera.faults)}")
    return 1 if camera.faults else 0


class Camera:
    """Takes pictures of the pages of one scene."""

    def __init__(self, browser: Browser, people: Scene, output: Path) -> None:
        self._browser, self._people, self._output = browser, people, output
        self.taken = 0
        self.faults: list[str] = []

    def take_empty(self) -> None:
        """Take the pages of a new student."""
        for look in LOOKS:
            for page in PAGES:
                self._take(page, self._people.newcomer, look, "empty")
        self._take(MODELS, self._people.admin, DESKTOP, "empty")

    def take_full(self) -> None:
        """Take the pages after some weeks."""
        people = self._people
        for look in LOOKS:
            self._take("login", None, look)
            self._take("docs", people.student, look)
            for page in PAGES:
                self._take(page, people.student, look)
                self._take(page, people.traveller, look, "names")
            self._take(MODELS, people.admin, look)
            for page in ("dashboard", "dashboard/tasks", "dashboard/analytics"):
                self._take(page, people.busy, look, "300")
                self._take(page, people.busiest, look, "1000")
            self._take("dashboard", people.student, look, "due", _show_due)
            self._take_session(look)
            self._take_trouble(look)
        self._take(MODELS, people.newcomer, DESKTOP, "refused")

    def _take_trouble(self, look: Look) -> None:
        """Take pages whose server fails, an address that does not exist, and a session that loses the network."""
        for path in (*PAGES, MODELS):
            self._take(path, self._people.admin, look, "error", _fail)
        self._take("no/such/page", self._people.student, look)
        page = self._begin_session(look)
        page.context.set_offline(True)
        page.get_by_label("Seconds").fill("40")
        page.get_by_role("button", name="Incorrect", exact=True).click()
        page.locator(".next-task").click()
        expect(page.locator("#connection")).to_contain_text("later")
        self._picture(page, look, f"session-offline-{look.name}.png")
        page.context.close()

    def _take_session(self, look: Look) -> None:
        """Take the steps of a session: an exercise, its result, the form, and the summary."""
        page = self._begin_session(look)
        self._picture(page, look, f"session-exercise-{look.name}.png")
        page.get_by_label("Seconds").fill("40")
        page.get_by_role("button", name="Correct", exact=True).click()
        page.locator(".next-task").wait_for()
        self._picture(page, look, f"session-result-{look.name}.png")
        page.locator(".next-task").click()
        page.get_by_role("button", name="End the session").click()
        page.locator("#summary-content > *").first.wait_for()
        self._picture(page, look, f"session-summary-{look.name}.png")
        page.context.close()

    def _begin_session(self, look: Look) -> Page:
        client = self._people.student.client
        client.close()  # the server closes a connection that was idle meanwhile
        client.create("Mathematics", "Fractions", "medium")
        page = self._open("dashboard/practice", self._people.student, look)
        page.get_by_role("button", name="Start", exact=True).click()
        return page

    def _take(
        self,
        path: str,
        person: Person | None,
        look: Look,
        state: str = "",
        prepare: Callable[[Page], None] | None = None,
    ) -> None:
        page = self._open(path, person, look, prepare)
        self._picture(page, look, "-".join(filter(None, (path.rpartition("/")[2], state, look.name))) + ".png")
        page.context.close()

    def _open(
        self, path: str, person: Person | None, look: Look, prepare: Callable[[Page], None] | None = None
    ) -> Page:
        context = self._browser.new_context(
            viewport={"width": look.width, "height": look.height},
            color_scheme="dark" if look.scheme == "dark" else "light",
            reduced_motion="reduce",
            locale="en-GB",
            service_workers="block",  # requests of a service worker would pass by the routes
        )
        if person is not None:
            context.add_init_script(f"localStorage.setItem('studysmart:/:token', '{person.token}')")
        page = context.new_page()
        page.on("console", self._note_console)
        if prepare is not None:
            prepare(page)
        page.goto(f"{self._people.stack.url.rstrip('/')}/{path}")
        _settle(page)
        return page

    def _picture(self, page: Page, look: Look, file: str) -> None:
        # Chromium draws nothing far below the window, so the window becomes as high as the page.
        height = int(page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": look.width, "height": max(look.height, min(height, _HIGHEST))})
        _settle(page)
        page.screenshot(path=self._output / file)
        self.taken += 1
        print(file, flush=True)
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        for violation in found:
            self._note_fault(f"{file}: {violation['id']}: {violation['nodes'][0]['html'][:200]}")

    def _note_console(self, message: ConsoleMessage) -> None:
        # Chromium itself writes failed requests to the console: some of the pictures need them.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self._note_fault(f"console: {message.text}")

    def _note_fault(self, fault: str) -> None:
        self.faults.append(fault)
        print(fault, file=sys.stderr, flush=True)


def _fail(page: Page) -> None:
    """Let the server fail on everything except pages, scripts and styles."""
    body = {"error": {"code": "internal", "message": "The server failed. Try again later."}}

    def answer(route: Route) -> None:
        if route.request.resource_type == "fetch":
            route.fulfill(status=500, json=body)
        else:
            route.continue_()

    page.route("**/*", answer)


def _show_due(page: Page) -> None:
    """Let three topics be due: the simulated students practise too often for that."""
    now = datetime.now(UTC)
    days = {"Fractions": (9, -2), "Trigonometry": (4, 0), "Probability": (2, 3)}
    due = [
        {
            "subject": "Mathematics",
            "topic": topic,
            "difficulty": "medium",
            "predicted_correct": 0.71,
            "last_practised_at": (now - timedelta(days=last)).isoformat(),
            "due_at": (now + timedelta(days=at)).isoformat(),
        }
        for topic, (last, at) in days.items()
    ]
    page.route("**/recommendations/due*", lambda route: route.fulfill(json=due))


def _settle(page: Page) -> None:
    """Wait until nothing is being loaded and everything is on the screen."""
    page.wait_for_load_state("networkidle")
    expect(page.locator("main [aria-busy=true], main .pending")).to_have_count(0, timeout=_PATIENCE_MS)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


if __name__ == "__main__":
    sys.exit(main())
