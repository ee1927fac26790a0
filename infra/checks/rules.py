"""The checks. Each returns a sentence for every violation in a stack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from chalicelib import metrics
from infra.checks.combinations import STACK_NAME, Stack
from infra.checks.graph import closure, grants
from infra.package import PYTHON

NETWORK_ACTIONS: Final = (
    *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"),
    *("ec2:DescribeSubnets", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
)
"""Actions without which Lambda refuses to create a function in a VPC."""

PHYSICAL_NAMES: Final = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::ECR::Repository": "RepositoryName",
    "AWS::Cognito::UserPool": "UserPoolName",
    "AWS::RDS::DBInstance": "DBInstanceIdentifier",
    "AWS::RDS::DBCluster": "DBClusterIdentifier",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SQS::Queue": "QueueName",
}
"""Types whose names are given once in an account, and the property with the name."""

KEEP_DATA: Final = tuple(list(PHYSICAL_NAMES)[:5])
"""Types that a deleted stack must leave behind, or of which it must leave a snapshot."""

_KEPT: Final = ("RetainExceptOnCreate", "Snapshot")
_SCHEDULED_METRICS: Final = frozenset({metrics.COUNTER_OVER_THRESHOLD.name})
"""Metrics that a schedule logs at each run, so that silence means that it does not run."""


def vpc_order(stack: Stack) -> Iterator[str]:
    """Find functions in a VPC that exist before, or after, their role may make network interfaces."""
    for name, function in stack.of_type("Lambda::Function").items():
        role = _role_of(stack, function.get("Role"))
        if "VpcConfig" not in function or role is None:
            continue
        allowed = grants(stack, role, closure(stack, name))
        missing = [action for action in NETWORK_ACTIONS if not any(fnmatchcase(action, one) for one in allowed)]
        if missing:
            yield f"{name} may be created before, or deleted after, {role} allows {', '.join(missing)}"


def _role_of(stack: Stack, role: Any) -> str | None:
    match role:
        case {"Fn::GetAtt": [str(name), "Arn"]} if name in stack.resources:
            return str(name)
    return None


def retain_on_create(stack: Stack) -> Iterator[str]:
    """Find resources that survive a failed first creation, or that do not survive the deletion of the stack."""
    first = stack.is_first()
    for name, resource in stack.resources.items():
        policy, properties = resource.get("DeletionPolicy"), resource.get("Properties", {})
        # SAM keeps the versions of a function, which are deleted with it.
        if policy == "Retain" and resource["Type"] != "AWS::Lambda::Version":
            yield f"{name} survives a failed creation, and its name blocks the next one"
        # An instance of Aurora has no data of its own.
        keeps = resource["Type"] in KEEP_DATA and "DBClusterIdentifier" not in properties
        keeps = keeps or resource["Type"] == "AWS::RDS::DBCluster"
        if keeps and policy not in (*_KEPT, "Retain"):
            yield f"{name} is deleted with the stack, and its data too"
        if keeps and resource.get("UpdateReplacePolicy") not in ("Retain", "Snapshot"):
            yield f"{name} is deleted when an update replaces it, and its data too"
        if first and properties.get("DeletionProtection") in ("ACTIVE", True, "true"):
            yield f"{name} is protected while it is first created, so a failed creation cannot remove it"


def runtime_matches_zip(stack: Stack) -> Iterator[str]:
    """Find functions whose runtime is not the Python for which the zip's packages were built."""
    for name, function in stack.of_type("Lambda::Function").items():
        if function.get("PackageType") != "Image" and function.get("Runtime") != f"python{PYTHON}":
            yield f"{name} runs {function.get('Runtime')}, the zip is for Python {PYTHON}"


REFUSALS: Final = ("DEFAULT_4XX", "DEFAULT_5XX")
PASSING: Final = ("DEFAULT_5XX", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT", "THROTTLED")
"""API Gateway's own errors after which a client shall try again."""


def gateway_responses(stack: Stack) -> Iterator[str]:
    """Find errors of API Gateway that a page cannot read, or that do not say when to try again."""
    for name, api in stack.of_type("ApiGateway::RestApi").items():
        responses = api.get("Body", {}).get("x-amazon-apigateway-gateway-responses", {})
        for kind in sorted({*REFUSALS, *PASSING, *responses}):
            response = responses.get(kind, {})
            headers = {key.rpartition(".")[2] for key in response.get("responseParameters", {})}
            needed = {"Access-Control-Allow-Origin", *(["Retry-After"] if kind in PASSING else [])}
            if missing := sorted(needed - headers):
                yield f"{name}: {kind} has no {', '.join(missing)}"
            if not _has_detail(response.get("responseTemplates", {}).get("application/json", "")):
                yield f"{name}: {kind} has no JSON with a detail"


def _has_detail(template: str) -> bool:
    try:
        body = json.loads(template.replace("$context.error.messageString", '"text"'))
    except ValueError:
        return False
    return isinstance(body, dict) and isinstance(body.get("detail"), str)


def alarms_breach_on_silence(stack: Stack) -> Iterator[str]:
    """Find alarms that stay silent when what they watch does, and schedules that no alarm watches."""
    watched, topics = set(), stack.of_type("SNS::Topic")
    for name, alarm in stack.of_type("CloudWatch::Alarm").items():
        silent, metrics_of = alarm.get("TreatMissingData"), list(_metrics(alarm))
        if silent not in ("breaching", "notBreaching"):
            yield f"{name} does not say what missing data means"
        if not alarm.get("AlarmActions"):
            yield f"{name} tells nobody"
        tells = any(action["Ref"] in topics for action in alarm.get("AlarmActions", []))
        few = alarm["ComparisonOperator"].startswith("Less")
        heard = any(one["Namespace"] == "AWS/RDS" or one["MetricName"] in _SCHEDULED_METRICS for one in metrics_of)
        if tells and silent != "breaching" and (few or heard):
            yield f"{name} is silent when its metric is"
        for one in metrics_of:
            if one["Namespace"] == metrics.NAMESPACE and _dimension(one, metrics.STACK) != STACK_NAME:
                yield f"{name} watches {one['MetricName']} of all stacks"
            if few and tells and one["MetricName"] == "Invocations" and silent == "breaching":
                watched |= {str(_dimension(one, "FunctionName"))}
    for name, rule in stack.of_type("Events::Rule").items():
        functions = {str({"Ref": target["Arn"]["Fn::GetAtt"][0]}) for target in rule["Targets"]}
        if "ScheduleExpression" in rule and not functions <= watched:
            yield f"{name} may stop, and no alarm would tell"


def _metrics(alarm: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "MetricName" in alarm:
        yield alarm
    yield from (one["MetricStat"]["Metric"] for one in alarm.get("Metrics", []) if "MetricStat" in one)


def _dimension(metric: Mapping[str, Any], name: str) -> Any:
    return next((one["Value"] for one in metric.get("Dimensions", []) if one["Name"] == name), None)


RULES: Final[Mapping[str, Callable[[Stack], Iterable[str]]]] = {
    rule.__name__: rule
    for rule in (vpc_order, retain_on_create, runtime_matches_zip, gateway_responses, alarms_breach_on_silence)
}
"""The checks of one stack by name. :mod:`.network` has the one of two stacks."""
