"""The commands of README and docs/ that need nothing but this machine, one document after the other on one stack.

Each start of Python would take a second, so what needs no shell is called as its entry point calls it.
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.local_stack import temporary_stack
from evaluation import simulator
from ops import cli
from ops.stack import Stack
from tests.support.documents import DOCUMENTS, blocks

pytestmark = pytest.mark.slow

WITH_COMMANDS = [document for document in DOCUMENTS if any(block.runs_here for block in blocks(document))]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack as ``make run`` starts it, with some history and a model."""
    history = tmp_path_factory.mktemp("docs") / "history.csv"
    simulator.write_csv(simulator.history(60), history)
    with pytest.MonkeyPatch.context() as patch, temporary_stack() as stack:
        patch_environment(patch, stack)
        for words in (["import", str(history)], ["train"], ["monitor", "--until", "idle"]):
            assert cli.main(words) == 0
        yield stack


def patch_environment(patch: pytest.MonkeyPatch, stack: Stack) -> None:
    """Point the commands of this process to a stack. They also set its variables themselves."""
    for name, value in {**stack.environment, "STATE_DIR": str(stack.state_dir)}.items():
        patch.setenv(name, value)


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: str(path.name))
def test_the_commands_of_the_document_end_well(
    document: Path, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    patch_environment(monkeypatch, stack)
    monkeypatch.chdir(tmp_path)
    # The examples name the address of `make run`.
    run = [block for block in blocks(document) if block.runs_here]
    in_shell = "".join(block.text.replace("http://127.0.0.1:4008", stack.url) for block in run if not block.is_plain)
    subprocess.run(["bash", "-xeuo", "pipefail"], input=in_shell, text=True, check=True)
    for words in (words for block in run if block.is_plain for words in block.commands):
        assert PROGRAMS[words[0]](words) == 0, f"{' '.join(words)}: {capfd.readouterr()}"
    output = capfd.readouterr()
    assert "Traceback" not in output.err
    if document.name == "README.md":
        assert '"prediction_source"' in output.out
        assert '"counter":1' in output.out.replace(" ", "")
    if document.name == "operations.md":
        assert "champion" in output.out  # of `studysmart models list`


def studysmart(words: list[str]) -> int:
    return cli.main(words[1:])


def python(words: list[str]) -> int:
    """Run ``python -m MODULE``, for a module whose ``main`` takes its arguments."""
    assert words[1] == "-m"
    return int(importlib.import_module(words[2]).main(words[3:]))


PROGRAMS = {"studysmart": studysmart, "python": python}


def test_every_document_that_should_have_commands_has_some() -> None:
    assert {"README.md", "index.md", "tutorial.md", "operations.md", "cost-and-scale.md"} <= {
        document.name for document in WITH_COMMANDS
    }
