"""What of a deployment is checked here without an account, in numbers that must be 0, and by what means.

``python -m benchmarks.infra --json`` needs the linters of ``make infra-check``. The last line is one JSON object:
``resource_types`` in the whole template after SAM's transform, those of them that moto's CloudFormation made, and those
that only linters looked at; ``attribute_differences`` between ``infra/template.yaml`` and a running stack made from it;
the findings of cfn-lint, checkov, hadolint and the workflows' linters; and the roles' policies against the calls that
the programs made: ``iam_missing``, ``iam_unused``, ``iam_not_exercised`` (operations in the code that no step reached).
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from infra.check.__main__ import COUNTS, ROOT, figures


def main() -> int:
    """Run the checks; returns the exit status, 1 when a number is not 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.infra", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no findings")
    options = parser.parse_args()
    begun = time.monotonic()
    counted = figures(ROOT, (lambda _: None) if options.json else (lambda line: print(line, file=sys.stderr)))
    print(json.dumps({**counted, "seconds": round(time.monotonic() - begun)}))
    return 1 if any(counted[name] for name in COUNTS) else 0


if __name__ == "__main__":
    sys.exit(main())
