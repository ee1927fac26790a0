"""Frozen settings from the environment, checked at once: a wrong environment names every fault with its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from chalicelib.domain.errors import ConfigurationError


class Settings(msgspec.Struct, frozen=True):
    """What the Lambda, the worker and the command line need to know of where they run."""

    database_url: str
    registry_bucket: str
    training_queue_url: str
    user_pool_id: str
    user_pool_client_id: str
    aws_region: str
    jwks_url: str | None
    cohort: str
    training_threshold: int
    minimum_samples: int
    model_refresh_seconds: float
    lease_seconds: float
    retained_versions: int
    cors_origins: tuple[str, ...]
    log_format: str
    log_level: str


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value.strip()


def _database_url(value: str) -> str:
    value = _text(value)
    if not value.startswith("postgresql+pg8000://"):
        raise ValueError("must start with postgresql+pg8000://")
    return value


def _positive_int(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("must be 1 or more")
    return number


def _positive_seconds(value: str) -> float:
    number = float(value)
    if not 0 < number < float("inf"):
        raise ValueError("must be a positive number of seconds")
    return number


def _origins(value: str) -> tuple[str, ...]:
    return tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())


def _one_of(*allowed: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value

    return check


_REQUIRED = object()

_FIELDS: dict[str, tuple[str, Callable[[str], Any], Any]] = {
    "database_url": ("DATABASE_URL", _database_url, _REQUIRED),
    "registry_bucket": ("REGISTRY_BUCKET", _text, _REQUIRED),
    "training_queue_url": ("TRAINING_QUEUE_URL", _text, _REQUIRED),
    "user_pool_id": ("USER_POOL_ID", _text, _REQUIRED),
    "user_pool_client_id": ("USER_POOL_CLIENT_ID", _text, _REQUIRED),
    "aws_region": ("AWS_REGION", _text, _REQUIRED),
    "jwks_url": ("COGNITO_JWKS_URL", _text, None),
    "cohort": ("COHORT", _text, "default"),
    "training_threshold": ("TRAINING_THRESHOLD", _positive_int, 5),
    "minimum_samples": ("MINIMUM_SAMPLES", _positive_int, 10),
    "model_refresh_seconds": ("MODEL_REFRESH_SECONDS", _positive_seconds, 30.0),
    "lease_seconds": ("LEASE_SECONDS", _positive_seconds, 60.0),
    "retained_versions": ("RETAINED_VERSIONS", _positive_int, 10),
    "cors_origins": ("CORS_ORIGINS", _origins, ()),
    "log_format": ("LOG_FORMAT", _one_of("json", "text"), "json"),
    "log_level": ("LOG_LEVEL", _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
}


def _login_faults(environment: Mapping[str, str]) -> list[str]:
    given = [name for name in ("DATABASE_USER", "DATABASE_PASSWORD") if environment.get(name)]
    if len(given) == 1:
        return [f"{given[0]} is given alone: DATABASE_USER and DATABASE_PASSWORD belong together"]
    if given and "@" in environment.get("DATABASE_URL", ""):
        return ["DATABASE_URL has a login already, and DATABASE_USER is given too"]
    return []


def _with_login(url: str, environment: Mapping[str, str]) -> str:
    """The URL with ``DATABASE_USER`` and ``DATABASE_PASSWORD`` in it, where they are given.

    A secret holds them as they are; in a URL a password's characters have to be escaped, and no template can do that.
    """
    user, password = environment.get("DATABASE_USER"), environment.get("DATABASE_PASSWORD")
    if not user or not password:
        return url
    scheme, _, place = url.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{place}"


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Settings from a mapping such as ``os.environ``; ConfigurationError names every fault at once."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field, (name, parse, default) in _FIELDS.items():
        raw = environment.get(name)
        if raw is None:
            if default is _REQUIRED:
                faults.append(f"{name} is not set")
            values[field] = default
            continue
        try:
            values[field] = parse(raw)
        except ValueError as error:
            shown = "(hidden)" if name == "DATABASE_URL" else repr(raw)
            faults.append(f"{name}={shown}: {error}")
    faults += _login_faults(environment)
    if faults:
        raise ConfigurationError("wrong environment: " + "; ".join(faults))
    values["database_url"] = _with_login(values["database_url"], environment)
    return Settings(**values)
