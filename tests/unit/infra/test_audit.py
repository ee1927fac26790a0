"""The audit of the supply chain: what each check finds, on small made-up inputs and on the checkout."""

from __future__ import annotations

import json

import pytest

from infra.audit import ROOT, advisories, distributions, licences, sbom, sources
from tests.support.sources import written_files

COMMIT = "0" * 40
DIGEST = "sha256:" + "0" * 64


def test_the_zip_and_the_image_have_only_what_is_installed_there() -> None:
    exported = """\
ansicon==1.89.0 ; sys_platform == 'win32' \\
    --hash=sha256:00
numpy==2.5.1 ; python_full_version < '3.12' \\
    --hash=sha256:00
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:00
pyjwt==2.10.1 \\
    --hash=sha256:00
"""
    assert distributions.installed_by(exported) == {("numpy", "2.5.5"), ("pyjwt", "2.10.1")}


def test_the_lock_has_a_digest_for_every_file() -> None:
    locked = distributions.locked(ROOT)
    assert len(locked) > 100
    assert all(digest.startswith("sha256:") for one in locked for digest in one.digests)
    assert all(one.digests for one in locked)
    assert "studysmart" not in {one.name for one in locked}


@pytest.mark.parametrize(
    ("workflow", "dockerfile", "n"),
    [
        (f"- uses: actions/checkout@{COMMIT} # v4.3.0", f"FROM python:3.13@{DIGEST} AS base\nFROM base", 0),
        ("- uses: ./.github/actions/own", "", 0),
        ("- uses: actions/checkout@v4.3.0", "", 1),
        ("  uses: owner/repository/.github/workflows/x.yml@main", "", 1),
        (f"- uses: actions/checkout@{COMMIT[:-1]}", "", 1),
        ("", "FROM python:3.13.11-slim", 1),
        ("", "FROM python@sha256:12", 1),
    ],
)
def test_what_can_be_moved_is_a_finding(workflow: str, dockerfile: str, n: int) -> None:
    assert len([*sources.unpinned([workflow], [dockerfile])]) == n


def test_actions_and_base_images_of_the_checkout_are_pinned() -> None:
    assert sources.pins().findings == []


def test_each_exception_to_a_security_rule_has_a_reason() -> None:
    lines = [
        line for path in written_files() if path.suffix == ".py" for line in (ROOT / path).read_text().splitlines()
    ]
    assert [line for line in lines if sources.lacks_reason(line)] == []
    assert sources.lacks_reason("os.system(x)  # noqa: " + "S605")
    assert not sources.lacks_reason("os.system(x)  # noqa: " + "S605 - x is a constant")


def test_a_bill_of_materials_names_versions_digests_and_licences() -> None:
    one = distributions.Distribution("pyjwt", "2.10.1", (DIGEST,))
    bill = json.loads(sbom.bill("studysmart-lambda", [one]))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "studysmart-lambda")
    (component,) = bill["components"]
    assert component["purl"] == "pkg:pypi/pyjwt@2.10.1"
    assert component["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
    assert component["licenses"] == [{"expression": "MIT"}]


@pytest.mark.parametrize(
    ("expression", "permissive"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("MIT AND (Zlib OR 0BSD)", True),
        ("MPL-2.0 AND MIT", False),
        ("GPL-3.0", False),
        ("", False),
        ("Proprietary", False),
    ],
)
def test_a_licence_is_permissive_if_all_its_parts_are(expression: str, permissive: bool) -> None:
    assert licences.is_permissive(expression) is permissive


def test_what_ships_has_a_permissive_or_explained_licence() -> None:
    parts = distributions.shipped(ROOT, distributions.locked(ROOT))
    for part, ones in parts.items():
        names = {one.name for one in ones}
        assert {"numpy", "pg8000", "sqlalchemy"} <= names, part
        assert {one for one in names if not licences.is_permissive(licences.licence_of(one))} <= {*licences.EXPLAINED}
    assert "tensorflow-cpu" not in {one.name for one in parts["studysmart-lambda"]}


def test_an_old_advisory_names_the_versions_that_it_concerns() -> None:
    known = [{"id": "pyup-1", "cve": "CVE-2020-1", "specs": ["<2.0", ">=3,<3.2"]}]
    assert [bool(advisories.matching("x", version, known)) for version in ("1.9", "2.0", "3.1", "3.2")] == [
        True,
        False,
        True,
        False,
    ]
