"""The order in which CloudFormation creates the resources of a stack: after the resources that each refers to.

Among resources that do not refer to each other it may choose any order, and it deletes in the reverse order.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from infra.checks.combinations import Stack

LATE: Final = (
    *("AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::ManagedPolicy"),
    *("AWS::EC2::VPCGatewayAttachment", "AWS::EC2::VPCEndpoint"),
)
"""Types of grants and ways, which an unfavourable order creates as late as it may."""


def references(stack: Stack, name: str) -> set[str]:
    """Return the names of the resources that one refers to directly."""
    resource = stack.resources[name]
    after = resource.get("DependsOn", [])
    named = {after} if isinstance(after, str) else set(after)
    return (named | set(_named(resource.get("Properties", {})))) & stack.resources.keys() - {name}


def closure(stack: Stack, name: str) -> set[str]:
    """Return all resources that exist before ``name`` is created, and until it is deleted."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = references(stack, waiting.pop()) - found
        found |= new
        waiting += new
    return found


def unfavourable_order(stack: Stack) -> list[str]:
    """Return the names in an order that CloudFormation may choose and that creates grants and ways last."""
    needed = {name: references(stack, name) for name in stack.resources}
    order: list[str] = []
    while len(order) < len(needed):
        ready = [name for name, before in needed.items() if name not in order and before <= set(order)]
        if not ready:
            circle = sorted(needed.keys() - set(order))
            raise ValueError(f"these resources refer to each other in a circle: {', '.join(circle)}")
        order.append(min(ready, key=lambda name: (stack.resources[name]["Type"] in LATE, name)))
    return order


def _named(value: Any) -> Iterator[str]:
    match value:
        case {"Ref": str(name)}:
            yield name
        case {"Fn::GetAtt": [str(name), *_]}:
            yield name
        case {"Fn::GetAtt": str(path)}:
            yield path.partition(".")[0]
        case {"Fn::Sub": str(text)}:
            yield from re.findall(r"\$\{(\w+)", text)
        case dict():
            for inner in value.values():
                yield from _named(inner)
        case list():
            for inner in value:
                yield from _named(inner)


def grants(stack: Stack, role: str, before: Collection[str]) -> set[str]:
    """Return the actions that a role allows by policies of its own, and by policies in ``before``."""
    properties = stack.resources[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    for name in before:
        resource = stack.resources[name]
        given = resource.get("Properties", {})
        if resource["Type"] in LATE[:3] and {"Ref": role} in [*given.get("Roles", []), given.get("RoleName")]:
            documents.append(given["PolicyDocument"])
    statements = [one for document in documents for one in document["Statement"] if one["Effect"] == "Allow"]
    actions = (one["Action"] for one in statements)
    return {action for listed in actions for action in ([listed] if isinstance(listed, str) else listed)}
