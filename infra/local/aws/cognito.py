"""Cognito's resource types for moto's CloudFormation, which knows none of them.

:func:`register` teaches ``create_stack`` the user pool, its client and its groups, so that the accounts of the
one-machine stack come from the very template that is deployed. Ids follow from the stack's name: a token and a setting
stay good across restarts.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

from moto.cloudformation import parsing
from moto.cognitoidp.models import CognitoIdpUserPool, CognitoIdpUserPoolClient, cognitoidp_backends
from moto.core.common_models import CloudFormationModel

# Cognito itself takes passwords of up to 256 characters; moto compares with "less than" and assumes 99.
_LONGEST_PASSWORD = 257
POLICIES = ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy")
"""Types of the template that are not made here."""

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def _stable_id(seed: str, length: int) -> str:
    digest = hashlib.sha256(seed.encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])


class _CognitoResource(CloudFormationModel):  # type: ignore[misc]
    """What the three types share: none has an attribute of its own, and none is changed in place."""

    def __init__(self, physical_resource_id: str) -> None:
        self.physical_resource_id = physical_resource_id

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def is_created(self) -> bool:
        return True


class UserPool(_CognitoResource):
    """``AWS::Cognito::UserPool``."""

    def __init__(self, pool: CognitoIdpUserPool) -> None:
        super().__init__(pool.id)
        self.arn = pool.arn

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name in templates."""
        return "AWS::Cognito::UserPool"

    def get_cfn_attribute(self, attribute_name: str) -> str:  # noqa: ARG002 - it has only one
        """The pool's ARN."""
        return str(self.arn)

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> UserPool:
        """Make the pool that the template describes."""
        config = _plain(dict(cloudformation_json["Properties"]))
        name = config.pop("UserPoolName", resource_name)
        config.setdefault("Policies", {}).setdefault("PasswordPolicy", {})["MaximumLength"] = _LONGEST_PASSWORD
        backend = cognitoidp_backends[account_id][region_name]
        pool = backend.create_user_pool(name, config)
        del backend.user_pools[pool.id]
        pool.id = f"{region_name}_{_stable_id(name, 9)}"
        pool.arn = f"{pool.arn.rpartition('/')[0]}/{pool.id}"
        backend.user_pools[pool.id] = pool
        return cls(pool)


class UserPoolClient(_CognitoResource):
    """``AWS::Cognito::UserPoolClient``."""

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name in templates."""
        return "AWS::Cognito::UserPoolClient"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> UserPoolClient:
        """Make the client that the template describes."""
        config = _plain(dict(cloudformation_json["Properties"]))
        pool_id = config.pop("UserPoolId")
        secret = bool(config.pop("GenerateSecret", False))
        backend = cognitoidp_backends[account_id][region_name]
        client: CognitoIdpUserPoolClient = backend.create_user_pool_client(pool_id, secret, config)
        clients = backend.describe_user_pool(pool_id).clients
        del clients[client.id]
        client.id = _stable_id(f"{pool_id}/{config.get('ClientName', resource_name)}", 26)
        clients[client.id] = client
        return cls(client.id)


class UserPoolGroup(_CognitoResource):
    """``AWS::Cognito::UserPoolGroup``."""

    @staticmethod
    def cloudformation_type() -> str:
        """The type's name in templates."""
        return "AWS::Cognito::UserPoolGroup"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **_: Any
    ) -> UserPoolGroup:
        """Make the group that the template describes."""
        properties = cloudformation_json["Properties"]
        group = cognitoidp_backends[account_id][region_name].create_group(
            properties["UserPoolId"],
            properties.get("GroupName", resource_name),
            properties.get("Description", ""),
            properties.get("RoleArn", ""),
            int(properties.get("Precedence", 0)),
        )
        return cls(group.group_name)


def register() -> None:
    """Make moto's CloudFormation use these classes, in this process."""
    types = (UserPool, UserPoolClient, UserPoolGroup)
    # The map is built once and shared; a subclass's own subclass would not be found by moto's search.
    parsing.get_model_map().update({resource.cloudformation_type(): resource for resource in types})
    # moto applies a bucket policy without its conditions: "no access without TLS" would become "no access". It knows
    # no policies of queues.
    for policy in POLICIES:
        parsing.NULL_MODELS.append(policy)
        warnings.filterwarnings("ignore", message=f"Tried to parse {policy}")


def _plain(value: Any) -> Any:
    """CloudFormation hands numbers and booleans over as text now and then; the API takes them as what they are."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value
