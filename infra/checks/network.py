"""The check of two stacks: what the programs call against the ways out of the network that they are in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from infra.checks.combinations import Stack
from infra.checks.graph import grants

HTTPS: Final = 443
EVERYWHERE: Final = "0.0.0.0/0"

ENDPOINTS: Final[Mapping[str, tuple[str, ...]]] = {
    # An image's layers are in S3.
    "ecr": ("ecr.api", "ecr.dkr", "s3"),
    "s3": ("s3",),
    "sqs": ("sqs",),
    "logs": ("logs",),
    "cognito-idp": ("cognito-idp",),
    "secretsmanager": ("secretsmanager",),
    "events": ("events",),
}
"""Endpoints by the prefix of the actions that need them."""

ELSEWHERE: Final = frozenset({"ec2", "ecs", "rds-db"})
"""Prefixes of actions that no program calls over the network: Lambda's, those of Fargate's agent, and a login's."""


class Call(NamedTuple):
    """A service that a program calls."""

    program: str
    service: str


def calls(program: Stack) -> frozenset[Call]:
    """Return the calls of everything that runs in the network, by the actions that its roles allow."""
    return frozenset(
        Call(name, service)
        for name, role, of_lambda in _programs(program)
        # Lambda itself writes the log of a function, from outside of the network.
        for prefix in _services(program, role) - ({"logs"} if of_lambda else set())
        for service in ENDPOINTS[prefix]
    )


def ecs_can_start(needed: Collection[Call], network: Stack) -> Iterator[str]:
    """Find services that a task in ECS or a Lambda in the VPC calls and cannot reach in the network."""
    programs = _security_groups(network)
    for name, service in sorted(needed):
        for subnet in _private_subnets(network):
            if fault := _fault(network, subnet, programs, service):
                yield f"{name} cannot reach {service} from {subnet}: {fault}"


def programs_reach_database(network: Stack, database: Stack) -> Iterator[str]:
    """Find security groups that keep the programs of the network from the database in it."""
    port, programs = int(database.values["DatabasePort"]), _security_groups(network)
    if not any(_opens(rule, port) for group in programs for rule in _egress(network, group)):
        yield f"the programs' security group lets nothing out to port {port}"
    inwards = [
        rule
        for group in database.of_type("EC2::SecurityGroup").values()
        for rule in group.get("SecurityGroupIngress", [])
    ]
    admitted = [rule.get("SourceSecurityGroupId") for rule in inwards if _opens(rule, port)]
    if database.values["SecurityGroupIds"][0] not in admitted:
        yield f"the database's security group does not admit the programs to port {port}"


def _programs(stack: Stack) -> Iterator[tuple[str, str, bool]]:
    """Return (name, role, is a Lambda) of all that runs in the network."""
    for name, function in stack.of_type("Lambda::Function").items():
        if "VpcConfig" in function:
            yield name, function["Role"]["Fn::GetAtt"][0], True
    for name, task in stack.of_type("ECS::TaskDefinition").items():
        for role in ("ExecutionRoleArn", "TaskRoleArn"):
            yield name, task[role]["Fn::GetAtt"][0], False


def _services(stack: Stack, role: str) -> set[str]:
    """Return the prefixes of the actions that a role allows, such as ``sqs``."""
    return {action.partition(":")[0] for action in grants(stack, role, ())} - ELSEWHERE


def _fault(network: Stack, subnet: str, programs: set[str], service: str) -> str:
    """Return why programs in a subnet cannot reach a service, or an empty text."""
    table = _route_table(network, subnet)
    endpoint = next((one for one in network.of_type("EC2::VPCEndpoint").values() if _service_of(one) == service), None)
    if not any(_lets_out(network, group) for group in programs):
        return "the programs' security group lets no HTTPS out"
    if endpoint is not None and endpoint["VpcEndpointType"] == "Gateway":
        return "" if {"Ref": table} in endpoint["RouteTableIds"] else f"{table} has no route to its endpoint"
    if endpoint is not None:
        return _interface_fault(network, endpoint, programs)
    routes = network.of_type("EC2::Route").values()
    by_nat = any(
        route["RouteTableId"] == {"Ref": table}
        and "NatGatewayId" in route
        and route["DestinationCidrBlock"] == EVERYWHERE
        for route in routes
    )
    return "" if by_nat else "there is neither an endpoint nor a NAT gateway"


def _interface_fault(network: Stack, endpoint: Mapping[str, Any], programs: set[str]) -> str:
    if not endpoint.get("PrivateDnsEnabled"):
        return "its endpoint does not answer under the service's usual name"
    groups = {_group(one) for one in endpoint["SecurityGroupIds"]}
    if not any(_lets_in(network, group, programs) for group in groups):
        return "its endpoint's security group does not admit the programs"
    return ""


def _service_of(endpoint: Mapping[str, Any]) -> str:
    return re.sub(r"^com\.amazonaws\.[a-z0-9-]+\.", "", str(endpoint["ServiceName"]))


def _security_groups(network: Stack) -> set[str]:
    """Return the security groups that the network hands to the programs."""
    text = repr(network.template["Outputs"]["SecurityGroupIds"]["Value"])
    return {name for name in network.of_type("EC2::SecurityGroup") if f"'{name}'" in text or f"'{name}." in text}


def _private_subnets(network: Stack) -> list[str]:
    """Return the subnets that the network hands to the programs."""
    text = repr(network.template["Outputs"]["SubnetIds"]["Value"])
    return [name for name in network.of_type("EC2::Subnet") if f"'{name}'" in text]


def _route_table(network: Stack, subnet: str) -> str:
    for one in network.of_type("EC2::SubnetRouteTableAssociation").values():
        if one["SubnetId"] == {"Ref": subnet}:
            return str(one["RouteTableId"]["Ref"])
    return "the VPC's main route table"


def _group(reference: Any) -> str:
    match reference:
        case {"Fn::GetAtt": [str(name), "GroupId"]} | {"Ref": str(name)}:
            return str(name)
    return str(reference)


def _egress(network: Stack, group: str) -> list[dict[str, Any]]:
    everything = [{"IpProtocol": "-1", "CidrIp": EVERYWHERE}]
    # A group that says nothing of egress lets everything out.
    rules: list[dict[str, Any]] = network.resources[group]["Properties"].get("SecurityGroupEgress", everything)
    return rules


def _lets_out(network: Stack, group: str) -> bool:
    return any(_opens(rule, HTTPS) and rule.get("CidrIp") == EVERYWHERE for rule in _egress(network, group))


def _lets_in(network: Stack, group: str, programs: set[str]) -> bool:
    rules = network.resources[group]["Properties"].get("SecurityGroupIngress", [])
    return any(_opens(rule, HTTPS) and _group(rule.get("SourceSecurityGroupId")) in programs for rule in rules)


def _opens(rule: Mapping[str, Any], port: int) -> bool:
    every = str(rule["IpProtocol"]) == "-1"
    return every or (rule["IpProtocol"] == "tcp" and int(rule["FromPort"]) <= port <= int(rule["ToPort"]))
