"""What the roles of the template may do, against what the programs needed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from infra.check.calls import Need


class Grant(NamedTuple):
    """One action on one resource that a role may use. ``resource`` is a pattern of ARNs."""

    role: str
    action: str
    resource: str


BY_AWS = {
    ("*", "logs:CreateLogStream"): "Lambda and ECS write what a program prints",
    ("*", "logs:PutLogEvents"): "Lambda and ECS write what a program prints",
    ("TrainingRole", "sqs:GetQueueAttributes"): "Lambda's event source looks how many requests wait",
    ("TaskStartRole", "*"): "ECS starts the task with it",
    ("NetworkPolicy", "*"): "Lambda makes its network interfaces with it",
}
"""(role, action) that no program uses itself, and who does."""


def grants_of(template: Mapping[str, Any], values: Mapping[str, str]) -> list[Grant]:
    """All grants of the template's roles. ``values`` are what ``Ref`` and ``Fn::GetAtt`` give, by ``Name`` and
    ``Name.Attribute``; what they lack stays as it is named."""
    found: list[Grant] = []
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            documents = [policy["PolicyDocument"] for policy in resource["Properties"].get("Policies", [])]
        elif resource["Type"] == "AWS::IAM::Policy":
            documents = [resource["Properties"]["PolicyDocument"]]
        else:
            continue
        for document in documents:
            found += _of_document(name, document, values)
    return found


def _of_document(role: str, document: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[Grant]:
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow", f"{role}: only grants are understood here"
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                yield Grant(role, action, _resolved(resource, values))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _resolved(value: Any, values: Mapping[str, str]) -> str:
    if isinstance(value, str):
        return value
    ((function, argument),) = value.items()
    if function == "Fn::GetAtt":
        name = ".".join(argument)
        return values.get(name, name)
    if function == "Ref":
        return values.get(argument, argument)
    assert function == "Fn::Sub", value
    return re.sub(r"\$\{([^}]+)\}", lambda found: values.get(found[1], found[0]), argument)


def missing(grants: Collection[Grant], needs: Collection[Need]) -> list[Need]:
    """Needs that no grant covers."""
    return sorted(need for need in needs if not any(covers(grant, need) for grant in grants))


def unused(grants: Collection[Grant], needs: Collection[Need]) -> list[Grant]:
    """Grants that no need is covered by, those aside that AWS itself uses."""
    return sorted(
        grant for grant in grants if not used_by_aws(grant) and not any(covers(grant, need) for need in needs)
    )


def covers(grant: Grant, need: Need) -> bool:
    """Whether the grant allows the call."""
    return (
        grant.role == need.role
        and fnmatchcase(need.action, grant.action)
        and fnmatchcase(need.resource, grant.resource)
    )


def used_by_aws(grant: Grant) -> bool:
    """Whether :data:`BY_AWS` says who uses it."""
    return any(key in BY_AWS for key in (("*", grant.action), (grant.role, grant.action), (grant.role, "*")))
