"""What goes into the zip: the program, and of the dependencies what a Lambda may ever read.

Files are chosen, never deleted: a mapping from the path inside the zip to the file on disk.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from infra.package.errors import PackageError

Files = dict[str, Path]
"""Path inside the zip, with ``/``, to the file on disk."""

CLIENT_FACTORY = "aws_client"
"""The one function of ``chalicelib`` that makes AWS clients; its first argument names the service."""

_LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")
_UNUSED_SUFFIXES = frozenset(
    {
        *(".pyi", ".pyc", ".pth"),  # for type checkers, of another Python, for the start of a venv
        *(".h", ".hpp", ".c", ".cc", ".cpp", ".f", ".f90", ".pyf", ".pxd", ".pyx", ".pxi"),
        *(".a", ".lib", ".pc", ".build", ".exe"),
        *(".md", ".rst"),
    }
)
_UNUSED_FOLDERS = frozenset({"tests", "__pycache__", "include"})
_UNUSED_PLACES = (
    "bin/",  # console scripts, which name the Python that installed them
    "chalice/templates/",  # for `chalice new-project`
    "numpy/f2py/",  # a Fortran compiler's front end
    "sqlalchemy/testing/",
)
_INSTALLER_NOTES = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
_DATA = "botocore/data/"


def program_files(root: Path) -> Files:
    """``app.py`` and everything below ``chalicelib/`` of a checkout, without caches and hidden files."""
    found = {"app.py": root / "app.py"}
    for path in (root / "chalicelib").rglob("*"):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            found[relative.as_posix()] = path
    return found


def copied(files: Files, target: Path) -> Files:
    """The same files, copied to below ``target``."""
    copies = {path: target / path for path in files}
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[path], copy)
    return copies


def dependency_files(installed: Path, services: Collection[str], left_out: Collection[str] = ()) -> Files:
    """The files of the installed distributions that are worth shipping, without those of ``left_out``.

    PackageError when botocore has no model of a service.
    """
    present = {path.relative_to(installed).as_posix(): path for path in installed.rglob("*") if path.is_file()}
    found = {path: file for path, file in present.items() if path not in left_out and is_wanted(path, services)}
    missing = [name for name in sorted(services) if not any(_is_model(path, name) for path in found)]
    if missing:
        raise PackageError(f"botocore knows no service {', '.join(missing)}")
    return found


def is_wanted(path: str, services: Collection[str]) -> bool:
    """Whether a dependency's file belongs into the zip. A licence always does."""
    pure = PurePosixPath(path)
    if path.startswith("bin/"):
        return False
    if pure.name.upper().startswith(_LICENCES) and pure.suffix != ".py":
        return True
    if pure.parent.name.endswith(".dist-info"):
        return pure.name not in _INSTALLER_NOTES
    if path.startswith(_DATA):
        return _is_wanted_data(pure, services)
    if path.startswith(_UNUSED_PLACES) or _UNUSED_FOLDERS.intersection(pure.parts[:-1]):
        return False
    return pure.suffix not in _UNUSED_SUFFIXES and not pure.name.startswith(".")


def services_used(program: Path) -> frozenset[str]:
    """The AWS services that the sources below ``program`` make clients of.

    PackageError when one is not named by a literal: then nobody could know what to ship.
    """
    return frozenset(
        _service(node, path)
        for path in sorted(program.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _name(node.func) == CLIENT_FACTORY
    )


def _service(call: ast.Call, path: Path) -> str:
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value
    raise PackageError(f"{path}:{call.lineno}: {CLIENT_FACTORY} must be given its service as a literal")


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_wanted_data(path: PurePosixPath, services: Collection[str]) -> bool:
    """botocore's general files (endpoints, partitions, retries), and the models of the services that are used."""
    _, _, first, *rest = path.parts
    return not rest or (first in services and not path.name.startswith("examples-"))


def _is_model(path: str, service: str) -> bool:
    return path.startswith(f"{_DATA}{service}/") and PurePosixPath(path).name.startswith("service-2.json")
