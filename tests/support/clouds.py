"""AWS in this process: moto, with what it lacks of CloudFormation's change sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.cloudformation import models
from moto.cloudformation.models import CloudFormationBackend, Stack, cloudformation_backends
from moto.rds.models import DBInstance

from infra.package.template import read_part

ROOT = Path(__file__).resolve().parents[2]
REGION = "us-east-1"
ACCOUNT = "123456789012"
"""moto's."""


@dataclass
class Cloud:
    """An account of moto's. ``calls`` are all operations in their order, ``answer`` is what each Lambda answers.

    The creation or update of a stack in ``failing`` is rolled back, with the reason that is given there. ``refuses`` is
    given name, template and parameters of a new stack, and may return such a reason.
    """

    calls: list[str] = field(default_factory=list)
    failing: dict[str, str] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    refuses: Callable[[str, Any, Mapping[str, str]], str | None] = lambda *_: None

    def set_status(self, name: str, status: str) -> None:
        """Put a stack into a state from which only a person can take it."""
        (stack,) = [one for one in cloudformation_backends[ACCOUNT][REGION].stacks.values() if one.name == name]
        stack.status = status


@contextmanager
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An empty account of moto's, which every client made inside uses."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name, value in {**dict.fromkeys(keys, "testing"), "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    cloud = Cloud()
    _record(cloud, monkeypatch)
    # moto reads JSON as YAML, which takes half of the time of a test.
    load = models.yaml.load

    def load_quickly(text: Any, *how: Any, **named: Any) -> Any:
        return json.loads(text) if isinstance(text, str) and text.startswith("{") else load(text, *how, **named)

    monkeypatch.setattr(models.yaml, "load", load_quickly)
    _complete_change_sets(cloud, monkeypatch)
    _complete_databases(monkeypatch)
    monkeypatch.setattr(LambdaSimpleBackend, "invoke", lambda *_: json.dumps(cloud.answer).encode())
    with mock_aws(config={"lambda": {"use_docker": False}}):
        yield cloud


def _record(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    original = vars(botocore.client.BaseClient)["_make_api_call"]

    def call(self: Any, operation: str, parameters: Any) -> Any:
        cloud.calls.append(f"{self.meta.service_model.service_name}:{operation}")
        return original(self, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def _complete_change_sets(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute change sets as moto creates and updates stacks, and let those that should fail do so."""

    def execute(self: Any, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = self.change_sets[change_set_name]
        stack = self.stacks[change_set.stack_id]
        created = change_set.change_set_type == "CREATE"
        reason = cloud.failing.get(stack.name)
        if reason is None and created:
            reason = cloud.refuses(stack.name, json.loads(change_set.template), change_set.parameters)
        if reason is not None:
            stack._add_stack_event("CREATE_FAILED", resource_status_reason=reason)
            stack.status = "ROLLBACK_COMPLETE" if created else "UPDATE_ROLLBACK_COMPLETE"
            return
        if created:
            # A change set of moto's creates resources in a wrong order.
            del self.stacks[change_set.stack_id]
            self.create_stack(stack.name, change_set.template, change_set.parameters, tags=change_set.tags)
            return
        stack.update(change_set.template, None, parameters=change_set.parameters, tags=change_set.tags)

    def parameters(self: Any) -> list[dict[str, str]]:
        # AWS describes a list as the text that was given.
        return [
            {"ParameterKey": name, "ParameterValue": ",".join(value) if isinstance(value, list) else value}
            for name, value in self.resource_map.resolved_parameters.items()
        ]

    monkeypatch.setattr(CloudFormationBackend, "execute_change_set", execute)
    monkeypatch.setattr(Stack, "parameter_list", property(parameters))


def _complete_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give instances of RDS their parameter group, their secret, and updates in place."""

    def make(name: str, definition: Any, account_id: str, region: str, **_: Any) -> Any:
        properties = dict(definition["Properties"])
        properties["DBParameterGroupName"] = properties["DBParameterGroupName"].name
        return original(name, {**definition, "Properties": properties}, account_id, region)

    def update(original_resource: Any, cloudformation_json: Any, **_: Any) -> Any:
        original_resource.deletion_protection = cloudformation_json["Properties"]["DeletionProtection"] == "true"
        return original_resource

    def attribute(instance: Any, name: str) -> Any:
        secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-1234-AbCdEf"
        known = {"MasterUserSecret.SecretArn": secret, "DbiResourceId": instance.dbi_resource_id}
        return known[name] if name in known else original_attribute(instance, name)

    original, original_attribute = DBInstance.create_from_cloudformation_json, DBInstance.get_cfn_attribute
    monkeypatch.setattr(DBInstance, "create_from_cloudformation_json", staticmethod(make))
    monkeypatch.setattr(DBInstance, "update_from_cloudformation_json", staticmethod(update))
    monkeypatch.setattr(DBInstance, "get_cfn_attribute", attribute)


def create(name: str, template: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create a stack of a template in ``infra/`` and return its outputs."""
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(read_part(ROOT / template)),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
