"""The signature of webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.webhooks import new_secret, signature, signed_headers
from tests.support.receivers import is_genuine

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'


def test_the_signature_is_that_of_the_standards_example() -> None:
    assert signature(SECRET, ID, 1614265330, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_accepts_only_what_was_signed() -> None:
    secret = new_secret()
    headers = {name.lower(): value for name, value in signed_headers(secret, ID, 1614265330, BODY).items()}
    assert is_genuine(secret, headers, BODY)
    assert not is_genuine(new_secret(), headers, BODY)
    assert not is_genuine(secret, headers, BODY + b" ")
    forged: list[dict[str, Any]] = [
        {"webhook-id": "another"},
        {"webhook-timestamp": "1614265331"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")},
        {"webhook-signature": ""},
    ]
    assert not any(is_genuine(secret, {**headers, **change}, BODY) for change in forged)
    assert not is_genuine(secret, {}, BODY)


def test_secrets_differ_and_bad_ones_are_refused() -> None:
    assert new_secret() != new_secret()
    assert new_secret().startswith("whsec_")
    with pytest.raises(ValueError, match="base64"):
        signature("whsec_?", ID, 1, BODY)
