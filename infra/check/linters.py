"""The linters, each as a number of findings and their lines."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.package.template import STATE, TEMPLATE

# No linter needs the network. Where one asks for something all the same, it is refused at once.
_OFFLINE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
_FRAMEWORKS = ("cloudformation", "dockerfile")


@dataclass(frozen=True, slots=True)
class Report:
    """What a linter found. ``skipped`` are checks that the template skips, with its reason in place."""

    findings: list[str]
    skipped: int = 0


class LinterError(Exception):
    """A linter did not run."""


@dataclass(frozen=True, slots=True)
class Linters:
    """The linters on a checkout whose template is rendered; ``work`` takes what is made on the way."""

    root: Path
    work: Path

    def all(self) -> dict[str, Callable[[], Report]]:
        """By name."""
        return {
            "cfn_lint": self.cfn_lint,
            "checkov": self.checkov,
            "hadolint": self.hadolint,
            "workflows": self.workflows,
        }

    def translated(self) -> Path:
        """The rendered template after SAM's transform."""
        target = self.work / "translated.json"
        done = self._run("python", "infra/check/translate.py", TEMPLATE, str(target))
        if done.returncode:
            raise LinterError(f"SAM's transform failed:\n{done.stderr}")
        return target

    def cfn_lint(self) -> Report:
        """The part that stands alone, the whole, and the whole after SAM's transform."""
        findings = self._cfn_lint(STATE, TEMPLATE)
        # Some parameters are only read by the transform itself.
        return Report([*findings, *self._cfn_lint(str(self.translated()), "--ignore-checks", "W2001")])

    def _cfn_lint(self, *arguments: str) -> list[str]:
        done = self._run("cfn-lint", "--format", "parseable", *arguments)
        return _lines(done, done.stdout)

    def checkov(self) -> Report:
        """Template and Dockerfile."""
        options = ["--skip-download", "--compact", "--quiet", "--output", "json", "--framework", *_FRAMEWORKS]
        reports = _json(self._run("checkov", *options, "--file", TEMPLATE, "--file", "training_job/Dockerfile"))
        checked = {report["check_type"] for report in reports if report["summary"]["passed"]}
        if checked != set(_FRAMEWORKS):
            raise LinterError(f"checkov only checked {', '.join(sorted(checked)) or 'nothing'}")
        findings = [
            f"{check['check_id']} {check['resource']}: {check['check_name']}"
            for report in reports
            for check in report["results"]["failed_checks"]
        ]
        return Report(findings, sum(int(report["summary"]["skipped"]) for report in reports))

    def hadolint(self) -> Report:
        """The Dockerfile."""
        done = self._run("hadolint", "--no-color", "training_job/Dockerfile")
        return Report(_lines(done, done.stdout))

    def workflows(self) -> Report:
        """The pipeline: its schema, and what makes a workflow unsafe."""
        files = [str(path.relative_to(self.root)) for path in sorted(self.root.glob(".github/workflows/*.yml"))]
        if not files:
            raise LinterError("there are no workflows")
        schema = self._run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files)
        unsafe = self._run("zizmor", "--offline", "--no-progress", "--quiet", "--color", "never", *files)
        found = _lines(schema, schema.stdout) if schema.returncode else []
        return Report([*found, *(_lines(unsafe, unsafe.stdout) if unsafe.returncode else [])])

    def _run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = self.root / ".venv" / "bin" / command
        environment = {**os.environ, **_OFFLINE, "AWS_DEFAULT_REGION": "us-east-1"}
        return subprocess.run(
            [str(path), *arguments], cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )


def _lines(done: subprocess.CompletedProcess[str], output: str) -> list[str]:
    """The lines of a linter's output; LinterError where it failed without saying a finding."""
    lines = [line for line in output.splitlines() if line.strip()]
    if done.returncode and not lines:
        raise LinterError(f"{Path(done.args[0]).name} ended with {done.returncode}:\n{done.stderr}")
    return lines


def _json(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    try:
        report: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError as error:
        raise LinterError(f"{Path(done.args[0]).name}: {done.stdout[-500:]}{done.stderr[-1500:]}") from error
    return report
