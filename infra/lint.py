"""Lint CloudFormation templates, the image's Dockerfile, workflows and the OpenAPI document: ``python -m infra.lint``.

The linters are the packages of the group ``lint``, which ``make infra-check`` installs. Exit status 1 with findings.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from infra import node, openapi
from infra.package import template

ROOT: Final = Path(__file__).resolve().parents[1]
TRANSLATED: Final = "build/translated.json"
"""Path of the template after SAM's transform."""

STANDALONE: Final = sorted(
    path for one in ROOT.glob("infra/*.yaml") if (path := str(one.relative_to(ROOT))) not in template.PARTS
)
"""The templates of stacks next to the product's."""

DOCKERFILE: Final = "training_job/Dockerfile"
WORKFLOWS: Final = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(".github/workflows/*.yml"))

_CHECKOV = ("checkov", "--skip-download", "--compact", "--framework", "cloudformation", "dockerfile", "--file")
COMMANDS: Final[Sequence[Sequence[str]]] = (
    ("cfn-lint", template.STATE, template.TEMPLATE, *STANDALONE),
    # Only the transform itself reads some of the parameters. The option replaces what the template itself ignores.
    ("cfn-lint", TRANSLATED, "--ignore-checks", "W2001", "W1030"),
    (*_CHECKOV, template.TEMPLATE, *STANDALONE, DOCKERFILE),
    ("hadolint", "--no-color", DOCKERFILE),
    ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS),
    ("zizmor", "--offline", "--no-progress", "--quiet", "--color", "never", *WORKFLOWS),
)
"""The linters. Each ends with a status other than 0 when it has findings."""

# No linter needs the network. A linter that asks for something all the same is refused at once.
_OFFLINE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")


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


def lint(command: Sequence[str]) -> str:
    """Run a linter; return its findings, or an empty text."""
    program = str(Path(sys.executable).with_name(command[0]))
    environment = {**os.environ, **_OFFLINE, "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(
        [program, *command[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"{done.stdout}{done.stderr}" or f"exit status {done.returncode}"
    # checkov succeeds, too, when it cannot read a file.
    if command[0] == "checkov" and len(re.findall(r"scan results:\s+Passed checks: [1-9]", done.stdout)) != 2:
        return f"not all files were checked:\n{done.stdout}{done.stderr}"
    return ""


def main() -> int:
    """Render and translate the template, run all linters, and print their findings; return the exit status."""
    with tempfile.TemporaryDirectory(prefix="infra-lint-") as directory:
        rendered = template.render(ROOT, Path(directory))
    for path, content in ((template.TEMPLATE, rendered), (TRANSLATED, translate(rendered))):
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with ThreadPoolExecutor() as pool:
        reports = list(pool.map(lint, COMMANDS))
    reports.append(_lint_document())
    for name, findings in zip([*(command[0] for command in COMMANDS), "redocly"], reports, strict=True):
        print(findings, end="", file=sys.stderr)
        print(f"{name:<16} {'findings, see above' if findings else 'no findings'}")
    return 1 if any(reports) else 0


def _lint_document() -> str:
    if not node.is_installed():
        return f"{node.MISSING}\n"
    found = openapi.findings(openapi.present())
    return "".join(f"{one['ruleId']}: {one['message']}\n" for one in found)


if __name__ == "__main__":
    sys.exit(main())
