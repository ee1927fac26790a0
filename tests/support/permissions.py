"""The permissions that calls to AWS need, and those that the template's roles grant.

The permissions of a call are those of AWS's service authorization reference, and for S3 also those that its own
documentation adds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from chalicelib.storage import aws


class Permission(NamedTuple):
    """An action on a resource by a role. In a grant, action and resource may be patterns."""

    role: str
    action: str
    resource: str

    def covers(self, needed: Permission) -> bool:
        return (
            self.role == needed.role
            and fnmatchcase(needed.action, self.action)
            and fnmatchcase(needed.resource, self.resource)
        )


USED_BY_AWS = {
    ("*", "logs:*"): "Lambda and ECS write the log lines of a program",
    ("*", "ec2:*"): "Lambda makes its network interfaces with the function's role",
    ("*", "rds-db:connect"): "RDS checks it when a program logs in by a token, which is signed without a call",
    ("OperatorRole", "s3:AbortMultipartUpload"): "boto3 removes the parts of an upload that fails",
    ("TrainingRole", "sqs:GetQueueAttributes"): "Lambda's event source counts the waiting requests",
    ("TrainingRole", "ecs:*"): "the agent next to a task protects it with the task's role",
    ("TaskStartRole", "*"): "ECS starts the task with it",
}
"""(role, action) of the grants that no program uses itself, and who does."""


class Recorder:
    """Records the permissions that all calls inside :meth:`acting` need."""

    def __init__(self, region: str, account: str) -> None:
        self.needed: set[Permission] = set()
        self._place = f"{region}:{account}"
        self._role: str | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record the calls of the product's one session, which makes every client."""
        events: Any = aws.session()
        handlers = {"provide-client-params.*.*": self._remember, "after-call.*.*": self._record}
        for event, handler in handlers.items():
            events.register(event, handler)
        try:
            yield
        finally:
            for event, handler in handlers.items():
                events.unregister(event, handler)

    @contextmanager
    def acting(self, role: str) -> Iterator[None]:
        """Attribute the calls of all threads to ``role`` for the time of the block."""
        before, self._role = self._role, role
        try:
            yield
        finally:
            self._role = before

    def _remember(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["studysmart_params"] = dict(params)

    def _record(self, model: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        # Operations without authentication, such as signing in, need no permission.
        if self._role is None or model.auth_type == "none":
            return
        status = parsed["ResponseMetadata"]["HTTPStatusCode"]
        needed = self._needed_by(model.service_model.service_name, model.name, context["studysmart_params"], status)
        self.needed |= {Permission(self._role, action, resource) for action, resource in needed}

    def _needed_by(
        self, service: str, operation: str, params: Mapping[str, Any], status: int
    ) -> Iterator[tuple[str, str]]:
        match service, operation:
            case "sqs", _:
                name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
                yield f"sqs:{operation}", f"arn:aws:sqs:{self._place}:{name}"
            case "cognito-idp", _:
                yield f"{service}:{operation}", f"arn:aws:cognito-idp:{self._place}:userpool/{params['UserPoolId']}"
            case "events", "PutEvents" | "DescribeEventBus":
                name = params["Name"] if operation == "DescribeEventBus" else params["Entries"][0]["EventBusName"]
                yield f"events:{operation}", f"arn:aws:events:{self._place}:event-bus/{name}"
            case "s3", "ListObjectsV2" | "HeadBucket":
                yield "s3:ListBucket", f"arn:aws:s3:::{params['Bucket']}"
            case "s3", "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload":
                yield "s3:PutObject", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
            case "s3", "ListObjectVersions":
                yield "s3:ListBucketVersions", f"arn:aws:s3:::{params['Bucket']}"
            case "s3", "DeleteObject" if "VersionId" in params:
                yield "s3:DeleteObjectVersion", f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
            case "s3", "GetObject" | "HeadObject" | "PutObject" | "DeleteObject":
                bucket = f"arn:aws:s3:::{params['Bucket']}"
                yield f"s3:{operation.replace('Head', 'Get')}", f"{bucket}/{params['Key']}"
                # S3 answers "denied" for a missing object unless the role may list.
                if status == 404 and operation in ("GetObject", "HeadObject"):
                    yield "s3:ListBucket", bucket
                # A conditional write reads the object that it compares with.
                if "IfMatch" in params:
                    yield "s3:GetObject", f"{bucket}/{params['Key']}"
            case _:
                raise LookupError(f"the permissions of {service} {operation} are not known here")


def grants_of(template: Mapping[str, Any], values: Mapping[str, str]) -> list[Permission]:
    """All grants of the template's roles. ``values`` resolve references, by ``Name`` or ``Name.Attribute``."""
    return [
        Permission(name, action, _resolved(resource, values))
        for name, role in template["Resources"].items()
        if role["Type"] == "AWS::IAM::Role"
        for policy in role["Properties"]["Policies"]
        for statement in _statements(policy)
        for action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    ]


def _statements(policy: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    # A policy that depends on a condition is {"Fn::If": [condition, policy, {"Ref": "AWS::NoValue"}]}, or the reverse.
    if "Fn::If" in policy:
        policy = next(part for part in policy["Fn::If"][1:] if part != {"Ref": "AWS::NoValue"})
    for statement in policy["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Allow", "only grants are understood here"
        yield statement


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _resolved(value: Any, values: Mapping[str, str]) -> str:
    match value:
        case str():
            return value
        case {"Fn::GetAtt": [name, attribute]}:
            return values.get(f"{name}.{attribute}", f"{name}.{attribute}")
        case {"Ref": name}:
            return values.get(name, name)
        case {"Fn::Sub": str(text)} | {"Fn::Sub": [str(text), _]}:  # a variable of a list stays as it is
            return re.sub(r"\$\{([^}]+)\}", lambda found: values.get(found[1], found[0]), text)
    raise LookupError(f"{value} is not understood here")


def missing(grants: Collection[Permission], needed: Collection[Permission]) -> list[Permission]:
    """Needed permissions that no grant covers."""
    return sorted(one for one in needed if not any(grant.covers(one) for grant in grants))


def unused(grants: Collection[Permission], needed: Collection[Permission]) -> list[Permission]:
    """Grants that nothing needed, except those that AWS itself uses."""
    return sorted(grant for grant in grants if not _used_by_aws(grant) and not any(map(grant.covers, needed)))


def _used_by_aws(grant: Permission) -> bool:
    return any(fnmatchcase(grant.role, role) and fnmatchcase(grant.action, action) for role, action in USED_BY_AWS)
