"""The packages that a cold start loads: a new one must be added here, by somebody who knows its cost.

``python -X importtime -c "import app"`` shows the cost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

LOADED = {
    "asn1crypto",  # by scramp
    "botocore",  # its errors only, until a client is made
    "chalice",
    "cryptography",  # by jwt
    "dateutil",  # by pg8000
    "jwt",
    "msgspec",
    "numpy",
    "pg8000",
    "scramp",  # by pg8000
    "six",  # by dateutil
    "sqlalchemy",
    "typing_extensions",  # by sqlalchemy
}

LATER = {
    "botocore.session": "when a client is made",
    "sqlalchemy.dialects.postgresql": "when the engine is made",
}

OWN_LATER = {"chalicelib.api.openapi", "chalicelib.api.schemas"}
"""The Lambda's own modules that hardly any cold start needs."""

PROGRAM = """
import gc, json, os, sys
import app
modules = {
    name: bool(getattr(module, "__file__", None) or getattr(module, "__path__", None))
    for name, module in sys.modules.items()
}
threads = os.environ.get("OPENBLAS_NUM_THREADS")
print(json.dumps({"modules": modules, "collects": gc.isenabled(), "frozen": gc.get_freeze_count(), "threads": threads}))
"""


@cache
def imported(**environment: str) -> dict[str, Any]:
    """What a fresh interpreter says after ``import app``, without any environment but the given one."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def test_importing_the_app_loads_these_packages_and_no_others() -> None:
    own = {"app", "chalicelib", "__main__"}
    loaded = {name.partition(".")[0] for name, is_a_file in imported()["modules"].items() if is_a_file}
    # What begins with an underscore is a part of one of these, or of how the venv finds them.
    assert {name for name in loaded - own - sys.stdlib_module_names if not name.startswith("_")} == LOADED


def test_importing_the_app_loads_every_module_of_the_lambda() -> None:
    """A module that the app does not need belongs to the worker, the commands or the migrations."""
    files = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "chalicelib").rglob("*.py"))
    modules = {".".join(file.parts).removesuffix(".__init__") for file in files}
    assert modules - set(imported()["modules"]) == OWN_LATER


def test_what_not_every_process_needs_is_loaded_later() -> None:
    assert set(imported()["modules"]).isdisjoint(LATER)


def test_the_collector_works_again_after_the_import_and_skips_what_was_imported() -> None:
    state = imported()
    assert state["collects"] is True
    assert state["frozen"] > 10_000


def test_one_thread_for_products_of_small_matrices_unless_the_environment_says_otherwise() -> None:
    assert imported()["threads"] == "1"
    assert imported(OPENBLAS_NUM_THREADS="2")["threads"] == "2"


def test_a_client_is_made_without_boto3() -> None:
    program = """
import sys
from chalicelib.storage.aws import aws_client
first, second = aws_client("s3", "eu-central-1"), aws_client("sqs", "us-east-1")
assert (first.meta.region_name, second.meta.region_name) == ("eu-central-1", "us-east-1")
sys.exit(sorted({"boto3", "s3transfer"} & set(sys.modules)) or 0)
"""
    path = {name: value for name, value in os.environ.items() if name == "PATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
