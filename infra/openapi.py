"""The released OpenAPI document, ``docs/openapi.json``: ``python -m infra.openapi`` writes the present one over it.

Clients were generated from the released document. What was added since is fine for them. What was removed or changed
breaks them: it is printed, and nothing is written without ``--breaking``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import app  # noqa: F401 - registers the routes
from chalicelib.api import openapi, root
from infra import node

RELEASED: Final = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"

_TEXTS: Final = {"info", "tags", "description", "summary", "title", "example", "examples"}
"""Keys whose values are for readers. A property may have such a name too."""

_NAMES: Final = {"paths", "properties", "schemas", "responses", "headers", "securitySchemes"}
"""Keys of objects whose own keys are names, not keywords."""

_BOUNDS: Final = {
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "format", "enum"),
    *("additionalProperties", "type", "anyOf", "required", "$ref"),
}
"""Keywords that forbid values. A new one on an input refuses what was accepted."""

Document = dict[str, Any]


def present() -> Document:
    """Return the document of this source."""
    return json.loads(openapi.encode(root.documented))  # type: ignore[no-any-return]


def written(document: Document) -> str:
    """Return the text of the file of a document."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def breaking_changes(old: Document, new: Document) -> list[str]:
    """Return what clients of the old document cannot use with the new one, each with its place."""
    inputs = _inputs(old)
    return list(_changes(old, new, (), inputs))


def _changes(old: Any, new: Any, place: tuple[str, ...], inputs: set[str]) -> Iterator[str]:
    where, key = "/".join(place), place[-1] if place else ""
    named = key in _NAMES
    if isinstance(old, dict) and isinstance(new, dict):
        is_bounded = not named and _is_input(place, inputs)
        for name in old:
            if name in _TEXTS and not named:
                continue
            if name in new:
                yield from _changes(old[name], new[name], (*place, name), inputs)
            elif not (is_bounded and name in _BOUNDS):  # an input may become freer
                yield f"{where}/{name} was removed"
        if is_bounded:
            added = sorted((new.keys() - old.keys()) & _BOUNDS)
            yield from (f"{where}/{name} was added, which refuses what was accepted" for name in added)
    elif key == "parameters":
        yield from _changed_parameters(old, new, place, inputs)
    elif key in ("required", "enum") and isinstance(old, list) and isinstance(new, list):
        removed, added = [one for one in old if one not in new], [one for one in new if one not in old]
        is_input = _is_input(place, inputs)
        if key == "enum" or not is_input:
            yield from (f"{where}: {one} was removed" for one in removed)
        if key == "required" and is_input:
            yield from (f"{where}: {one} was added, which refuses what was accepted" for one in added)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _changes(one, other, (*place, str(n)), inputs)
    elif old != new:
        yield f"{where} changed from {json.dumps(old)} to {json.dumps(new)}"


def _changed_parameters(
    old: list[Document], new: list[Document], place: tuple[str, ...], inputs: set[str]
) -> Iterator[str]:
    before = {f"{one['in']} {one['name']}": one for one in old}
    after = {f"{one['in']} {one['name']}": one for one in new}
    for name, parameter in before.items():
        if name not in after:
            yield f"{'/'.join(place)}: {name} was removed"
        else:
            yield from _changes(parameter, after[name], (*place, name), inputs)
    for name in after.keys() - before.keys():
        if after[name]["required"]:
            yield f"{'/'.join(place)}: {name} was added and is required"


def _is_input(place: tuple[str, ...], inputs: set[str]) -> bool:
    if "requestBody" in place or "parameters" in place:
        return True
    return place[:2] == ("components", "schemas") and len(place) > 2 and place[2] in inputs


def _inputs(document: Document) -> set[str]:
    """Return the names of the schemas that bodies of requests use."""
    schemas = document["components"]["schemas"]
    bodies = [one.get("requestBody", {}) for methods in document["paths"].values() for one in methods.values()]
    found: set[str] = set()
    waiting: list[Any] = bodies
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            name = str(value.get("$ref", "")).rpartition("/")[2]
            if name in schemas and name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found


def findings(document: Document) -> list[Document]:
    """Return what the linter finds in a document, each with its ``ruleId`` and ``message``."""
    rules = str(Path(__file__).with_name("node") / "redocly.yaml")
    with tempfile.TemporaryDirectory(prefix="openapi-") as directory:
        (Path(directory) / "openapi.json").write_text(written(document), "utf-8")
        options = ("lint", "openapi.json", "--config", rules, "--format", "json")
        done = node.run("redocly", *options, cwd=Path(directory))
    try:
        return list(json.loads(done.stdout)["problems"])
    except ValueError:
        raise RuntimeError(f"redocly failed:\n{done.stdout}{done.stderr}") from None


def main(arguments: list[str] | None = None) -> int:
    """Write the present document over the released one."""
    parser = argparse.ArgumentParser(prog="python -m infra.openapi", description=__doc__)
    parser.add_argument("--breaking", action="store_true", help="write it even if clients of the old one break")
    options = parser.parse_args(arguments)
    document = present()
    changes = breaking_changes(json.loads(RELEASED.read_text("utf-8")), document) if RELEASED.exists() else []
    for change in changes:
        print(f"breaking: {change}", file=sys.stderr)
    if changes and not options.breaking:
        print("Nothing was written: this breaks existing clients (--breaking writes it).", file=sys.stderr)
        return 1
    RELEASED.write_text(written(document), "utf-8")
    print(f"{RELEASED.name}: {len(document['paths'])} paths")
    return 0


if __name__ == "__main__":
    sys.exit(main())
