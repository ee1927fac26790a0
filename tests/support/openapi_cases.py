"""Runs schemathesis over the OpenAPI document: single requests and sequences of them, valid and invalid."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from chalicelib import wiring
from chalicelib.config import Bound, Settings
from tests.support.api import PASSWORD, World, installed_world, serving, sign_up

STUDENT, ADMIN = "ada@example.org", "root@example.org"

_CONFIG = """\
warnings = false

[generation]
# No text may have this character. The document cannot say so for every text.
allow-x00 = false
allow-extra-parameters = false

[auth.dynamic.openapi.bearer]
path = "/auth/login"
payload = {{ email = "{email}", password = "{password}" }}
extract_selector = "/access_token"
# One operation ends the session.
retry_on = [401]

[checks]
# A well-formed password, version, time zone or cursor can still be the wrong one.
positive_data_acceptance = {{ enabled = false }}

# These phases repeat a query parameter to make it invalid. The API takes the last value of them.
[phases.fuzzing.checks]
negative_data_rejection = {{ enabled = false }}

[phases.stateful.checks]
negative_data_rejection = {{ enabled = false }}
"""


class Cases(NamedTuple):
    """The number of requests that were checked, and what was wrong, by its kind."""

    n: int
    responses_5xx: int
    violations: list[str]


@contextmanager
def unlimited_world() -> Iterator[World]:
    """Let the application use fakes and no limits, with a student and an admin."""
    with installed_world() as world:
        container = world.container()
        bounds = {field.name: 0 for field in msgspec.structs.fields(Settings) if field.type is Bound}
        container.settings = msgspec.structs.replace(container.settings, **bounds)
        wiring.install(container)
        sign_up(world, STUDENT)
        world.identity.make_admin(sign_up(world, ADMIN).get("/auth/me").json["id"])
        yield world


def check(email: str, *options: str) -> Cases:
    """Check a new API on fakes as a user. The options are those of ``schemathesis run``."""
    with unlimited_world(), serving() as url, tempfile.TemporaryDirectory(prefix="schemathesis-") as directory:
        config, report = Path(directory) / "schemathesis.toml", Path(directory) / "report.json"
        config.write_text(_CONFIG.format(email=email, password=PASSWORD))
        command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run"]
        command += ["--report", "json", "--report-json-path", str(report), "--no-color", "--continue-on-failure"]
        command += ["--generation-database", "none", *options, f"{url}/openapi.json"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if not report.exists():
            raise AssertionError(done.stdout + done.stderr)
        found: dict[str, Any] = json.loads(report.read_text())
    failures = [*found["failures"], *found["errors"]]
    kinds = [f"{one.get('title')}: {', '.join(map(str, one.get('operations', [])))}" for one in failures]
    if found["exit_code"] not in (0, 1) or not found["complete"]:
        kinds.append(f"not complete: {done.stdout[-2_000:]}")
    n_5xx = sum(one["count"] for one in found["failures"] if one["code"] == "ST101")
    if kinds:
        print(done.stdout, file=sys.stderr)
    return Cases(found["test_cases"]["generated"], n_5xx, kinds)
