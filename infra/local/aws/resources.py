"""Creates the resources of ``infra/template.yaml`` by CloudFormation, and tells the programs where they are."""

from __future__ import annotations

from collections.abc import Mapping

import boto3

from infra.local.processes import ROOT

TEMPLATE = ROOT / "infra" / "template.yaml"
REGION = "us-east-1"
# moto checks no signature, so these are not secrets. No other tool uses them as a default.
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "studysmart-local", "AWS_SECRET_ACCESS_KEY": "studysmart-local"}


def client_environment(endpoint: str) -> dict[str, str]:
    """Return the environment variables with which boto3 uses this endpoint, and nothing else."""
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
    """Return the variables that :func:`chalicelib.config.settings_from` reads, from the outputs of the stack."""
    pool = outputs["UserPoolId"]
    return {
        "REGISTRY_BUCKET": outputs["RegistryBucketName"],
        "TRAINING_QUEUE_URL": outputs["TrainingQueueUrl"],
        "USER_POOL_ID": pool,
        "USER_POOL_CLIENT_ID": outputs["UserPoolClientId"],
        "COGNITO_JWKS_URL": f"{endpoint}/{pool}/.well-known/jwks.json",
    }
