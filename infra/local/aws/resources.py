"""Makes the resources of ``infra/template.yaml`` through CloudFormation and says how the program finds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import boto3

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
REGION = "us-east-1"
# moto checks no signature; these are no secrets, and the default of no other tool.
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "studysmart-local", "AWS_SECRET_ACCESS_KEY": "studysmart-local"}


def client_environment(endpoint: str) -> dict[str, str]:
    """Environment variables with which boto3 talks to this endpoint, and to nothing else."""
    return {
        **_CREDENTIALS,
        "AWS_SESSION_TOKEN": "",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def create_stack(endpoint: str, stack_name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create the stack and return its outputs by name."""
    cloudformation = boto3.client(
        "cloudformation",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    cloudformation.create_stack(
        StackName=stack_name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
    if stack["StackStatus"] != "CREATE_COMPLETE":
        raise RuntimeError(f"stack {stack_name}: {stack['StackStatus']} {stack.get('StackStatusReason', '')}".strip())
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def program_environment(endpoint: str, outputs: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that :func:`chalicelib.config.settings_from` reads, from the stack's outputs."""
    pool = outputs["UserPoolId"]
    return {
        "REGISTRY_BUCKET": outputs["RegistryBucketName"],
        "TRAINING_QUEUE_URL": outputs["TrainingQueueUrl"],
        "USER_POOL_ID": pool,
        "USER_POOL_CLIENT_ID": outputs["UserPoolClientId"],
        "COGNITO_JWKS_URL": f"{endpoint}/{pool}/.well-known/jwks.json",
    }
