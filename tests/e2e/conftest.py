"""Chromium on the pages, which Chalice's local server serves over in-memory adapters."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.api import World, installed_world, serving
from tests.support.visits import TIME_ZONE, Visit, visiting

# The headless shell comes first: it takes half the time of the whole browser.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next((found for found in map(shutil.which, NAMES) if found), None)
    if path is None:
        pytest.skip("Chromium is not installed: install the system's package `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def not_at_midnight() -> None:
    """Waits if midnight of the pages' time zone is near: what a test does before it is not of today after it."""
    now = datetime.now(ZoneInfo(TIME_ZONE))
    left = timedelta(days=1) - timedelta(hours=now.hour, minutes=now.minute, seconds=now.second)
    if left < timedelta(minutes=1):
        time.sleep(left.total_seconds())


@pytest.fixture
def world() -> Iterator[World]:
    with installed_world() as world:
        yield world


@pytest.fixture
def url(world: World) -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    with visiting(browser, url) as visit:
        yield visit


@pytest.fixture
def at_tasks(visit: Visit) -> Visit:
    """A new student on the tasks page."""
    visit.sign_in_directly()
    visit.open("dashboard/tasks")
    expect(visit.page.locator("#counter")).to_have_text("0/5")
    return visit
