"""docs/json-output.md against what the commands print with ``--json`` on a stack in use."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.domain.webhooks import EventType
from chalicelib.storage.database import statement
from chalicelib.storage.webhook_store import PostgresWebhooks
from infra.local import postgres
from infra.local.aws.outbox import Outbox
from ops import cli
from tests.support.sites import V1, V2, Site, another
from tests.support.sources import ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "json-output.md").read_text()
DOCUMENTED = {
    command: set(re.findall(r"`([\w.*]+)`", fields))
    for command, fields in re.findall(r"^\| `studysmart ([^`]+)` \| [^|]+ \| (.+) \|$", PAGE, re.MULTILINE)
}
FREE = ("files", "tables", "origin")
"""Members that are objects with names of the data. The page writes them as ``files.*``."""

DEPENDING = ("logs", "sql", "env", "models show", "models diff")
"""Commands whose fields depend on the query, the stack or the training. The page explains them in words."""


def paths(value: Any, prefix: str = "") -> set[str]:
    """The fields of a JSON value: ``a.b`` in objects, also in those of lists."""
    if isinstance(value, list):
        return {path for one in value for path in paths(one, prefix)}
    if not isinstance(value, dict):
        return {prefix} if prefix else set()
    if prefix.rpartition(".")[2] in FREE:
        return {f"{prefix}.*"}
    dot = f"{prefix}." if prefix else ""
    found = {path for name, member in value.items() for path in paths(member, f"{dot}{name}") | {f"{dot}{name}"}}
    # An object is documented by its members.
    return {path for path in found if not any(other.startswith(f"{path}.") for other in found)}


def times(value: Any) -> Iterator[str]:
    """The values of all fields that are named as times."""
    if isinstance(value, list):
        for one in value:
            yield from times(one)
    if isinstance(value, dict):
        for name, member in value.items():
            if isinstance(member, str) and (name == "at" or name.endswith("_at")):
                yield member
            yield from times(member)


@pytest.fixture
def stack(environment: dict[str, str]) -> dict[str, str]:
    """What the environment names. No training is requested, since nobody would take it."""
    return {**environment, "TRAINING_THRESHOLD": "1000"}


@pytest.fixture
def printed(
    stack: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Runs a command with --json and returns what it prints."""
    for name, value in stack.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))

    def run(command: str, *arguments: str) -> Any:
        capsys.readouterr()
        assert cli.main([*command.split(), *arguments, "--json"]) in (0, 1)
        out = capsys.readouterr().out
        return [json.loads(line) for line in out.splitlines()] if command == "monitor" else json.loads(out)

    return run


@pytest.fixture
def site(stack: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    site = Site(stack)
    site.in_use()
    Outbox(tmp_path / "outbox.jsonl").send("ada@example.com", "Your code", "123456")
    PostgresWebhooks(site.container.engine, "default").add("https://app.example.org/hooks", "s", [EventType.COMPLETION])
    yield site
    site.container.engine.dispose()


def outputs(site: Site, printed: Callable[..., Any], tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Each documented command with what it prints. Lists have an entry."""
    engine = site.container.engine
    for command in ("status", "models list", "models verify", "account list", "outbox", "webhooks list"):
        yield command, printed(command)
    yield "monitor", printed("monitor", "--until", "idle")
    for command in ("models rollback", "models pin"):
        yield command, printed(command, V1)
    yield "models unpin", printed("models unpin")
    yield "models prune", printed("models prune", "--dry-run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_SIGNING_KEY", "k" * 32)
        yield "models sign", printed("models sign", V1)
    assert cli.main(["cohort", "create", "physics", "--email-domain", "school.example"]) == 0
    yield "cohort list", printed("cohort list")
    assert cli.main(["service", "create", "school"]) == 0
    yield "service list", printed("service list")
    action = "INSERT INTO service_actions (service_id, hint, operation, status) SELECT id, 'ssk_', 'GET /', 200 FROM"
    statement(engine, lambda c: c.execute(text(f"{action} service_accounts")))
    yield "service actions", printed("service actions", "school")
    history = tmp_path / "history.csv"
    rows = [f"bot,topic,{n % 2},0.5,2026-01-01T00:00:{n:02}Z,x" for n in range(30)]
    rows += ["bot,topic,maybe,0.5,2026-01-02,x", "bot,topic,1,-1,2026-01-03,x"]
    columns = "user_id,topic,is_correct,actual_time_seconds,completed_at,unused"
    history.write_text("\n".join([columns, *rows, ""]))
    imported = printed("import", str(history))
    yield "import FILE", imported
    yield "import list", printed("import list")
    yield "anomalies", printed("anomalies")
    yield "import undo", printed("import undo", str(imported["import_id"]))
    site.container.tracker.set_model_version("default", V2)
    report = printed("doctor")
    # The other members are the facts of a finding.
    report["findings"] = [
        {name: one[name] for name in ("code", "what", "fix", "repairable")} for one in report["findings"]
    ]
    yield "doctor", report
    yield "train", printed("train")


def test_the_page_has_the_fields_of_each_command(
    site: Site, printed: Callable[..., Any], tmp_path: Path, postgres_server: postgres.Postgres, aws_endpoint: str
) -> None:
    shown = dict(outputs(site, printed, tmp_path))
    found = {command: paths(value) for command, value in shown.items()}
    moments = list(times(list(shown.values())))
    assert len(moments) > 10
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", moment) for moment in moments), moments
    directory = tmp_path / "backup"
    with another(postgres_server, aws_endpoint) as source, pytest.MonkeyPatch.context() as patch:
        for name, value in source.environment.items():
            patch.setenv(name, value)
        found["backup"] = paths(printed("backup", str(directory)))
        found["restore"] = paths(printed("restore", str(directory)))
    assert found == DOCUMENTED


def test_every_command_with_json_is_on_the_page() -> None:
    documented = {*(command.removesuffix(" FILE") for command in DOCUMENTED), *DEPENDING}
    documented -= {"import list", "import undo"}
    assert documented == set(_with_json(cli.parser(), ""))
    assert all(f"`studysmart {command}" in PAGE for command in DEPENDING)


def _with_json(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    if any("--json" in action.option_strings for action in parser._actions):
        yield name
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub_name, sub in action.choices.items():
                yield from _with_json(sub, f"{name} {sub_name}".strip())
