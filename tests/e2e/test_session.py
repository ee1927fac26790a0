"""Access tokens are renewed without notice, and an ended session leads to the login page with the draft kept."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.visits import Visit, hold_background_requests
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

REFRESH = "**/auth/refresh"
EXPIRE = "localStorage.setItem('studysmart:/:ends', '1')"
REFUSE = "localStorage.setItem('studysmart:/:token', 'refused')"


@pytest.fixture
def practising(visit: Visit) -> Visit:
    """A student on the tasks page, signed in with a refresh token, and nothing is being loaded."""
    visit.sign_up()
    visit.open("dashboard/tasks")
    visit.expect_loaded()
    return visit


def stored_token(page: Page) -> str | None:
    token: str | None = page.evaluate("localStorage.getItem('studysmart:/:token')")
    return token


def count_refreshes(page: Page) -> list[str]:
    """Return a list that grows with each refresh of any tab."""
    seen: list[str] = []
    page.context.on("request", lambda request: seen.append(request.url) if "/auth/refresh" in request.url else None)
    return seen


@pytest.mark.parametrize("spoil", [EXPIRE, REFUSE])
def test_a_token_is_renewed_without_notice(practising: Visit, spoil: str) -> None:
    practising.failures_expected = spoil == REFUSE
    page = practising.page
    refreshes = count_refreshes(page)
    page.evaluate(spoil)
    practising.create_task("a long exercise")
    expect(page.locator("#notices")).to_be_empty()
    assert stored_token(page) not in (None, "refused", practising.token)
    assert len(refreshes) == 1


def test_two_tabs_renew_the_token_once(practising: Visit) -> None:
    first = practising.page
    second = first.context.new_page()
    for page in (first, second):
        page.goto(f"{practising.url}/openapi.json")  # no script runs there
    held: list[Route] = []
    first.context.route(REFRESH, lambda route: held.append(route))
    refreshes = count_refreshes(first)
    first.evaluate(EXPIRE)
    for page in (first, second):
        page.goto(f"{practising.url}/dashboard", wait_until="domcontentloaded")
    # One tab holds the lock, and the other one waits for it.
    second.wait_for_function(
        "navigator.locks.query().then(({ held, pending }) => pending.some((one) => one.clientId !== held[0]?.clientId))"
    )
    wait_for(lambda: second.evaluate("true") and held, what="the renewal")
    held[0].continue_()
    for page in (first, second):
        expect(page.locator("#who")).to_have_text("Ada")
        expect(page.locator("main [aria-busy=true]")).to_have_count(0)
    assert len(refreshes) == 1


def test_a_failed_renewal_does_not_end_the_session(practising: Visit) -> None:
    practising.failures_expected = True
    page = practising.page
    page.route(REFRESH, lambda route: route.abort())
    page.evaluate(EXPIRE)
    practising.fill_task("keep me")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#new-task .form-error")).to_contain_text("cannot be reached")
    page.unroute(REFRESH)
    page.get_by_role("button", name="Create task").click()
    expect(page.locator(".task")).to_have_count(1)


def test_a_renewal_does_not_undo_a_sign_out(practising: Visit) -> None:
    page = practising.page
    held: list[Route] = []
    page.route(REFRESH, lambda route: held.append(route))
    page.evaluate(EXPIRE)
    with page.expect_request(REFRESH):
        page.reload(wait_until="domcontentloaded")
    page.evaluate("Object.keys(localStorage).forEach((name) => localStorage.removeItem(name))")
    with page.expect_response(REFRESH):
        held[0].continue_()
    page.evaluate("fetch('../openapi.json').then((response) => response.text())")  # after the answer has been handled
    assert stored_token(page) is None


def test_a_sign_out_elsewhere_keeps_the_draft(practising: Visit) -> None:
    practising.failures_expected = True
    page = practising.page
    hold_background_requests(page)
    practising.fill_task("a long exercise")
    headers = {"Authorization": f"Bearer {practising.login()}"}
    page.request.post(f"{practising.url}/auth/sign-out-everywhere", headers=headers)
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#notices")).to_contain_text("Your session has ended")
    assert page.evaluate("Object.keys(localStorage).filter(name => name.startsWith('studysmart'))") == []
    practising.sign_in()
    expect(page).to_have_url(f"{practising.url}/dashboard/tasks")
    expect(page.get_by_label("Exercise")).to_have_value("a long exercise")


def test_a_deletion_is_sent_with_a_renewed_token(practising: Visit) -> None:
    practising.create_by_api(1)
    page = practising.page
    page.reload()
    page.evaluate(EXPIRE)
    with page.expect_response(REFRESH):
        page.locator(".task").get_by_role("button", name="Delete").click()
    page.wait_for_function("localStorage.getItem('studysmart:/:ends') !== '1'")
    page.goto(f"{practising.url}/login")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    practising.open("dashboard/tasks")
    expect(page.locator(".task")).to_have_count(0)
    page.evaluate("sessionStorage.clear()")
    page.reload()
    practising.expect_loaded()
    expect(page.locator(".task")).to_have_count(0)


def test_the_api_reference_renews_its_token(visit: Visit) -> None:
    visit.sign_up()
    visit.open("docs")
    page = visit.page
    page.locator("#operations-analytics-topics .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.evaluate(EXPIRE)
    with page.expect_response("**/analytics/topics*") as answered:
        page.get_by_role("button", name="Execute").click()
    token = stored_token(page)
    assert token != visit.token
    assert answered.value.request.headers["authorization"] == f"Bearer {token}"


@pytest.mark.parametrize(
    ("change", "heading"),
    [
        (
            "for (const name of ['token', 'refresh']) localStorage.removeItem(`studysmart:/:${name}`)",
            "before you start",
        ),
        ("localStorage.setItem('studysmart:/:token', '%s')", "Your tasks"),
    ],
)
def test_going_back_shows_nothing_of_an_earlier_user(practising: Visit, change: str, heading: str) -> None:
    page = practising.page
    practising.create_by_api(1)
    page.reload()
    expect(page.locator(".task")).to_have_count(1)
    practising.register("grace@example.org")
    page.evaluate(change.replace("%s", practising.login("grace@example.org")))
    # Playwright switches off the cache from which browsers go back.
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(page.locator(".task")).to_have_count(0)
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
