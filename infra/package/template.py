"""The CloudFormation template of the whole backend: the parts in ``infra/``, joined with what Chalice makes of app.py.

``chalice package --merge-template`` writes the functions, the routes and the schedules, and lays our parts over them.
It is run on the program without its dependencies, since the zip is ours (decision 8). Then the routes are led to the
alias that a deployment moves, which no merge can do: every one of them names the function itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chalice.package import YAMLTemplateSerializer

from infra.package import saved_queries
from infra.package.contents import copied, program_files
from infra.package.errors import PackageError

TEMPLATE: Final = "build/template.json"
"""Where the rendered template is, seen from the checkout; the zip lies beside it."""

STATE: Final = "infra/template.yaml"
"""The part that the one-machine stack makes its resources of."""

PARTS: Final = (STATE, "infra/roles.yaml", "infra/programs.yaml", "infra/alarms.yaml")

STAGE: Final = "prod"

_PLACEHOLDER = "replaced-by-infra-programs.yaml"
_FUNCTION_URI = "functions/${APIHandler.Arn}/invocations"
_ALIAS_URI = "functions/${APIHandlerAliaslive}/invocations"

Template = dict[str, Any]


def render(root: Path, work: Path) -> Template:
    """The whole template of a checkout. ``work`` is an empty directory for what is made on the way.

    Raises PackageError where two parts define the same thing, Chalice fails, or a function was left as Chalice made it.
    """
    work.mkdir(parents=True, exist_ok=True)
    merge = work / "merge.json"
    ours = joined({**{name: read_part(root / name) for name in PARTS}, "the saved queries": saved_queries.resources()})
    saved_queries.add_widgets(ours)
    merge.write_text(json.dumps(ours))
    project = work / "project"
    copied(program_files(root) | {".chalice/config.json": root / ".chalice/config.json"}, project)
    (project / "requirements.txt").touch()
    template = _packaged_by_chalice(project, merge, work / "out")
    text = json.dumps(template)
    routed: Template = json.loads(text.replace(_FUNCTION_URI, _ALIAS_URI))
    _check(routed, text.count(_FUNCTION_URI))
    return routed


def read_part(path: Path) -> Template:
    """A part as plain data: short tags such as ``!Ref`` in their long form, anchors resolved."""
    part: Template = YAMLTemplateSerializer().load_template(path.read_text(encoding="utf-8"), str(path))
    return part


def joined(parts: Mapping[str, Template]) -> Template:
    """One template of several, by section; PackageError when two define the same name."""
    whole: Template = {}
    for name, part in parts.items():
        for section, content in part.items():
            if not isinstance(content, dict):
                whole[section] = content
                continue
            known = whole.setdefault(section, {})
            twice = sorted(known.keys() & content.keys())
            if twice:
                raise PackageError(f"{name}: {section} {', '.join(twice)} are in another part too")
            known.update(content)
    return whole


def _packaged_by_chalice(project: Path, merge: Path, out: Path) -> Template:
    arguments = ["package", "--stage", STAGE, "--merge-template", str(merge), str(out)]
    program = f"import sys; from chalice.cli import main; sys.argv = ['chalice', *{arguments!r}]; sys.exit(main())"
    # Its region only names the partition's endpoints in the template, which do not differ.
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PackageError(f"chalice package failed:\n{done.stdout.strip()}\n{done.stderr.strip()}")
    template: Template = json.loads((out / "sam.json").read_text(encoding="utf-8"))
    return template


def _check(template: Template, routes: int) -> None:
    if not routes:
        raise PackageError("no route names the API's function as expected: Chalice writes another template by now")
    for name, resource in template["Resources"].items():
        if "Type" not in resource:
            raise PackageError(f"{name} is laid over a resource that Chalice does not make")
        if resource["Type"] == "AWS::Serverless::Function" and _PLACEHOLDER in json.dumps(resource["Properties"]):
            raise PackageError(f"{name} has no role in infra/programs.yaml")
