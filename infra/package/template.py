"""The CloudFormation template of the whole backend: the parts in ``infra/``, joined with Chalice's part for app.py.

``chalice package --merge-template`` writes the functions, routes and schedules, and merges the parts into them. It
packages the program without dependencies, because the zip is built here (decision 8). Two things no merge can do are
changed afterwards: the routes call the alias that a deployment moves, and the runtime is the zip's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chalice.package import YAMLTemplateSerializer

from infra.log_queries import BY_NAME, QUERIES, LogQuery, text_of
from infra.package import ARCHITECTURES, PYTHON, PackageError, run, trim

TEMPLATE: Final = "build/template.json"
"""Path of the rendered template in the checkout, next to the zip."""

STATE: Final = "infra/template.yaml"
"""The part from which the one-machine stack creates its resources."""

PARTS: Final = (STATE, "infra/roles.yaml", "infra/programs.yaml", "infra/alarms.yaml")

STAGE: Final = "prod"

WIDGETS: Final = ("fallbacks", "requests", "versions", "errors")
"""The queries whose results the dashboard shows, two in a row."""

_WIDTH, _HEIGHT = 12, 6
_PLACEHOLDER = "replaced-by-infra-programs.yaml"
_FUNCTION_URI = "functions/${APIHandler.Arn}/invocations"
_ALIAS_URI = "functions/${APIHandlerAliaslive}/invocations"

Template = dict[str, Any]


def render(root: Path, work: Path, architecture: str = ARCHITECTURES[0]) -> Template:
    """Return the whole template of a checkout, for a zip of ``architecture``.

    ``work`` is a directory for intermediate files.

    Raises PackageError when two parts define the same name, when Chalice fails, or when a part refers to a function
    that Chalice does not make.
    """
    work.mkdir(parents=True, exist_ok=True)
    ours = joined({**{name: read_part(root / name) for name in PARTS}, "the saved queries": saved_queries()})
    add_widgets(ours)
    merge = work / "merge.json"
    merge.write_text(json.dumps(ours))
    project = work / "project"
    trim.copy_program(root, project)
    (project / ".chalice").mkdir()
    (project / ".chalice/config.json").write_bytes((root / ".chalice/config.json").read_bytes())
    (project / "requirements.txt").touch()
    text = json.dumps(_packaged_by_chalice(project, merge, work / "out"))
    if _FUNCTION_URI not in text:
        raise PackageError("no route calls the API's function: Chalice's template has changed")
    template: Template = json.loads(text.replace(_FUNCTION_URI, _ALIAS_URI))
    for name, resource in template["Resources"].items():
        if "Type" not in resource:
            raise PackageError(f"{name} is merged into a resource that Chalice does not make")
        if resource["Type"] == "AWS::Serverless::Function":
            if _PLACEHOLDER in json.dumps(resource["Properties"]):
                raise PackageError(f"{name} has no role in infra/programs.yaml")
            # Chalice writes the version of the Python that runs it.
            resource["Properties"]["Runtime"] = f"python{PYTHON}"
    # A zip holds the extension modules of one processor.
    template["Parameters"]["Architecture"] |= {"Default": architecture, "AllowedValues": [architecture]}
    return template


def read_part(path: Path) -> Template:
    """Read a part as plain data: short tags such as ``!Ref`` in their long form, anchors resolved."""
    part: Template = YAMLTemplateSerializer().load_template(path.read_text(encoding="utf-8"), str(path))
    return part


def joined(parts: Mapping[str, Template]) -> Template:
    """Join several parts by section; raise PackageError when two define the same name."""
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
    # The region only selects the partition of the endpoints in the template.
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    run([sys.executable, "-c", program], "chalice package failed", environment, project)
    template: Template = json.loads((out / "sam.json").read_text(encoding="utf-8"))
    return template


def saved_queries() -> Template:
    """Return the named queries of ``studysmart logs`` as resources named ``<stack>/<query>``."""
    return {"Resources": {f"{query.name.title().replace('-', '')}Query": _definition(query) for query in QUERIES}}


def add_widgets(template: Template) -> None:
    """Add the results of :data:`WIDGETS` below the other widgets of the resource ``Dashboard``."""
    body = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    # Substitutions occur only inside its strings, so the text is JSON before them, too.
    dashboard = json.loads(body["Fn::Sub"])
    below = max(widget["y"] + widget["height"] for widget in dashboard["widgets"])
    dashboard["widgets"] += [_widget(BY_NAME[name], place, below) for place, name in enumerate(WIDGETS)]
    body["Fn::Sub"] = json.dumps(dashboard)


def _definition(query: LogQuery) -> Template:
    return {
        "Type": "AWS::Logs::QueryDefinition",
        "Properties": {
            "Name": {"Fn::Sub": f"${{AWS::StackName}}/{query.name}"},
            "LogGroupNames": [{"Ref": f"{program}LogGroup"} for program in query.programs],
            "QueryString": f"# {query.question}\n{text_of(query, ['paste the id here'])}",
        },
    }


def _widget(query: LogQuery, place: int, below: int) -> Template:
    groups = [f"SOURCE '${{{program}LogGroup}}'" for program in query.programs]
    return {
        "type": "log",
        "x": place % 2 * _WIDTH,
        "y": below + place // 2 * _HEIGHT,
        "width": _WIDTH,
        "height": _HEIGHT,
        "properties": {
            "title": query.question,
            "region": "${AWS::Region}",
            "view": "table",
            "query": " | ".join([*groups, text_of(query, [])]),
        },
    }
