"""The local cloud is for the programs of this machine: no page reaches it, and nobody else has its signing key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import jwt
import pytest
from joserfc.jwk import RSAKey
from joserfc.jwt import encode
from moto.utilities.utils import load_resource

from chalicelib.config import settings_from
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.wiring import Container

MAKE_KEY = "import sys, pathlib; from infra.local.aws import signing; signing.use_own_key(pathlib.Path(sys.argv[1]))"


def test_the_key_that_moto_publishes_signs_nothing_here(environment: dict[str, str]) -> None:
    container = Container(settings_from(environment))
    container.identity.register("eve@example.org", "correct horse", None)
    tokens = container.identity.login("eve@example.org", "correct horse")
    assert container.identity.verify(tokens.access_token).user_id
    claims = jwt.decode(tokens.access_token, options={"verify_signature": False})
    claims["cognito:groups"] = ["admins"]
    published = RSAKey.import_key(load_resource("cognitoidp/resources/jwks-private.json"))
    forged = encode({"kid": "dummy", "alg": "RS256"}, claims, published)
    with pytest.raises(UnauthenticatedError):
        container.identity.verify(forged)


def test_each_state_directory_keeps_a_key_of_its_own(tmp_path: Path) -> None:
    def key(name: str) -> str:
        path = tmp_path / name
        subprocess.run([sys.executable, "-c", MAKE_KEY, str(path)], check=True, timeout=60)
        assert path.stat().st_mode & 0o777 == 0o600
        return str(json.loads(path.read_text())["n"])

    assert key("a") == key("a")
    assert key("a") != key("b")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Origin": "https://page.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "page.example:{port}"}, 403),  # a name that was pointed at this machine after the page was loaded
    ],
)
def test_pages_of_a_browser_are_refused(aws: Mapping[str, str], headers: dict[str, str], status: int) -> None:
    url = aws["COGNITO_JWKS_URL"]
    given = {name: value.format(port=httpx.URL(url).port) for name, value in headers.items()}
    assert httpx.get(url, headers=given, trust_env=False).status_code == status
