"""Cognito's resource types for the CloudFormation of moto, which has none of them.

After :func:`register`, ``create_stack`` makes the user pool, its client and its groups. So the accounts of the
one-machine stack come from the same template as those on AWS. Ids follow from the stack's name, so tokens and settings
stay valid across restarts.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import Any

from moto.cloudformation import parsing
from moto.cognitoidp.models import CognitoIdpBackend, cognitoidp_backends
from moto.core.common_models import CloudFormationModel

# Cognito accepts passwords of up to 256 characters. moto compares with "less than", and assumes 99.
_PASSWORD_LIMIT = 257
POLICIES = ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy")
"""Types of the template that are not made here."""

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def _stable_id(seed: str, length: int) -> str:
    digest = hashlib.sha256(seed.encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])


Make = Callable[[str, dict[str, Any], CognitoIdpBackend], tuple[str, str]]
"""Makes a resource in moto from its name and the properties of the template, and returns its id and its ARN."""


class _Resource(CloudFormationModel):  # type: ignore[misc]
    """One resource. It has no attribute but its ARN, and is never changed in place."""

    make: Make

    def __init__(self, physical_resource_id: str, arn: str) -> None:
        self.physical_resource_id = physical_resource_id
        self.arn = arn

    def get_cfn_attribute(self, attribute_name: str) -> str:  # noqa: ARG002 - there is only one
        """Return the ARN."""
        return self.arn

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> _Resource:
        """Make the resource that the template describes."""
        backend = cognitoidp_backends[account_id][region_name]
        return cls(*cls.make(resource_name, dict(cloudformation_json["Properties"]), backend))


def _user_pool(name: str, config: dict[str, Any], backend: CognitoIdpBackend) -> tuple[str, str]:
    name = config.pop("UserPoolName", name)
    config.setdefault("Policies", {}).setdefault("PasswordPolicy", {})["MaximumLength"] = _PASSWORD_LIMIT
    pool = backend.create_user_pool(name, config)
    del backend.user_pools[pool.id]
    pool.id = f"{backend.region_name}_{_stable_id(name, 9)}"
    pool.arn = f"{pool.arn.rpartition('/')[0]}/{pool.id}"
    backend.user_pools[pool.id] = pool
    return pool.id, pool.arn


def _user_pool_client(name: str, config: dict[str, Any], backend: CognitoIdpBackend) -> tuple[str, str]:
    pool_id = config.pop("UserPoolId")
    # CloudFormation passes the value of a parameter as text.
    config["AccessTokenValidity"] = int(config["AccessTokenValidity"])
    client = backend.create_user_pool_client(pool_id, config.pop("GenerateSecret", False), config)
    clients = backend.describe_user_pool(pool_id).clients
    del clients[client.id]
    client.id = _stable_id(f"{pool_id}/{config.get('ClientName', name)}", 26)
    clients[client.id] = client
    return client.id, ""


def _user_pool_group(name: str, config: dict[str, Any], backend: CognitoIdpBackend) -> tuple[str, str]:
    name = config.get("GroupName", name)
    backend.create_group(config["UserPoolId"], name, config.get("Description", ""), "", 0)
    return name, ""


def register() -> None:
    """Make moto's CloudFormation use these functions, in this process."""
    kinds = {"UserPool": _user_pool, "UserPoolClient": _user_pool_client, "UserPoolGroup": _user_pool_group}
    for kind, make in kinds.items():
        # The map is built once and shared; moto's own search would not find subclasses of a subclass.
        parsing.get_model_map()[f"AWS::Cognito::{kind}"] = type(kind, (_Resource,), {"make": staticmethod(make)})
    # moto applies a bucket policy without its conditions: "no access without TLS" would become "no access". It has no
    # policies of queues.
    for policy in POLICIES:
        parsing.NULL_MODELS.append(policy)
        warnings.filterwarnings("ignore", message=f"Tried to parse {policy}")
