"""The project's metadata and the files that are exported from uv.lock."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import chalicelib

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED = {
    (package["name"], package.get("version")): package
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
}


def test_the_project_has_the_version_that_the_api_says() -> None:
    assert PROJECT["project"]["version"] == chalicelib.VERSION


@pytest.mark.parametrize("name", ["requirements.txt", "training_job/requirements.txt", "infra/uv.txt"])
def test_an_exported_file_pins_without_extras(name: str) -> None:
    """A pip older than 24 refuses `pyjwt[crypto]==2.15.1` with hashes, because the extra's own line has none."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if re.match(r"\w", line)]
    pins = [re.match(r"([a-z0-9-]+)==([^ ]+)", line) for line in lines]
    assert [line for line, pin in zip(lines, pins, strict=True) if pin is None or pin.groups() not in LOCKED] == []


def test_the_lambda_and_the_image_ask_for_the_same_versions() -> None:
    training = set(PROJECT["dependency-groups"]["training"])
    # Time zones are for the days of the analytics, which only the API serves.
    of_the_lambda_only = {"chalice", "tzdata"}
    assert set(PROJECT["project"]["dependencies"]) - training == of_the_lambda_only


@pytest.mark.parametrize(
    "system", ["manylinux.*_x86_64", "manylinux.*_aarch64", "musllinux.*_x86_64", "macosx.*_arm64"]
)
def test_uv_has_a_pinned_wheel_for_each_system(system: str) -> None:
    exported = (ROOT / "infra" / "uv.txt").read_text()
    (uv,) = [package for (name, _), package in LOCKED.items() if name == "uv"]
    wheels = [wheel["hash"] for wheel in uv["wheels"] if re.search(system, wheel["url"])]
    assert wheels
    assert all(digest in exported for digest in wheels)
