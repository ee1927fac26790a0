"""The list of operations, and Swagger UI in its place: requests are tried with the session's token, or a pasted one."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from tests.support.api import PASSWORD

from .conftest import Visit

pytestmark = pytest.mark.slow


def tried(visit: Visit, operation: str) -> Locator:
    """Try a request; the place of its answer."""
    block = visit.page.locator(f"#operations-{operation}")
    if block.locator(".opblock-body").count() == 0:
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table")


def test_a_signed_in_student_tries_a_request_with_the_sessions_token(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("docs")
    expect(visit.page.locator("#authorised")).to_contain_text("You are signed in")
    expect(visit.page.locator("#who")).to_have_text("Ada")
    answer = tried(visit, "accounts-read_profile")
    expect(answer.locator("tbody .response-col_status").first).to_contain_text("200")
    expect(answer).to_contain_text("ada@example.org")


def test_a_stranger_is_refused_until_a_token_is_pasted(visit: Visit) -> None:
    visit.failures_expected = True
    account = {"email": "ada@example.org", "password": PASSWORD, "full_name": "Ada"}
    visit.page.request.post(f"{visit.url}/auth/register", data=account)
    token = visit.page.request.post(f"{visit.url}/auth/login", data=account).json()["access_token"]
    visit.open("docs")
    expect(visit.page.get_by_role("link", name="Sign in")).to_be_visible()
    expect(tried(visit, "model-model_status").locator("tbody .response-col_status").first).to_contain_text("401")
    visit.page.locator(".btn.authorize").click()
    visit.page.locator(".modal-ux input").fill(token)
    visit.page.locator(".modal-ux .btn.authorize").click()
    visit.page.get_by_role("button", name="Close").last.click()
    answer = tried(visit, "model-model_status")
    expect(answer.locator("tbody .response-col_status").first).to_contain_text("200")
    expect(answer).to_contain_text('"threshold": 5')


def swagger(visit: Visit) -> Locator:
    """The operations as Swagger UI shows them."""
    return visit.page.locator(".opblock")


def test_the_operations_are_read_without_scripts(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{url}/docs")
    row = page.locator("#listing a").filter(has_text="/auth/register")
    expect(row).to_have_text("POST /auth/register Make an account (no token needed)")
    context.close()


def test_swagger_ui_shows_what_the_list_showed(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("docs")
    ids = visit.page.locator("#listing a").evaluate_all("rows => rows.map(row => row.dataset.operation)")
    hashes = visit.page.locator("#listing a").evaluate_all("rows => rows.map(row => row.hash)")
    visit.page.mouse.move(200, 200)
    expect(swagger(visit)).to_have_count(len(ids))
    assert swagger(visit).evaluate_all("blocks => blocks.map(block => block.id)") == ids
    expect(visit.page.locator("#listing")).to_have_count(0)
    swagger(visit).last.locator(".opblock-summary-control").click()
    expect(swagger(visit).last).to_have_class(re.compile("is-open"))
    assert visit.page.evaluate("location.hash") == hashes[-1]


def test_it_comes_by_itself_to_one_who_only_looks(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("docs")
    expect(swagger(visit).first).to_be_visible()


def test_a_followed_row_is_unfolded(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("docs")
    visit.page.locator("#listing a").filter(has_text="/analytics/topics").click()
    expect(visit.page.locator("#operations-analytics-topics.is-open .opblock-body")).to_be_visible()


def test_focus_and_place_stay_when_swagger_ui_comes(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.page.set_viewport_size({"width": 390, "height": 700})
    arrived: list[Route] = []
    visit.page.route("**/swagger-ui-bundle.js", lambda route: arrived.append(route))
    visit.open("docs")
    row = visit.page.locator("#listing a").filter(has_text="/analytics/topics")
    row.evaluate("row => { row.scrollIntoView({ block: 'start' }); row.focus({ preventScroll: true }); }")
    expect(visit.page.locator("#listing")).to_have_attribute("aria-busy", "true")
    before = row.bounding_box()
    arrived.pop().continue_()
    control = visit.page.locator("#operations-analytics-topics .opblock-summary-control")
    expect(control).to_be_focused()
    after = visit.page.locator("#operations-analytics-topics").bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 2


def test_what_cannot_be_loaded_is_said_and_tried_again(visit: Visit) -> None:
    visit.failures_expected = True
    visit.sign_in_directly()
    refused: list[bool] = []

    def once(route: Route) -> None:
        refused.append(True)
        if len(refused) == 1:
            route.abort()
        else:
            route.continue_()

    visit.page.route("**/swagger-ui-bundle.js", once)
    visit.open("docs")
    visit.page.get_by_role("button", name="Try requests").click()
    expect(visit.page.locator(".notice")).to_contain_text("could not be loaded")
    expect(visit.page.locator("#listing a").first).to_be_visible()
    visit.page.get_by_role("button", name="Try again").click()
    expect(swagger(visit).first).to_be_visible()


def test_the_list_stays_where_the_description_cannot_be_loaded(visit: Visit) -> None:
    visit.failures_expected = True
    visit.sign_in_directly()
    visit.page.route("**/openapi.json", lambda route: route.fulfill(status=503, body="{}"))
    visit.open("docs")
    expect(visit.page.get_by_role("alert").filter(has_text="The description could not be loaded")).to_be_visible()
    expect(visit.page.locator("#listing a").first).to_be_visible()
