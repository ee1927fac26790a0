"""Uses the API as another team would: by clients that generators make from its OpenAPI document.

``python -m benchmarks.integration --json`` starts a stack and, with openapi-typescript, @hey-api/openapi-ts, orval and
openapi-python-client, generates a client, compiles it, and runs a program that registers, signs in, creates, completes
and lists tasks, and meets errors. It also lints the document, and drives every operation on stores in memory to compare
what is answered with what is documented.

Another stack gets batches (``--only batches`` leaves out the rest): 1,000 predictions for 30 learners in one request
and in 1,000 requests, and answers of an app, 1,000 at a time. One batch is sent twice and in two halves, all at once.

A receiver of webhooks is away, slow, failing, and asked to take events again (``--only webhooks``): how many were lost,
out of order, or without a good signature.

The last line is one JSON object: ``failures`` (generators that failed), ``lint_warnings``, the shares
``operations_documented``, ``properties_described`` and ``examples``, and ``batch_speedup``, ``answers_per_s`` and
``batch_counted``, and ``webhooks_lost`` and others. The exit status is 1 unless the first two are 0, the shares are 1,
the batch was counted once, and no webhook was lost or out of order.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import _batches, _webhooks
from benchmarks._percentiles import rounded
from benchmarks.local_stack import temporary_stack
from infra import node, openapi
from tests.support import documented, generators
from tests.support.api import installed_world

SHARES = ("operations_documented", "properties_described", "examples")


def try_generators() -> dict[str, Any]:
    """Return the seconds of each generator that worked, and the number of those that failed."""
    seconds, failed = {}, []
    with temporary_stack() as stack:
        for name, try_it in generators.GENERATORS.items():
            started = time.perf_counter()
            with tempfile.TemporaryDirectory(prefix="generated-") as directory:
                try:
                    try_it(Path(directory), stack.url)
                except generators.GeneratorError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    failed.append(name)
                else:
                    seconds[name] = rounded(time.perf_counter() - started)
    return {"failures": len(failed), "failed": failed, "seconds": seconds}


def lint() -> dict[str, Any]:
    """Return the number of findings of the linter, which are printed."""
    found = openapi.findings(openapi.present())
    for one in found:
        print(f"{one['ruleId']}: {one['message']}", file=sys.stderr)
    return {"lint_warnings": len(found)}


def shares() -> dict[str, float]:
    """Return how much of the document is complete. An answer that contradicts it ends the program."""
    document = openapi.present()
    logging.disable(logging.CRITICAL)  # every error is provoked
    with installed_world() as world:
        operations = documented.drive(world).operations_documented()
    return {
        "operations_documented": operations,
        "properties_described": documented.properties_described(document),
        "examples": documented.examples(document),
    }


def main() -> int:
    """Run the experiments and print the figures; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.integration", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--only", choices=["batches", "webhooks"], help="measure only this")
    options = parser.parse_args()
    if options.only is None and not node.is_installed():
        install = ["make", "-C", str(Path(__file__).parents[1]), ".venv/.node"]
        subprocess.run(install, stdout=sys.stderr, check=False)
        importlib.invalidate_caches()
    if options.only is None and not node.is_installed():
        print(f"error: {node.MISSING}", file=sys.stderr)
        return 2
    found: dict[str, Any] = {}
    if options.only is None:
        found |= {**try_generators(), **lint(), **shares()}
    if options.only in (None, "batches"):
        found |= _batches.measure()
    if options.only in (None, "webhooks"):
        found |= _webhooks.measure()
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<24}{value}")
    faults = ("failures", "lint_warnings", "webhooks_lost", "webhooks_out_of_order", "webhooks_forged")
    is_good = not any(found.get(name) for name in faults) and all(found.get(name, 1) == 1 for name in SHARES)
    is_good &= found.get("batch_counted") == found.get("batch_answers")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
