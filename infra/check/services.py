"""PostgreSQL and moto for the time of a check, with resources made from ``infra/template.yaml``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local import postgres
from infra.local.aws import resources
from infra.local.processes import child_command

STACK = "check"
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Services:
    """Where they are: the environment of a program, and moto's address."""

    environment: dict[str, str]
    endpoint: str


@contextmanager
def services(work: Path) -> Iterator[Services]:
    """Start both below ``work``; RuntimeError with the log of the one that does not start."""
    from migrations import upgrade

    database = postgres.prepare(work / "postgres")
    with (work / "log").open("wb") as output:
        moto = _moto(work / "ready.json", output)
        try:
            postgres.start(database, ("fsync=off",), output)
            postgres.wait_until_ready(database)
            postgres.create_database(database)
            upgrade(database.url())
            variables = _when_ready(moto, work / "ready.json", work / "log")
            # What a stack keeps in the working directory is none of this check's.
            own = {"DATABASE_URL": database.url(), "LOG_FORMAT": "text", "STATE_DIR": str(work / "nothing")}
            yield Services({**variables, **own}, variables["AWS_ENDPOINT_URL"])
        finally:
            moto.terminate()
            moto.wait(10)
            postgres.stop(database)


def _moto(ready: Path, output: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "infra.local.aws", "--stack-name", STACK, "--ready-file", str(ready)]
    return subprocess.Popen(child_command(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # type: ignore[call-overload,no-any-return]


def _when_ready(moto: subprocess.Popen[bytes], ready: Path, log: Path) -> dict[str, str]:
    deadline = time.monotonic() + _START_SECONDS
    while not ready.exists():
        if moto.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"moto did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    variables: dict[str, str] = json.loads(ready.read_text())
    assert variables["AWS_REGION"] == resources.REGION
    return variables
