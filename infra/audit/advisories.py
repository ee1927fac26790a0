"""Known vulnerabilities of the locked versions.

pip-audit asks the package index for its advisories. Where that does not answer, the data of the package ``safety-db``
are used if it is installed. It is not locked here, because its licence forbids commercial use and it ends in July 2021.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from infra.audit import Outcome, run
from infra.audit.distributions import Distribution


def check(distributions: Iterable[Distribution]) -> Outcome:
    """Check all versions against the index's advisories, or against older ones."""
    pins = sorted({(one.name, one.version) for one in distributions})
    report = _ask_index(pins)
    answered = [one for one in report if "skip_reason" not in one]
    if not answered:
        return _check_old(pins)
    findings = [
        f"{one['name']} {one['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no version'}"
        for one in answered
        for fault in one["vulns"]
    ]
    findings += [f"{one['name']}: {one['skip_reason']}" for one in report if "skip_reason" in one]
    return Outcome(findings, f"{len(answered)} packages by pip-audit")


def _ask_index(pins: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    # The lock has two versions of a package for two versions of Python, and pip-audit takes one at a time.
    groups: list[dict[str, str]] = []
    for name, version in pins:
        group = next((group for group in groups if name not in group), None)
        if group is None:
            groups.append(group := {})
        group[name] = version
    return [one for group in groups for one in _audit(group)]


def _audit(versions: Mapping[str, str]) -> list[dict[str, Any]]:
    options = ["--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off", "--requirement"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.writelines(f"{name}=={version}\n" for name, version in versions.items())
        file.flush()
        done = run("pip-audit", *options, file.name)
    if not done.stdout:  # no connection
        return []
    return list(json.loads(done.stdout)["dependencies"])


def _check_old(pins: Iterable[tuple[str, str]]) -> Outcome:
    # The package's own module cannot be imported.
    package = find_spec("safety_db")
    if package is None or package.origin is None:
        return Outcome([], "the index's advisories did not answer, and safety-db is not installed", checked=False)
    known = json.loads(Path(package.origin).with_name("insecure_full.json").read_text(encoding="utf-8"))
    findings = [finding for name, version in pins for finding in matching(name, version, known.get(name, ()))]
    day = datetime.fromtimestamp(known["$meta"]["timestamp"], UTC).date()
    n = sum(len(known.get(name, ())) for name in {name for name, _ in pins})
    return Outcome(findings, f"the index did not answer; {n} advisories of safety-db until {day}", checked=False)


def matching(name: str, version: str, advisories: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each advisory of safety-db that concerns a version."""
    return [
        f"{name} {version}: {advisory['cve'] or advisory['id']}"
        for advisory in advisories
        if any(SpecifierSet(versions).contains(version) for versions in advisory["specs"])
    ]
