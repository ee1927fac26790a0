"""A page of another origin in the student's browser cannot use the local cloud."""

from __future__ import annotations

from collections.abc import Mapping

import boto3
from playwright.sync_api import Browser

MAKE_ADMIN = """
async ([endpoint, pool]) => {
  const call = (mode, action, body) => fetch(endpoint, {
    method: "POST", mode, body: JSON.stringify(body),
    headers: mode === "cors" ? { "X-Amz-Target": `AWSCognitoIdentityProviderService.${action}` } : {},
  }).then((answer) => answer.type, (error) => error.name);
  const user = { UserPoolId: pool, Username: "eve@example.org" };
  return [await call("cors", "AdminCreateUser", user), await call("no-cors", "AdminCreateUser", user)];
}
"""


def test_a_foreign_page_makes_no_account(browser: Browser, aws: Mapping[str, str], url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/health")  # an address without a content security policy
    outcome = page.evaluate(MAKE_ADMIN, [aws["AWS_ENDPOINT_URL"], aws["USER_POOL_ID"]])
    page.close()
    assert outcome == ["TypeError", "opaque"]
    assert boto3.client("cognito-idp").list_users(UserPoolId=aws["USER_POOL_ID"])["Users"] == []
