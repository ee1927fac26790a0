"""Importing the application."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_importing_the_application_needs_no_environment() -> None:
    code = "import app; assert app.app.routes"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_without_an_environment_the_missing_settings_are_named() -> None:
    code = (
        "from chalice.test import Client; import app\n"
        "http = Client(app.app).http\n"
        "print(*(http.get(path).status_code for path in ('/', '/docs', '/practice-tasks')), http.get('/health').body)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.startswith("200 200 503 ")
    assert "DATABASE_URL is not set; REGISTRY_BUCKET is not set" in done.stdout
    assert "DATABASE_URL is not set" in done.stderr
