"""Checks of a finished zip: its contents, and a trial import."""

from __future__ import annotations

import platform
import re
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final

from infra.package import ARCHITECTURES, BYTECODE_TAG, run

FORBIDDEN: Final = frozenset(
    {
        *("tensorflow", "tensorflow_cpu", "tensorflow_intel", "keras"),
        *("training_job", "ops", "infra", "lab", "migrations", "tests", "benchmarks", "evaluation"),
        *("alembic", "moto", "pytest"),
    }
)
"""Folders, modules and distributions that do not belong in a Lambda."""

LIMIT_BYTES: Final = 250 * 2**20
"""Lambda refuses a zip with more than this, unpacked."""

ELF_MACHINES: Final = {"x86_64": (62).to_bytes(2, "little"), "arm64": (183).to_bytes(2, "little")}
"""The field ``e_machine`` of an extension module for each processor."""

_EXTENSION_TAG = re.compile(r"\.(cpython-\d+|cp\d+)[^.]*\.so$")

_TRIAL = """
import sys
sys.path.insert(0, sys.argv[1])
import app, numpy, jwt.algorithms
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from chalicelib.storage.aws import aws_client
from chalicelib.storage.database import connect
connect("postgresql+pg8000://nobody@/nothing?unix_sock=/nowhere")
for service in sys.argv[2:]:
    aws_client(service, "us-east-1")
own = (sys.argv[1], sys.base_prefix, sys.base_exec_prefix)
foreign = sorted(
    file for module in list(sys.modules.values())
    if (file := getattr(module, "__file__", None)) and not file.startswith(own)
)
sys.exit(f"loaded from outside: {foreign}" if foreign else 0)
"""


def faults(zip_file: zipfile.ZipFile, architecture: str = ARCHITECTURES[0]) -> list[str]:
    """Return a sentence for each fault of the zip."""
    names = sorted(zip_file.namelist())
    size = unpacked_bytes(zip_file)
    return [
        *([f"{size / 1e6:.0f} MB unpacked are more than Lambda takes"] if size > LIMIT_BYTES else ()),
        *_forbidden(names),
        *_extensions(zip_file, names, ELF_MACHINES[architecture]),
    ]


def unpacked_bytes(zip_file: zipfile.ZipFile) -> int:
    """Return the size of all its files, unpacked."""
    return sum(entry.file_size for entry in zip_file.infolist())


def _forbidden(names: Collection[str]) -> list[str]:
    tops = sorted({name.partition("/")[0] for name in names})
    return [f"{top} must not be in it" for top in tops if re.split(r"[-.]", top.lower())[0] in FORBIDDEN]


def _extensions(zip_file: zipfile.ZipFile, names: Collection[str], machine: bytes) -> list[str]:
    """Find extension modules for another Python or machine, which would fail at their first import on the Lambda."""
    found = []
    for name in (name for name in names if name.endswith(".so") or ".so." in PurePosixPath(name).name):
        tag = _EXTENSION_TAG.search(name)
        if tag is not None and tag[1] != BYTECODE_TAG:
            found.append(f"{name} is for another Python")
        with zip_file.open(name) as file:
            head = file.read(20)
        if head[:4] != b"\x7fELF" or head[18:20] != machine:
            found.append(f"{name} is for another machine")
    return found


def runs_here(architecture: str = ARCHITECTURES[0]) -> bool:
    """Return whether this machine can load the packaged extension modules."""
    return sys.platform == "linux" and platform.machine().replace("aarch64", "arm64") == architecture


def try_imports(zip_path: Path, services: Collection[str], directory: Path, python: str) -> None:
    """Unpack the zip into ``directory`` and import it in an interpreter that has no other packages.

    The trial makes an engine and a client of each service, which connect to nothing. Raises PackageError.
    """
    with zipfile.ZipFile(zip_path) as opened:
        opened.extractall(directory)
    # -I and -S leave out the environment's and the virtual environment's packages.
    command = [python, "-I", "-S", "-c", _TRIAL, str(directory), *sorted(services)]
    run(command, "the packaged program cannot be imported", {}, directory)
