"""The lock ``requirements.txt`` as the Lambda sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from infra.package.errors import PackageError
from infra.package.target import MARKERS


@dataclass(frozen=True, slots=True)
class Pin:
    """One distribution at one version, with the digests of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def dist_info(self) -> str:
        """The name of its ``.dist-info`` directory (PEP 427), up to the case that the wheel's author chose."""
        return f"{re.sub(r'[-_.]+', '_', self.name)}-{self.version}.dist-info".lower()

    @property
    def requirement(self) -> str:
        """The line for pip, without the marker: it has been decided here."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={digest}" for digest in self.hashes)])


def read_pins(lock: str, markers: Mapping[str, str] = MARKERS) -> tuple[Pin, ...]:
    """The pins of a lock's text that hold under ``markers``; PackageError for a line that is no pin with hashes."""
    pins = [pin for line in _logical_lines(lock) if (pin := _pin(line, markers)) is not None]
    return tuple(sorted(pins, key=lambda pin: pin.name))


def _logical_lines(lock: str) -> list[str]:
    lines = (line.partition(" #")[0].strip() for line in lock.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _pin(line: str, markers: Mapping[str, str]) -> Pin | None:
    specification, *hashes = re.split(r"\s+--hash=", line)
    try:
        requirement = Requirement(specification)
    except InvalidRequirement as error:
        raise PackageError(f"the lock has a line that is no requirement: {specification}") from error
    specifiers = list(requirement.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==" or not hashes:
        raise PackageError(f"the lock does not pin this with == and hashes: {specification}")
    if requirement.marker is not None and not requirement.marker.evaluate(dict(markers)):
        return None
    return Pin(canonicalize_name(requirement.name), specifiers[0].version, tuple(digest.strip() for digest in hashes))
