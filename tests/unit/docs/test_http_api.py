"""docs/http-api.md lists every route of the API, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import app  # noqa: F401 - registers the routes
from chalicelib.api import root

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "http-api.md"


def test_the_table_lists_the_routes_and_who_may_call_them() -> None:
    listed = re.findall(r"^\| `([A-Z]+) (\S+)` \| (\w+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    routes = [operation for operation in root.documented if operation.documented or operation.path == "/openapi.json"]
    assert listed == [(operation.method, operation.path, operation.access.value) for operation in routes]


def test_the_page_names_every_page_of_the_product() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    pages = [one for one in root.documented if not one.documented and "{" not in one.path]
    assert [page.path for page in pages if f"`{page.path}`" not in text] == []
