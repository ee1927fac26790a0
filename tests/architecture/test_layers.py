"""The layer rule of the design: what may import what, and who reads the environment."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPOSITION_ROOTS = {"chalicelib/wiring.py", "training_job/__main__.py", "training_job/lambda_handler.py"}


def test_every_import_keeps_to_the_layers() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_composition_roots_read_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("chalicelib", "training_job")
        for path in (ROOT / folder).rglob("*.py")
        if reads_environment(ast.parse(path.read_text()))
    }
    assert readers <= COMPOSITION_ROOTS


def test_the_pure_layers_open_no_file() -> None:
    openers = [
        str(path.relative_to(ROOT))
        for folder in ("domain", "features", "prediction", "services")
        for path in (ROOT / "chalicelib" / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "print", "input")
    ]
    assert openers == []


def reads_environment(tree: ast.Module) -> bool:
    names = {"environ", "environb", "getenv"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and any(alias.name in names for alias in node.names))
        for node in ast.walk(tree)
    )
