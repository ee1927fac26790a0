"""Settings from the environment."""

from __future__ import annotations

import re

import msgspec
import pytest
from sqlalchemy import make_url

from chalicelib.config import Bound, Settings, issuers_of, settings_from
from chalicelib.domain.errors import ConfigurationError
from tests.support.sources import ROOT

ENVIRONMENT = {
    "DATABASE_URL": "postgresql+pg8000://db.example:5432/studysmart",
    "REGISTRY_BUCKET": "b",
    "TRAINING_QUEUE_URL": "q",
    "USER_POOL_ID": "p",
    "USER_POOL_CLIENT_ID": "c",
    "AWS_REGION": "eu-central-1",
}


def test_a_password_with_any_character_reaches_the_database_as_it_is() -> None:
    password = "a%41b:/?#[]@ü ='"
    settings = settings_from({**ENVIRONMENT, "DATABASE_USER": "study smart", "DATABASE_PASSWORD": password})
    url = make_url(settings.database_url)
    assert (url.username, url.password, url.host, url.port) == ("study smart", password, "db.example", 5432)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+pg8000"])
def test_every_usual_scheme_is_accepted(scheme: str) -> None:
    url = f"{scheme}://u@h/d?sslmode=require"
    assert settings_from({**ENVIRONMENT, "DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    "executor",
    ["inline", "processes:1", "processes:16", "dask://10.0.0.5:8786", "dask://[fd00::1]:8786", "dask://a-b.c:1"],
)
def test_executors_of_trainings_are_accepted(executor: str) -> None:
    assert settings_from({**ENVIRONMENT, "TRAINING_EXECUTOR": executor}).training_executor == executor


@pytest.mark.parametrize(
    "executor",
    ["", "processes", "processes:0", "dask://a", "dask://a:0", "dask://a:65536", "dask://a:b:1", "dask://:1"],
)
def test_other_executors_are_refused(executor: str) -> None:
    with pytest.raises(ConfigurationError, match=f"TRAINING_EXECUTOR='{executor}'"):
        settings_from({**ENVIRONMENT, "TRAINING_EXECUTOR": executor})


@pytest.mark.parametrize("cohort", ["", "grade 7", "École", "a/b", "../x", "x" * 64])
def test_a_cohorts_name_that_is_no_part_of_a_key_in_s3_is_refused(cohort: str) -> None:
    with pytest.raises(ConfigurationError, match="COHORT="):
        settings_from({**ENVIRONMENT, "COHORT": cohort})


def test_limits_can_be_set_together() -> None:
    settings = settings_from({**ENVIRONMENT, "LIMITS": "topics=7,EXPORTS_PER_HOUR=0", "EXPORTS_PER_HOUR": "9"})
    assert (settings.topics, settings.exports_per_hour, settings.open_tasks) == (7, 9, 20_000)
    with pytest.raises(ConfigurationError, match=r"'topic=7'.*'topics'.*TOPICS='-1'"):
        settings_from({**ENVIRONMENT, "LIMITS": "topic=7 topics topics=-1"})


def test_every_limit_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", text, re.MULTILINE))
    limits = [field for field in msgspec.structs.fields(Settings) if field.type is Bound]
    assert len(limits) == 12
    for field in limits:
        assert documented[field.encode_name] == str(field.default), field.name


def test_half_a_login_and_two_logins_are_faults() -> None:
    with pytest.raises(ConfigurationError, match="belong together"):
        settings_from({**ENVIRONMENT, "DATABASE_USER": "u"})
    twice = {**ENVIRONMENT, "DATABASE_URL": "postgresql+pg8000://u:p@db/x", "DATABASE_USER": "u"}
    with pytest.raises(ConfigurationError, match="already"):
        settings_from({**twice, "DATABASE_PASSWORD": "p"})


def test_every_fault_is_named_at_once_and_no_secret_is() -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_from(
            {
                "DATABASE_URL": "mysql://u:secret@h",  # pragma: allowlist secret
                "TRAINING_THRESHOLD": "0",
                "DATABASE_PASSWORD": "secret",
                "MODEL_SIGNING_KEY": "short secret",
            }
        )
    text = str(caught.value)
    for name in (
        "DATABASE_URL=(hidden)",
        "MODEL_SIGNING_KEY=(hidden)",
        "REGISTRY_BUCKET is not set",
        "TRAINING_THRESHOLD='0'",
        "belong together",
    ):
        assert name in text
    assert "secret" not in text


def test_several_signing_keys_are_separated_by_commas() -> None:
    keys = "k" * 32, "l" * 40
    assert settings_from({**ENVIRONMENT, "MODEL_SIGNING_KEY": ", ".join(keys)}).model_signing_key == keys
    assert settings_from({**ENVIRONMENT, "MODEL_SIGNING_KEY": ""}).model_signing_key == ()


def test_issuers_are_named_in_three_ways() -> None:
    several = '[{"issuer": "https://a.example.org", "audience": ["x"], "groups_claim": "roles"}]'
    one = {"OIDC_ISSUER": "https://b.example.org/tenant", "OIDC_AUDIENCE": "y, z"}
    settings = settings_from({**ENVIRONMENT, **one, "OIDC_ISSUERS": several, "GOOGLE_CLIENT_ID": "g"})
    assert [(issuer.issuer, issuer.audience) for issuer in issuers_of(settings)] == [
        ("https://a.example.org", ("x",)),
        ("https://b.example.org/tenant", ("y", "z")),
        ("https://accounts.google.com", ("g",)),
    ]
    empty = dict.fromkeys(("OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_ISSUERS", "GOOGLE_CLIENT_ID"), "")
    assert issuers_of(settings_from({**ENVIRONMENT, **empty})) == []


@pytest.mark.parametrize(
    "given",
    [
        {"OIDC_ISSUER": "https://b.example.org"},
        {"OIDC_AUDIENCE": "y"},
        {"OIDC_ISSUER": "http://b.example.org", "OIDC_AUDIENCE": "y"},
        {"OIDC_ISSUER": "https://b.example.org?x=1", "OIDC_AUDIENCE": "y"},
        {"OIDC_ISSUERS": "https://b.example.org"},
        {"OIDC_ISSUERS": '[{"issuer": "https://b.example.org"}]'},
        {"OIDC_ISSUERS": '[{"issuer": "https://b.example.org", "audience": []}]'},
        {"OIDC_ISSUERS": '[{"issuer": "https://b.example.org", "audience": ["x"], "admin": "x"}]'},
    ],
)
def test_an_issuer_without_audience_or_encryption_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="OIDC_"):
        settings_from({**ENVIRONMENT, **given})


def test_an_issuer_on_this_machine_needs_no_encryption() -> None:
    local = {"OIDC_ISSUER": "http://127.0.0.1:9000/realms/x", "OIDC_AUDIENCE": "y"}
    assert issuers_of(settings_from({**ENVIRONMENT, **local}))[0].issuer == local["OIDC_ISSUER"]


def test_every_variable_is_explained_to_operators() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    missing = [field.encode_name for field in msgspec.structs.fields(Settings) if f"`{field.encode_name}`" not in page]
    assert missing == []
