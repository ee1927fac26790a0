"""What the documents say against what there is: commands, AWS's operations, make's targets, alarms, links, queries."""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from infra.deploy.stage import read_settings
from infra.lint import STANDALONE
from infra.log_queries import QUERIES
from infra.package.template import PARTS, read_part
from ops import cli
from tests.support.documents import ALL_BLOCKS, DOCUMENTS, NOT_HERE, ROOT, TEXTS, Block
from tests.support.sources import written_files

OPERATIONS = ROOT / "docs" / "operations.md"

SESSION = botocore.session.get_session()
OF_THE_COMMAND_LINE = {
    ("cloudformation", "package"): {"template-file", "s3-bucket", "use-json", "output-template-file"},
    ("cloudformation", "deploy"): {
        *("stack-name", "template-file", "s3-bucket", "capabilities", "parameter-overrides"),
    },
    ("ecr", "get-login-password"): set(),
}
"""Commands that the command line makes of several operations, with the options that are used here."""

EVERYWHERE = {"query", "output", "region", "cli-binary-format", "cli-read-timeout"}


def checked_blocks() -> list[Block]:
    return [block for block in ALL_BLOCKS if block.language == "sh" and not block.runs_here]


def commands_of(program: str) -> list[list[str]]:
    return [words for block in checked_blocks() for words in block.commands if words[0] == program]


def subcommands() -> dict[str, argparse.ArgumentParser]:
    parser = cli.parser()
    (action,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(action.choices)


def options(words: list[str]) -> set[str]:
    return {word[2:].partition("=")[0] for word in words if word.startswith("--")}


def test_every_block_of_commands_says_that_it_is_one() -> None:
    programs = re.compile(r"^(make|curl|studysmart|aws|docker|python) ", re.MULTILINE)
    assert [block.text for block in ALL_BLOCKS if block.language != "sh" and programs.search(block.text)] == []


@pytest.mark.parametrize(
    "block", [b for b in ALL_BLOCKS if b.language == "sh"], ids=lambda b: b.text.split("\n")[0][:40]
)
def test_every_block_is_correct_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_aws_are_those_of_its_services() -> None:
    used = commands_of("aws")
    assert len(used) > 20
    for _, service, operation, *rest in used:
        assert not unknown_options(service, operation, options(rest)), f"aws {service} {operation}"


def unknown_options(service: str, operation: str, given: set[str]) -> set[str]:
    given = given - EVERYWHERE
    if operation == "wait":
        return set()
    known = OF_THE_COMMAND_LINE.get((service, operation))
    if known is None:
        model = SESSION.get_service_model({"s3api": "s3"}.get(service, service))
        (name,) = [name for name in model.operation_names if xform_name(name, "-") == operation]
        shape = model.operation_model(name).input_shape
        known = {xform_name(member, "-") for member in shape.members} if shape else set()
        # A list that has no bound of its own is paged by the command line; a switch can be switched off.
        known |= {f"no-{name}" for name in known} | {"max-items"}
    return given - known


@pytest.mark.parametrize(
    ("service", "operation", "given"),
    [("s3api", "create-bucket", {"bukket"}), ("cloudformation", "deploy", {"stack"}), ("rds", "make-database", set())],
)
def test_a_wrong_command_of_aws_would_be_noticed(service: str, operation: str, given: set[str]) -> None:
    try:
        assert unknown_options(service, operation, given)
    except ValueError:
        assert operation == "make-database"


def test_what_make_is_asked_for_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    used = {words[1] for words in commands_of("make")}
    named = {found for document in TEXTS for found in re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.M)}
    assert used
    assert used | named <= targets
    assert targets <= used | named | {"chromium", "help", "venv"}


def test_parameters_of_deployments_are_the_templates() -> None:
    known = {name for part in (*PARTS, *STANDALONE) for name in read_part(ROOT / part).get("Parameters", {})}
    outputs = {name for part in (*PARTS, *STANDALONE) for name in read_part(ROOT / part).get("Outputs", {})}
    outputs |= {"EndpointURL"}
    given = {
        word.partition("=")[0]
        for words in commands_of("aws")
        if "--parameter-overrides" in words
        for word in words[words.index("--parameter-overrides") + 1 :]
        if "=" in word
    }
    asked = {name for document in DOCUMENTS for name in re.findall(r"OutputKey=='(\w+)'", document.read_text())}
    assert given
    assert asked
    assert given <= known
    assert asked <= outputs


def test_the_file_of_a_stage_that_is_shown_is_valid(tmp_path: Path) -> None:
    (shown,) = [block for block in ALL_BLOCKS if block.language == "toml"]
    path = tmp_path / "staging.toml"
    path.write_text(shown.text)
    assert read_settings("staging", path).edge


def test_every_studysmart_command_that_is_named_exists_and_every_one_is_named() -> None:
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    named = set(re.findall(r"(?:^|[`/])studysmart (?:--state-dir \S+ )?([a-z][a-z-]+)", text, re.MULTILINE))
    assert named == set(subcommands())


def test_every_module_that_is_named_exists() -> None:
    named = {name for document in TEXTS for name in re.findall(r"python -m ([a-z_.]+[a-z_])", document.read_text())}
    folders = [path for folder in ("benchmarks", "evaluation") for path in (ROOT / folder).glob("[a-z]*.py")]
    programs = {f"{path.parent.name}.{path.stem}" for path in folders if "\ndef main(" in path.read_text()}
    assert programs
    assert programs <= named
    assert [name for name in named if importlib.util.find_spec(name) is None] == []


def alarms() -> list[str]:
    """The alarms that tell somebody; others start and stop tasks."""

    def tells(alarm: dict[str, Any]) -> bool:
        return {"Ref": "AlarmTopic"} in alarm["Properties"].get("AlarmActions", [])

    resources = {name: one for part in PARTS for name, one in read_part(ROOT / part).get("Resources", {}).items()}
    found = {name: one for name, one in resources.items() if one.get("Type") == "AWS::CloudWatch::Alarm"}
    return [name for name, alarm in found.items() if tells(alarm)]


def test_every_alarm_has_a_runbook_with_a_command_and_there_is_none_for_others() -> None:
    section = OPERATIONS.read_text().partition("\n## Alarms")[2].partition("\n## ")[0]
    runbooks = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", section, re.MULTILINE | re.DOTALL))
    assert list(runbooks) == alarms()
    assert all("`studysmart " in text or "](#" in text for text in runbooks.values())


def test_the_named_queries_are_listed_with_their_questions() -> None:
    section = OPERATIONS.read_text().partition("\n## The log")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", section, re.MULTILINE)
    assert listed == [(query.name, query.question) for query in QUERIES]


def test_queries_that_are_named_exist() -> None:
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    named = set(re.findall(r"studysmart logs ([a-z][a-z-]*)", text))
    assert named <= {query.name for query in QUERIES}


def anchors(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", TEXTS, ids=lambda path: str(path.name))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        led = (document.parent / path).resolve() if path else document
        assert led.exists(), target
        if anchor:
            assert anchor in anchors(led), target


def test_the_list_of_what_is_not_run_is_not_longer_than_needed() -> None:
    assert {program for program in NOT_HERE if commands_of(program)} == NOT_HERE


PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)*/?)`")
FILES = {path.relative_to(ROOT) for path in written_files()}
FOLDERS = {folder for path in FILES for folder in path.parents} | {Path("chalicelib/web/vendor")}
LOCAL_NAMES = {"build", "dist", "site", "logs", "models", "stages", "code", "releases"}
"""First parts of paths that are made here, or are keys in a bucket."""


def exists(name: str) -> bool:
    """Return True for the path of a file or folder, or its end: `inputs.py` and `fit/train.py` are known too."""
    path = Path(name)
    candidates = FOLDERS if name.endswith("/") else FILES | FOLDERS
    return any(known.parts[-len(path.parts) :] == path.parts for known in candidates)


def is_path(name: str) -> bool:
    if name.startswith(".") or Path(name).parts[0] in LOCAL_NAMES:
        return False
    return name.endswith((".py", ".yaml", ".yml", ".sh", ".toml", "/")) or Path(name).parts[0] in map(str, FOLDERS)


@pytest.mark.parametrize("document", TEXTS, ids=lambda path: str(path.name))
def test_named_files_and_folders_exist(document: Path) -> None:
    text = document.read_text()
    if "\nStatus: Superseded" in text:
        return
    assert [name for name in PATH.findall(text) if is_path(name) and not exists(name)] == []


def test_a_file_that_is_gone_would_be_noticed() -> None:
    assert is_path("chalicelib/prediction/compiled.py")
    assert not exists("chalicelib/prediction/compiled.py")
    assert exists("chalicelib/features/")
    assert exists("chalicelib/web/vendor/")
