"""botocore's descriptions of AWS, cut down to what making and using a client reads.

Making the first client takes 60 ms, of which 50 are spent on reading JSON: a table of the endpoints of all services in
all regions, and a model of which most is documentation. Neither loses anything here that a client looks at.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from infra.package.contents import Files

_DATA = "botocore/data/"
_ENDPOINTS = f"{_DATA}endpoints.json"
_MODEL = "/service-2.json.gz"


def slimmed(files: Files, services: Collection[str], target: Path) -> Files:
    """Smaller versions, written below ``target``, of those of ``files`` that can be smaller."""
    written: Files = {}
    for path, file in sorted(files.items()):
        if path == _ENDPOINTS:
            content = _encoded(endpoints_of(json.loads(file.read_bytes()), services))
        elif path.startswith(_DATA) and path.endswith(_MODEL):
            model = undocumented(json.loads(gzip.decompress(file.read_bytes())))
            # Without a time, so that the same model gives the same bytes.
            content = gzip.compress(_encoded(model), mtime=0)
        else:
            continue
        written[path] = target / path
        written[path].parent.mkdir(parents=True, exist_ok=True)
        written[path].write_bytes(content)
    return written


def endpoints_of(table: dict[str, Any], services: Collection[str]) -> dict[str, Any]:
    """botocore's table of endpoints with these services only; partitions and regions stay whole."""

    def cut(partition: dict[str, Any]) -> dict[str, Any]:
        return {**partition, "services": {k: v for k, v in partition["services"].items() if k in services}}

    return {**table, "partitions": [cut(partition) for partition in table["partitions"]]}


def undocumented(value: Any) -> Any:
    """A service's model with empty texts. A shape's member may be named ``documentation`` too, and is no text."""
    if isinstance(value, dict):
        return {
            key: "" if key == "documentation" and isinstance(inner, str) else undocumented(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [undocumented(inner) for inner in value]
    return value


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
