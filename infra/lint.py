"""Lint the CloudFormation templates, the image's Dockerfile and the workflows: ``python -m infra.lint``.

The linters are the packages of the group ``lint``, which ``make infra-check`` installs. Exit status 1 with findings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from infra.package import template

ROOT: Final = Path(__file__).resolve().parents[1]
TRANSLATED: Final = "build/translated.json"
"""Path of the template after SAM's transform."""

DOCKERFILE: Final = "training_job/Dockerfile"

# No linter needs the network. A linter that asks for something all the same is refused at once.
_OFFLINE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
_FRAMEWORKS = ("cloudformation", "dockerfile")


class LintError(Exception):
    """A linter did not run."""


def translate(rendered: template.Template) -> template.Template:
    """Return the template after SAM's transform, which CloudFormation applies when it creates a stack.

    Parameters have their defaults. The code is in a bucket by then.
    """
    import boto3
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    copy: template.Template = json.loads(json.dumps(rendered))
    for resource in copy["Resources"].values():
        if "CodeUri" in resource.get("Properties", {}):
            resource["Properties"]["CodeUri"] = {"Bucket": "code-bucket", "Key": "code.zip"}
    parameters = {name: parameter.get("Default") for name, parameter in copy["Parameters"].items()}
    session = boto3.Session(region_name="us-east-1")
    return dict(Translator({}, Parser(), boto_session=session).translate(copy, parameters))


def cfn_lint() -> list[str]:
    """Lint the part that the one-machine stack uses, the whole template, and the translated one."""
    # Only the transform itself reads some of the parameters.
    runs = [(template.STATE, template.TEMPLATE), (TRANSLATED, "--ignore-checks", "W2001")]
    return [line for arguments in runs for line in _lines(_run("cfn-lint", "--format", "parseable", *arguments))]


def checkov() -> list[str]:
    """Check template and Dockerfile for unsafe settings."""
    options = ["--skip-download", "--compact", "--quiet", "--output", "json", "--framework", *_FRAMEWORKS]
    done = _run("checkov", *options, "--file", template.TEMPLATE, "--file", DOCKERFILE)
    try:
        reports: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError as error:
        raise LintError(f"checkov: {done.stdout[-500:]}{done.stderr[-1500:]}") from error
    checked = {report["check_type"] for report in reports if report["summary"]["passed"]}
    if checked != set(_FRAMEWORKS):
        raise LintError(f"checkov only checked {', '.join(sorted(checked)) or 'nothing'}")
    return [
        f"{check['check_id']} {check['resource']}: {check['check_name']}"
        for report in reports
        for check in report["results"]["failed_checks"]
    ]


def hadolint() -> list[str]:
    """Lint the Dockerfile."""
    return _lines(_run("hadolint", "--no-color", DOCKERFILE))


def workflows() -> list[str]:
    """Check the workflows against their schema and for unsafe settings."""
    files = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(".github/workflows/*.yml"))]
    schema = _run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files)
    unsafe = _run("zizmor", "--offline", "--no-progress", "--quiet", "--color", "never", *files)
    return [line for done in (schema, unsafe) if done.returncode for line in _lines(done)]


LINTERS: Final[tuple[Callable[[], list[str]], ...]] = (cfn_lint, checkov, hadolint, workflows)


def _run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = Path(sys.executable).with_name(command)
    environment = {**os.environ, **_OFFLINE, "AWS_DEFAULT_REGION": "us-east-1"}
    return subprocess.run(
        [str(path), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def _lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode and not lines:
        raise LintError(f"{Path(done.args[0]).name}: {done.stderr[-1500:]}")
    return lines


def main() -> int:
    """Render and translate the template, run all linters, and print their findings; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="infra-lint-") as directory:
        rendered = template.render(ROOT, Path(directory))
    for path, content in ((template.TEMPLATE, rendered), (TRANSLATED, translate(rendered))):
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with ThreadPoolExecutor() as pool:
        reports = {linter.__name__: found for linter, found in zip(LINTERS, pool.map(_call, LINTERS), strict=True)}
    for name, findings in reports.items():
        for line in findings:
            print(f"{name}: {line}", file=sys.stderr)
        print(f"{name:<10} {len(findings)} findings")
    return 1 if any(reports.values()) else 0


def _call(linter: Callable[[], list[str]]) -> list[str]:
    return linter()


if __name__ == "__main__":
    sys.exit(main())
