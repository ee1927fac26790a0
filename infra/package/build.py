"""The steps from a checkout to a checked zip."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

from infra.package import ARCHITECTURES, PackageError, check, install, trim

ZIP: Final = "build/studysmart-lambda.zip"
"""Path of the zip in the checkout. The template's functions refer to it."""

# The same files give the same bytes, on any day and in any checkout.
_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16
_UNIX = 3


def build(
    root: Path, output: Path, work: Path, python: str | None, architecture: str = ARCHITECTURES[0]
) -> tuple[list[str], list[str]]:
    """Build the zip of the checkout ``root`` and write it to ``output`` when every check passes.

    ``work`` is an empty directory for intermediate files. ``python`` compiles the sources; None leaves bytecode out.
    Returns the names of the distributions in the zip, and of those in the lock that were left out. Raises PackageError.
    """
    tree = work / "tree"
    shipped, left_out = install.install(root, tree, architecture)
    services = trim.services_used(root / "chalicelib")
    trim.trim(tree, services)
    trim.copy_program(root, tree)
    if python is not None:
        install.compile_sources(tree, python)
    candidate = work / output.name
    write_zip(tree, candidate)
    with zipfile.ZipFile(candidate) as written:
        found = check.faults(written, architecture)
    if found:
        raise PackageError("the zip must not be deployed:\n" + "\n".join(f"  {fault}" for fault in found))
    if python is not None and check.runs_here(architecture):
        check.try_imports(candidate, services, work / "trial", python)
    candidate.replace(output)
    return shipped, left_out


def write_zip(tree: Path, target: Path) -> None:
    """Write all files below ``tree`` to the zip ``target``, readable by Lambda's user."""
    files = {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, _READABLE, _UNIX
            archive.writestr(entry, files[name].read_bytes())
