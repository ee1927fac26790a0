"""The network of each choice of egress and compute, created by moto."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from infra.package.template import PARTS, read_part
from tests.support.clouds import ROOT, account, create

pytestmark = pytest.mark.slow

TEMPLATE = "infra/network.yaml"
OF_ALL = {"s3"}
OF_PROGRAMS = {"sqs", "cognito-idp", "secretsmanager"}
"""The services that a program calls itself; migrations read the login of the database."""
OF_A_TASK = {"ecr.api", "ecr.dkr", "logs"}
"""The services that Fargate calls for a task, through the network of the task."""
OF_A_BUS = {"events"}


@pytest.fixture(autouse=True)
def empty_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with account(monkeypatch):
        yield


@pytest.mark.parametrize(
    ("egress", "compute", "bus", "endpoints", "gateways"),
    [
        ("nat", "lambda", "events", OF_ALL, 1),
        ("nat", "ecs", "", OF_ALL, 1),
        ("nat-per-zone", "lambda", "", OF_ALL, 2),
        ("endpoints", "lambda", "", OF_ALL | OF_PROGRAMS, 0),
        ("endpoints", "lambda", "events", OF_ALL | OF_PROGRAMS | OF_A_BUS, 0),
        ("endpoints", "ecs", "", OF_ALL | OF_PROGRAMS | OF_A_TASK, 0),
    ],
)
def test_each_way_out_reaches_what_the_programs_call(
    egress: str, compute: str, bus: str, endpoints: set[str], gateways: int
) -> None:
    outputs = create("network", TEMPLATE, {"Egress": egress, "TrainingCompute": compute, "EventBusName": bus})
    ec2 = boto3.client("ec2")
    of_vpc = [{"Name": "vpc-id", "Values": [outputs["VpcId"]]}]
    found = ec2.describe_vpc_endpoints(Filters=of_vpc)["VpcEndpoints"]
    assert {one["ServiceName"].removeprefix("com.amazonaws.us-east-1.") for one in found} == endpoints
    # Under its usual name, in both zones, or the programs would call the public address in vain.
    interfaces = [one for one in found if one["VpcEndpointType"] == "Interface"]
    assert all(one["PrivateDnsEnabled"] for one in interfaces)
    assert all(sorted(one["SubnetIds"]) == sorted(outputs["SubnetIds"].split(",")) for one in interfaces)
    nats = ec2.describe_nat_gateways(Filter=of_vpc)["NatGateways"]
    assert len({one["SubnetId"] for one in nats}) == len(nats) == gateways
    assert not {one["SubnetId"] for one in nats} & set(outputs["SubnetIds"].split(","))
    ways = [
        route.get("NatGatewayId") or route.get("GatewayId")
        for table in ec2.describe_route_tables(Filters=of_vpc)["RouteTables"]
        for route in table["Routes"]
        if route.get("DestinationCidrBlock") == "0.0.0.0/0"
    ]
    # Of the public subnets to the Internet, and of each private one to a NAT gateway.
    assert len(ways) == (3 if gateways else 0)
    assert {one["NatGatewayId"] for one in nats} == {way for way in ways if str(way).startswith("nat-")}


def test_private_subnets_are_in_two_zones() -> None:
    outputs = create("network", TEMPLATE, {"Zones": "us-east-1c,us-east-1d"})
    subnets = boto3.client("ec2").describe_subnets(SubnetIds=outputs["SubnetIds"].split(","))["Subnets"]
    assert {one["AvailabilityZone"] for one in subnets} == {"us-east-1c", "us-east-1d"}
    assert not any(one["MapPublicIpOnLaunch"] for one in subnets)


def test_nothing_connects_to_the_programs() -> None:
    outputs = create("network", TEMPLATE, {})
    (group,) = boto3.client("ec2").describe_security_groups(GroupIds=[outputs["SecurityGroupIds"]])["SecurityGroups"]
    assert group["IpPermissions"] == []


def test_its_outputs_are_parameters_of_the_product() -> None:
    parameters = {name for part in PARTS for name in read_part(ROOT / part).get("Parameters", {})}
    assert set(read_part(ROOT / TEMPLATE)["Outputs"]) - {"VpcId"} <= parameters
