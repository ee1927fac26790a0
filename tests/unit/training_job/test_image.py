"""The image's Dockerfile against the checkout. A GitHub workflow builds the image and runs it."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from infra.package.template import read_part

ROOT = Path(__file__).resolve().parents[3]
LINES = re.sub(r"\\\n\s*", "", (ROOT / "training_job" / "Dockerfile").read_text()).splitlines()
COPIED = [source for line in LINES if re.match("COPY (?!--from)", line) for source in line.split()[1:-1]]
RULES = [rule for rule in (ROOT / ".dockerignore").read_text().splitlines() if not rule.startswith("#")]
ALLOWED = [rule.removeprefix("!") for rule in RULES if rule.startswith("!")]
PROGRAMS = ("training_job", "ops", "migrations")
OWN = {"app", "chalicelib", "infra", "lab", "benchmarks", "evaluation", "tests", *PROGRAMS}
DISTRIBUTIONS = {"jwt": "pyjwt", "tensorflow": "tensorflow-cpu", "aws_lambda_powertools": "aws-lambda-powertools"}
"""Distributions that are named otherwise than the package that they hold."""

ONLY_ON_ONE_MACHINE = {"duckdb"}
"""For `studysmart logs` of the one-machine stack, which is imported when it is used."""


def test_every_copied_file_exists_and_is_in_the_build_context() -> None:
    assert RULES[0] == "*"
    for source in COPIED:
        assert (ROOT / source).exists(), source
        assert any(Path(allowed) in (Path(source), *Path(source).parents) for allowed in ALLOWED), source
    assert [allowed for allowed in ALLOWED if not any(source.startswith(allowed) for source in COPIED)] == []


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, also inside functions; not those for type checkers alone."""
    tree = ast.parse(path.read_text())
    unused = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in unused:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def test_the_image_has_all_that_its_programs_import() -> None:
    waiting = {path for folder in PROGRAMS for path in (ROOT / folder).rglob("*.py")}
    seen: set[Path] = set()
    packages: set[str] = set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for module in imports(path):
            top = module.partition(".")[0]
            if top in OWN:
                waiting |= {file for file in [file_of(module)] if file is not None} - seen
            elif top not in sys.stdlib_module_names:
                packages.add(top)
    outside = [path for path in seen if not any((ROOT / source) in (path, *path.parents) for source in COPIED)]
    assert outside == []
    # The module next to it reads it when it is imported.
    assert "infra/log_queries.toml" in COPIED
    pinned = set(re.findall(r"(?m)^([\w.-]+)==", (ROOT / "training_job" / "requirements.txt").read_text()))
    assert {name for name in packages if DISTRIBUTIONS.get(name, name) not in pinned} == ONLY_ON_ONE_MACHINE
    assert "awslambdaric" in pinned


def test_the_template_starts_programs_of_the_image() -> None:
    programs = read_part(ROOT / "infra/programs.yaml")["Resources"]
    for name in ("TrainingFunction", "OperatorFunction"):
        *client, handler = programs[name]["Properties"]["ImageConfig"]["Command"]
        assert client == ["python", "-m", "awslambdaric"]
        module, _, function = handler.rpartition(".")
        assert module.partition(".")[0] in COPIED
        assert f"def {function}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text()


def test_ecs_runs_the_health_check_of_the_image() -> None:
    """ECS does not read the image's own."""
    (check,) = (line.partition("CMD ")[2] for line in LINES if line.startswith("HEALTHCHECK"))
    task = read_part(ROOT / "infra/programs.yaml")["Resources"]["TrainingTask"]["Properties"]
    assert task["ContainerDefinitions"][0]["HealthCheck"]["Command"] == ["CMD", *json.loads(check)]


def test_the_image_is_pinned_and_does_not_run_as_root() -> None:
    assert [line for line in LINES if line.startswith("USER")] == ["USER 10001"]
    (base,) = {line.split()[1] for line in LINES if line.startswith("FROM")}
    assert re.fullmatch(r"python:3\.13\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert any(line.startswith("RUN") and "--require-hashes" in line for line in LINES)


def test_every_pinned_package_has_a_wheel_for_arm() -> None:
    """Packages are installed from wheels only, for the processor of the image."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    wheels = {(one["name"], one.get("version")): one.get("wheels", []) for one in lock["package"]}
    text = (ROOT / "training_job" / "requirements.txt").read_text()
    pins = re.findall(r"^([\w.-]+)==([^ ;]+)(.*)$", text, re.MULTILINE)
    fits = re.compile(
        r"-(py3-none-any|py2\.py3-none-any|(cp313-cp313|cp3\d+-abi3|(py2\.)?py3-none)-\S*manylinux\S*aarch64)\.whl$"
    )
    without = {
        name
        for name, version, marker in pins
        if "x86_64" not in marker.replace("!= 'x86_64'", "")
        and not any(fits.search(wheel["url"]) for wheel in wheels[name, version])
    }
    assert len(pins) > 30
    assert without == set()
