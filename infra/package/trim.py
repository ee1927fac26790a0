"""The files of the zip: the program, and of the dependencies what a Lambda may read."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from infra.package import PackageError

_LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")
_UNUSED_SUFFIXES = frozenset(
    {
        *(".pyi", ".pyc", ".pth"),  # for type checkers, for another Python, for the start of a virtual environment
        *(".h", ".hpp", ".c", ".cc", ".cpp", ".f", ".f90", ".pyf", ".pxd", ".pyx", ".pxi"),
        *(".a", ".lib", ".pc", ".build", ".exe"),
        *(".md", ".rst"),
    }
)
_UNUSED_FOLDERS = frozenset({"tests", "__pycache__", "include"})
_UNUSED_PLACES = (
    "chalice/templates/",  # for `chalice new-project`
    "numpy/f2py/",  # the front end of a Fortran compiler
    "sqlalchemy/testing/",
)
_USED_METADATA = frozenset({"METADATA", "entry_points.txt"})
_DATA = "botocore/data/"


def services_used(program: Path) -> frozenset[str]:
    """Return the AWS services of which the sources below ``program`` make clients by ``aws_client``.

    Raises PackageError for a call that does not name its service by a literal.
    """
    found = set()
    for path in sorted(program.rglob("*.py")):
        for call in re.finditer(r"(?<!def )\baws_client\(\s*(?:\"([a-z0-9-]+)\")?", path.read_text(encoding="utf-8")):
            if call[1] is None:
                raise PackageError(f"{path}: aws_client must be given its service as a literal")
            found.add(call[1])
    return frozenset(found)


def copy_program(root: Path, target: Path) -> None:
    """Copy ``app.py`` and ``chalicelib/`` of a checkout without caches and hidden files."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / "app.py", target / "app.py")
    unneeded = shutil.ignore_patterns(".*", "__pycache__", "*.pyc")
    shutil.copytree(root / "chalicelib", target / "chalicelib", ignore=unneeded, copy_function=shutil.copyfile)


def trim(tree: Path, services: Collection[str]) -> None:
    """Delete the installed files that a Lambda never reads, and shorten botocore's descriptions of ``services``.

    Raises PackageError when botocore does not know a service.
    """
    for path in tree.rglob("*"):
        if path.is_file() and not is_shipped(path.relative_to(tree).as_posix(), services):
            path.unlink()
    for service in sorted(services):
        if not list(tree.glob(f"{_DATA}{service}/*/service-2.json.gz")):
            raise PackageError(f"botocore knows no service {service}")
    _shorten(tree / _DATA, services)


def is_shipped(path: str, services: Collection[str]) -> bool:
    """Return whether a dependency's file belongs in the zip. Licences always do."""
    pure = PurePosixPath(path)
    if pure.parts[0] == "bin":  # console scripts
        return False
    if pure.name.upper().startswith(_LICENCES) and pure.suffix != ".py":
        return True
    if pure.parent.name.endswith(".dist-info"):
        return pure.name in _USED_METADATA
    if path.startswith(_DATA) and len(pure.parts) > 3:
        return pure.parts[2] in services and not pure.name.startswith("examples-")
    if path.startswith(_UNUSED_PLACES) or _UNUSED_FOLDERS.intersection(pure.parts[:-1]):
        return False
    return pure.suffix not in _UNUSED_SUFFIXES and not pure.name.startswith(".")


def _shorten(data: Path, services: Collection[str]) -> None:
    """Remove from botocore's files what no client reads, which makes creating a client twice as fast."""
    endpoints = data / "endpoints.json"
    endpoints.write_bytes(_encoded(endpoints_of(json.loads(endpoints.read_bytes()), services)))
    for path in data.glob("*/*/service-2.json.gz"):
        model = undocumented(json.loads(gzip.decompress(path.read_bytes())))
        # Without a time, so that the same model gives the same bytes.
        path.write_bytes(gzip.compress(_encoded(model), mtime=0))


def endpoints_of(table: dict[str, Any], services: Collection[str]) -> dict[str, Any]:
    """Return botocore's table of endpoints with ``services`` only. Partitions and regions stay complete."""
    partitions = [
        {**partition, "services": {name: known for name, known in partition["services"].items() if name in services}}
        for partition in table["partitions"]
    ]
    return {**table, "partitions": partitions}


def undocumented(value: Any) -> Any:
    """Return a service's model with empty documentation.

    Calls to S3 fail when the texts are missing, so they are emptied. A member named ``documentation`` is no text.
    """
    if isinstance(value, dict):
        return {
            key: "" if key == "documentation" and isinstance(inner, str) else undocumented(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [undocumented(inner) for inner in value]
    return value


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
