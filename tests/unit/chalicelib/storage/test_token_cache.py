"""What a remembered token may do, and what it may not."""

from __future__ import annotations

import jwt
import pytest

from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.storage import token_cache
from chalicelib.storage.token_cache import KEPT_SECONDS, CachingVerifier

SECRET = "a secret of thirty-two bytes or more"


class Verifier:
    """Takes tokens of the right key that have not expired, and counts them."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.secret = SECRET
        self.asked: list[str] = []

    def verify(self, token: str) -> Caller:
        self.asked.append(token)
        try:
            claims = jwt.decode(token, self.secret, algorithms=["HS256"], options={"verify_exp": False})
        except jwt.PyJWTError as error:
            raise UnauthenticatedError("wrong") from error
        if claims["exp"] <= self.now:
            raise UnauthenticatedError("expired")
        return Caller(claims["sub"], frozenset(claims.get("groups", [])))


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


@pytest.fixture
def remembering(verifier: Verifier) -> CachingVerifier:
    return CachingVerifier(verifier.verify, lambda: verifier.now)


def token(user: str = "ada", expires_at: int = 1_600, secret: str = SECRET) -> str:
    return jwt.encode({"sub": user, "exp": expires_at}, secret, algorithm="HS256")


def test_a_token_is_verified_once(remembering: CachingVerifier, verifier: Verifier) -> None:
    assert [remembering.verify(token()).user_id for _ in range(3)] == ["ada"] * 3
    assert len(verifier.asked) == 1


def test_each_token_has_its_own_caller(remembering: CachingVerifier) -> None:
    assert [remembering.verify(token(user)).user_id for user in ("ada", "bob", "ada")] == ["ada", "bob", "ada"]


def test_a_remembered_token_ends_when_it_expires(remembering: CachingVerifier, verifier: Verifier) -> None:
    remembering.verify(token(expires_at=1_600))
    verifier.now = 1_599.9
    assert remembering.verify(token(expires_at=1_600)).user_id == "ada"
    verifier.now = 1_600.0
    with pytest.raises(UnauthenticatedError, match="expired"):
        remembering.verify(token(expires_at=1_600))


def test_a_token_of_a_withdrawn_key_ends(remembering: CachingVerifier, verifier: Verifier) -> None:
    lasting = token(expires_at=100_000)
    remembering.verify(lasting)
    verifier.secret = "the next secret of thirty-two bytes or more"
    verifier.now += KEPT_SECONDS - 0.1
    assert remembering.verify(lasting).user_id == "ada"
    verifier.now += 0.1
    with pytest.raises(UnauthenticatedError, match="wrong"):
        remembering.verify(lasting)


def test_a_refusal_is_not_remembered_and_taints_no_other_token(
    remembering: CachingVerifier, verifier: Verifier
) -> None:
    remembering.verify(token())
    for _ in range(2):
        with pytest.raises(UnauthenticatedError):
            remembering.verify(token(secret="another secret of thirty-two bytes"))
    assert len(verifier.asked) == 3


def test_a_token_that_differs_in_one_character_is_another(remembering: CachingVerifier) -> None:
    good = token()
    remembering.verify(good)
    head, content, signature = good.split(".")
    with pytest.raises(UnauthenticatedError):
        remembering.verify(f"{head}.{content}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}")


def test_the_number_of_remembered_tokens_is_bounded(
    remembering: CachingVerifier, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_cache, "KEPT_TOKENS", 2)
    for user in ("ada", "bob", "eve", "eve", "bob", "ada"):
        remembering.verify(token(user))
    assert verifier.asked == [token(user) for user in ("ada", "bob", "eve", "ada")]
