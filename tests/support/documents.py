"""The commands in README and docs/: fenced ``sh`` blocks, and what of them can only be looked at here."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""The documents with commands."""

TEXTS = [
    *DOCUMENTS,
    *(ROOT / name for name in ("CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]
"""Everything that is published on the site, but the changelog, which also speaks of the past."""

NOT_HERE = frozenset({"aws", "chalice", "docker", "make", "sudo"})
"""Programs that need an account, other rights or too much time. A block with one of them is checked, not run."""

_ASSIGNMENT = re.compile(r"""^(\w+=(\$\(.*\)|('[^']*'|"[^"]*"|\S*)(\s+|$)))+""")
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: Path
    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command: lines joined where they go on, what stands in ``$( )`` and behind ``|`` apart."""
        text = re.sub(r"\\\n\s*", " ", self.text)
        text = "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines())
        inner = [found.rstrip(")") for found in re.findall(r"\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text)]
        lines = [_ASSIGNMENT.sub("", line.strip()) for line in text.splitlines()]
        apart = [part for line in [*lines, *inner] for part in re.split(r"\s\|\s", line)]
        return [words for words in (shlex.split(part) for part in apart if part.strip()) if words]

    @property
    def runs_here(self) -> bool:
        """Whether a test can run it."""
        return self.language == "sh" and not any(words[0] in NOT_HERE for words in self.commands)

    @property
    def is_plain(self) -> bool:
        """Whether its commands need no shell: programs of this project, with words for arguments."""
        return not set("$|<>;&*") & set(self.text) and {words[0] for words in self.commands} <= {"studysmart", "python"}


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a document in their order."""
    return [Block(document, language, text) for language, text in _FENCE.findall(document.read_text(encoding="utf-8"))]


ALL_BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
