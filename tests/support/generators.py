"""Generates clients from the OpenAPI document by four generators, compiles them, and runs a program with each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from infra import node, openapi

PROGRAMS = Path(__file__).resolve().parents[1] / "generators" / "programs"

_TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "noUncheckedIndexedAccess": True,
        "target": "es2022",
        "lib": ["es2022", "dom", "dom.iterable"],
        "module": "commonjs",
        "moduleResolution": "node10",
        "esModuleInterop": True,
        "types": ["node"],
        "outDir": "out",
    },
}


class GeneratorError(AssertionError):
    """A step that failed, with its output."""


def checked(step: str, done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise GeneratorError(f"{step} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def write_document(directory: Path) -> None:
    """Write the document of this source where a generator finds it."""
    (directory / "openapi.json").write_text(openapi.written(openapi.present()), "utf-8")


def _typescript(program: str, generate: Callable[[Path, str], None]) -> Callable[[Path, str], None]:
    def try_it(directory: Path, url: str) -> None:
        write_document(directory)
        (directory / "node_modules").symlink_to(node.MODULES)
        shutil.copy(PROGRAMS / program, directory / "main.ts")
        (directory / "tsconfig.json").write_text(json.dumps({**_TSCONFIG, "files": ["main.ts"]}))
        generate(directory, url)
        checked("compiling", node.run("tsc", "--project", ".", cwd=directory))
        checked("running", node.run("node", "out/main.js", cwd=directory, more={"STUDYSMART_URL": url}))

    return try_it


def _openapi_typescript(directory: Path, _: str) -> None:
    checked("generating", node.run("openapi-typescript", "openapi.json", "--output", "generated.ts", cwd=directory))


def _hey_api(directory: Path, _: str) -> None:
    options = ("--input", "openapi.json", "--output", "generated", "--client", "@hey-api/client-fetch")
    checked("generating", node.run("openapi-ts", *options, "--no-log-file", cwd=directory))


def _orval(directory: Path, url: str) -> None:
    output = {"target": "generated.ts", "client": "fetch", "mode": "single", "baseUrl": url}
    config = {"studysmart": {"input": "./openapi.json", "output": output}}
    (directory / "orval.config.mjs").write_text(f"export default {json.dumps(config)};")
    checked("generating", node.run("orval", "--config", "orval.config.mjs", cwd=directory))


def _python(directory: Path, url: str) -> None:
    write_document(directory)
    shutil.copy(PROGRAMS / "python_client.py", directory / "main.py")
    (directory / "config.yaml").write_text("post_hooks: []\n")
    program = str(Path(sys.executable).with_name("openapi-python-client"))
    options = ("--path", "openapi.json", "--output-path", "generated", "--meta", "none", "--config", "config.yaml")
    said = checked("generating", run([program, "generate", *options, "--fail-on-warning"], directory))
    if "Warning" in said:
        raise GeneratorError(said)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", "main.py"]
    checked("compiling", run(mypy, directory))
    checked("running", run([sys.executable, "main.py"], directory, {"STUDYSMART_URL": url}))


def run(command: list[str], directory: Path, more: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        env={**node.environment(), **(more or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


GENERATORS: dict[str, Callable[[Path, str], None]] = {
    "openapi-typescript": _typescript("openapi_typescript.ts", _openapi_typescript),
    "@hey-api/openapi-ts": _typescript("hey_api.ts", _hey_api),
    "orval": _typescript("orval.ts", _orval),
    "openapi-python-client": _python,
}
"""The generators. Each generates, compiles and runs in an empty directory, against the API at an address."""
