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


def test_without_an_environment_the_root_still_answers_and_others_say_500() -> None:
    code = (
        "from chalice.test import Client; import app\n"
        "http = Client(app.app).http\n"
        "print(http.get('/').status_code, http.get('/practice-tasks').status_code, http.get('/health').body.decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == '200 401 {"detail":"Internal server error"}'
    assert "DATABASE_URL is not set" in done.stderr
