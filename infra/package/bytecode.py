"""Bytecode for the Lambda's Python, which need not be the one that runs here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from infra.package.contents import Files
from infra.package.errors import PackageError
from infra.package.target import BYTECODE_MAGIC, BYTECODE_TAG, HOME, PYTHON

_COMPILER = Path(__file__).with_name("compile_sources.py")


def find_python() -> str | None:
    """A Python that writes the Lambda's bytecode: this one, or the first that is found and really runs."""
    return next((candidate for candidate in _candidates() if _writes_it(candidate)), None)


def bytecode_files(files: Files, python: str, target: Path) -> Files:
    """Compile every source of ``files`` into ``target``; PackageError names what does not compile."""
    compiled = {path: bytecode_path(path) for path in sorted(files) if path.endswith(".py")}
    lines = "".join(f"{files[path].resolve()}\t{path}\t{name}\n" for path, name in compiled.items())
    done = subprocess.run(
        [python, "-I", "-S", str(_COMPILER), str(target), HOME],
        input=lines,
        # Sets of constants are written in an order that depends on the seed.
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PackageError(f"compiling failed: {done.stderr.strip()}")
    if faults := json.loads(done.stdout):
        raise PackageError("\n".join(f"{path} does not compile: {fault}" for path, fault in faults))
    return {name: target / name for name in compiled.values()}


def bytecode_path(source: str) -> str:
    """Where CPython looks for the bytecode of ``source`` (PEP 3147)."""
    path = PurePosixPath(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.{BYTECODE_TAG}.pyc")


def _candidates() -> Iterator[str]:
    name = "python" + ".".join(map(str, PYTHON))
    yield sys.executable
    yield name
    # A name on PATH may be a version manager's shim that only prints an error.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    yield from map(str, sorted(pyenv.glob(f"{name.removeprefix('python')}.*/bin/python3")))
    yield from (f"{place}/{name}" for place in ("/usr/local/bin", "/opt/homebrew/bin", "/usr/bin"))


def _writes_it(candidate: str) -> bool:
    program = "import importlib.util as u, sys; sys.stdout.write(u.MAGIC_NUMBER.hex())"
    try:
        done = subprocess.run([candidate, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout == BYTECODE_MAGIC.hex()
