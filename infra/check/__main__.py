"""``python -m infra.check``: everything that must hold of templates, policies, image and workflows before a deployment.

Exit status 0 when all counts are 0. ``--json`` prints the figures as one object, last.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from infra.check import calls, policies, stacks
from infra.check.linters import Linters, Report
from infra.check.scenario import Scenario, environment
from infra.check.services import STACK, services
from infra.local.aws.resources import REGION
from infra.package import template

ROOT: Final = Path(__file__).resolve().parents[2]
ACCOUNT: Final = "123456789012"
"""moto's."""

COUNTS: Final = (
    "attribute_differences",
    "cfn_lint",
    "checkov_failed",
    "hadolint",
    "workflows",
    "iam_missing",
    "iam_unused",
    "iam_not_exercised",
)
"""The figures that must be 0."""


def figures(root: Path, say: Any) -> dict[str, Any]:
    """Run all checks; ``say`` is given each finding as a line."""
    with tempfile.TemporaryDirectory(prefix="infra-check-") as directory:
        work = Path(directory)
        rendered = template.render(root, work / "template")
        (root / template.TEMPLATE).parent.mkdir(exist_ok=True)
        (root / template.TEMPLATE).write_text(json.dumps(rendered, indent=1) + "\n", encoding="utf-8")
        linters = Linters(root, work)
        with ThreadPoolExecutor(max_workers=1) as pool:
            # Beside each other: linters are processes of their own.
            linting = pool.submit(lambda: {name: lint() for name, lint in linters.all().items()})
            found = _in_moto(root, work, rendered, json.loads(linters.translated().read_text()))
            reports = linting.result()
    return _told(found, reports, say)


def _in_moto(root: Path, work: Path, rendered: Mapping[str, Any], translated: Mapping[str, Any]) -> dict[str, Any]:
    with services(work) as running, environment(running.environment):
        state = template.read_part(root / template.STATE)
        differences = stacks.attribute_differences(state, STACK, running.endpoint)
        types = stacks.types_of(translated, running.endpoint)
        recorder = calls.Recorder(REGION, ACCOUNT)
        scenario = Scenario(running.environment, recorder)
        try:
            scenario.run()
        finally:
            scenario.close()
        grants = policies.grants_of(rendered, _values(running.environment))
    called = calls.operations_in(root / "chalicelib/storage")
    return {
        "types": types,
        "attribute_differences": differences,
        "grants": grants,
        "iam_missing": policies.missing(grants, recorder.needs),
        "iam_unused": policies.unused(grants, recorder.needs),
        "iam_not_exercised": sorted(called - recorder.operations),
        "needs": recorder.needs,
    }


def _values(variables: Mapping[str, str]) -> dict[str, str]:
    """What references of the policies lead to in the running stack."""
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{variables['TRAINING_QUEUE_URL'].rpartition('/')[2]}"
    return {
        "RegistryBucket.Arn": f"arn:aws:s3:::{variables['REGISTRY_BUCKET']}",
        "TrainingQueue.Arn": queue,
        "TrainingDeadLetterQueue.Arn": queue.replace("-training.fifo", "-training-dead.fifo"),
        "UserPool.Arn": f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/{variables['USER_POOL_ID']}",
    }


def _told(found: Mapping[str, Any], reports: Mapping[str, Report], say: Any) -> dict[str, Any]:
    lists: dict[str, list[Any]] = {
        "attribute_differences": found["attribute_differences"],
        "cfn_lint": reports["cfn_lint"].findings,
        "checkov_failed": reports["checkov"].findings,
        "hadolint": reports["hadolint"].findings,
        "workflows": reports["workflows"].findings,
        "iam_missing": [" ".join(need) for need in found["iam_missing"]],
        "iam_unused": [" ".join(grant) for grant in found["iam_unused"]],
        "iam_not_exercised": found["iam_not_exercised"],
    }
    for name in COUNTS:
        for line in lists[name]:
            say(f"{name}: {line}")
    types: stacks.Types = found["types"]
    for kind, reason in types.lint_only.items():
        say(f"checked by lint only: {kind} ({reason})")
    return {
        "resource_types": len(types.made) + len(types.lint_only),
        "created_by_moto": len(types.made),
        "lint_only": sorted(types.lint_only),
        "checkov_skipped": reports["checkov"].skipped,
        "iam_grants": len(found["grants"]),
        "iam_used_by_aws": sum(map(policies.used_by_aws, found["grants"])),
        "iam_calls": len(found["needs"]),
        **{name: len(lists[name]) for name in COUNTS},
    }


def main() -> int:
    """Run the checks; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.check", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the findings and one JSON object")
    options = parser.parse_args()
    begun = time.monotonic()
    counted = figures(ROOT, lambda line: print(line, file=sys.stderr))
    if options.json:
        print(json.dumps(counted))
    else:
        for name, value in counted.items():
            print(f"{name:<22} {', '.join(value) if isinstance(value, list) else value}")
        print(f"{'seconds':<22} {time.monotonic() - begun:.0f}")
    return 1 if any(counted[name] for name in COUNTS) else 0


if __name__ == "__main__":
    sys.exit(main())
