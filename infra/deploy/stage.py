"""A stage, its settings in ``stages/STAGE.toml``, and what is known of it while it is deployed."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import boto3
import msgspec
from botocore.config import Config

from infra.deploy import DeployError
from infra.package import ARCHITECTURES
from infra.package.template import PARTS, Template, read_part

ROOT: Final = Path(__file__).resolve().parents[2]

STANDALONE: Final = ("artifacts", "network", "database", "migrator", "backup", "edge")
"""The stacks next to the product's. Their templates are in ``infra/``."""

SHARED: Final = "artifacts"
"""The stack that all stages share."""

OF_ADDRESSES: Final = ("address_failed_sign_ins", "address_mails_per_hour", "sign_ups_per_hour")
"""The product's limits for each network address."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
_COMMIT = re.compile(r"[0-9a-f]{12,40}$")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a stage. ``parameters`` are parameters of any of the templates, by their names.

    ``stack`` is the name of a product's stack that exists under a name of its own.
    """

    name: str = "studysmart"
    region: str = ""
    account: str = ""
    architecture: str = ARCHITECTURES[0]
    backup: bool = False
    edge: bool = False
    allow_critical_findings: bool = False
    stack: str = ""
    stack_role: str = ""
    parameters: dict[str, str | int | float | bool] = msgspec.field(default_factory=dict)


@cache
def _part(path: str) -> Template:
    return read_part(ROOT / path)


def read_settings(stage: str, path: Path) -> Settings:
    """Return the settings of a stage, the defaults if it has no file. Raises DeployError."""
    if not _NAME.fullmatch(stage):
        raise DeployError(f"the stage {stage!r} must be at most 20 lower-case letters, digits and hyphens")
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        settings = msgspec.convert(tomllib.loads(text), Settings)
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DeployError(f"{path}: {error}") from error
    if not _NAME.fullmatch(settings.name):
        raise DeployError(f"{path}: name {settings.name!r} must be at most 20 lower-case letters, digits and hyphens")
    if settings.architecture not in ARCHITECTURES:
        raise DeployError(f"{path}: architecture {settings.architecture!r} is none of {', '.join(ARCHITECTURES)}")
    faults = parameter_faults(settings.parameters)
    if faults:
        raise DeployError(f"{path}: " + "; ".join(faults))
    return settings


def parameter_faults(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each value that is a parameter of no template, or that a template would refuse."""
    known: dict[str, list[Mapping[str, Any]]] = {}
    for part in (*PARTS, *(f"infra/{name}.yaml" for name in STANDALONE)):
        for name, parameter in _part(part).get("Parameters", {}).items():
            known.setdefault(name, []).append(parameter)
    found = [f"no template has a parameter {name}" for name in sorted(values.keys() - known.keys())]
    for name, value in values.items():
        for parameter in known.get(name, ()):
            why = _refusal(parameter, as_text(value))
            if why:
                found.append(f"{name}={as_text(value)!r} {why}")
                break
    return found


def _refusal(parameter: Mapping[str, Any], value: str) -> str:
    allowed = parameter.get("AllowedValues")
    if allowed and value not in map(str, allowed):
        return f"is none of {', '.join(map(str, allowed))}"
    if parameter["Type"] == "Number":
        low, high = float(parameter.get("MinValue", "-inf")), float(parameter.get("MaxValue", "inf"))
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
            return "is not a number"
        return "" if low <= float(value) <= high else f"is not between {low:g} and {high:g}"
    pattern = parameter.get("AllowedPattern")
    parts = value.split(",") if parameter["Type"] == "CommaDelimitedList" else [value]
    if pattern and not all(re.fullmatch(pattern, part.strip()) for part in parts):
        return f"is not {parameter.get('ConstraintDescription', 'of the form ' + pattern)}"
    return ""


def as_text(value: object) -> str:
    """Return a value of the settings as CloudFormation takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass
class Deployment:
    """One run of the command: the stage, its release, and the values that earlier steps gave.

    ``values`` are parameters by name: those of the settings, and the outputs of the stacks that were deployed before.
    ``kept`` is True for the release of another commit than the checkout's, which cannot be built from it.
    """

    stage: str
    settings: Settings
    commit: str
    kept: bool = False
    rollback: bool = False
    dry_run: bool = False
    say: Callable[[str], None] = print
    poll_seconds: float = 5.0
    values: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take over the parameters of the settings. Raises DeployError for a commit that is not one."""
        if not _COMMIT.match(self.commit):
            raise DeployError(f"the commit {self.commit!r} must be given with at least 12 hexadecimal digits")
        self.values |= {name: as_text(value) for name, value in self.settings.parameters.items()}
        self.values |= {"Architecture": self.settings.architecture, "Stage": self.stage}
        if self.settings.edge:
            # API Gateway sees the addresses of CloudFront, which many students share. WAF counts the students' own.
            self.values.setdefault("Limits", ",".join(f"{limit}=0" for limit in OF_ADDRESSES))

    def stack(self, part: str = "") -> str:
        """Return the name of the product's stack, or of another one of the stage."""
        if part == SHARED:
            return f"{self.settings.name}-{SHARED}"
        stage = self.settings.stack or f"{self.settings.name}-{self.stage}"
        return f"{stage}-{part}" if part else stage

    def client(self, service: str, region: str = "") -> Any:
        """Return a client of a service in the stage's region, or another one. An invocation is never repeated."""
        key = (service, region or self.region)
        if key not in self._clients:
            config = Config(read_timeout=910, retries={"total_max_attempts": 1 if service == "lambda" else 5})
            self._clients[key] = boto3.client(service, region_name=key[1], config=config)  # type: ignore[call-overload]
        return self._clients[key]

    @cached_property
    def region(self) -> str:
        """The region of the stage. Raises DeployError."""
        # boto3 itself does not read AWS_REGION, which AWS's command line and our own programs do.
        region = self.settings.region or os.environ.get("AWS_REGION") or boto3.Session().region_name
        if not region:
            raise DeployError("there is no region: set it in the stage's file, or AWS_REGION")
        return region

    def change(self, what: str, act: Callable[[], Any]) -> Any:
        """Do what changes something, or only say so in a dry run, and return what it gives, else None."""
        self.changes.append(what)
        if self.dry_run:
            self.say(f"  would {what}")
            return None
        self.say(f"  {what}")
        return act()

    def template(self, part: str) -> Template:
        """Return the template of a stack next to the product's."""
        return _part(f"infra/{part}.yaml")
