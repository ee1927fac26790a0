"""The steps in their order."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.package import archive, bytecode, check, contents, needed, records, service_data
from infra.package.errors import PackageError
from infra.package.install import install
from infra.package.pins import Pin, read_pins

ZIP: Final = "build/studysmart-lambda.zip"
"""Where the zip is, seen from the checkout: what the CloudFormation template's code points to."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build put into the zip and what it left out."""

    services: frozenset[str]
    shipped: Sequence[Pin]
    left_out: Sequence[Pin]


def build(root: Path, output: Path, work: Path, python: str | None) -> Built:
    """Build and check the zip of a checkout.

    ``work`` is an empty directory for what is made on the way; ``python`` compiles, and None leaves bytecode out.
    A zip that fails a check is not left at ``output``. Raises PackageError.
    """
    installed = work / "installed"
    pins = read_pins(_text(root / "requirements.txt"))
    install(pins, installed)
    roots = needed.read_roots(_text(root / "pyproject.toml"))
    shipped, left_out = needed.split(pins, roots, needed.read_dependencies(installed))
    services = contents.services_used(root / "chalicelib")
    dependencies = contents.dependency_files(installed, services, records.files_of(left_out, installed))
    # A copy, so that an edit in the meantime cannot get half into the zip.
    program = contents.copied(contents.program_files(root), work / "program")
    slim = service_data.slimmed(dependencies, services, work / "slim")
    files = dependencies | slim | records.shipped(dependencies, work / "records", slim) | program
    if python is not None:
        files |= bytecode.bytecode_files(files, python, work / "bytecode")
    candidate = work / output.name
    archive.write(files, candidate)
    with zipfile.ZipFile(candidate) as written:
        expected = {path: file.read_bytes() for path, file in program.items()}
        found = check.faults(written, shipped, expected, services, compiled=python is not None)
    if found:
        raise PackageError("the zip must not be deployed:\n" + "\n".join(f"  {fault}" for fault in found))
    candidate.replace(output)
    return Built(services, shipped, left_out)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
