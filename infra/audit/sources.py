"""Checks of the checkout itself: secrets, ruff's security rules, and what is fetched by a name that can be moved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from infra.audit import ROOT, Outcome, run

_DIGESTS = r"(^|/)(uv\.lock|requirements\.txt|uv\.txt)$"
_USE = re.compile(r"^\s*(?:- )?uses: (?!\./)(\S+)", re.MULTILINE)
_BASE = re.compile(r"^FROM (\S+)", re.MULTILINE)
_EXCEPTION = re.compile(r"# noqa: (?:\w+, )*S\d+\b(?!.* - \S)")


def secrets() -> Outcome:
    """Search all tracked files for keys, tokens and passwords.

    The detector of variable names is off: ruff's S105 to S107 do the same, and examples in the docs have a password.
    """
    done = run("detect-secrets", "scan", "--disable-plugin", "KeywordDetector", "--exclude-files", _DIGESTS)
    if done.returncode:
        return Outcome([f"detect-secrets failed: {done.stderr.strip()}"], "")
    results = json.loads(done.stdout)["results"]
    findings = [f"{one['filename']}:{one['line_number']}: {one['type']}" for ones in results.values() for one in ones]
    return Outcome(findings, "all tracked files by detect-secrets")


def rules() -> Outcome:
    """Run ruff's security rules, and find exceptions without a reason."""
    done = run("ruff", "check", "--output-format", "concise", "--no-fix", ".")
    findings = [line for line in done.stdout.splitlines() if re.search(r": S\d+ ", line)]
    tracked = [path for path in ROOT.rglob("*.py") if not {".venv", ".uv", "build"} & set(path.relative_to(ROOT).parts)]
    n, unexplained = 0, []
    for path in tracked:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            n += bool(re.search(r"# noqa: (?:\w+, )*S\d", line))
            if lacks_reason(line):
                unexplained.append(f"{path.relative_to(ROOT)}:{number}: an exception without a reason")
    return Outcome(findings + unexplained, f"{n} exceptions, each explained at its line")


def lacks_reason(line: str) -> bool:
    """Return whether a line has an exception to a security rule without a reason after a dash."""
    return _EXCEPTION.search(line) is not None


def pins() -> Outcome:
    """Find actions without a commit and base images without a digest."""
    workflows = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob(".github/workflows/*.yml"))]
    paths = sorted([*ROOT.glob("*/Dockerfile"), *ROOT.glob("infra/*/Dockerfile")])
    dockerfiles = [path.read_text(encoding="utf-8") for path in paths]
    n = sum(len(_USE.findall(text)) for text in workflows) + sum(len(_BASE.findall(text)) for text in dockerfiles)
    return Outcome([*unpinned(workflows, dockerfiles)], f"{n} actions and base images, by commit or digest")


def unpinned(workflows: Iterable[str], dockerfiles: Iterable[str]) -> Iterator[str]:
    """Yield each action and base image whose content can change under the same name."""
    for text in workflows:
        yield from (f"{action} is not pinned to a commit" for action in _USE.findall(text) if not _is_commit(action))
    for text in dockerfiles:
        stages = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
        images = [image for image in _BASE.findall(text) if image not in stages]
        yield from (
            f"{image} is not pinned to a digest" for image in images if not re.search("@sha256:[0-9a-f]{64}$", image)
        )


def _is_commit(action: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}", action.rpartition("@")[2]) is not None
