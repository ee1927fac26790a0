"""Each decision has the same shape, and the index lists all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("0*.md"))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: str(path.stem))
def test_a_decision_has_a_status_and_three_sections(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"# {int(path.stem[:4])}\. .+\n\nStatus: (Accepted|Superseded)", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_the_index_lists_every_decision_with_its_title() -> None:
    expected = []
    for path in DECISIONS:
        text = path.read_text(encoding="utf-8")
        number, title = re.match(r"# (\d+)\. (.+)", text).groups()  # type: ignore[union-attr]
        note = " (superseded)" if "\nStatus: Superseded" in text else ""
        expected.append(f"| {number} | [{title}]({path.name}){note} |")
    assert re.findall(r"^\| \d.*$", (FOLDER / "index.md").read_text(encoding="utf-8"), re.MULTILINE) == expected
