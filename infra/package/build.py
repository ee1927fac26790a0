"""The steps from a checkout to a checked zip."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.package import PackageError, archive, check, install, trim

ZIP: Final = "build/studysmart-lambda.zip"
"""Path of the zip in the checkout. The template's functions refer to it."""


@dataclass(frozen=True, slots=True)
class Built:
    """Names of the distributions in the zip and of those in the lock that were left out."""

    shipped: Sequence[str]
    left_out: Sequence[str]


def build(root: Path, output: Path, work: Path, python: str | None) -> Built:
    """Build the zip of the checkout ``root`` and write it to ``output`` when every check passes.

    ``work`` is an empty directory for intermediate files. ``python`` compiles the sources; None leaves bytecode out.
    Raises PackageError.
    """
    tree = work / "tree"
    shipped, left_out = install.install(root, tree)
    services = trim.services_used(root / "chalicelib")
    trim.trim(tree, services)
    trim.copy_program(root, tree)
    if python is not None:
        install.compile_sources(tree, python)
    candidate = work / output.name
    archive.write(tree, candidate)
    with zipfile.ZipFile(candidate) as written:
        found = check.faults(written)
    if found:
        raise PackageError("the zip must not be deployed:\n" + "\n".join(f"  {fault}" for fault in found))
    if python is not None and check.runs_here():
        check.try_imports(candidate, services, work / "trial", python)
    candidate.replace(output)
    return Built(shipped, left_out)
