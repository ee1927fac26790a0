"""Practising: sessions, the next task, solutions, and answers that are compared."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.support.api import World
from tests.support.visits import Visit, visiting
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def completed(world: World) -> int:
    return sum(task.completed for task in world.database.tasks.values())


def begin(visit: Visit, goal: str = "10 tasks") -> Page:
    """Start a session on the practice page."""
    visit.open("dashboard/practice")
    visit.page.get_by_role("radio", name=goal).check()
    visit.page.get_by_role("button", name="Start", exact=True).click()
    return visit.page


def write_exercise(page: Page, content: str) -> None:
    page.get_by_label("Exercise").fill(content)
    page.get_by_role("button", name="Create task").click()
    expect(page.locator(".task .content")).to_have_text(content)


def card(page: Page) -> Locator:
    return page.locator("#task-place .task")


@pytest.fixture
def student(visit: Visit) -> Visit:
    visit.sign_in_directly()
    return visit


# ---- a session -----------------------------------------------------------------------------------------------------


def test_a_new_student_practises_by_keyboard_alone(visit: Visit, world: World) -> None:
    """From registration to the tenth answer and the summary, without touching the mouse or loading a page."""
    page, keys = visit.page, visit.page.keyboard

    def focus(locator: Locator) -> None:
        for _ in range(60):
            if locator.evaluate("element => element === document.activeElement"):
                return
            keys.press("Tab")
        raise AssertionError(f"Tab does not reach {locator}")

    visit.open("login")
    focus(page.get_by_role("button", name="Create an account"))
    keys.press("Enter")
    for label, text in (("Email address", "ada@example.org"), ("Password", "correct horse")):
        focus(page.get_by_label(label, exact=label != "Password"))
        keys.type(text)
    keys.press("Enter")
    focus(page.get_by_role("link", name="Start practising"))
    keys.press("Enter")
    focus(page.get_by_role("button", name="Start", exact=True))
    keys.press("Enter")
    loads: list[str] = []
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    for n in range(10):
        if n == 0:
            expect(page.get_by_label("Subject")).to_be_focused()
            keys.type("Mathematics")
            keys.press("Tab")
            keys.type("Fractions")
            focus(page.get_by_label("Exercise"))
        expect(page.get_by_label("Exercise")).to_be_focused()
        keys.type(f"{n} + 1/2 = ?")
        keys.press("Control+Enter")
        expect(card(page).get_by_role("button", name="Pause")).to_be_focused()
        expect(page.locator("#step")).to_contain_text(f"Task {n + 1} of 10")
        keys.press("c" if n % 4 else "i")
        expect(page.locator(".next-task")).to_be_focused()
        keys.press("n" if n % 2 else "Enter")
    expect(page.locator("#summary")).to_contain_text("7 of 10")
    expect(page.locator("#summary")).to_contain_text("5 predicted")
    expect(page.locator("#summary")).to_contain_text("Fractions (Medium)")
    expect(page.locator("#summary-title")).to_be_focused()
    wait_for(lambda: completed(world) == 10, what="ten counted answers")
    assert world.database.tracker("default").n_samples_total == 10
    assert len({task.study_session_id for task in world.database.tasks.values()}) == 1
    assert loads == []


def test_a_session_is_practised_by_touch(browser: Browser, url: str, world: World) -> None:
    with visiting(browser, url, touch=True) as visit:
        page = visit.page
        visit.sign_in_directly()
        visit.create_by_api(3)
        visit.open("dashboard")
        page.get_by_role("link", name="Start practising").tap()
        page.get_by_role("button", name="Start", exact=True).tap()
        for n in range(3):
            card(page).get_by_role("button", name="Incorrect" if n == 0 else "Correct", exact=True).tap()
            page.get_by_role("button", name="Next task").tap()
        expect(page.get_by_label("Exercise")).to_be_in_viewport()
        page.get_by_role("button", name="End the session").tap()
        expect(page.locator("#summary")).to_contain_text("2 of 3")
        heights = page.evaluate("[...document.querySelectorAll('main button, main .button')].map(e => e.offsetHeight)")
        assert [height for height in heights if 0 < height < 32] == []
        wait_for(lambda: completed(world) == 3, what="three answers")


def test_own_open_tasks_come_first_nearest_the_target(student: Visit, world: World) -> None:
    near, far, middle = student.create_by_api(3)
    for task_id, chance in ((near, 0.74), (far, 0.2), (middle, 0.6)):
        world.database.tasks[task_id] = replace(world.database.tasks[task_id], predicted_correct=chance)
    page = begin(student)
    for task_id in (near, middle, far):
        expect(card(page)).to_have_attribute("data-id", task_id)
        card(page).get_by_role("button", name="Correct", exact=True).click()
        page.get_by_role("button", name="Next task").click()
    expect(page.get_by_role("heading", name="Your next task")).to_be_visible()
    expect(page.get_by_label("Exercise")).to_be_focused()
    expect(page.get_by_label("Subject")).to_have_value("Physics")


def test_the_next_exercise_does_not_wait_for_the_server(student: Visit, world: World) -> None:
    student.failures_expected = True
    student.create_by_api(3)
    page = begin(student)
    held: list[Any] = []
    page.route("**/practice-tasks/*", lambda route: held.append(route))
    first = card(page).get_attribute("data-id")
    card(page).get_by_role("button", name="Correct", exact=True).click()
    page.get_by_role("button", name="Next task").click()
    expect(card(page)).not_to_have_attribute("data-id", first or "")
    assert completed(world) == 0
    student.wait_for(lambda: len(held) == 1, "the answer on its way")
    held[0].continue_()
    wait_for(lambda: completed(world) == 1, what="the answer")


def test_a_session_ends_after_its_minutes(student: Visit) -> None:
    student.create_by_api(3)
    student.stop_clock()
    page = begin(student, "15 minutes")
    expect(page.locator("#step")).to_have_text("15 minutes left, 0 tasks done")
    page.clock.run_for(4 * 60_000)
    card(page).get_by_label("Seconds").fill("60")
    card(page).get_by_role("button", name="Correct", exact=True).click()
    expect(page.locator("#step")).to_have_text("11 minutes left, 1 task done, 1 right")
    page.get_by_role("button", name="Next task").click()
    page.clock.run_for(12 * 60_000)
    card(page).get_by_label("Seconds").fill("60")
    card(page).get_by_role("button", name="Incorrect").click()
    page.get_by_role("button", name="See the summary").click()
    expect(page.locator("#summary-title")).to_have_text("Session finished: 2 tasks in 15 minutes")
    expect(page.locator("#summary")).to_contain_text("1 of 2")
    expect(page.locator("#summary")).to_contain_text("2 min predicted")


def test_a_reload_keeps_the_session(student: Visit) -> None:
    student.create_by_api(3)
    page = begin(student)
    card(page).get_by_role("button", name="Correct", exact=True).click()
    page.get_by_role("button", name="Next task").click()
    shown = card(page).get_attribute("data-id")
    page.reload()
    expect(page.locator("#step")).to_have_text("Task 2 of 10, 1 right")
    expect(card(page)).to_have_attribute("data-id", shown or "")
    expect(card(page).get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_role("button", name="End the session").click()
    expect(page.locator("#summary")).to_contain_text("1 of 1")
    page.get_by_role("button", name="Start another session").click()
    expect(page.locator("#ahead")).to_contain_text("2 open tasks")


def test_answers_given_offline_count_once_each(student: Visit, world: World) -> None:
    student.failures_expected = True
    student.create_by_api(6)
    page = begin(student)
    given: list[datetime] = []
    page.context.set_offline(True)
    for _ in range(5):
        card(page).get_by_role("button", name="Correct", exact=True).click()
        given.append(datetime.now(UTC))
        page.get_by_role("button", name="Next task").click()
    expect(page.locator("#connection")).to_have_text("You are offline. 5 answers will be sent later.")
    page.wait_for_timeout(5_500)  # an answer that is sent later says when it was given
    assert completed(world) == 0
    page.context.set_offline(False)
    wait_for(lambda: completed(world) == 5, what="five answers")
    expect(page.locator("#connection")).to_be_empty()
    assert world.database.tracker("default").n_samples_total == 5
    stored = sorted(task.completed_at for task in world.database.tasks.values() if task.completed_at)
    assert all(abs((at - when).total_seconds()) < 4 for at, when in zip(stored, given, strict=True))


def test_answers_left_by_a_closed_page_are_sent_by_the_next(student: Visit, world: World) -> None:
    student.failures_expected = True
    student.create_by_api(2)
    page = begin(student)
    page.route("**/practice-tasks/*", lambda route: route.abort())
    card(page).get_by_role("button", name="Correct", exact=True).click()
    expect(page.locator("#connection")).to_have_text("1 answer will be sent later.")
    page.unroute("**/practice-tasks/*")
    student.open("dashboard/account")
    wait_for(lambda: completed(world) == 1, what="the answer")


def test_a_failing_answer_keeps_no_other_back_and_is_not_lost(student: Visit, world: World) -> None:
    student.failures_expected = True
    student.shorten_timers()
    student.create_by_api(3)
    page = begin(student)
    failing = card(page).get_attribute("data-id")
    page.route(f"**/practice-tasks/{failing}", lambda route: route.fulfill(status=500, body="broken"))
    for _ in range(3):
        card(page).get_by_role("button", name="Correct", exact=True).click()
        page.get_by_role("button", name="Next task").click()
    student.wait_for(lambda: completed(world) == 2, "the two other answers")
    expect(page.locator("#connection")).to_have_text("1 answer will be sent later.")
    page.unroute(f"**/practice-tasks/{failing}")
    student.wait_for(lambda: completed(world) == 3, "the third answer")
    expect(page.locator("#connection")).to_be_empty()


def test_a_list_that_comes_late_brings_no_answered_task_back(student: Visit) -> None:
    student.create_by_api(6)
    page = begin(student)
    asked: list[str] = []
    held: list[Any] = []

    def hold(route: Route) -> None:
        asked.append(route.request.url)  # the next one may arrive while the first is being fetched
        if len(asked) > 1:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route("**/practice-tasks?completed=false*", hold)
    for n in range(6):  # at the fourth, few are left, so they are loaded again
        card(page).get_by_role("button", name="Correct", exact=True).click()
        expect(page.locator(".next-task")).to_be_focused()
        if n < 5:
            page.get_by_role("button", name="Next task").click()
    student.wait_for(lambda: held, "the late list")
    [(route, late)] = held
    with page.expect_response("**/practice-tasks?completed=false*"):
        route.fulfill(response=late)
    page.wait_for_timeout(300)
    page.get_by_role("button", name="Next task").click()
    expect(page.get_by_role("heading", name="Your next task")).to_be_visible()


@pytest.mark.parametrize("hours", [-5, 5])
def test_an_answer_counts_though_the_clock_of_the_device_is_wrong(student: Visit, world: World, hours: int) -> None:
    student.failures_expected = True
    student.create_by_api(1)
    page = student.page
    page.add_init_script(f"const clock = Date.now.bind(Date); Date.now = () => clock() + {hours * 3_600_000};")
    begin(student)
    page.context.set_offline(True)
    card(page).get_by_role("button", name="Correct", exact=True).click()
    page.wait_for_timeout(5_500)  # from then on, the time of the answer is sent
    page.context.set_offline(False)
    wait_for(lambda: completed(world) == 1, what="the answer")


# ---- where a session begins ------------------------------------------------------------------------------------------


def test_start_creates_no_empty_exercise(student: Visit, world: World) -> None:
    student.finish_by_api(1, topic="Optics")
    student.open("dashboard")
    student.page.locator("#next").get_by_role("link", name="Start Optics").click()
    expect(student.page.locator("#about")).to_have_text("It begins with Optics.")
    student.page.get_by_role("button", name="Start", exact=True).click()
    expect(student.page.get_by_label("Topic", exact=True)).to_have_value("Optics")
    expect(student.page.get_by_label("Exercise")).to_have_value("")
    expect(student.page.get_by_label("Exercise")).to_be_focused()
    student.page.get_by_role("button", name="Create task").click()
    expect(student.page.locator("#task_content-error")).to_have_text("Enter the exercise.")
    assert len(world.database.tasks) == 1
    write_exercise(student.page, "What bends light?")
    assert len(world.database.tasks) == 2


def test_the_tasks_page_leads_on_to_the_next_open_task(at_tasks: Visit) -> None:
    page = at_tasks.page
    at_tasks.create_by_api(2)
    page.reload()
    at_tasks.answer_first()
    page.get_by_role("button", name="Next task").press("n")
    expect(page.locator('.task[data-completed="false"] .watch')).to_be_focused()
    open_task = page.locator('.task[data-completed="false"]')
    open_task.get_by_label("Seconds").fill("20")
    open_task.get_by_role("button", name="Incorrect").click()
    page.locator(".next-task:focus").click()
    expect(page.get_by_label("Exercise")).to_be_focused()
    expect(page.get_by_label("Subject")).to_have_value("Physics")


# ---- solutions and accepted answers ----------------------------------------------------------------------------------


def with_solution(visit: Visit, answer: str | None = "5/6") -> Locator:
    changes = {"task_content": "1/2 + 1/3", "solution_content": "Use sixths: $3/6 + 2/6$."}
    visit.create_by_api(1, **changes, **({} if answer is None else {"answer_content": answer}))
    visit.page.reload()
    return visit.page.locator(".task").first


def test_solution_and_answer_are_entered_in_the_form(at_tasks: Visit, world: World) -> None:
    page = at_tasks.page
    at_tasks.fill_task()
    page.get_by_text("Solution and accepted answer").click()
    page.get_by_label(re.compile("^Solution ")).fill("Use sixths.")
    page.get_by_label("Accepted answer").fill("5/6")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator(".task")).to_have_count(1)
    [task] = world.database.tasks.values()
    assert (task.solution_content, task.answer_content) == ("Use sixths.", "5/6")
    expect(page.get_by_label("Accepted answer")).to_have_value("")
    at_tasks.create_task("without them")
    assert list(world.database.tasks.values())[-1].solution_content is None


@pytest.mark.parametrize(("typed", "verdict"), [(" 5 / 6 ", "Correct in 30 s"), ("0.8", "Incorrect in 30 s")])
def test_a_typed_answer_marks_the_task(at_tasks: Visit, typed: str, verdict: str) -> None:
    task = with_solution(at_tasks)
    task.get_by_label("Seconds").fill("30")
    task.get_by_label("Your answer").fill(typed)
    task.get_by_label("Your answer").press("Enter")
    expect(task.locator(".verdict")).to_contain_text(verdict)
    expect(task.locator(".solution")).to_have_text(
        [
            re.compile(f"^Your answer\\s*{re.escape(typed.strip())}"),
            "Accepted answer5/6",
            re.compile("^SolutionUse sixths"),
        ]
    )
    task.get_by_role("button", name="Change").click()
    task.get_by_role("button", name="Correct", exact=True).click()
    expect(task.locator(".verdict")).to_contain_text("Correct in 30 s")


def test_letters_in_the_typed_answer_press_no_button(at_tasks: Visit) -> None:
    task = with_solution(at_tasks, "cis")
    task.get_by_label("Seconds").fill("30")
    task.get_by_label("Your answer").press_sequentially("cis")
    expect(task.locator(".verdict")).to_have_count(0)
    task.get_by_role("button", name="Check").click()
    expect(task.locator(".verdict")).to_contain_text("Correct in 30 s")


def test_a_solution_is_shown_after_the_answer_or_on_request(at_tasks: Visit, world: World) -> None:
    task = with_solution(at_tasks, None)
    expect(task).not_to_contain_text("sixths")
    task.get_by_role("button", name="Show the solution").click()
    expect(task.locator(".solution")).to_be_focused()
    expect(task).to_contain_text("Use sixths")
    [stored] = world.database.tasks
    wait_for(lambda: world.database.tasks[stored].solution_viewed_at is not None, what="the record of the look")
    task.get_by_label("Seconds").fill("30")
    task.get_by_role("button", name="Correct", exact=True).click()
    expect(task.locator(".solution")).to_have_count(1)
    at_tasks.page.reload()
    expect(task).not_to_contain_text("sixths")
    task.get_by_text("Solution and answer").click()
    expect(task).to_contain_text("Use sixths")
    expect(task).to_contain_text("solution viewed before the answer")


@pytest.mark.parametrize(
    ("typed", "accepted", "right"),
    [
        ("Paris", "paris", True),
        ("  the   Seine. ", "The Seine", True),
        ("\uff30aris", "Paris", True),
        ("Lyon", "Paris", False),
        ("", "Paris", False),
        ("x=3", "x = 3", True),
        ("$x^2$", "x^2", True),
        ("-2", "\u22122", True),
        ("0,5", "0.5", True),
        (".5", "0.5", True),
        ("0.50", "0.5", True),
        ("5/10", "0.5", True),
        ("50 %", "0.5", True),
        ("1,234", "1234", True),
        ("1234.0", "1,234", True),
        ("5", "5.0", True),
        ("5.4", "5", False),
        ("3.142", "3.14", True),
        ("3.15", "3.14", False),
        ("3", "3.14", False),
        ("3.2", "3.14 ± 0.1", True),
        ("3.3", "3.14 +- 0.1", False),
        ("0.333", "1/3", True),
        ("0.3", "1/3", False),
        ("2/6", "1/3", True),
        ("1/0", "1/3", False),
        ("6.022e23", "6.022E23", True),
        ("12 cm", "12cm", False),
        ("12 cm", "12  CM", True),
    ],
)
def test_typed_answers_are_compared(at_tasks: Visit, typed: str, accepted: str, right: bool) -> None:
    script = at_tasks.page.evaluate("document.querySelector('script[type=module]').src").replace(
        "tasks.js", "answer_check.js"
    )
    call = "([script, typed, accepted]) => import(script).then(({ matches }) => matches(typed, accepted))"
    assert at_tasks.page.evaluate(call, [script, typed, accepted]) is right
