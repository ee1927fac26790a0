"""A bucket's properties for moto's CloudFormation, which of all of them only heeds the encryption.

Without them the one-machine stack's registry would be another than the one that is deployed: not versioned, for one.
"""

from __future__ import annotations

from typing import Any

from moto.cloudformation import parsing
from moto.s3.models import FakeBucket, S3Backend, s3_backends


class Bucket(FakeBucket):  # type: ignore[misc]
    """``AWS::S3::Bucket``."""

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str, **rest: Any
    ) -> FakeBucket:
        """Make the bucket that the template describes."""
        bucket = FakeBucket.create_from_cloudformation_json(
            resource_name, cloudformation_json, account_id, region_name, **rest
        )
        configure(s3_backends[account_id]["aws"], bucket.name, cloudformation_json.get("Properties", {}))
        return bucket


def configure(backend: S3Backend, name: str, properties: dict[str, Any]) -> None:
    """Give a bucket what the template's properties say."""
    if versioning := properties.get("VersioningConfiguration"):
        backend.put_bucket_versioning(name, versioning["Status"])
    if block := properties.get("PublicAccessBlockConfiguration"):
        backend.put_public_access_block(name, {key: str(value).lower() for key, value in block.items()})
    if ownership := properties.get("OwnershipControls"):
        backend.put_bucket_ownership_controls(name, ownership["Rules"][0]["ObjectOwnership"])
    if lifecycle := properties.get("LifecycleConfiguration"):
        backend.put_bucket_lifecycle_configuration(name, [_rule(rule) for rule in lifecycle["Rules"]])


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule in S3's own words, which differ from the template's."""
    return {"ID": rule["Id"], "Filter": {"Prefix": ""}, **{key: rule[key] for key in rule if key != "Id"}}


def register() -> None:
    """Make moto's CloudFormation use this class, in this process."""
    parsing.get_model_map()["AWS::S3::Bucket"] = Bucket
