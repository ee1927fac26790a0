"""Settings from the environment. A wrong environment is reported with all its faults at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from chalicelib.domain.cohorts import CohortName
from chalicelib.domain.errors import ConfigurationError
from chalicelib.domain.issuers import GOOGLE, Issuer, IssuerUrl
from chalicelib.domain.training import TrainingPolicy

Text = Annotated[str, Meta(min_length=1)]
DatabaseUrl = Annotated[str, Meta(pattern=r"^postgres(ql(\+pg8000)?)?://")]
Count = Annotated[int, Meta(ge=1)]
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
ExecutorName = Annotated[
    str, Meta(pattern=rf"^(inline|processes:[1-9][0-9]?|dask://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):{_PORT})$")
]
ManyAnswers = Annotated[int, Meta(ge=100_000)]
Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Bound = Annotated[int, Meta(ge=0, le=10**12)]
"""A limit. 0 switches it off."""
SigningKeys = tuple[Annotated[str, Meta(min_length=32)], ...]
"""Keys of versions. The first one signs, and each is accepted, so that a key can be replaced."""
Share = Annotated[float, Meta(ge=0.001, le=1)]
BusName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,256}$")]
"""The name of a bus of Amazon EventBridge. Empty for none."""
SecondsOrOff = Annotated[float, Meta(ge=0, le=1e6)]


HIDDEN = ("DATABASE_URL", "MODEL_SIGNING_KEY")
"""Variables whose values no message shows."""


def _variable(field: str) -> str:
    return "COGNITO_JWKS_URL" if field == "jwks_url" else field.upper()


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=_variable):
    """Settings of the Lambda, the worker and the command line. A field's variable is its name in upper case."""

    database_url: DatabaseUrl
    database_auth: Literal["password", "iam"] = "password"
    registry_bucket: Text
    training_queue_url: Text
    user_pool_id: Text
    user_pool_client_id: Text
    aws_region: Text
    jwks_url: Text | None = None
    model_signing_key: SigningKeys = ()
    cohort: CohortName = "default"
    training_threshold: Count = 5
    minimum_samples: Count = 10
    training_duty: Share = 1.0
    training_max_answers: ManyAnswers = 2_000_000
    training_network_answers: ManyAnswers = 250_000
    training_executor: ExecutorName = "inline"
    model_refresh_seconds: Seconds = 30.0
    lease_seconds: Seconds = 60.0
    retained_versions: Count = 10
    connect_seconds: Seconds = 4.0
    answer_seconds: Seconds = 4.0
    statement_seconds: SecondsOrOff = 3.0
    lock_seconds: SecondsOrOff = 2.0
    idle_transaction_seconds: SecondsOrOff = 10.0
    creations_per_hour: Bound = 20_000
    completions_per_hour: Bound = 20_000
    exports_per_hour: Bound = 600
    open_tasks: Bound = 20_000
    topics: Bound = 2_000
    stored_bytes: Bound = 50_000_000
    service_learners: Bound = 100_000
    failed_sign_ins: Bound = 10
    address_failed_sign_ins: Bound = 300
    sign_ups_per_hour: Bound = 300
    mails_per_hour: Bound = 10
    address_mails_per_hour: Bound = 300
    oidc_issuer: IssuerUrl | None = None
    oidc_audience: tuple[Text, ...] = ()
    oidc_issuers: tuple[Issuer, ...] = ()
    google_client_id: tuple[Text, ...] = ()
    cors_origins: tuple[str, ...] = ()
    webhook_private_addresses: bool = False
    event_bus_name: BusName = ""
    stack_name: Text = "local"
    disk_path: Text | None = None
    ecs_agent_uri: Text | None = None
    log_format: Literal["json", "text"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Return the settings of a mapping such as ``os.environ``. Raises ConfigurationError."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    limits, wrong = _limits(environment.get("LIMITS", ""))
    faults += [f"LIMITS has {pair!r}, which is not NAME=VALUE of a known limit" for pair in wrong]
    environment = {**limits, **environment}
    for field in msgspec.structs.fields(Settings):
        name, text = field.encode_name, environment.get(field.encode_name)
        if text is None:
            if field.required:
                faults.append(f"{name} is not set")
            continue
        raw: Any = text.strip()
        if field.name == "cors_origins":
            raw = origins_from(text)
        elif field.name in ("model_signing_key", "oidc_audience", "google_client_id"):
            raw = [key.strip() for key in text.split(",") if key.strip()]
        elif field.name == "oidc_issuer":
            raw = raw or None
        try:
            if field.name == "oidc_issuers":
                raw = msgspec.json.decode(raw or "[]")
            # Field by field, because msgspec stops at the first fault.
            values[field.name] = msgspec.convert(raw, field.type, strict=False)
        except msgspec.MsgspecError as error:
            faults.append(f"{name}={'(hidden)' if name in HIDDEN else repr(text)}: {error}")
    if bool(values.get("oidc_issuer")) != bool(values.get("oidc_audience")):
        faults.append("OIDC_ISSUER and OIDC_AUDIENCE belong together")
    faults += _login_faults(environment)
    if faults:
        raise ConfigurationError("The environment is incomplete or wrong: " + "; ".join(faults))
    values["database_url"] = database_address(environment)
    return Settings(**values)


def policy_of(settings: Settings) -> TrainingPolicy:
    """Return the rules that decide when a training starts."""
    return TrainingPolicy(settings.training_threshold, settings.minimum_samples, settings.training_duty)


def issuers_of(settings: Settings) -> list[Issuer]:
    """Return the issuers, other than the user pool, whose tokens are accepted."""
    found = list(settings.oidc_issuers)
    if settings.oidc_issuer:
        found.append(Issuer(issuer=settings.oidc_issuer, audience=settings.oidc_audience))
    if settings.google_client_id:
        found.append(Issuer(issuer=GOOGLE, audience=settings.google_client_id, aliases=("accounts.google.com",)))
    return found


def _limits(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables of ``NAME=VALUE,…``, and the pairs that are no limit."""
    known = {field.encode_name for field in msgspec.structs.fields(Settings) if field.type is Bound}
    found, wrong = {}, []
    for pair in filter(None, text.replace(",", " ").split()):
        name, _, value = pair.partition("=")
        if name.upper() in known and value:
            found[name.upper()] = value
        else:
            wrong.append(pair)
    return found, wrong


def origins_from(text: str) -> list[str]:
    """Return the origins of a list with commas."""
    return [origin.strip().rstrip("/") for origin in text.split(",") if origin.strip()]


def _login_faults(environment: Mapping[str, str]) -> list[str]:
    given = [name for name in ("DATABASE_USER", "DATABASE_PASSWORD") if environment.get(name)]
    login = environment.get("DATABASE_URL", "").partition("://")[2].rpartition("@")[0]
    if _uses_iam(environment):
        if "DATABASE_PASSWORD" in given or ":" in login:
            return ["DATABASE_AUTH=iam needs no password, and one is set in DATABASE_PASSWORD or DATABASE_URL"]
        if not given and not login:
            return ["DATABASE_AUTH=iam needs the name of a database user in DATABASE_USER"]
    elif len(given) == 1:
        return [f"{given[0]} is set alone: DATABASE_USER and DATABASE_PASSWORD belong together"]
    if given and login:
        return ["DATABASE_URL already has a login, and DATABASE_USER is set too"]
    return []


def _uses_iam(environment: Mapping[str, str]) -> bool:
    return environment.get("DATABASE_AUTH", "").strip() == "iam"


def database_address(environment: Mapping[str, str]) -> str:
    """Return ``DATABASE_URL`` with everything that connecting needs. Raises ConfigurationError.

    ``DATABASE_USER`` and ``DATABASE_PASSWORD`` are put into it, because a secret holds both as plain text. In a URL the
    characters have to be escaped, which a template cannot do. With ``DATABASE_AUTH=iam`` it also says so, and names the
    region, so that programs that are given only the URL log in as the others do.
    """
    faults = _login_faults(environment)
    if faults:
        raise ConfigurationError("; ".join(faults))
    url, user, password = (environment.get(f"DATABASE_{name}", "").strip() for name in ("URL", "USER", "PASSWORD"))
    if user:
        scheme, _, place = url.partition("://")
        login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        url = f"{scheme}://{login}@{place}"
    if _uses_iam(environment):
        region = quote(environment.get("AWS_REGION", ""), safe="")
        url += f"{'&' if '?' in url else '?'}auth=iam&region={region}"
    return url
