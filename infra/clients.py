"""Builds the clients that are published, for Python and TypeScript: ``python -m infra.clients``, or ``make clients``.

``clients/`` holds what is written by hand. The rest is generated from the OpenAPI document of this source, in a copy
below ``build/``, so that no generated code is in the repository. The packages are in ``dist/`` afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infra import node, openapi

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = ROOT / "clients"

# setuptools changes sys.argv.
_BUILD: Final = """
import sys
from setuptools import build_meta
packages = sys.argv[1]
build_meta.build_sdist(packages)
build_meta.build_wheel(packages)
"""
_OPTIONS: Final = ("--meta", "none", "--config", "generator.yaml", "--fail-on-warning")


def build(directory: Path, packages: Path, languages: Sequence[str] = ("python", "typescript")) -> None:
    """Generate and build clients in ``directory``, and write what is published into ``packages``."""
    shutil.rmtree(directory, ignore_errors=True)
    packages.mkdir(parents=True, exist_ok=True)
    for name in languages:
        shutil.copytree(SOURCES / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "LICENSE", directory / name)
        (directory / name / "openapi.json").write_text(openapi.written(openapi.present()), "utf-8")
        _BUILDERS[name](directory / name, packages)


def _build_python(directory: Path, packages: Path) -> None:
    package = directory / "studysmart_client"
    by_hand = {path.name: path.read_text("utf-8") for path in package.glob("*.py")}
    (directory / "generator.yaml").write_text("post_hooks: []\n", "utf-8")
    generator = str(Path(sys.executable).with_name("openapi-python-client"))
    generated = ("generate", "--path", "openapi.json", "--output-path", package.name, "--overwrite", *_OPTIONS)
    _run([generator, *generated], directory)
    for name, text in {**by_hand, "py.typed": ""}.items():
        (package / name).write_text(text, "utf-8")
    _run([sys.executable, "-c", _BUILD, str(packages.resolve())], directory)


def _build_typescript(directory: Path, packages: Path) -> None:
    (directory / "node_modules").symlink_to(node.MODULES)
    steps = (
        ("openapi-typescript", "openapi.json", "--output", "src/schema.ts"),
        ("tsc", "--project", "."),
        ("npm", "pack", "--pack-destination", str(packages.resolve())),
    )
    for tool, *arguments in steps:
        done = node.run(tool, *arguments, cwd=directory)
        if done.returncode:
            raise RuntimeError(f"{tool} failed:\n{done.stdout}{done.stderr}")


_BUILDERS: Final = {"python": _build_python, "typescript": _build_typescript}


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(
        command, cwd=directory, env=node.environment(), capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")


def main() -> int:
    """Build both clients into ``dist/``."""
    argparse.ArgumentParser(prog="python -m infra.clients", description=__doc__).parse_args()
    if not node.is_installed():
        print(f"error: {node.MISSING}", file=sys.stderr)
        return 1
    build(ROOT / "build" / "clients", ROOT / "dist")
    for path in sorted((ROOT / "dist").glob("studysmart[_-]client*")):
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
