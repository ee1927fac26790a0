"""docs/operations.md explains every finding of the doctor, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from ops.doctor.findings import KINDS

OPERATIONS = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


def test_every_code_is_explained_and_none_that_there_is_not() -> None:
    section = OPERATIONS.read_text(encoding="utf-8").partition("## The doctor")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert explained == [kind.code for kind in KINDS]


def test_what_is_not_repairable_says_what_a_person_can_do() -> None:
    for kind in KINDS:
        assert kind.mend
        assert ("--repair" in kind.mend) >= kind.repairable
