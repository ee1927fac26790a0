"""Chromium for the benchmarks of the pages: one browser, a context of its own for each measurement, and what it saw."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chromium-headless-shell")
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
_PATIENCE_SECONDS = 60.0
_MARK = "studysmart-measured"

WATCH = """
(() => {
  const seen = { longest: 0, long: 0, inputs: 0, slowest: 0, over: 0, requests: 0, settled: 0 };
  window.seen = seen;
  const observe = (options, note) => new PerformanceObserver((list) => list.getEntries().forEach(note))
    .observe({ buffered: true, ...options });
  observe({ type: "longtask" }, ({ startTime, duration }) => {
    seen.longest = Math.max(seen.longest, duration);
    seen.long += 1;
    if (seen.settled < startTime + duration) seen.settled = startTime + duration;
  });
  observe({ type: "event", durationThreshold: 16 }, ({ duration }) => {
    seen.inputs = Math.max(seen.inputs, duration);
  });
  observe({ type: "resource" }, ({ initiatorType, duration }) => {
    if (initiatorType !== "fetch") return;
    seen.requests += 1;
    seen.slowest = Math.max(seen.slowest, duration);
    if (duration > 500) seen.over += 1;
  });
  const quiet = () => document.readyState === "complete" && document.querySelector("[aria-busy=true]") === null;
  const changes = new MutationObserver(() => look());
  const look = () => {
    seen.quiet = quiet();
    if (!seen.quiet) return;
    seen.ready ??= performance.now();
    changes.disconnect(); // with 1,000 tasks a look at each change would itself take milliseconds
  };
  window.look = look;
  document.addEventListener("readystatechange", look);
  changes.observe(document, { subtree: true, childList: true, attributeFilter: ["aria-busy"] });
})();
"""
"""Runs before a page's own scripts. Chromium reports tasks of the main thread from 50 ms on, and no shorter ones."""


class NoBrowserError(Exception):
    """There is no Chromium on this machine."""


def chromium_path() -> str:
    """Where the system's Chromium is. Raises NoBrowserError where there is none."""
    path = next((found for found in map(shutil.which, _NAMES) if found), None)
    if path is None:
        raise NoBrowserError("no Chromium on this machine: install the system's package chromium")
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Raises NoBrowserError where there is none."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, url: str, token: str | None, **options: Any) -> Iterator[Page]:
    """A page with an empty cache, signed in by a token, at ``about:blank``; closed in the end.

    ``options`` are those of a Playwright context, such as its ``viewport``.
    """
    kept = [] if token is None else [{"name": "studysmart:/:token", "value": token}]
    state: Any = {"cookies": [], "origins": [{"origin": url, "localStorage": kept}]}
    defaults: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "storage_state": state}
    context = browser.new_context(**defaults | options)
    try:
        context.add_init_script(WATCH)
        yield context.new_page()
    finally:
        context.close()


@contextmanager
def cpu_of_tasks(browser: Browser, page: Page, found: list[float]) -> Iterator[None]:
    """Add to ``found`` the milliseconds of CPU that each task of a page's main thread took in the block.

    Unlike the durations that a page sees, these do not grow when other programs use the machine.
    """
    browser.start_tracing(page=page, categories=["toplevel", "blink.user_timing"])
    yield
    # Chromium's own pages, such as the list under its address bar, have main threads too: the mark finds this page's.
    page.evaluate(f"performance.mark('{_MARK}')")
    events = json.loads(browser.stop_tracing())["traceEvents"]
    main = {(event["pid"], event["tid"]) for event in events if event["name"] == _MARK}
    assert len(main) == 1, f"the mark is on {len(main)} threads"
    found += [
        event.get("tdur", 0) / 1_000
        for event in events
        if (event["pid"], event["tid"]) in main and event["name"].endswith("RunTask")
    ]


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until something holds; the pages forbid ``eval``, which Playwright's own waiting uses."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen in {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.02)


def seen(page: Page) -> dict[str, Any]:
    """What :data:`WATCH` noted: durations in milliseconds."""
    found: dict[str, Any] = page.evaluate("(window.look(), window.seen)")
    return found


def until_quiet(page: Page) -> dict[str, Any]:
    """Wait until nothing on the page waits for the server any more; returns what was seen."""
    until(lambda: bool(seen(page).get("quiet")), "the end of loading")
    return seen(page)
