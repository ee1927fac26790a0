"""Imports what the zip holds, from nowhere else: the proof that nothing was left out that is needed."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Collection
from pathlib import Path

from infra.package.errors import PackageError

_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import app, h5py, numpy, jwt.algorithms
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


def run(zip_file: Path, services: Collection[str], directory: Path, python: str) -> None:
    """Unpack into ``directory`` and import in a fresh interpreter without site-packages; PackageError when it fails."""
    with zipfile.ZipFile(zip_file) as archive:
        archive.extractall(directory)
    # -I and -S: neither the environment nor a venv's packages. Engine and clients are made, and connect to nothing.
    done = subprocess.run(
        [python, "-I", "-S", "-c", _PROGRAM, str(directory), *sorted(services)],
        cwd=directory,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PackageError(f"the packaged program cannot be imported:\n{done.stderr.strip()}")
