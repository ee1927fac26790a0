"""docs/integration.md: its settings are those of the program, and its code verifies what the program signs."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from chalicelib.config import Settings
from chalicelib.domain.webhooks import EventType, new_secret, signed_headers
from tests.support.documents import ROOT

GUIDE = (ROOT / "docs" / "integration.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
DEFAULTS = {field.encode_name: field.default for field in msgspec.structs.fields(Settings)}


def shown(value: object) -> str:
    if value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_table_of_settings_has_their_defaults() -> None:
    section = GUIDE.partition("\n## Settings for integrators")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", section, re.MULTILINE)
    assert len(rows) >= 10
    assert rows == [(name, shown(DEFAULTS[name])) for name, _ in rows]


@pytest.mark.parametrize("name", DEFAULTS)
def test_operations_name_every_setting(name: str) -> None:
    assert f"`{name}`" in OPERATIONS


def test_the_table_of_events_is_complete() -> None:
    section = GUIDE.partition("\n## Webhooks")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z.]+)` \|", section, re.MULTILINE) == [event.value for event in EventType]


def test_the_code_of_the_guide_verifies_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the code of our own documentation
    secret, body = new_secret(), b"{}"
    headers = {name.lower(): value for name, value in signed_headers(secret, "1", 1_000_000, body).items()}
    monkeypatch.setattr("time.time", lambda: 1_000_100)
    assert names["is_genuine"](secret, headers, body)
    assert not names["is_genuine"](new_secret(), headers, body)
    assert not names["is_genuine"](secret, headers, b"{ }")
    monkeypatch.setattr("time.time", lambda: 1_000_400)
    assert not names["is_genuine"](secret, headers, body)
