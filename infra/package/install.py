"""Installs the locked wheels for the Lambda with uv, and compiles the sources with the Lambda's Python."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from infra.package import ARCHITECTURES, PYTHON, PackageError, run

PLATFORMS: Final = {"x86_64": "x86_64-manylinux_2_34", "arm64": "aarch64-manylinux_2_34"}
"""The Lambda's platforms in uv's words: Amazon Linux 2023 has glibc 2.34."""

HOME: Final = "/var/task"
"""Directory into which Lambda unpacks the zip."""

_UV = Path(__file__).resolve().parents[2] / ".uv" / "bin" / "uv"
_PIN = re.compile(r"^([\w.-]+)==.*(?:\n[ \t].*)*\n", re.MULTILINE)
"""One pin of an exported lock: the first line and the indented ones that follow."""


def install(root: Path, tree: Path, architecture: str = ARCHITECTURES[0]) -> tuple[list[str], list[str]]:
    """Install the pins of ``requirements.txt`` into ``tree``; return the names installed and those left out.

    Pins that only Chalice depends on are left out: the Lambda imports ``chalice.app``, which needs the standard library
    alone, and the rest of Chalice is a command line with pip and setuptools. Pins for other platforms are left out too.
    Raises PackageError when a wheel does not exist or a hash differs.
    """
    lock = tree.with_name("pins.txt")
    lock.write_text(pins(root), encoding="utf-8")
    # Wheels only: a source distribution would be built for the Python that runs here. Copies, because the files are
    # changed afterwards, and a link would lead into uv's cache.
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--link-mode", "copy"]
    options += ["--python-version", PYTHON, "--python-platform", PLATFORMS[architecture]]
    _uv(root, "pip", "install", *options, "--target", str(tree), "-r", str(lock))
    installed = sorted(path.name.partition("-")[0].replace("_", "-").lower() for path in tree.glob("*.dist-info"))
    return installed, sorted({pin[1] for pin in _locked(root)}.difference(installed))


def pins(root: Path) -> str:
    """Return the lines of ``requirements.txt`` that the zip is made from."""
    exported = ["--no-default-groups", "--no-emit-project", "--no-hashes", "--prune", "chalice"]
    needed = {"chalice", *_PIN.findall(_uv(root, "export", "--frozen", *exported))}
    return "".join(pin[0] for pin in _locked(root) if pin[1] in needed)


def _locked(root: Path) -> list[re.Match[str]]:
    return list(_PIN.finditer((root / "requirements.txt").read_text(encoding="utf-8")))


def compile_sources(tree: Path, python: str) -> None:
    """Compile every source below ``tree`` in place; raise PackageError for one that does not compile.

    The bytecode has unchecked hashes (PEP 552): Python trusts it without comparing the times of the sources, which
    Lambda changes when it unpacks the zip.
    """
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", HOME]
    run([python, "-I", "-S", "-m", "compileall", *options, str(tree)], "compiling failed", {})


def find_python() -> str | None:
    """Return a Python of the Lambda's version, or None if there is none on this machine."""
    return next((candidate for candidate in _candidates() if _has_right_version(candidate)), None)


def _candidates() -> Iterator[str]:
    yield sys.executable
    yield f"python{PYTHON}"
    # A name on PATH may be pyenv's shim, which prints an error unless this version is selected.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    yield from map(str, sorted(pyenv.glob(f"{PYTHON}.*/bin/python3")))
    yield from (f"{place}/python{PYTHON}" for place in ("/usr/local/bin", "/opt/homebrew/bin", "/usr/bin"))


def _has_right_version(candidate: str) -> bool:
    program = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([candidate, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout == f"cpython {PYTHON}\n"


def _uv(root: Path, *arguments: str) -> str:
    command = str(_UV) if _UV.exists() else shutil.which("uv")
    if command is None:
        raise PackageError("uv was not found: run `make venv`")
    paths = ssl.get_default_verify_paths()
    # Behind a company's proxy only the system knows the certificates; see infra/venv.sh.
    system_certificates = str(int(sys.platform == "darwin" or bool(paths.cafile or paths.capath)))
    environment = {
        "UV_SYSTEM_CERTS": system_certificates,
        **os.environ,
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
    }
    return run([command, "--project", str(root), *arguments], f"uv {arguments[0]} failed", environment)
