"""Cognito's resource types for the CloudFormation of moto, which has none of them.

After :func:`register`, ``create_stack`` makes the user pool, its client and its groups. So the accounts of the
one-machine stack come from the same template as those on AWS. Ids follow from the stack's name, so tokens and settings
stay valid across restarts.
"""

from __future__ import annotations

import hashlib
import warnings
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


class _Resource(CloudFormationModel):  # type: ignore[misc]
    """One resource. It has no attribute but its ARN, and is never changed in place."""

    def __init__(self, physical_resource_id: str, arn: str = "") -> None:
        self.physical_resource_id = physical_resource_id
        self.arn = arn

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def get_cfn_attribute(self, attribute_name: str) -> str:  # noqa: ARG002 - there is only one
        """Return the ARN."""
        return self.arn

    def is_created(self) -> bool:
        return True

    @staticmethod
    def make(name: str, config: dict[str, Any], backend: CognitoIdpBackend) -> tuple[str, str]:
        """Make the resource in moto from the properties of the template; return its id and its ARN."""
        raise NotImplementedError

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> _Resource:
        """Make the resource that the template describes."""
        config = _plain(dict(cloudformation_json["Properties"]))
        return cls(*cls.make(resource_name, config, cognitoidp_backends[account_id][region_name]))


class _UserPool(_Resource):
    @staticmethod
    def make(name: str, config: dict[str, Any], backend: CognitoIdpBackend) -> tuple[str, str]:
        name = config.pop("UserPoolName", name)
        config.setdefault("Policies", {}).setdefault("PasswordPolicy", {})["MaximumLength"] = _PASSWORD_LIMIT
        pool = backend.create_user_pool(name, config)
        del backend.user_pools[pool.id]
        pool.id = f"{backend.region_name}_{_stable_id(name, 9)}"
        pool.arn = f"{pool.arn.rpartition('/')[0]}/{pool.id}"
        backend.user_pools[pool.id] = pool
        return pool.id, pool.arn


class _UserPoolClient(_Resource):
    @staticmethod
    def make(name: str, config: dict[str, Any], backend: CognitoIdpBackend) -> tuple[str, str]:
        pool_id = config.pop("UserPoolId")
        client = backend.create_user_pool_client(pool_id, bool(config.pop("GenerateSecret", False)), config)
        clients = backend.describe_user_pool(pool_id).clients
        del clients[client.id]
        client.id = _stable_id(f"{pool_id}/{config.get('ClientName', name)}", 26)
        clients[client.id] = client
        return client.id, ""


class _UserPoolGroup(_Resource):
    @staticmethod
    def make(name: str, config: dict[str, Any], backend: CognitoIdpBackend) -> tuple[str, str]:
        group = backend.create_group(
            config["UserPoolId"],
            config.get("GroupName", name),
            config.get("Description", ""),
            config.get("RoleArn", ""),
            int(config.get("Precedence", 0)),
        )
        return group.group_name, ""


def register() -> None:
    """Make moto's CloudFormation use these classes, in this process."""
    # The map is built once and shared; moto's own search would not find subclasses of a subclass.
    parsing.get_model_map().update(
        {
            "AWS::Cognito::UserPool": _UserPool,
            "AWS::Cognito::UserPoolClient": _UserPoolClient,
            "AWS::Cognito::UserPoolGroup": _UserPoolGroup,
        }
    )
    # moto applies a bucket policy without its conditions: "no access without TLS" would become "no access". It has no
    # policies of queues.
    for policy in POLICIES:
        parsing.NULL_MODELS.append(policy)
        warnings.filterwarnings("ignore", message=f"Tried to parse {policy}")


def _plain(value: Any) -> Any:
    """Return numbers and booleans that CloudFormation passes as text as what they are."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value
