"""The API reference: Swagger UI sends requests with the token of the session, or with a pasted one."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Locator, expect

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


def test_links_open_an_operation(visit: Visit) -> None:
    visit.open("docs#/analytics/topics")
    expect(visit.page.locator("#operations-analytics-topics.is-open .opblock-body")).to_be_visible()


@pytest.mark.parametrize("missing", ["swagger-ui-bundle.js", "openapi.json"])
def test_a_missing_file_is_reported(visit: Visit, missing: str) -> None:
    visit.failures_expected = True
    visit.page.route(f"**/{missing}", lambda route: route.abort())
    visit.open("docs")
    expect(visit.page.locator("main")).to_contain_text("could not be loaded. Reload the page")


def test_without_scripts_the_page_links_to_the_openapi_document(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{url}/docs")
    expect(page.locator("noscript a")).to_have_attribute("href", "./openapi.json")
    context.close()
