"""Attacks the API and the model files as somebody with an ordinary account would, and counts what succeeds.

``python -m benchmarks.security --json`` makes three experiments:

1. forged and broken tokens, odd headers and cookies at every operation that needs a token; tasks of another student;
   operations of admins as a student (:mod:`tests.support.forgeries`); the same with keys of service accounts, their
   scopes and learners, and with tokens of other issuers (:mod:`tests.support.new_callers`);
2. generated requests and sequences of them over the OpenAPI document, by schemathesis, as a student and as an admin
   (:mod:`tests.support.openapi_cases`);
3. hostile and damaged model files (:mod:`benchmarks.model_fuzz`).

The first two call the API over HTTP on stores in memory, with the verification of Cognito's tokens and without limits.
The last line is one JSON object. The exit status is 1 unless ``auth_wrong``, ``responses_5xx``, ``schema_violations``
and ``escapes`` are all 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import model_fuzz
from benchmarks._percentiles import rounded
from benchmarks.predict import trained_files
from tests.support import forgeries, new_callers, openapi_cases
from tests.support.api import serving, sign_up
from tests.support.fakes.database import MemoryServiceStore
from tests.support.foreign import Foreign

MUST_BE_ZERO = ("auth_wrong", "responses_5xx", "schema_violations", "escapes")


def attack_tokens() -> dict[str, Any]:
    """Return the number of requests that had to be refused, and of those that were not."""
    with forgeries.signing_world() as world, serving() as url:
        student, other = sign_up(world), sign_up(world, "grace@example.org")
        user_id = str(student.get("/auth/me").json["id"])
        forged, operations = forgeries.forgeries(user_id), forgeries.protected_operations()
        by_token = forgeries.attack(url, forged, operations, forgeries.task_of(student))
        by_other = forgeries.attack_as(other, forgeries.task_of(student))
        foreign = Foreign()
        foreign.install(world)
        valid = forgeries.signed(forgeries.claims(user_id))
        keys = new_callers.bad_keys(MemoryServiceStore(world.database), valid)
        tokens = new_callers.foreign_forgeries(foreign)
        task_id = forgeries.task_of(student)
        services = [forgeries.attack(url, keys, operations, task_id), new_callers.attack_as_services(world, other)]
        issuers = [forgeries.attack(url, tokens, operations, task_id), new_callers.attack_as_foreigners(foreign)]
    attacks = [by_token, by_other, *services, *issuers]
    wrong = [one for attack in attacks for one in attack.wrong]
    return {
        "auth_cases": sum(attack.n for attack in attacks),
        "auth_service_cases": sum(attack.n for attack in services),
        "auth_issuer_cases": sum(attack.n for attack in issuers),
        "auth_forgeries": len(forged) + len(keys) + len(tokens),
        "auth_wrong": len(wrong),
        "auth_wrong_cases": wrong[:20],
    }


def generate_requests(max_examples: int, seconds: int) -> dict[str, Any]:
    """Return how many generated requests were checked, and what was wrong with the answers."""
    options = ("--max-examples", str(max_examples), "--max-time", str(seconds))
    runs = [openapi_cases.check(email, *options) for email in (openapi_cases.STUDENT, openapi_cases.ADMIN)]
    violations = [violation for run in runs for violation in run.violations]
    return {
        "schemathesis_cases": sum(run.n for run in runs),
        "responses_5xx": sum(run.responses_5xx for run in runs),
        "schema_violations": len(violations),
        "schema_violation_kinds": violations[:20],
    }


def fuzz_models(n_cases: int, seed: int) -> dict[str, Any]:
    """Return the figures of hostile model files."""
    files, _ = trained_files(seed)
    return model_fuzz.figures(model_fuzz.run(files, n_cases, seed))


def main() -> int:
    """Print the figures and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.security", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the JSON line, no progress")
    parser.add_argument("--max-examples", type=int, default=15, help="generated requests of an operation and phase")
    parser.add_argument("--max-time", type=int, default=60, help="seconds of generated requests for each of two users")
    parser.add_argument("--model-cases", type=int, default=1_000, help="hostile model files")
    parser.add_argument("--seed", type=int, default=1, help="seed of the model files")
    options = parser.parse_args()
    began = time.monotonic()
    result: dict[str, Any] = {}
    experiments: dict[str, Callable[[], dict[str, Any]]] = {
        "tokens": attack_tokens,
        "requests": lambda: generate_requests(options.max_examples, options.max_time),
        "models": lambda: fuzz_models(options.model_cases, options.seed),
    }
    for name, experiment in experiments.items():
        started = time.monotonic()
        result |= experiment()
        result[f"{name}_seconds"] = rounded(time.monotonic() - started)
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {name} {result}", file=sys.stderr)
    print(json.dumps({**result, "seconds": rounded(time.monotonic() - began)}))
    return int(any(result[name] for name in MUST_BE_ZERO))


if __name__ == "__main__":
    sys.exit(main())
