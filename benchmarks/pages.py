"""The pages in Chromium: what a first visit costs, and whether the page of tasks stays quick with 1,000 tasks.

``python -m benchmarks.pages --json`` starts a stack of its own in a temporary directory, imports the history of one
student, trains once, and measures

- each page as it is visited first, with an empty cache: kilobytes as they came over the wire, all requests of the page
  and answers of the API together (``<page>_kb``, ``max_page_kb``), and the milliseconds until it can be used
  (``<page>_interactive_ms``, the median of some visits): its scripts ran, nothing on it waits for the server, and no
  long task is running. The maxima leave out ``/docs``, which loads Swagger UI;
- the page of tasks with 1,000 tasks in its list while trainings run one after the other: tasks are completed by real
  clicks, ``click_to_counter_ms_p95`` goes from the click to the frame in which the counter has changed,
  ``longest_main_thread_task_ms`` is what Chromium reports from the first request on, through loading the whole list by
  scrolling; it reports tasks from 50 ms on, so 0 says that there was none. ``longest_main_thread_cpu_ms`` is the CPU
  time of the longest one in a second, traced visit: it does not grow when other programs use the machine. ``frozen``
  counts answers to clicks and requests that took longer than 500 ms.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks._browser import chromium, cpu_of_tasks, seen, until, until_quiet, visit
from benchmarks._clients import Client
from benchmarks._percentiles import percentile, rounded
from benchmarks.local_stack import temporary_stack
from chalicelib.services import training
from chalicelib.wiring import Container
from evaluation import simulator
from ops.imports.importer import import_file
from ops.stack import Stack, connect

TASKS, COMPLETIONS, TRACED_COMPLETIONS = 1_000, 20, 5
VISITS = 3
PAGES = {
    "login": "login",
    "dashboard": "dashboard",
    "practice": "dashboard/practice",
    "tasks": "dashboard/tasks",
    "analytics": "dashboard/analytics",
    "models": "dashboard/models",
    "account": "dashboard/account",
    "docs": "docs",
}
_FROZEN_MS = 500.0
_TRAINING_SECONDS = 120.0

_CLICK = """
(() => {
  const counter = document.getElementById("counter");
  window.answered = null;
  let clicked = 0;
  document.addEventListener("click", (event) => { clicked = event.timeStamp; window.answered = null; }, true);
  const note = () => requestAnimationFrame(() => {
    const painted = new MessageChannel();
    painted.port1.onmessage = () => { if (clicked > 0) { window.answered ??= performance.now() - clicked; } };
    painted.port2.postMessage(null);
  });
  new MutationObserver(note).observe(counter, { childList: true, characterData: true, subtree: true });
})()
"""
"""Notes how long after a click the counter had changed and was painted."""


class Bench:
    """A stack with a student who has a history, and who is an admin so that every page can be seen."""

    def __init__(self, stack: Stack, container: Container) -> None:
        self.stack = stack
        self.container = container
        self.cohort = container.settings.cohort
        account = {"email": f"student-{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex}
        with closing(Client(stack.url)) as client:
            user_id = client.call("POST", "/auth/register", account)["id"]
            container.identity.add_to_admins(account["email"])
            self.token = str(client.call("POST", "/auth/login", account)["access_token"])
        self._import(user_id, TASKS - COMPLETIONS)

    def _import(self, user_id: str, number: int) -> None:
        answers = (answer._replace(user_id=user_id) for answer in simulator.history(number, 1, seed=1))
        with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
            path = Path(directory) / "history.csv"
            simulator.write_csv(answers, path)
            report = import_file(self.container.engine, self.cohort, path, datetime.now(UTC), lambda _: None)
        assert report.added == number, f"{report.added} answers were imported"

    def train(self) -> None:
        """Ask for a training unless one is on its way."""
        training.force_training(self.container.tracker, self.container.queue, self.cohort)

    def training_runs(self) -> bool:
        """Whether a worker has taken a training."""
        return self.container.tracker.read(self.cohort).lease_live

    def when_idle(self) -> None:
        """Wait until no training is asked for."""
        deadline = time.monotonic() + _TRAINING_SECONDS
        while (row := self.container.tracker.read(self.cohort)).training_request_id is not None:
            assert time.monotonic() < deadline, "the training does not end"
            time.sleep(0.1)
        assert not row.last_error, row.last_error

    def create_open_tasks(self, number: int) -> list[str]:
        """Ids of new tasks, the newest first, as the page lists them."""
        topics = simulator.TOPICS
        with closing(Client(self.stack.url, self.token)) as client:
            return [client.create(topics[i % len(topics)], "medium") for i in range(number)][::-1]

    def first_visits(self, browser: Browser, name: str, path: str) -> dict[str, float]:
        """Kilobytes and milliseconds of first visits to a page."""
        kilobytes, interactive = [], []
        for _ in range(VISITS):
            with visit(browser, self.stack.url.rstrip("/"), None if name == "login" else self.token) as page:
                received = _count_bytes(page)
                page.goto(f"{self.stack.url.rstrip('/')}/{path}", wait_until="load")
                found = until_quiet(page)
                page.wait_for_load_state("networkidle")
                kilobytes.append(sum(received) / 1024)
                interactive.append(max(found["ready"], found["settled"]))
        return {
            f"{name}_kb": rounded(max(kilobytes)),
            f"{name}_interactive_ms": rounded(statistics.median(interactive)),
        }

    def work_on_the_list(self, page: Page, number: int) -> tuple[list[float], list[bool]]:
        """Load the whole list and complete ``number`` tasks, while trainings run.

        Milliseconds from each click to the changed counter, and whether a training was running then.
        """
        ids = self.create_open_tasks(number)
        self.train()
        until(self.training_runs, "the start of a training")
        page.goto(f"{self.stack.url.rstrip('/')}/dashboard/tasks", wait_until="load")
        until_quiet(page)
        _scroll_to_the_end(page)
        page.evaluate(_CLICK)
        durations, running = [], []
        for task_id in ids:
            self.train()
            until(self.training_runs, "the start of a training")
            durations.append(_complete(page, task_id))
            running.append(self.training_runs())
        return durations, running

    def many_tasks(self, browser: Browser) -> dict[str, Any]:
        """What a student sees of a page that lists 1,000 tasks, while trainings run."""
        cpu: list[float] = []
        with visit(browser, self.stack.url.rstrip("/"), self.token) as page:
            durations, running = self.work_on_the_list(page, COMPLETIONS)
            listed = int(page.evaluate("document.querySelectorAll('.task').length"))
            found = seen(page)
        with visit(browser, self.stack.url.rstrip("/"), self.token) as page, cpu_of_tasks(browser, page, cpu):
            self.work_on_the_list(page, TRACED_COMPLETIONS)
        return {
            "tasks_listed": listed,
            "click_to_counter_ms_p50": rounded(percentile(durations, 0.5)),
            "click_to_counter_ms_p95": rounded(percentile(durations, 0.95)),
            "click_to_counter_ms_max": rounded(max(durations)),
            "longest_main_thread_task_ms": rounded(found["longest"]),
            "long_tasks": found["long"],
            "longest_main_thread_cpu_ms": rounded(max(cpu)),
            "slowest_input_ms": rounded(found["inputs"]),
            "requests": found["requests"],
            "slowest_request_ms": rounded(found["slowest"]),
            "frozen": found["over"] + sum(duration > _FROZEN_MS for duration in durations),
            "training_running_share": rounded(sum(running) / len(running)),
        }


def _count_bytes(page: Page) -> list[float]:
    """Bytes as they came over the wire, headers and compressed bodies, of each request from now on."""
    received: list[float] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    return received


def _scroll_to_the_end(page: Page) -> None:
    """Load the whole list as a reader does, then go back to its top."""

    def ended() -> bool:
        page.mouse.wheel(0, 4_000)
        return bool(page.evaluate("document.getElementById('more').hidden"))

    page.mouse.move(500, 500)
    until(ended, "the end of the list")
    until_quiet(page)
    page.evaluate("window.scrollTo(0, 0)")


def _complete(page: Page, task_id: str) -> float:
    """Type the seconds and click; milliseconds from the click to the changed counter."""
    page.evaluate(
        """(id) => {
            document.getElementById(`task-${id}`).scrollIntoView({ block: "center" });
            document.getElementById(`seconds-${id}`).focus();
        }""",
        task_id,
    )
    page.keyboard.type("30")
    # Asked for by id: Playwright's search by role would itself keep the page busy over 1,000 tasks.
    x, y = page.evaluate(
        """(id) => {
            const box = document.getElementById(`task-${id}`).querySelector(".good").getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }""",
        task_id,
    )
    page.mouse.click(x, y)
    until(lambda: page.evaluate("window.answered") is not None, "the change of the counter")
    return float(page.evaluate("window.answered"))


def measure(stack: Stack, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures of a stack that was just started."""
    container = connect(str(stack.state_dir))
    say("history")
    bench = Bench(stack, container)
    say("first training")
    bench.train()
    bench.when_idle()
    figures: dict[str, Any] = {}
    with chromium() as browser:
        for name, path in PAGES.items():
            say(f"first visits to {path}")
            figures |= bench.first_visits(browser, name, path)
        names = PAGES.keys() - {"docs"}
        figures["max_page_kb"] = max(figures[f"{name}_kb"] for name in names)
        figures["max_interactive_ms"] = max(figures[f"{name}_interactive_ms"] for name in names)
        say("1,000 tasks while trainings run")
        figures |= bench.many_tasks(browser)
    return figures | {"cpus": os.cpu_count(), "load_1min": rounded(os.getloadavg()[0])}


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    options = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {what} ...", file=sys.stderr)

    say("starting a stack")
    with temporary_stack() as stack:
        figures = measure(stack, say)
    print(json.dumps(figures | {"seconds": rounded(time.monotonic() - began)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
