"""The unit of systemd and the compose file: what they name is known to the program."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from chalicelib.config import Settings
from infra.local import __main__ as stack
from infra.local.proxy.limits import Limits
from tests.support.sources import ROOT

LOCAL = ROOT / "infra" / "local"
KNOWN = {
    "LIMITS",
    "TRAINING_WORKERS",
    *(field.encode_name for kind in (Settings, Limits) for field in msgspec.structs.fields(kind)),
}
PLACE = "/opt/studysmart"


@pytest.fixture(scope="module")
def unit() -> ConfigParser:
    found = ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(LOCAL / "studysmart.service")
    return found


@pytest.fixture(scope="module")
def service() -> Any:
    compose = yaml.safe_load((LOCAL / "compose.yaml").read_text())
    assert set(compose) == {"name", "services", "volumes"}
    return compose["services"]["studysmart"]


def options_of(command: list[str]) -> dict[str, Any]:
    """What the program reads from a command line; it must know all of it."""
    assert command[1:3] == ["-m", "infra.local"]
    return vars(stack.parser().parse_args(command[3:]))


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (LOCAL / "studysmart.service").read_text()
    place = tmp_path / "studysmart.service"
    place.write_text(text.replace(f"{PLACE}/.venv/bin/python", "/bin/sh"))
    done = subprocess.run(["systemd-analyze", "verify", str(place)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_starts_the_stack_with_its_environment(unit: ConfigParser) -> None:
    given = dict(pair.split("=", 1) for pair in shlex.split(unit["Service"]["Environment"]))
    command = re.sub(r"\$\{(\w+)\}", lambda found: given.pop(found[1]), unit["Service"]["ExecStart"])
    assert given == {}, "each variable is used"
    options = options_of(shlex.split(command))
    assert options == {"host": "127.0.0.1", "port": "4008", "state_dir": Path("/var/lib/studysmart"), "services": False}
    assert unit["Service"]["StateDirectory"] == "studysmart", "systemd makes /var/lib/studysmart"
    assert command.startswith(f"{unit['Service']['WorkingDirectory']}/.venv/bin/python ")


def test_the_unit_stops_the_supervisor_only(unit: ConfigParser) -> None:
    assert (unit["Service"]["KillMode"], unit["Service"]["KillSignal"]) == ("mixed", "SIGTERM")


def test_the_container_starts_the_stack(service: Any) -> None:
    build = service["build"]
    context = (LOCAL / build["context"]).resolve()
    assert context == ROOT
    dockerfile = (context / build["dockerfile"]).read_text()
    assert not re.search(r"^FROM (?!\S+@sha256:)", dockerfile, re.MULTILINE)
    (command,) = re.findall(r"^CMD (\[.*\])", dockerfile, re.MULTILINE)
    options = options_of(msgspec.json.decode(command, type=list[str]))
    (volume,) = service["volumes"]
    (port,) = service["ports"]
    assert options["host"] == "0.0.0.0"  # noqa: S104 - nothing is bound here
    assert port.rpartition(":")[2] == options["port"] == re.findall(r"^EXPOSE (\d+)", dockerfile, re.MULTILINE)[0]
    assert f"127.0.0.1:{options['port']}/health" in dockerfile
    assert Path(volume.partition(":")[2]) == options["state_dir"]
    assert f"STATE_DIR={options['state_dir']}" in dockerfile, "the commands find the stack"
    for script in re.findall(r"^RUN (infra/\S+)", dockerfile, re.MULTILINE):
        assert (ROOT / script).is_file()


def test_the_container_passes_on_known_settings_only(service: Any) -> None:
    assert set(service["environment"]) <= KNOWN
    assert service["stop_signal"] == "SIGTERM"


def test_the_context_has_no_secrets_and_no_state() -> None:
    ignored = (LOCAL / "Dockerfile.dockerignore").read_text().splitlines()
    assert {".git", ".venv", ".local*"} <= set(ignored)
    assert not {name for name in ignored if name in ("infra", "ops", "chalicelib", "migrations", "training_job")}
