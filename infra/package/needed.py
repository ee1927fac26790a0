"""Which pins the Lambda needs. Chalice is the one distribution of which it runs a part only.

A Lambda imports ``chalice.app``, which needs the standard library alone; what the distribution ``chalice`` depends on
is for its command line: pip, setuptools, a library for questions in a terminal. That is a sixth of the unpacked zip,
and a package installer is nothing to have in a server. So those are left out that nothing else depends on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from email.parser import BytesHeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.package.pins import Pin
from infra.package.target import MARKERS

COMMAND_LINE = "chalice"

Dependencies = Mapping[str, frozenset[str]]
"""A distribution's name to the names of those that it depends on."""


def split(pins: Sequence[Pin], roots: Iterable[str], dependencies: Dependencies) -> tuple[list[Pin], list[Pin]]:
    """(pins to ship, pins to leave out). ``roots`` are the names that the program asks for itself.

    A pin is left out when every way to it leads through Chalice; one that nothing leads to is shipped.
    """
    of_chalice = _reachable([COMMAND_LINE], dependencies) - {COMMAND_LINE}
    direct = {canonicalize_name(name) for name in roots} | {pin.name for pin in pins if pin.name not in of_chalice}
    needed = _reachable(direct, {**dependencies, COMMAND_LINE: frozenset()})
    return [pin for pin in pins if pin.name in needed], [pin for pin in pins if pin.name not in needed]


def read_roots(project: str) -> list[str]:
    """Return the names of the dependencies in the text of a ``pyproject.toml``."""
    return [canonicalize_name(Requirement(line).name) for line in tomllib.loads(project)["project"]["dependencies"]]


def read_dependencies(installed: Path) -> Dependencies:
    """What the installed distributions say that they depend on; extras aside."""
    found: dict[str, frozenset[str]] = {}
    for path in sorted(installed.glob("*.dist-info/METADATA")):
        metadata = BytesHeaderParser().parsebytes(path.read_bytes())
        wanted = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
        markers = {**MARKERS, "extra": ""}
        found[canonicalize_name(str(metadata["Name"]))] = frozenset(
            canonicalize_name(one.name) for one in wanted if one.marker is None or one.marker.evaluate(markers)
        )
    return found


def _reachable(start: Iterable[str], dependencies: Dependencies) -> set[str]:
    found: set[str] = set()
    open_ends = list(start)
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            open_ends += dependencies.get(name, ())
    return found
