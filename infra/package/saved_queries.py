"""The named queries of ``studysmart logs`` in the template: saved in CloudWatch, and as widgets of its dashboard."""

from __future__ import annotations

import json
from typing import Any, Final

from infra.log_queries import BY_NAME, QUERIES, LogQuery, text_of

WIDGETS: Final = ("fallbacks", "requests", "versions", "errors")
"""The queries whose answers the dashboard shows, two in a row."""

_WIDTH, _HEIGHT = 12, 6


def resources() -> dict[str, Any]:
    """The saved queries as a part of the template, named ``<stack>/<query>``."""
    return {"Resources": {_logical_name(query): _definition(query) for query in QUERIES}}


def add_widgets(template: dict[str, Any]) -> None:
    """Add the answers of :data:`WIDGETS` below the other widgets of the resource ``Dashboard``."""
    body = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    # Substitutions stand inside of its strings only, so the text is JSON before they are made too.
    dashboard = json.loads(body["Fn::Sub"])
    below = max(widget["y"] + widget["height"] for widget in dashboard["widgets"])
    dashboard["widgets"] += [_widget(BY_NAME[name], place, below) for place, name in enumerate(WIDGETS)]
    body["Fn::Sub"] = json.dumps(dashboard)


def _logical_name(query: LogQuery) -> str:
    return "".join(word.capitalize() for word in query.name.split("-")) + "Query"


def _definition(query: LogQuery) -> dict[str, Any]:
    return {
        "Type": "AWS::Logs::QueryDefinition",
        "Properties": {
            "Name": {"Fn::Sub": f"${{AWS::StackName}}/{query.name}"},
            "LogGroupNames": [{"Ref": f"{program}LogGroup"} for program in query.programs],
            "QueryString": f"# {query.question}\n{text_of(query, ['paste the id here'])}",
        },
    }


def _widget(query: LogQuery, place: int, below: int) -> dict[str, Any]:
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
