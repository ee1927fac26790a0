"""docs/security.md names files and tests that exist, and docs/privacy.md every table."""

from __future__ import annotations

import re

from migrations.schema import metadata
from tests.support.sources import ROOT

SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PRIVACY = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")


def test_the_named_files_exist() -> None:
    named = re.findall(r"`([\w./]+\.(?:py|yaml))`", SECURITY + PRIVACY)
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_each_threat_has_a_test_that_has_tests() -> None:
    rows = [line.split("|") for line in SECURITY.splitlines() if line.count("|") == 4]
    threats = [cells for cells in rows if cells[3].strip() not in ("shown by", "---")]
    assert len(threats) > 20
    for cells in threats:
        tests = re.findall(r"`(tests/[\w/]+\.py)`", cells[3])
        assert tests, cells[1]
        assert all("\ndef test_" in (ROOT / path).read_text(encoding="utf-8") for path in tests), cells[1]


def test_the_data_map_names_every_table() -> None:
    mapped = re.findall(r"table `(\w+)`", PRIVACY)
    assert sorted(mapped) == sorted(metadata.tables)
