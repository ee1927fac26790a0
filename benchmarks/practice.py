"""Sessions of practice in Chromium, on a laptop by keys alone and on a phone by touch.

``python -m benchmarks.practice --json`` starts a stack of its own in a temporary directory, with the history of one
student, and measures on each device (``laptop_…``, ``phone_…``)

- ``new_student_answers``: answers of a new student, from registration to the summary of a session of ten, who writes
  down each exercise; ``new_student_counted`` are those that the server has, ``new_student_seconds`` the whole run;
- ``answer_to_next_ms_p50`` and ``_max``: milliseconds from an answer to the next exercise, both painted, without the
  student's pause in between; with ``training_`` while trainings run one after the other, with ``slow_network_`` on a
  network of 400 ms and 50 kB/s;
- ``offline_answers``: answers that were given without a network in the middle of a session;
  ``offline_counted_before`` and ``offline_counted`` are the answers that the server has before the network is back
  and at the end, and ``offline_samples`` how many of them the next training learns from.

``--videos DIR`` keeps a video of each run; Playwright needs its own ffmpeg for that (``playwright install ffmpeg``).
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page

from benchmarks._browser import chromium, until, until_quiet, visit
from benchmarks._clients import Client
from benchmarks._percentiles import rounded
from benchmarks.local_stack import temporary_stack
from benchmarks.pages import Bench
from ops.stack import connect

ANSWERS, OFFLINE_ANSWERS = 10, 5
SLOW_NETWORK = {"latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000}

_STEPS = """
(() => {
  window.steps = [];
  let pressed = 0;
  document.addEventListener("keydown", ({ key, target, timeStamp }) => {
    if (["c", "i", "n"].includes(key) && !target.matches("textarea, input:not(.seconds)")) pressed = timeStamp;
  }, true);
  document.addEventListener("pointerup", ({ target, timeStamp }) => {
    if (target.closest(".good, .bad, .next-task") !== null) pressed = timeStamp;
  }, true);
  const note = () => {
    if (pressed === 0) return;
    const start = pressed;
    pressed = 0;
    requestAnimationFrame(() => {
      const painted = new MessageChannel();
      painted.port1.onmessage = () => window.steps.push(performance.now() - start);
      painted.port2.postMessage(null);
    });
  };
  const options = { childList: true, subtree: true };
  new MutationObserver(note).observe(document.getElementById("task-place"), options);
})()
"""
"""Notes how long after a key or tap the result, or the next exercise, was painted."""


@dataclass(frozen=True, slots=True)
class Device:
    """A laptop with keys or a phone with touch, as options of a browser context."""

    name: str
    touch: bool
    options: dict[str, Any]

    def press(self, page: Page, target: Locator, key: str) -> None:
        """Press something by its key, or tap on it."""
        if self.touch:
            target.tap()
        else:
            page.keyboard.press(key)

    def reach(self, page: Page, target: Locator, *, press: bool = False) -> None:
        """Go to an element by Tab, or tap on it; with ``press``, activate it."""
        if self.touch:
            target.tap()
            return
        target.wait_for()
        for _ in range(80):
            if target.evaluate("element => element === document.activeElement"):
                break
            page.keyboard.press("Tab")
        else:
            raise AssertionError(f"Tab does not reach {target}")
        if press:
            page.keyboard.press("Enter")


DEVICES = (
    Device("laptop", False, {"viewport": {"width": 1280, "height": 800}}),
    Device("phone", True, {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}),
)


class Runs:
    """Sessions on one device, against one stack."""

    def __init__(self, bench: Bench, browser: Browser, device: Device, videos: Path | None) -> None:
        self.bench, self.browser, self.device, self.videos = bench, browser, device, videos
        self.url = bench.stack.url.rstrip("/")

    def measure(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Return all figures of the device."""
        name = self.device.name
        say(f"{name}: a new student")
        figures = self.new_student()
        for prefix in ("", "training_", "slow_network_"):
            say(f"{name}: {prefix or 'quiet'} session")
            with self._session(f"{prefix}session") as page:
                figures |= {f"{prefix}{key}": value for key, value in self.session(page, prefix).items()}
        say(f"{name}: offline")
        with self._session("offline") as page:
            figures |= self.offline(page)
        return {f"{name}_{key}": value for key, value in figures.items()}

    def new_student(self) -> dict[str, Any]:
        """Register, write down and answer ten exercises, and reach the summary."""
        began, device = time.monotonic(), self.device
        with self._visit(None, "new_student") as page:
            page.goto(f"{self.url}/login")
            device.reach(page, page.get_by_role("button", name="Create an account"), press=True)
            for label, text in (("#email", f"{uuid.uuid4().hex}@example.com"), ("#password", uuid.uuid4().hex)):
                device.reach(page, page.locator(label))
                page.keyboard.type(text)
            device.reach(page, page.locator("#submit"), press=True)
            device.reach(page, page.get_by_role("link", name="Start practising"), press=True)
            device.reach(page, page.get_by_role("button", name="Start", exact=True), press=True)
            for number in range(ANSWERS):
                self._write_exercise(page, number)
                card = page.locator("#task-place .task")
                card.wait_for()
                device.press(page, card.locator(".good" if number % 4 else ".bad"), "c" if number % 4 else "i")
                page.locator(".next-task").wait_for()
                device.press(page, page.locator(".next-task"), "n")
            page.locator("#summary-content .figures").wait_for()
            token = str(page.evaluate("localStorage.getItem('studysmart:/:token')"))
            shown = page.locator("#summary-content .figure strong").first.inner_text()
            assert shown.endswith(f"of {ANSWERS}"), f"the summary shows {shown}"
            until(lambda: self._counted(token) == ANSWERS, "ten counted answers")
        return {
            "new_student_answers": ANSWERS,
            "new_student_counted": self._counted(token),
            "new_student_seconds": rounded(time.monotonic() - began),
        }

    def session(self, page: Page, prefix: str) -> dict[str, float]:
        """Answer nine open tasks, and return the times from an answer to the next exercise."""
        if prefix == "slow_network_":
            conditions = {"offline": False, **SLOW_NETWORK}
            page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", conditions)
        for _ in range(ANSWERS - 1):
            if prefix == "training_":
                self.bench.train()
                until(self.bench.training_runs, "the start of a training")
            self._answer(page)
        steps = page.evaluate("window.steps")
        waits = [result + exercise for result, exercise in zip(steps[::2], steps[1::2], strict=True)]
        return {
            "answer_to_next_ms_p50": rounded(statistics.median(waits)),
            "answer_to_next_ms_max": rounded(max(waits)),
        }

    def offline(self, page: Page) -> dict[str, int]:
        """Lose the network in the middle of a session for some answers."""
        token = self.bench.token
        before, samples = self._counted(token), self._samples()
        self._answer(page)
        self._answer(page)
        until(lambda: self._counted(token) == before + 2, "two counted answers")
        page.context.set_offline(True)
        for _ in range(OFFLINE_ANSWERS):
            self._answer(page)
        counted_before = self._counted(token) - before - 2
        page.context.set_offline(False)
        until(lambda: self._counted(token) >= before + 2 + OFFLINE_ANSWERS, "the answers given offline")
        self._answer(page)
        until(lambda: self._counted(token) >= before + 3 + OFFLINE_ANSWERS, "the answer after them")
        return {
            "offline_answers": OFFLINE_ANSWERS,
            "offline_counted_before": counted_before,
            "offline_counted": self._counted(token) - before - 3,
            "offline_samples": self._samples() - samples - 3,
        }

    def _write_exercise(self, page: Page, number: int) -> None:
        """Fill in the form; after the first exercise, subject and topic are filled in already."""
        page.locator("#task_content").wait_for()
        if number == 0:
            for label, text in (("#subject", "Mathematics"), ("#topic", "Fractions")):
                self.device.reach(page, page.locator(label))
                page.keyboard.type(text)
        self.device.reach(page, page.locator("#task_content"))
        page.keyboard.type(f"{number} + 1/2 = ?")
        self.device.press(page, page.locator("#create"), "Control+Enter")

    def _answer(self, page: Page) -> None:
        """Answer the task that is shown and go on to the next."""
        for target, key in ((page.locator("#task-place .good"), "c"), (page.locator(".next-task"), "n")):
            target.wait_for()
            done = int(page.evaluate("window.steps.length"))
            self.device.press(page, target, key)
            until(lambda: page.evaluate("window.steps.length") > done, "the next step")  # noqa: B023 - run at once

    @contextmanager
    def _session(self, name: str) -> Iterator[Page]:
        """Start a session of a student with a history and eleven open tasks, one more than are answered."""
        self.bench.create_open_tasks(ANSWERS + 1)
        with self._visit(self.bench.token, name) as page:
            page.goto(f"{self.url}/dashboard/practice", wait_until="load")
            until_quiet(page)
            self.device.reach(page, page.get_by_role("button", name="Start", exact=True), press=True)
            page.locator("#task-place .task").wait_for()
            page.evaluate(_STEPS)
            yield page

    @contextmanager
    def _visit(self, token: str | None, name: str) -> Iterator[Page]:
        """Visit the pages, with a video of ``name`` if videos are requested."""
        options, folder = dict(self.device.options), self.videos
        if folder is not None:
            options |= {"record_video_dir": folder, "record_video_size": options["viewport"]}
        with visit(self.browser, self.url, token, **options) as page:
            yield page
        if folder is not None and page.video is not None:
            shutil.move(page.video.path(), folder / f"{self.device.name}_{name}.webm")

    def _counted(self, token: str) -> int:
        """Return the number of a student's answers that the server has."""
        with closing(Client(self.url, token)) as client:
            return int(client.call("GET", "/analytics/summary")["completed"])

    def _samples(self) -> int:
        """Return the number of answers that the next training learns from."""
        return self.bench.container.tracker.read(self.bench.cohort).n_samples_total


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.practice", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--videos", type=Path, help="keep a video of each run in this directory")
    options = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {what} ...", file=sys.stderr)

    say("starting a stack")
    figures: dict[str, Any] = {}
    with temporary_stack() as stack, chromium() as browser:
        bench = Bench(stack, connect(str(stack.state_dir)))
        bench.train()
        bench.when_idle()
        for device in DEVICES:
            figures |= Runs(bench, browser, device, options.videos).measure(say)
    load = {"cpus": os.cpu_count(), "load_1min": rounded(os.getloadavg()[0])}
    print(json.dumps(figures | load | {"seconds": rounded(time.monotonic() - began)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
