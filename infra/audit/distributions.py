"""The locked distributions, and what of them ships."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from packaging.markers import Marker

from infra.package import PYTHON, install

IMAGE: Final = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0"} | {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
"""The platform of the Lambda and of the training image, in the words of markers."""

_PIN = re.compile(r"^([\w.-]+)==([^\s;]+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)


class Distribution(NamedTuple):
    """A locked distribution with the digests of its files."""

    name: str
    version: str
    digests: tuple[str, ...]


def locked(root: Path) -> list[Distribution]:
    """Return every distribution of the lock except the project itself."""
    packages = tomllib.loads((root / "uv.lock").read_text(encoding="utf-8"))["package"]
    return [_distribution(package) for package in packages if "registry" in package["source"]]


def _distribution(package: Mapping[str, Any]) -> Distribution:
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    return Distribution(package["name"], package["version"], tuple(file["hash"] for file in files))


def installed_by(requirements: str, environment: Mapping[str, str] = IMAGE) -> set[tuple[str, str]]:
    """Return names and versions that an export of the lock installs on a platform."""
    return {
        (name, version)
        for name, version, marker in _PIN.findall(requirements)
        if not marker or Marker(marker).evaluate(dict(environment))
    }


def shipped(root: Path, distributions: Iterable[Distribution]) -> dict[str, list[Distribution]]:
    """Return what is in the Lambda's zip and in the training image, by their names."""
    parts = {
        "studysmart-lambda": install.pins(root),
        "studysmart-training": (root / "training_job" / "requirements.txt").read_text(encoding="utf-8"),
    }
    return {
        part: [one for one in distributions if (one.name, one.version) in installed_by(requirements)]
        for part, requirements in parts.items()
    }
