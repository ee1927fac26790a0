"""The clients that are published: built, installed, and their quick starts run against a stack."""

from __future__ import annotations

import json
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.local_stack import temporary_stack
from chalicelib import VERSION
from infra import clients, node
from tests.support.generators import PROGRAMS, checked, run

needs_node = pytest.mark.skipif(not node.is_installed(), reason=node.MISSING)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with temporary_stack() as stack:
        yield stack.url


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("clients")
    clients.build(directory / "build", directory / "dist")
    return directory / "dist"


def quick_start(client: str, language: str) -> str:
    text = (clients.SOURCES / client / "README.md").read_text("utf-8")
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(block)


def programs(client: str, language: str, suffix: str) -> dict[str, str]:
    own = PROGRAMS / f"client_{client}.{suffix}"
    return {"quick_start": quick_start(client, language), "behaviour": own.read_text("utf-8")}


def test_the_clients_have_the_version_of_the_api() -> None:
    python = tomllib.loads((clients.SOURCES / "python" / "pyproject.toml").read_text("utf-8"))
    typescript = json.loads((clients.SOURCES / "typescript" / "package.json").read_text("utf-8"))
    assert (python["project"]["version"], typescript["version"]) == (VERSION, VERSION)


@pytest.mark.slow
@needs_node
def test_the_python_client_is_installed_and_used(packages: Path, url: str, tmp_path: Path) -> None:
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - our own, and a wheel is installed by unpacking it
    assert (tmp_path / "studysmart_client" / "py.typed").exists()
    for name, text in programs("python", "python", "py").items():
        (tmp_path / f"{name}.py").write_text(text)
        mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", f"{name}.py"]
        checked(f"compiling {name}", run(mypy, tmp_path))
        said = checked(name, run([sys.executable, f"{name}.py"], tmp_path, {"STUDYSMART_URL": url}))
        assert name != "quick_start" or "Fractions True 42" in said


@pytest.mark.slow
@needs_node
def test_the_typescript_client_is_installed_and_used(packages: Path, url: str, tmp_path: Path) -> None:
    (package,) = packages.glob("*.tgz")
    modules = tmp_path / "node_modules"
    modules.mkdir()
    with tarfile.open(package) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "studysmart-client")
    for name in ("openapi-fetch", "openapi-typescript-helpers", "undici-types", "@types"):
        (modules / name).symlink_to(node.MODULES / name)
    sources = programs("typescript", "ts", "ts")
    for name, text in sources.items():
        (tmp_path / f"{name}.ts").write_text(text)
    options = {"strict": True, "target": "es2022", "module": "nodenext", "outDir": "out", "types": ["node"]}
    files = [f"{name}.ts" for name in sources]
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": files}))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    checked("compiling", node.run("tsc", "--project", ".", cwd=tmp_path))
    for name in sources:
        said = checked(name, node.run("node", f"out/{name}.js", cwd=tmp_path, more={"STUDYSMART_URL": url}))
        assert name != "quick_start" or "Fractions true 42" in said
