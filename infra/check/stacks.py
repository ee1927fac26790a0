"""The templates in moto's CloudFormation: what it makes, and whether what it made is as the template says."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from moto.cloudformation import parsing

from infra.local.aws import bucket, cognito
from infra.local.aws.resources import client_environment

_PARAMETERS = {
    "DatabaseEndpoint": "db.example",
    "DatabaseSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:database",
    "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/studysmart-training:1",
}

_CODE = {"Bucket": "code-bucket", "Key": "code.zip"}
"""Where infra/check/translate.py says that the code is."""


def client(service: str, endpoint: str) -> Any:
    """A client of moto."""
    variables = client_environment(endpoint)
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )


@dataclass(frozen=True, slots=True)
class Types:
    """Resource types: made by moto's CloudFormation, and those that only linters look at, with the reason."""

    made: list[str]
    lint_only: dict[str, str]


def types_of(translated: Mapping[str, Any], endpoint: str) -> Types:
    """Make each resource in a stack with those that it refers to; what moto does not make is replaced by a name."""
    bucket.register()
    cognito.register()
    known = set(parsing.get_model_map()) - set(cognito.POLICIES)
    cloudformation = client("cloudformation", endpoint)
    client("s3", endpoint).create_bucket(Bucket=_CODE["Bucket"])
    client("s3", endpoint).put_object(**_CODE, Body=_empty_zip())
    resources: Mapping[str, Any] = translated["Resources"]
    reasons = {resource["Type"]: "moto does not know it" for resource in resources.values()}
    reasons = {kind: reason for kind, reason in reasons.items() if kind not in known}
    for number, name in enumerate(resources):
        kind = resources[name]["Type"]
        if kind in reasons:
            continue
        makeable = {other for other in resources if resources[other]["Type"] not in reasons}
        try:
            _make(cloudformation, f"part-{number}", translated, _needed(name, resources, makeable))
        except (ClientError, BotoCoreError, ResponseParserError, RuntimeError) as error:
            reasons[kind] = f"moto could not make {name}: {str(error)[:160]}"
    made = {resource["Type"] for resource in resources.values()} - set(reasons)
    return Types(sorted(made), dict(sorted(reasons.items())))


def _empty_zip() -> bytes:
    content = io.BytesIO()
    zipfile.ZipFile(content, "w").close()
    return content.getvalue()


def _needed(name: str, resources: Mapping[str, Any], makeable: set[str]) -> set[str]:
    """The resource and those of ``makeable`` that it refers to, also by way of others."""
    found: set[str] = set()
    open_ends = {name}
    while open_ends:
        found |= open_ends
        open_ends = {other for one in open_ends for other in _references(resources[one]["Properties"])}
        open_ends = (open_ends & makeable) - found
    return found


def _references(value: Any) -> set[str]:
    """All names that the value refers to."""
    if isinstance(value, list):
        return {name for item in value for name in _references(item)}
    if not isinstance(value, dict):
        return set()
    found = {name for item in value.values() for name in _references(item)}
    if isinstance(ref := value.get("Ref"), str):
        found.add(ref)
    if isinstance(attribute := value.get("Fn::GetAtt"), list):
        found.add(attribute[0])
    if isinstance(text := value.get("Fn::Sub"), str):
        found |= {name.partition(".")[0] for name in re.findall(r"\$\{([^}]+)\}", text)}
    return found


def _make(cloudformation: Any, stack: str, translated: Mapping[str, Any], names: set[str]) -> None:
    resources = translated["Resources"]
    others = set(resources) - names
    plain = {
        name: {key: _without(resources[name][key], others) for key in ("Type", "Properties")} for name in sorted(names)
    }
    cloudformation.create_stack(
        StackName=stack,
        TemplateBody=json.dumps(
            {"Parameters": translated["Parameters"], "Conditions": translated["Conditions"], "Resources": plain}
        ),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in _PARAMETERS.items()],
    )
    found = cloudformation.list_stack_resources(StackName=stack)["StackResourceSummaries"]
    absent = names - {entry["LogicalResourceId"] for entry in found if entry.get("PhysicalResourceId")}
    if absent:
        raise RuntimeError(f"{', '.join(sorted(absent))} are not among the stack's resources")


def _without(value: Any, names: set[str]) -> Any:
    """The value with references to these resources replaced by ARNs that lead nowhere."""
    if isinstance(value, list):
        return [_without(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((function, argument),) = value.items()
        if function == "Ref" and argument in names:
            return _nowhere(argument)
        if function == "Fn::GetAtt" and argument[0] in names:
            return _nowhere(argument[0])
        if function == "Fn::Sub" and isinstance(argument, str):
            pattern = re.compile(r"\$\{(\w+)(\.\w+)?\}")
            return {function: pattern.sub(lambda m: _nowhere(m[1]) if m[1] in names else m[0], argument)}
    return {key: _without(item, names) for key, item in value.items()}


def _nowhere(name: str) -> str:
    return f"arn:aws:none:us-east-1:123456789012:{name}"


def attribute_differences(template: Mapping[str, Any], stack: str, endpoint: str) -> list[str]:
    """What of the running stack's bucket, queues, pool, client and groups is not as the template says.

    Compared are the properties that the services tell; what a property refers to is the running stack's own.
    """
    cloudformation = client("cloudformation", endpoint)
    summaries = cloudformation.list_stack_resources(StackName=stack)["StackResourceSummaries"]
    ids = {entry["LogicalResourceId"]: entry["PhysicalResourceId"] for entry in summaries}
    resolve = _Resolver(template, stack, ids)
    found: list[str] = []
    for name, resource in template["Resources"].items():
        look = _LOOKS.get(resource["Type"])
        if look is None:
            continue
        if name not in ids:
            found.append(f"{name} is not in the running stack")
            continue
        expected = resolve(resource["Properties"])
        actual = look(endpoint, ids, name, expected)
        found += [
            f"{name}.{key}: the template says {_shown(expected[key])}, the stack has {_shown(actual.get(key))}"
            for key in sorted(expected)
            if _text(expected[key]) != _text(actual.get(key))
        ]
    return found


class _Resolver:
    """Resolves what the template of the state uses of intrinsic functions."""

    def __init__(self, template: Mapping[str, Any], stack: str, ids: Mapping[str, str]) -> None:
        defaults = {name: parameter["Default"] for name, parameter in template["Parameters"].items()}
        pseudo = {"AWS::StackName": stack, "AWS::AccountId": "123456789012", "AWS::Region": "us-east-1"}
        arns = {f"{name}.Arn": _arn(value) for name, value in ids.items()}
        self._values = {**defaults, **pseudo, **ids, **arns}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Ref"}:
            return self._values[value["Ref"]]
        if value.keys() == {"Fn::GetAtt"}:
            return self._values[".".join(value["Fn::GetAtt"])]
        if value.keys() == {"Fn::Sub"}:
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(self._values[found[1]]), value["Fn::Sub"])
        return {key: self(item) for key, item in value.items()}


def _arn(physical: str) -> str:
    if physical.startswith("http"):
        return f"arn:aws:sqs:us-east-1:123456789012:{physical.rpartition('/')[2]}"
    return f"arn:aws:s3:::{physical}"


def _bucket(endpoint: str, ids: Mapping[str, str], name: str, _: Mapping[str, Any]) -> dict[str, Any]:
    s3, bucket_name = client("s3", endpoint), ids[name]
    encryption = s3.get_bucket_encryption(Bucket=bucket_name)["ServerSideEncryptionConfiguration"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket_name)["Rules"]
    kept = [
        {
            "Id": rule["ID"],
            "Status": rule["Status"],
            "NoncurrentVersionExpiration": rule["NoncurrentVersionExpiration"],
            "AbortIncompleteMultipartUpload": rule["AbortIncompleteMultipartUpload"],
        }
        for rule in rules
    ]
    default = [
        {"ServerSideEncryptionByDefault": rule["ApplyServerSideEncryptionByDefault"]} for rule in encryption["Rules"]
    ]
    return {
        "BucketName": bucket_name,
        "BucketEncryption": {"ServerSideEncryptionConfiguration": default},
        "VersioningConfiguration": {"Status": s3.get_bucket_versioning(Bucket=bucket_name).get("Status")},
        "OwnershipControls": s3.get_bucket_ownership_controls(Bucket=bucket_name)["OwnershipControls"],
        "PublicAccessBlockConfiguration": s3.get_public_access_block(Bucket=bucket_name)[
            "PublicAccessBlockConfiguration"
        ],
        "LifecycleConfiguration": {"Rules": kept},
    }


def _queue(endpoint: str, ids: Mapping[str, str], name: str, _: Mapping[str, Any]) -> dict[str, Any]:
    answer = client("sqs", endpoint).get_queue_attributes(QueueUrl=ids[name], AttributeNames=["All"])
    attributes = answer["Attributes"]
    redrive = attributes.get("RedrivePolicy")
    return {**attributes, "QueueName": ids[name].rpartition("/")[2], "RedrivePolicy": redrive and json.loads(redrive)}


def _pool(endpoint: str, ids: Mapping[str, str], name: str, expected: Mapping[str, Any]) -> dict[str, Any]:
    pool = client("cognito-idp", endpoint).describe_user_pool(UserPoolId=ids[name])["UserPool"]
    wanted = expected["Policies"]["PasswordPolicy"]
    policy = {key: value for key, value in pool["Policies"]["PasswordPolicy"].items() if key in wanted}
    return {**pool, "UserPoolName": pool["Name"], "Policies": {"PasswordPolicy": policy}}


def _pool_client(endpoint: str, ids: Mapping[str, str], name: str, _: Mapping[str, Any]) -> dict[str, Any]:
    found = client("cognito-idp", endpoint).describe_user_pool_client(UserPoolId=ids["UserPool"], ClientId=ids[name])
    described = found["UserPoolClient"]
    return {**described, "GenerateSecret": "ClientSecret" in described}


def _group(endpoint: str, ids: Mapping[str, str], name: str, _: Mapping[str, Any]) -> dict[str, Any]:
    cognito_idp = client("cognito-idp", endpoint)
    group: dict[str, Any] = cognito_idp.get_group(UserPoolId=ids["UserPool"], GroupName=ids[name])["Group"]
    return group


_LOOKS = {
    "AWS::S3::Bucket": _bucket,
    "AWS::SQS::Queue": _queue,
    "AWS::Cognito::UserPool": _pool,
    "AWS::Cognito::UserPoolClient": _pool_client,
    "AWS::Cognito::UserPoolGroup": _group,
}


def _text(value: Any) -> str:
    """Services give numbers and booleans as text now and then."""
    return re.sub(r'"(true|false|\d+)"', r"\1", json.dumps(value, sort_keys=True).lower())


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:200]
