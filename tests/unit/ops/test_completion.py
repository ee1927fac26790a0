"""The completion of the shell: what bash offers after the words that were typed."""

from __future__ import annotations

import subprocess

import pytest

from ops import cli, completion

BASH = completion.script("bash", cli.parser())


def offered(*words: str) -> set[str]:
    """Return what bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in words)
    program = (
        f"{BASH}\nCOMP_WORDS=({typed})\nCOMP_CWORD={len(words) - 1}\n_studysmart\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-euc", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("studysmart", "sto"), {"stop"}),
        (("studysmart", "service", "r"), {"rotate", "revoke"}),
        (("studysmart", "--state-dir", "x", "service", "rotate", "school", "--o"), {"--overlap"}),
        (("studysmart", "completion", ""), {"bash", "zsh", "--help"}),
        (("studysmart", "doctor", "--j"), {"--json"}),
    ],
)
def test_the_next_word_is_offered(words: tuple[str, ...], expected: set[str]) -> None:
    assert offered(*words) == expected


def test_every_command_is_offered() -> None:
    assert {"status", "train", "completion", "--version"} <= offered("studysmart", "")


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "zsh"]) == 0
    assert "bashcompinit" in capsys.readouterr().out
