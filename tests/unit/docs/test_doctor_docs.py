"""docs/operations.md explains every finding of the doctor, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from ops.doctor.findings import KINDS

OPERATIONS = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


def test_the_docs_explain_exactly_the_codes_that_exist() -> None:
    section = OPERATIONS.read_text(encoding="utf-8").partition("## The doctor")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert explained == [kind.code for kind in KINDS]


def test_every_finding_says_how_to_fix_it() -> None:
    for kind in KINDS:
        assert kind.fix
        assert ("--repair" in kind.fix) >= kind.repairable
