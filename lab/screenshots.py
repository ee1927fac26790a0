"""Pictures of every page: ``make screenshots`` or ``python -m lab.screenshots``.

It starts a stack of its own and takes pictures of the empty pages. Then it simulates some weeks of practice
(:mod:`lab.scenes`) and takes pictures of all pages: wide, on a phone, and in the dark scheme. The PNGs go to
``build/screenshots``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

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


DESKTOP, PHONE, DARK = Look("desktop", 1200, 800), Look("phone", 390, 844), Look("dark", 1200, 800, "dark")
TABLET, SMALL = Look("tablet", 820, 1180), Look("small", 320, 640)


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
    print(f"{camera.taken} pictures are in {options.output}")
    return 0


class Camera:
    """Takes pictures of the pages of one scene."""

    def __init__(self, browser: Browser, people: Scene, output: Path) -> None:
        self._browser, self._people, self._output = browser, people, output
        self.taken = 0

    def take_empty(self) -> None:
        """Take the pages of a new student."""
        for page in PAGES:
            self._take(page, self._people.newcomer, DESKTOP, "empty")
        self._take("dashboard/analytics", self._people.newcomer, PHONE, "empty-phone")
        self._take(MODELS, self._people.admin, DESKTOP, "empty")

    def take_full(self) -> None:
        """Take the pages after some weeks."""
        for look in (DESKTOP, TABLET, PHONE, SMALL, DARK):
            self._take("login", None, look)
            self._take("docs", self._people.student, look)
            for page in PAGES:
                self._take(page, self._people.student, look)
            self._take(MODELS, self._people.admin, look)
            self._take_session(look)
        self._take(MODELS, self._people.newcomer, DESKTOP, "refused")

    def _take_session(self, look: Look) -> None:
        """Take the steps of a session: an exercise, its result, the form, and the summary."""
        self._people.student.client.create("Mathematics", "Fractions", "medium")
        page = self._open("dashboard/practice", self._people.student, look)
        page.get_by_role("button", name="Start", exact=True).click()
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

    def _take(self, path: str, person: Person | None, look: Look, name: str = "") -> None:
        page = self._open(path, person, look)
        self._picture(page, look, f"{path.rpartition('/')[2]}-{name or look.name}.png")
        page.context.close()

    def _open(self, path: str, person: Person | None, look: Look) -> Page:
        context = self._browser.new_context(
            viewport={"width": look.width, "height": look.height},
            color_scheme="dark" if look.scheme == "dark" else "light",
            reduced_motion="reduce",
            locale="en-GB",
        )
        if person is not None:
            context.add_init_script(f"localStorage.setItem('studysmart:/:token', '{person.token}')")
        page = context.new_page()
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


def _settle(page: Page) -> None:
    """Wait until nothing is being loaded and everything is on the screen."""
    page.wait_for_load_state("networkidle")
    expect(page.locator("main [aria-busy=true], main .pending")).to_have_count(0, timeout=_PATIENCE_MS)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


if __name__ == "__main__":
    sys.exit(main())
