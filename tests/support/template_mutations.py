"""Faults of the product's template that only its order shows. Each changes a template in place."""

from __future__ import annotations

from typing import Any


def put_grant_into_own_policy(template: Any) -> None:
    """Let a policy that no function refers to grant the API its network interfaces."""
    grant = template["Resources"]["ApiRole"]["Properties"]["Policies"].pop(0)["Fn::If"][1]
    template["Resources"]["NetworkPolicy"] = {
        "Type": "AWS::IAM::Policy",
        "Condition": "InVpc",
        "Properties": {**grant, "Roles": [{"Ref": "ApiRole"}]},
    }


def retain_bucket(template: Any) -> None:
    """Keep the bucket even of a creation that failed."""
    template["Resources"]["RegistryBucket"]["DeletionPolicy"] = "Retain"
