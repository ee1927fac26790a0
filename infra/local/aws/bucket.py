"""The properties of a bucket for the CloudFormation of moto, which uses only the encryption.

Without them the registry of the one-machine stack would differ from the deployed one: it would not be versioned, for
example.
"""

from __future__ import annotations

from typing import Any

from moto.cloudformation import parsing
from moto.s3.models import FakeBucket, s3_backends


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
        backend, name, properties = s3_backends[account_id]["aws"], bucket.name, cloudformation_json["Properties"]
        if versioning := properties.get("VersioningConfiguration"):
            backend.put_bucket_versioning(name, versioning["Status"])
        if block := properties.get("PublicAccessBlockConfiguration"):
            backend.put_public_access_block(name, {key: str(value).lower() for key, value in block.items()})
        if ownership := properties.get("OwnershipControls"):
            backend.put_bucket_ownership_controls(name, ownership["Rules"][0]["ObjectOwnership"])
        if lifecycle := properties.get("LifecycleConfiguration"):
            # The API of S3 uses another name than the template, and needs a filter.
            rules = [{"Filter": {"Prefix": ""}, **rule, "ID": rule["Id"]} for rule in lifecycle["Rules"]]
            backend.put_bucket_lifecycle_configuration(name, rules)
        return bucket


def register() -> None:
    """Make moto's CloudFormation use this class, in this process."""
    parsing.get_model_map()["AWS::S3::Bucket"] = Bucket
