"""Clients that four generators make from the OpenAPI document, compiled and run against a stack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.local_stack import temporary_stack
from infra import node, openapi
from tests.support import generators

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not node.is_installed(), reason=node.MISSING),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with temporary_stack() as stack:
        yield stack.url


@pytest.mark.parametrize("name", generators.GENERATORS)
def test_a_generated_client_compiles_and_works(name: str, url: str, tmp_path: Path) -> None:
    generators.GENERATORS[name](tmp_path, url)


def test_the_linter_finds_nothing_in_the_document() -> None:
    assert openapi.findings(openapi.present()) == []


def test_the_linter_reads_the_rules_of_this_project() -> None:
    document = openapi.present()
    document["paths"]["/health"]["get"].pop("description")
    assert [one["ruleId"] for one in openapi.findings(document)] == ["operation-description"]


def test_a_failing_step_says_which_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = openapi.present()
    document["components"]["schemas"]["NewTask"]["required"].append("answer_content")
    monkeypatch.setattr(openapi, "present", lambda: document)
    with pytest.raises(generators.GeneratorError, match=r"compiling failed:[\s\S]*'answer_content' is missing"):
        generators.GENERATORS["openapi-typescript"](tmp_path, "http://127.0.0.1:9")
