"""Tokens of other issuers: which are taken and which are not, and how configuration and keys are fetched."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from chalicelib.domain.errors import IdentityUnavailableError, UnauthenticatedError
from chalicelib.domain.issuers import ForeignUser, Issuer
from chalicelib.domain.service_accounts import user_id_of
from chalicelib.storage.issuers import KEPT_KEYS_SECONDS, LEEWAY_SECONDS, ForeignTokens
from chalicelib.storage.tokens import REFETCH_SECONDS, RETRY_SECONDS
from tests.support.oidc import AUDIENCE, Provider, ec_key, jwk_of, rsa_key, served


class Site:
    """A verifier that knows one provider, with clocks that a test moves."""

    def __init__(self, **settings: Any) -> None:
        self.provider = Provider()
        self.monotonic = 0.0
        self.ahead = 0.0
        issuer = Issuer(**{"issuer": self.provider.issuer, "audience": (AUDIENCE,), **settings})
        self.tokens = ForeignTokens([issuer], self._fetch, lambda: time.time() + self.ahead, lambda: self.monotonic)

    def _fetch(self, address: str) -> dict[str, Any]:
        document = self.provider.answer(address)
        if document is None:
            raise IdentityUnavailableError("away")
        return document

    def user(self, token: str) -> ForeignUser:
        caller = self.tokens.verify(token)
        assert caller is not None
        assert caller.foreign is not None
        return caller.foreign

    def refuses(self, token: str) -> bool:
        try:
            return self.tokens.verify(token) is None
        except UnauthenticatedError:
            return True


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_valid_token_gives_its_user(site: Site) -> None:
    caller = site.tokens.verify(site.provider.token())
    assert caller is not None
    assert caller.user_id == user_id_of(site.provider.issuer, "auth0|123")
    assert caller.groups == frozenset()
    user = site.user(site.provider.token())
    assert (user.subject, user.email, user.full_name) == ("auth0|123", "ada@example.org", "Ada Lovelace")


def test_both_kinds_of_keys_are_taken(site: Site) -> None:
    site.provider.keys = {"r": rsa_key("one"), "e": ec_key("one")}
    assert [site.user(site.provider.token(kid)).subject for kid in ("r", "e")] == ["auth0|123"] * 2


def test_the_address_counts_only_if_it_is_verified(site: Site) -> None:
    for value in (False, "false", ..., None, 1, "yes"):
        assert site.user(site.provider.token(email_verified=value)).email is None, value
    trusting = Site(trust_email=True)
    assert trusting.user(trusting.provider.token(email_verified=...)).email == "ada@example.org"


def test_groups_are_read_from_the_configured_claim_only() -> None:
    def groups(claim: str | None, content: dict[str, Any], admin_group: str = "admins") -> set[str]:
        site = Site(groups_claim=claim, admin_group=admin_group)
        caller = site.tokens.verify(site.provider.token(**content))
        assert caller is not None
        return set(caller.groups)

    roles = {"realm_access": {"roles": ["admins", "staff"]}, "https://x.org/roles": ["root", "admins"]}
    assert groups(None, {"groups": ["admins"], "cognito:groups": ["admins"]}) == set()
    assert groups("groups", {"groups": "admins"}) == {"admins"}
    assert groups("realm_access.roles", roles) == {"admins", "staff"}
    assert groups("https://x.org/roles", roles, "root") == {"admins", "root"}
    assert groups("https://x.org/roles", roles, "others") == {"root"}
    assert groups("groups", {"groups": {"admins": 1}}) == set()


def test_claims_can_have_other_names() -> None:
    site = Site(subject_claim="oid", name_claim="person.name", email_claim="upn", audience_claim="client_id")
    token = site.provider.token(
        oid="7", person={"name": "Grace"}, upn="g@example.org", client_id=AUDIENCE, aud=..., sub=...
    )
    user = site.user(token)
    assert (user.subject, user.full_name, user.email) == ("7", "Grace", "g@example.org")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"},
        {"aud": ["another", "third"]},
        {"aud": ...},
        {"aud": {AUDIENCE: 1}},
        {"aud": AUDIENCE.upper()},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\nb"},
        {"iat": ...},
        {"exp": ...},
        {"exp": "soon"},
        {"exp": 2**70},
        {"iat": int(time.time()) + 86_400},
        {"nbf": int(time.time()) + 86_400},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(site: Site, changes: dict[str, Any]) -> None:
    assert site.refuses(site.provider.token(**changes))


def test_one_of_several_audiences_is_enough(site: Site) -> None:
    assert site.user(site.provider.token(aud=["another", AUDIENCE])).subject == "auth0|123"


def test_clocks_may_differ_by_a_minute(site: Site) -> None:
    now = int(time.time())
    assert site.user(site.provider.token(exp=now - LEEWAY_SECONDS + 30)).subject
    assert site.user(site.provider.token(nbf=now + LEEWAY_SECONDS - 30)).subject
    assert site.refuses(site.provider.token(exp=now - LEEWAY_SECONDS - 30))
    assert site.refuses(site.provider.token(nbf=now + LEEWAY_SECONDS + 30))


def test_a_known_token_ends_when_it_expires(site: Site) -> None:
    token = site.provider.token()
    assert site.user(token).subject
    site.ahead = 600 + LEEWAY_SECONDS + 1
    assert site.refuses(token)


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "application/at+jwt"])
def test_access_and_identity_tokens_are_taken(site: Site, typ: str) -> None:
    assert site.user(site.provider.token(header={"typ": typ})).subject


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", 7, ["JWT"]])
def test_other_kinds_of_tokens_are_refused(site: Site, typ: Any) -> None:
    assert site.refuses(site.provider.token(header={"typ": typ}))


def test_forged_signatures_are_refused(site: Site) -> None:
    provider = site.provider
    provider.keys["e"] = ec_key("one")
    assert site.user(provider.token()).subject
    first, second, _ = provider.token().split(".")
    forged = [
        provider.token("one", rsa_key("another")),
        provider.token("e", ec_key("another")),
        provider.token("e", rsa_key("one")),
        provider.token("one", ec_key("one")),
        jwt.encode(provider.claims(), "x" * 64, "HS256", {"kid": "one"}),
        jwt.encode(provider.claims(), rsa_key("one"), "RS512", {"kid": "one"}),
        jwt.encode(provider.claims(), rsa_key("one"), "PS256", {"kid": "one"}),
        jwt.encode(provider.claims(), "", "none", {"kid": "one"}),
        jwt.encode(provider.claims(), rsa_key("one"), "RS256"),
        f"{first}.{second}.",
    ]
    assert [site.refuses(token) for token in forged] == [True] * len(forged)


def test_a_token_of_an_unknown_issuer_is_left_to_others(site: Site) -> None:
    others = [site.provider.token(iss=iss) for iss in ("https://other.example.org", site.provider.issuer + "/", ...)]
    assert [site.tokens.verify(token) for token in (*others, "a.b.c", "x", "")] == [None] * 6
    assert site.provider.fetched == 0
    assert ForeignTokens([]).verify(site.provider.token()) is None


def test_an_alias_is_the_same_issuer() -> None:
    site = Site(aliases=("id.example.org",))
    caller, other = (
        site.tokens.verify(site.provider.token(iss=iss)) for iss in ("id.example.org", "https://id.example.org")
    )
    assert caller is not None
    assert other is not None
    assert caller.user_id == other.user_id


def test_a_new_key_is_fetched_and_an_old_one_ends(site: Site) -> None:
    provider = site.provider
    old = provider.token()
    assert site.user(old).subject
    provider.keys = {"two": rsa_key("two")}
    site.monotonic = REFETCH_SECONDS
    assert site.user(provider.token("two")).subject
    assert site.refuses(provider.token("one", rsa_key("one"), jti="2"))


def test_unknown_keys_are_fetched_at_most_once_in_a_while(site: Site) -> None:
    assert site.user(site.provider.token()).subject
    fetched = site.provider.fetched
    for n in range(50):
        assert site.refuses(site.provider.token(f"kid-{n}", rsa_key("another")))
    assert site.provider.fetched == fetched
    site.monotonic = REFETCH_SECONDS
    for n in range(50):
        assert site.refuses(site.provider.token(f"kid-{n}", rsa_key("another")))
    assert site.provider.fetched == fetched + 2


def test_keys_are_read_again_after_an_hour(site: Site) -> None:
    assert site.user(site.provider.token()).subject
    site.provider.keys = {"two": rsa_key("two")}
    assert site.user(site.provider.token("one", rsa_key("one"), jti="2")).subject
    site.monotonic = KEPT_KEYS_SECONDS
    assert site.refuses(site.provider.token("one", rsa_key("one"), jti="3"))


def test_known_keys_work_while_the_issuer_is_away(site: Site) -> None:
    provider = site.provider
    assert site.user(provider.token()).subject
    provider.available = False
    for site.monotonic in (REFETCH_SECONDS, KEPT_KEYS_SECONDS, 10 * KEPT_KEYS_SECONDS):
        assert site.user(provider.token(jti=str(site.monotonic))).subject
    with pytest.raises(IdentityUnavailableError):
        site.tokens.verify(provider.token("two", rsa_key("two")))


def test_without_keys_an_issuer_that_is_away_is_no_refusal(site: Site) -> None:
    site.provider.available = False
    with pytest.raises(IdentityUnavailableError):
        site.tokens.verify(site.provider.token())
    site.provider.available = True
    site.monotonic = RETRY_SECONDS
    assert site.user(site.provider.token()).subject


@pytest.mark.parametrize(
    "configuration",
    [{"issuer": "https://other.example.org"}, {"jwks_uri": "http://id.example.org/keys"}, {"jwks_uri": None}],
)
def test_a_wrong_configuration_is_not_used(site: Site, configuration: dict[str, Any]) -> None:
    site.provider.configuration = configuration
    with pytest.raises(IdentityUnavailableError):
        site.tokens.verify(site.provider.token())


def test_keys_that_cannot_be_used_are_skipped(site: Site) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - weak on purpose
    site.provider.odd_keys = [
        7,
        {},
        {"kty": "oct", "k": "eA", "kid": "oct"},
        {"kty": "RSA", "kid": "half"},
        {"kty": "EC", "crv": "P-1", "kid": "curve"},
        {"kty": "OKP", "crv": "X25519", "kid": "okp"},
        {**jwk_of("enc", rsa_key("two")), "use": "enc"},
        jwk_of("weak", weak),
    ]
    assert site.user(site.provider.token()).subject
    assert site.refuses(site.provider.token("enc", rsa_key("two")))
    assert site.refuses(site.provider.token("weak", weak))


def test_a_provider_is_asked_over_http() -> None:
    with served() as provider:
        tokens = ForeignTokens([Issuer(issuer=provider.issuer, audience=(AUDIENCE,))])
        assert tokens.verify(provider.token()) is not None
        provider.available = False
        other = ForeignTokens([Issuer(issuer=provider.issuer, audience=(AUDIENCE,))])
        with pytest.raises(IdentityUnavailableError, match="503"):
            other.verify(provider.token())
