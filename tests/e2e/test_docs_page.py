"""The API reference: Swagger UI sends requests with the token of the session, or with a pasted one."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.support.visits import Visit

pytestmark = pytest.mark.slow


def send(visit: Visit, operation: str) -> Locator:
    """Send a request and return the element of its response."""
    block = visit.page.locator(f"#operations-{operation}")
    if block.locator(".opblock-body").count() == 0:
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table")


def status(response: Locator) -> Locator:
    return response.locator("tbody .response-col_status").first


def test_requests_use_the_token_of_the_session(visit: Visit) -> None:
    visit.sign_in_directly()
    visit.open("docs")
    expect(visit.page.locator("#authorised")).to_contain_text("You are signed in")
    expect(visit.page.locator("#who")).to_have_text("Ada")
    response = send(visit, "accounts-read_profile")
    expect(status(response)).to_contain_text("200")
    expect(response).to_contain_text("ada@example.org")


def test_a_visitor_is_refused_until_a_token_is_pasted(visit: Visit) -> None:
    visit.failures_expected = True
    visit.register("ada@example.org")
    visit.open("docs")
    expect(visit.page.get_by_role("link", name="Sign in")).to_be_visible()
    expect(status(send(visit, "model-model_status"))).to_contain_text("401")
    visit.page.locator(".btn.authorize").click()
    visit.page.locator(".modal-ux input").fill(visit.login())
    visit.page.locator(".modal-ux .btn.authorize").click()
    visit.page.get_by_role("button", name="Close").last.click()
    response = send(visit, "model-model_status")
    expect(status(response)).to_contain_text("200")
    expect(response).to_contain_text('"threshold": 5')


def test_a_link_opens_its_operation(visit: Visit) -> None:
    visit.open("docs#/analytics/topics")
    expect(visit.page.locator("#operations-analytics-topics.is-open .opblock-body")).to_be_visible()


@pytest.mark.parametrize("missing", ["swagger-ui-bundle.js", "openapi.json"])
def test_a_missing_file_is_reported(visit: Visit, missing: str) -> None:
    visit.failures_expected = True
    visit.page.route(f"**/{missing}", lambda route: route.abort())
    visit.open("docs")
    expect(visit.page.locator("main")).to_contain_text("could not be loaded. Reload the page")
    visit.expect_loaded()


def test_without_scripts_there_is_a_link_to_openapi_json(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{url}/docs")
    expect(page.locator("noscript a")).to_have_attribute("href", "./openapi.json")
    context.close()
