"""The words that the project avoids: the table of CONTRIBUTING.md, looked for in everything that people write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import ROOT, written_files

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
THIS = Path(__file__).relative_to(ROOT)
SUFFIXES = {".py", ".md", ".html", ".js", ".css", ".yaml", ".yml", ".toml", ".sh", ""}

BETWEEN = r"(?:\s|#)+"
"""Between the words of a phrase: a space, or the end of a line and the beginning of the next, also of a comment."""


def table() -> dict[str, str]:
    """Return what to write instead, by avoided word or phrase."""
    section = CONTRIBUTING.read_text(encoding="utf-8").partition("### Words we avoid")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+`) \| (.+) \|$", section, re.MULTILINE)
    return {word: instead for words, instead in rows for word in re.findall(r"`([^`]+)`", words)}


WORDS = table()
PATTERN = re.compile(
    r"(?<![\w-])(?:" + "|".join(re.escape(word).replace(r"\ ", BETWEEN) for word in WORDS) + r")(?![\w-])",
    re.IGNORECASE,
)


def findings(text: str, name: str) -> Iterator[str]:
    """Return each avoided word of a text with its place and what to write instead."""
    for found in PATTERN.finditer(text):
        word = re.sub(BETWEEN, " ", found[0])
        line = text.count("\n", 0, found.start()) + 1
        yield f"{name}:{line}: “{word}”, write instead: {WORDS[word.lower()]}"


def checked_files() -> list[Path]:
    files = (path.relative_to(ROOT) for path in written_files() if path.suffix in SUFFIXES)
    return [path for path in files if path != THIS]


def test_texts_avoid_the_words_of_the_table() -> None:
    found: list[str] = []
    for path in checked_files():
        text = (ROOT / path).read_text(encoding="utf-8")
        if path.name == CONTRIBUTING.name:
            # Blank lines in place of the table keep the numbers of the lines after it.
            text = re.sub(r"^\| `.*$", "", text, flags=re.MULTILINE)
        found += findings(text, str(path))
    assert not found, "\n".join(found)


def test_the_table_lists_words() -> None:
    assert len(WORDS) > 20
    assert CONTRIBUTING.relative_to(ROOT) in checked_files()


@pytest.mark.parametrize(
    "text",
    ["It mends itself.", "Beside it", "a value taken for\n    # wrong", "told\napart", "who has it"],
)
def test_an_avoided_word_is_found(text: str) -> None:
    assert list(findings(text, "name"))


@pytest.mark.parametrize(
    "text", ["Recommend, amend", "besides", "welfare", "at least and at most", "the wrong word", "retries"]
)
def test_other_words_are_fine(text: str) -> None:
    assert not list(findings(text, "name"))
