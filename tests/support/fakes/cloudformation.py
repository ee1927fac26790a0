"""CloudFormation in the order that suits a template least, with what AWS refuses because of the order.

Linters and moto do not know it: a grant that is created after the function that needs it, a name that a failed creation
left behind, a network that is deleted before its user.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from infra.checks.combinations import Stack
from infra.checks.graph import unfavourable_order
from infra.checks.rules import NETWORK_ACTIONS, PHYSICAL_NAMES

PROTECTED = ("ACTIVE", True, "true")


class RefusedError(Exception):
    """AWS refuses to create or to delete a resource."""


@dataclass
class Account:
    """What outlives a stack: the resources that exist, by stack and logical name, and the names that are in use."""

    existing: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    names: set[tuple[str, str]] = field(default_factory=set)
    status: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def create(self, name: str, stack: Stack, fails_at: str | None = None) -> str:
        """Create a stack and return its status. ``fails_at`` is a resource that AWS cannot create."""
        if self.status.get(name, "DELETE_COMPLETE") != "DELETE_COMPLETE":
            raise RefusedError(f"stack {name} exists: {self.status[name]}")
        made = self.existing[name] = {}
        try:
            for logical in unfavourable_order(stack):
                if logical == fails_at:
                    raise RefusedError(f"{logical} exceeds a quota")
                self._add(name, logical, stack.resources[logical])
        except RefusedError as error:
            self.events.append(str(error))
            self.status[name] = self._remove_all(name, list(reversed(made)), "ROLLBACK", "RetainExceptOnCreate")
        else:
            self.status[name] = "CREATE_COMPLETE"
        return self.status[name]

    def delete(self, name: str) -> str:
        """Delete a stack in the reverse order and return its status."""
        self.status[name] = self._remove_all(name, list(reversed(self.existing[name])), "DELETE", "Delete")
        return self.status[name]

    def _add(self, name: str, logical: str, resource: dict[str, Any]) -> None:
        key = _physical(resource)
        if key in self.names:
            raise RefusedError(f"{logical}: {key[1]} already exists")
        self._check_order(name, logical, resource)
        self.existing[name][logical] = resource
        if key[1]:
            self.names.add(key)

    def _remove_all(self, name: str, order: Iterable[str], what: str, deletes: str) -> str:
        """Delete resources, except those that are kept. ``deletes`` is the policy that does not keep one now."""
        for logical in order:
            resource = self.existing[name][logical]
            if resource.get("DeletionPolicy", "Delete") not in ("Delete", "Snapshot", deletes):
                del self.existing[name][logical]  # it exists, but not in the stack
                continue
            try:
                self._check_protection(logical, resource)
                del self.existing[name][logical]
                self._check_deletion(name, logical, resource)
            except RefusedError as error:
                self.existing[name][logical] = resource
                self.events.append(str(error))
                return f"{what}_FAILED"
            self.names.discard(_physical(resource))
        return f"{what}_COMPLETE"

    def _check_order(self, name: str, logical: str, resource: Mapping[str, Any]) -> None:
        """Refuse a resource that AWS would refuse with what exists now."""
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::Lambda::Function" if "VpcConfig" in properties:
                self._require(name, logical, properties["Role"], NETWORK_ACTIONS)
            case "AWS::Lambda::EventSourceMapping":
                function = self.existing[name][properties["FunctionName"]["Ref"]]
                self._require(
                    name, logical, function["Properties"]["Role"], ("sqs:ReceiveMessage", "sqs:DeleteMessage")
                )
            case "AWS::EC2::Route" if "GatewayId" in properties:
                self._require_attached(name, logical, properties["GatewayId"])
            case "AWS::EC2::NatGateway":
                self._require_way_out(name, logical)

    def _check_deletion(self, name: str, logical: str, resource: Mapping[str, Any]) -> None:
        """Refuse to delete a resource without which another one stops to be allowed. It is gone already."""
        if resource["Type"] == "AWS::EC2::VPCGatewayAttachment" and self._of_type(name, "AWS::EC2::EIP"):
            raise RefusedError(f"{logical}: public addresses are mapped to the network")
        for other, user in self._of_type(name, "AWS::Lambda::Function").items():
            properties = user["Properties"]
            if "VpcConfig" in properties and resource["Type"].startswith("AWS::IAM::"):
                self._require(name, f"the network interfaces of {other}", properties["Role"], NETWORK_ACTIONS)

    @staticmethod
    def _check_protection(logical: str, resource: Mapping[str, Any]) -> None:
        if resource.get("Properties", {}).get("DeletionProtection") in PROTECTED:
            raise RefusedError(f"{logical} is protected from deletion")

    def _require(self, name: str, what: str, role: Any, actions: Iterable[str]) -> None:
        if not isinstance(role, dict):
            return
        allowed = list(self._allowed(name, role["Fn::GetAtt"][0]))
        missing = [action for action in actions if not any(fnmatchcase(action, one) for one in allowed)]
        if missing:
            raise RefusedError(f"{what}: the role may not yet, or no longer, {', '.join(missing)}")

    def _allowed(self, name: str, role: str) -> Iterable[str]:
        """Return the actions of a role by everything that exists now."""
        for logical, resource in self.existing[name].items():
            properties = resource.get("Properties", {})
            documents = [one["PolicyDocument"] for one in properties.get("Policies", [])] if logical == role else []
            if {"Ref": role} in properties.get("Roles", []):
                documents.append(properties["PolicyDocument"])
            for statement in (one for document in documents for one in document["Statement"]):
                action = statement["Action"]
                yield from [action] if isinstance(action, str) else action

    def _require_attached(self, name: str, logical: str, gateway: Any) -> None:
        attached = self._of_type(name, "AWS::EC2::VPCGatewayAttachment").values()
        if not any(one["Properties"]["InternetGatewayId"] == gateway for one in attached):
            raise RefusedError(f"{logical}: the gateway is not attached")

    def _require_way_out(self, name: str, logical: str) -> None:
        if not self._of_type(name, "AWS::EC2::VPCGatewayAttachment"):
            raise RefusedError(f"{logical}: the network has no gateway to the Internet")

    def _of_type(self, name: str, kind: str) -> dict[str, dict[str, Any]]:
        return {logical: one for logical, one in self.existing[name].items() if one["Type"] == kind}


class Order:
    """Creates each new stack of a deployment in the order that suits it least, and returns why AWS would refuse it.

    The template of the stack ``name`` is replaced by ``product``, the whole one, and its creation ends at ``fails_at``.
    """

    def __init__(self, name: str, product: Any, fails_at: str | None = None) -> None:
        self.account = Account()
        self.name, self.product, self.fails_at = name, product, fails_at

    def __call__(self, name: str, template: Any, parameters: Mapping[str, str]) -> str | None:
        template = self.product if name == self.name else template
        values: dict[str, Any] = {}
        for key, parameter in template["Parameters"].items():
            value = str(parameters.get(key, parameter.get("Default")))
            values[key] = value.split(",") if "List" in parameter["Type"] else value
        if self.account.status.get(name) == "ROLLBACK_COMPLETE":
            self.account.delete(name)
        fails_at = self.fails_at if name == self.name else None
        if self.account.create(name, Stack(template, values), fails_at) == "CREATE_COMPLETE":
            return None
        return self.account.events[-1]


def _physical(resource: Mapping[str, Any]) -> tuple[str, str]:
    """Return type and given name of a resource. The name is empty if CloudFormation makes one."""
    name = resource.get("Properties", {}).get(PHYSICAL_NAMES.get(resource["Type"], ""), "")
    return resource["Type"], name if isinstance(name, str) else json.dumps(name)
