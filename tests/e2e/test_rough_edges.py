"""Faults that students and admins met on the pages, each with what they see now."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Locator, Page, expect

from chalicelib.services.versions import successor
from tests.support.api import World
from tests.support.archives import version_files
from tests.support.page_data import V1, V2, V3, add_practice, publish_versions, sign_in_as_admin
from tests.support.visits import Visit, visiting

pytestmark = pytest.mark.slow

LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 4
PAGES = (
    "dashboard",
    "dashboard/practice",
    "dashboard/tasks",
    "dashboard/analytics",
    "dashboard/account",
    "dashboard/models",
)


# ---- layout --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 390, 640, 1280])  # 640 is a laptop at 200 %
def test_a_long_word_pushes_no_page_sideways(visit: Visit, world: World, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 740})
    sign_in_as_admin(visit, world)
    visit.finish_by_api(3, topic=LONG_WORD[:200], subject=LONG_WORD[:200], task_content=LONG_WORD)
    visit.create_by_api(1, subject=LONG_WORD[:200], task_content=LONG_WORD)
    publish_versions(world)
    for path in (*PAGES, "login", "no/such/page"):
        visit.failures_expected = path == "no/such/page"
        visit.open(path)
        visit.expect_loaded()
        visit.expect_no_sideways_scrolling()


@pytest.mark.parametrize("width", [320, 390])
def test_the_header_has_two_rows_on_a_phone(visit: Visit, world: World, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 740})
    sign_in_as_admin(visit, world)
    visit.page.route("**/auth/me", lambda route: route.fulfill(json={"full_name": LONG_WORD, "email": "a@b.example"}))
    visit.open("dashboard")
    expect(visit.page.locator("#who")).to_have_text(LONG_WORD)
    tops = visit.page.evaluate(
        "[...document.querySelectorAll('.bar a, .bar button')].map(e => Math.round(e.getBoundingClientRect().bottom))"
    )
    assert max(tops) < 115
    assert len({top // 30 for top in tops}) <= 2


def test_the_header_shows_the_account_of_an_admin_on_a_tablet(visit: Visit, world: World) -> None:
    visit.page.set_viewport_size({"width": 820, "height": 1180})
    sign_in_as_admin(visit, world)
    visit.page.route("**/auth/me", lambda route: route.fulfill(status=500, json={"detail": "?"}))
    visit.failures_expected = True
    visit.open("dashboard")
    expect(visit.page.get_by_role("link", name="Models")).to_be_visible()
    who = visit.page.get_by_role("link", name="Account", exact=True)
    assert who.evaluate("element => element.scrollWidth <= element.clientWidth"), "the name of the link is cut"


def test_the_footer_of_a_short_page_is_at_its_end(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("dashboard/practice")
    visit.expect_loaded()
    bottom = visit.page.locator("footer").evaluate("element => element.getBoundingClientRect().bottom")
    assert bottom == visit.page.evaluate("window.innerHeight")


def test_the_tasks_page_begins_with_the_tasks_on_a_phone(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 844})
    visit.sign_in_directly()
    visit.create_by_api(1)
    visit.open("dashboard/tasks")
    expect(page.get_by_label("Exercise")).to_be_hidden()
    expect(page.locator(".task")).to_be_in_viewport()
    page.get_by_role("button", name="Open the form").click()
    expect(page.get_by_label("Subject")).to_be_focused()
    visit.create_task()
    page.get_by_role("button", name="Close the form").click()
    expect(page.get_by_label("Exercise")).to_be_hidden()
    visit.open("dashboard/account")
    visit.open("dashboard/tasks#new")
    expect(page.get_by_label("Exercise")).to_be_visible()


_DRAWN = """
window.drawn = [];
const draw = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  if (text !== "") window.drawn.push([this.canvas.width, this.canvas.height, text, Math.round(x), Math.round(y)]);
  return draw.apply(this, arguments);
};
"""


def test_an_axis_repeats_no_label(visit: Visit, world: World) -> None:
    """With the same time each day, the axis of times has steps of less than a second."""
    visit.page.add_init_script(_DRAWN)
    visit.sign_in_directly()
    add_practice(world)
    for task in list(world.database.tasks.values()):
        world.database.tasks[task.id] = replace(task, actual_time_seconds=2)
    visit.open("dashboard/analytics")
    visit.expect_loaded()
    expect(visit.page.locator("canvas")).to_have_count(4)
    labels: dict[tuple[Any, ...], set[int]] = {}
    for width, height, text, x, y in visit.page.evaluate("drawn"):
        labels.setdefault((width, height, text, x), set()).add(y)
    assert {key for key, places in labels.items() if len(places) > 1} == set()


# ---- texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("locale", ["de-DE", "ar-EG", "en-US"])
def test_dates_and_numbers_follow_the_language_of_the_page(
    browser: Browser, url: str, world: World, locale: str
) -> None:
    with visiting(browser, url, locale=locale) as visit:
        visit.sign_in_directly()
        add_practice(world)
        for task in list(world.database.tasks.values()):
            at = task.created_at - timedelta(days=60)
            world.database.tasks[task.id] = replace(task, created_at=at, completed_at=at)
        visit.open("dashboard/tasks")
        when = visit.page.locator(".task .when").first
        expect(when).to_have_text(re.compile(r"^\d{1,2} [A-Z][a-z]{2,4} \d{4}, \d\d:\d\d$"))
        visit.page.route(
            "**/analytics/summary*", lambda route: route.fulfill(json=route.fetch().json() | {"tasks": 1_234_567})
        )
        visit.open("dashboard/analytics")
        expect(visit.page.locator("#summary")).to_contain_text("1,234,543 open")


def test_an_imported_answer_claims_no_prediction(visit: Visit, world: World) -> None:
    visit.sign_in_directly()
    visit.finish_by_api(2)
    imported, predicted = list(world.database.tasks.values())
    world.database.tasks[imported.id] = replace(imported, created_at=imported.completed_at)
    visit.open("dashboard/tasks")
    card = visit.page.locator(f"#task-{imported.id}")
    expect(card.locator(".result")).to_contain_text("Imported, so there was no prediction")
    expect(card).not_to_contain_text("50 %")
    expect(card.locator(".verdict")).to_have_text("Incorrect in 20 s")
    expect(visit.page.locator(f"#task-{predicted.id} .result")).to_contain_text("Predicted: 50 % chance")
    visit.open("dashboard")
    expect(visit.page.locator("#last-tasks li", has_text="Imported")).to_have_count(1)


def test_an_unknown_address_is_a_page_for_browsers(visit: Visit) -> None:
    visit.failures_expected = True
    visit.sign_in_directly()
    for path in ("dashboards", "dashboard/none", "a/b/c/d", "dashboard/none/"):
        answer = visit.page.goto(f"{visit.url}/{path}")
        assert answer is not None
        assert answer.status == 404
        expect(visit.page.get_by_role("heading", name="This page does not exist")).to_be_visible()
    visit.page.get_by_role("link", name="Go to the overview").click()
    expect(visit.page).to_have_url(f"{visit.url}/dashboard")


def test_signing_out_is_not_an_ended_session(at_tasks: Visit) -> None:
    at_tasks.page.get_by_role("button", name="Sign out").click()
    expect(at_tasks.page).to_have_url(f"{at_tasks.url}/login")
    expect(at_tasks.page.locator("#notices")).to_be_empty()


# ---- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["button", "key"])
def test_a_change_can_be_cancelled(at_tasks: Visit, way: str) -> None:
    at_tasks.finish_tasks(1)
    task = at_tasks.page.locator(".task").first
    task.get_by_role("button", name="Change").click()
    task.get_by_label("Seconds").fill("55")
    if way == "button":
        task.get_by_role("button", name="Cancel").click()
    else:
        task.get_by_label("Seconds").press("Escape")
    expect(task.locator(".verdict")).to_contain_text("Incorrect in 20 s")
    expect(task.get_by_role("button", name="Change")).to_be_focused()
    task.get_by_role("button", name="Change").click()
    expect(task.get_by_label("Seconds")).to_have_value("20")


def answered_in_another_tab(visit: Visit) -> tuple[Page, Locator]:
    """Open a task in two tabs and answer it in the second one; return both the first page and the card there."""
    visit.create_by_api(2)
    visit.page.reload()
    first = visit.page
    second = first.context.new_page()
    second.goto(f"{visit.url}/dashboard/tasks")
    card = second.locator(".task").first
    card.get_by_label("Seconds").fill("30")
    card.get_by_role("button", name="Correct", exact=True).click()
    expect(card.locator(".verdict")).to_contain_text("Correct in 30 s")
    return first, first.locator(".task").first


def test_another_tab_shows_what_was_answered(at_tasks: Visit) -> None:
    _, card = answered_in_another_tab(at_tasks)
    expect(card.locator(".verdict")).to_contain_text("Correct in 30 s")
    expect(card.locator(".notice")).to_contain_text("Already answered as Correct")
    expect(at_tasks.page.locator('.task[data-completed="false"]')).to_have_count(1)


def test_an_answer_from_another_device_is_seen_on_focus(at_tasks: Visit) -> None:
    at_tasks.page.add_init_script("window.BroadcastChannel = class extends EventTarget { postMessage() {} };")
    page, card = answered_in_another_tab(at_tasks)
    expect(card.get_by_role("button", name="Incorrect")).to_be_visible()
    page.wait_for_timeout(3_100)  # the shortest time between two looks
    card.get_by_label("Seconds").fill("99")
    page.evaluate("window.dispatchEvent(new Event('focus')); document.querySelector('.task .bad').click();")
    expect(card.locator(".notice")).to_contain_text("Already answered as Correct")
    expect(card.locator(".verdict")).to_contain_text("Correct in 30 s")


def test_a_replaced_result_is_not_replaced_in_silence(at_tasks: Visit, world: World) -> None:
    at_tasks.page.add_init_script("window.BroadcastChannel = class extends EventTarget { postMessage() {} };")
    _, card = answered_in_another_tab(at_tasks)
    for task in list(world.database.tasks.values()):
        if task.completed_at is not None:
            earlier = task.completed_at - timedelta(minutes=5)
            world.database.tasks[task.id] = replace(task, created_at=earlier, completed_at=earlier)
    card.get_by_label("Seconds").fill("99")
    card.get_by_role("button", name="Incorrect").click()
    expect(at_tasks.page.locator("#notices")).to_contain_text("had been answered 5 minutes ago. Your new result")


def test_a_link_to_an_old_task_shows_it(at_tasks: Visit, world: World) -> None:
    oldest = at_tasks.create_by_api(60)[0]
    at_tasks.open("dashboard/account")
    at_tasks.open(f"dashboard/tasks#task-{oldest}")
    card = at_tasks.page.locator(f"#task-{oldest}")
    expect(card).to_be_in_viewport()
    expect(card.locator(".watch")).to_be_focused()
    at_tasks.failures_expected = True
    at_tasks.open("dashboard/tasks#task-00000000-0000-4000-8000-000000000000")
    expect(at_tasks.page.locator("#list-notices")).to_contain_text("That task does not exist")


# ---- names ---------------------------------------------------------------------------------------------------------


def controls(page: Page) -> list[tuple[str, str, str]]:
    """Return (role, name, description) of everything that can be pressed or filled in."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "DisclosureTriangle"}
    found = []
    for node in nodes:
        role = node.get("role", {}).get("value", "")
        if not node.get("ignored") and role in roles:
            found.append((role, *(node.get(key, {}).get("value", "") for key in ("name", "description"))))
    return found


@pytest.mark.parametrize("path", PAGES)
def test_no_two_controls_are_announced_alike(visit: Visit, world: World, path: str) -> None:
    sign_in_as_admin(visit, world)
    add_practice(world)
    publish_versions(world)
    for content in ("2 + 2 = ?", "2 + 3 = ?"):
        visit.create_by_api(1, topic="Addition", task_content=content)
    visit.open(path)
    visit.expect_loaded()
    found = controls(visit.page)
    assert len(found) > 8
    assert [control for control, number in Counter(found).items() if number > 1] == []
    assert [control for control in found if control[1] == ""] == []


# ---- models --------------------------------------------------------------------------------------------------------


def publish(world: World, version: str, promoted: bool, reason: str, **scores: float) -> None:
    files = version_files(version=version)
    del files["metadata.json"]
    metadata = {
        "n_samples": 600,
        "trained_at": "2026-04-01T12:00:09+00:00",
        "validation": {"n": 120, "log_loss": 0.48, "lnirt_log_loss": 0.49, "auc": 0.8, "ece": 0.05} | scores,
        "promotion": {"promoted": promoted, "reason": reason},
    }
    world.registry.write_version("default", version, files, metadata)


def test_each_decision_of_the_gate_is_said_in_plain_words(visit: Visit, world: World) -> None:
    sign_in_as_admin(visit, world)
    publish(world, V1, True, "there is no champion to compare with")
    publish(world, V2, True, "log-loss 0.4900 against 0.4910 on 120 answers", log_loss=0.49, lnirt_log_loss=0.48)
    publish(world, V3, False, f"champion {V2} is pinned")
    champion = successor(successor(None, V1, None), V2, None, pinned=True)
    world.registry.write_champion("default", champion, None)
    visit.open("dashboard/models")
    for version, sentence in (
        (V1, "Promoted: there was no version to compare it with."),
        (V2, "LNIRT alone has the lower log-loss here (0.480 against 0.490), but it was not serving"),
        (V3, f"Not promoted: {V2} is pinned, so trainings do not replace it."),
    ):
        expect(visit.page.locator(f'.version[data-version="{version}"]')).to_contain_text(sentence)


def test_a_training_that_will_be_skipped_is_not_promised(visit: Visit, world: World) -> None:
    sign_in_as_admin(visit, world)
    visit.finish_by_api(2)
    visit.open("dashboard/models")
    expect(visit.page.locator("#training-detail")).to_have_text("The first training needs 5 answers; there are 2.")
    visit.page.locator("#train").click()
    visit.page.get_by_role("dialog").get_by_role("button", name="Train now").click()
    expect(visit.page.locator("#notices")).to_contain_text(
        "A training is queued. It will be skipped: a training needs 5 answers, and there are 2."
    )
    progress = {"phase": "skipped", "reason": "2 samples, at least 10 are needed"}
    world.database.change_tracker("default", training_request_id=None, progress=progress)
    expect(visit.page.locator("#training-detail")).to_contain_text("was skipped: 2 samples, at least 10 are needed.")


def test_a_success_does_not_stand_next_to_an_error(visit: Visit, world: World) -> None:
    sign_in_as_admin(visit, world)
    page = visit.page
    visit.open("dashboard/models")
    visit.expect_loaded()
    page.locator("#train").click()
    page.get_by_role("dialog").get_by_role("button", name="Train now").click()
    expect(page.locator("#notices")).to_contain_text("A training is queued")
    page.get_by_label("Counter of new answers").fill("many")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator("#value-error")).to_contain_text("whole number")
    expect(page.locator("#notices")).to_be_empty()
    visit.failures_expected = True
    page.locator("#train").click()
    expect(page.locator("#value-error")).to_be_empty()
