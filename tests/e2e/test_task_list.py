"""The tasks page: preview of the prediction, keyboard, corrections, search, paging, and deletion with undo."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Request, Route, expect

from tests.support.api import World
from tests.support.visits import Visit
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def test_the_form_previews_the_prediction(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.create_by_api(1, topic="Optics")
    page.reload()
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Choose a topic")
    expect(page.locator("#topics option")).to_have_attribute("value", "Optics")
    page.get_by_label("Topic", exact=True).fill("Optics")
    expect(preview).to_contain_text("50 % chance, about 1 min")
    expect(page.get_by_label("Subject")).to_have_value("Physics")
    with page.expect_request("**/predictions*difficulty=expert*"):
        page.get_by_role("radio", name="Expert").check()


def test_a_failed_preview_does_not_prevent_creation(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    at_tasks.page.route("**/predictions*", lambda route: route.fulfill(status=500, body="broken"))
    at_tasks.fill_task()
    expect(at_tasks.page.locator("#preview")).to_contain_text("No prediction is available")
    at_tasks.create_task()


def test_a_task_can_be_done_by_keyboard_alone(at_tasks: Visit) -> None:
    page, keys = at_tasks.page, at_tasks.page.keyboard
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")
    for text in ("Mathematics", "Fractions"):
        keys.type(text)
        keys.press("Tab")
    keys.press("ArrowRight")
    keys.press("Tab")
    keys.type("1/2 + 1/3")
    keys.press("Control+Enter")
    task = page.locator(".task").first
    expect(task.locator(".watch")).to_be_focused()
    expect(task).to_contain_text("Hard")
    keys.press("s")
    expect(task.get_by_role("button", name="Pause")).to_be_visible()
    keys.press("Shift+Tab")
    keys.press("Control+A")
    keys.type("17")
    keys.press("i")
    expect(task.locator(".verdict")).to_contain_text("Incorrect in 17 s")
    expect(task.get_by_role("button", name="Next task")).to_be_focused()
    keys.press("n")
    expect(page.get_by_label("Exercise")).to_be_focused()
    expect(page.locator("#counter")).to_have_text("1/5")


LAYOUTS = [
    ("Cyrillic", "\u0441", "KeyC", "Correct"),
    ("Greek", "ψ", "KeyC", "Correct"),
    ("Hebrew", "\u05df", "KeyI", "Incorrect"),
    ("Turkish", "\u0131", "KeyI", "Incorrect"),
    ("Dvorak", "c", "KeyI", "Correct"),
    ("capitals locked", "C", "KeyC", "Correct"),
]
"""What a keyboard reports for the key that presses a button: a Latin letter itself, or else the key's place."""

_PRESS = """(target, init) => target.dispatchEvent(
    new KeyboardEvent("keydown", {bubbles: true, cancelable: true, ...init}))"""


@pytest.mark.parametrize(("key", "code", "verdict"), [row[1:] for row in LAYOUTS], ids=[row[0] for row in LAYOUTS])
def test_keys_complete_a_task_on_every_layout(at_tasks: Visit, key: str, code: str, verdict: str) -> None:
    at_tasks.create_task()
    task = at_tasks.page.locator(".task").first
    task.get_by_label("Seconds").fill("17")
    assert task.get_by_label("Seconds").evaluate(_PRESS, {"key": key, "code": code}) is False, "the letter is typed"
    expect(task.locator(".verdict")).to_contain_text(f"{verdict} in 17 s")


def test_keys_that_mean_something_else_press_nothing(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.create_task()
    seconds = page.locator(".task").first.get_by_label("Seconds")
    seconds.fill("17")
    for name in ("ctrlKey", "altKey", "metaKey", "shiftKey", "modifierAltGraph", "repeat", "isComposing"):
        assert seconds.evaluate(_PRESS, {"key": "c", "code": "KeyC", name: True}), name
    # On Dvorak, the key in the place of C types J; a keyboard on glass reports no key at all.
    for init in ({"key": "j", "code": "KeyC"}, {"key": "Unidentified", "code": ""}, {"key": "7", "code": "Digit7"}):
        assert seconds.evaluate(_PRESS, init), init
    for label in ("Exercise", "Search your tasks"):
        page.get_by_label(label).press("c")
        expect(page.get_by_label(label)).to_have_value("c")
    expect(page.locator(".verdict")).to_have_count(0)
    expect(page.locator("#counter")).to_have_text("0/5")


def test_a_corrected_result_does_not_count_again(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.finish_tasks(1)
    task = page.locator(".task").first
    task.get_by_role("button", name="Change the result").click()
    expect(task.get_by_label("Seconds")).to_have_value("20")
    at_tasks.answer_first("Correct", 25)
    expect(task.locator(".verdict")).to_contain_text("Correct in 25 s")
    page.reload()
    expect(task.locator(".verdict")).to_contain_text("Correct in 25 s")
    expect(page.locator("#counter")).to_have_text("1/5")


@pytest.mark.parametrize("by", ["scrolling", "button"])
def test_a_long_list_is_loaded_in_pages(at_tasks: Visit, by: str) -> None:
    page = at_tasks.page
    if by == "button":
        page.add_init_script("window.IntersectionObserver = class { observe() {} disconnect() {} }")
    at_tasks.finish_by_api(1)
    at_tasks.create_by_api(60)
    page.reload()
    tasks = page.locator(".task")
    expect(page.locator("#tasks")).not_to_have_attribute("aria-busy", "true")
    assert tasks.count() == 25
    more = page.get_by_role("button", name="Show more")
    for last in (49, 60):
        more.click() if by == "button" else tasks.last.scroll_into_view_if_needed()
        expect(tasks.nth(last)).to_be_attached()
    expect(more).to_be_hidden()
    ids = tasks.evaluate_all("cards => cards.map(card => card.dataset.id)")
    assert len(set(ids)) == 61
    page.get_by_role("button", name="Done").click()
    expect(tasks).to_have_count(1)


def test_a_new_task_ends_a_search(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.create_by_api(3)
    at_tasks.create_by_api(1, task_content="Where is the NEEDLE?")
    page.reload()
    expect(page.locator(".task")).to_have_count(4)
    page.get_by_label("Search your tasks").fill("needle")
    expect(page.locator(".task")).to_have_count(1)
    page.get_by_label("Search your tasks").fill("no such thing")
    expect(page.locator("#no-tasks")).to_contain_text("No tasks match “no such thing”")
    at_tasks.fill_task("something new")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator(".task")).to_have_count(5)
    expect(page.get_by_label("Search your tasks")).to_have_value("")


CHARACTERS = {
    "emoji": "🎯",
    "family": "👩‍👩‍👧‍👦",
    "skin tone": "👍🏽",
    "flag": "🇪🇺",
    "keycap": "3️⃣",
    "combining": "q\u0323\u0307",
    "Hangul letters": "\u1112\u1161\u11ab",
    "Devanagari": "क्षि",
    "line break": "\r\n",
}


@pytest.mark.parametrize("character", CHARACTERS.values(), ids=CHARACTERS)
def test_an_excerpt_shows_characters_whole_or_not_at_all(at_tasks: Visit, character: str) -> None:
    """The character stands at every place around the cut, so that the cut falls at its start, inside and at its end."""
    units = len(character.encode("utf-16-le")) // 2
    before = [200 - units + moved for moved in range(units + 1)]
    for length in before:
        at_tasks.create_by_api(1, task_content="x" * length + character + "y" * 300)
    at_tasks.page.reload()
    excerpts = at_tasks.page.locator(".task summary")
    expect(excerpts).to_have_count(len(before))
    whole = "" if character.isspace() else character
    expected = ["x" * length + (whole if length + units <= 200 else "") + "…" for length in before]
    assert excerpts.evaluate_all("all => all.map(each => each.textContent)") == expected[::-1]


def deletions(visit: Visit) -> list[str]:
    """Return the addresses of DELETE requests; the list grows with each request."""
    sent: list[str] = []

    def note(request: Request) -> None:
        if request.method == "DELETE":
            sent.append(request.url)

    visit.page.on("request", note)
    return sent


def test_a_deletion_can_be_undone_for_some_seconds(at_tasks: Visit, world: World) -> None:
    page, sent = at_tasks.page, deletions(at_tasks)
    at_tasks.stop_clock()
    at_tasks.create_task()
    page.locator(".task").get_by_label("Seconds").fill("12")
    page.get_by_role("button", name="Delete the task Fractions").click()
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.clock.run_for(3_000)
    page.keyboard.press("Enter")
    page.clock.run_for(30_000)
    expect(page.locator(".task").get_by_label("Seconds")).to_have_value("12")
    assert sent == []
    page.get_by_role("button", name="Delete the task Fractions").click()
    page.clock.run_for(8_000)
    expect(page.locator("#no-tasks")).to_contain_text("No tasks yet")
    assert len(sent) == 1
    wait_for(lambda: world.database.tasks == {}, what="the deletion")


def test_filtering_or_leaving_the_page_sends_a_deletion(at_tasks: Visit, world: World) -> None:
    page, delete = at_tasks.page, at_tasks.page.get_by_role("button", name="Delete the task")
    at_tasks.create_by_api(2)
    page.reload()
    delete.first.click()
    page.get_by_role("button", name="Open").click()
    expect(page.locator(".task")).to_have_count(1)
    assert len(world.database.tasks) == 1
    delete.click()
    page.reload()
    expect(page.locator("#no-tasks")).to_contain_text("No tasks yet")
    wait_for(lambda: world.database.tasks == {}, what="the deletion")
    at_tasks.create_task()
    delete.click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#submit")).to_be_visible()
    wait_for(lambda: world.database.tasks == {}, what="the deletion")


def test_a_task_is_hidden_until_its_deletion_arrives(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.create_by_api(2)
    page.reload()
    now = datetime.now(UTC)
    page.clock.set_fixed_time(now)
    page.get_by_role("button", name="Delete the task T1").click()
    # The deletion gets lost. A route cannot do this: it does not see requests of a page that is being closed.
    page.evaluate("() => { window.fetch = () => new Promise(() => {}); }")
    page.reload()
    expect(page.locator(".task")).to_have_count(1)
    at_tasks.open("dashboard")
    expect(page.locator("#last-tasks li")).to_have_count(1)
    page.clock.set_fixed_time(now + timedelta(seconds=11))
    at_tasks.open("dashboard/tasks")
    expect(page.locator(".task")).to_have_count(2)


def test_a_refused_deletion_restores_the_task(visit: Visit) -> None:
    visit.failures_expected = True
    visit.shorten_timers()
    visit.sign_in_directly()
    visit.create_by_api(1, topic="Fractions")
    visit.open("dashboard/tasks")
    page = visit.page

    def refuse(route: Route) -> None:
        if route.request.method == "DELETE":
            route.fulfill(status=503, json={"detail": "away"})
        else:
            route.continue_()

    page.route("**/practice-tasks/*", refuse)
    page.get_by_role("button", name="Delete the task Fractions").click()
    page.get_by_role("button", name="Done").click()
    expect(page.locator("#no-tasks")).to_contain_text("No finished tasks")
    page.get_by_role("button", name="All").click()
    expect(page.locator(".task")).to_have_count(1)
