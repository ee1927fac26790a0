"""Brings a CloudFormation stack to a template and parameters by a change set, and says what happened."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError, WaiterError

from infra.deploy import DeployError
from infra.deploy.stage import Deployment
from infra.package.template import Template

NO_CHANGES: Final = ("didn't contain changes", "No updates are to be performed")

_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"})
_ADVICE = {
    "UPDATE_ROLLBACK_FAILED": "run `aws cloudformation continue-update-rollback --stack-name {}`, then deploy again",
}
_DELETE = "look at its events, remove what keeps it, and run `aws cloudformation delete-stack --stack-name {}`"


@dataclass(frozen=True)
class Target:
    """A stack as it should be. ``url`` leads to a template that is too large to be sent.

    ``region`` is empty for the stage's.
    """

    name: str
    template: Template
    parameters: Mapping[str, str]
    url: str = ""
    region: str = ""


def deploy(deployment: Deployment, target: Target) -> dict[str, str]:
    """Create or update a stack unless it is as it should be, and return its outputs.

    In a dry run the outputs of a stack that does not exist yet are placeholders. Raises DeployError.
    """
    cloudformation = deployment.client("cloudformation", target.region)
    stack = _ready(deployment, cloudformation, target.name)
    if stack is not None and not _differences(cloudformation, stack, target, _tags(deployment, target)):
        deployment.say(f"  stack {target.name} is as it should be")
        return outputs_of(stack)
    if stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS":
        what = f"create stack {target.name}: {len(target.template['Resources'])} resources at most"
    else:
        differences = _differences(cloudformation, stack, target, _tags(deployment, target))
        what = f"update stack {target.name}: {', '.join(differences)}"
    deployment.change(what, lambda: _apply(deployment, cloudformation, stack, target))
    found = describe(cloudformation, target.name)
    if found is None or found["StackStatus"] == "REVIEW_IN_PROGRESS":
        return {name: f"<{name} of {target.name}>" for name in target.template.get("Outputs", {})}
    return outputs_of(found)


def parameters_of(template: Template, values: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a template with the known values, else their defaults. Raises DeployError."""
    found, missing = {}, []
    for name, parameter in template.get("Parameters", {}).items():
        if name in values:
            found[name] = values[name]
        elif "Default" in parameter:
            found[name] = str(parameter["Default"])
        else:
            missing.append(name)
    if missing:
        raise DeployError(f"these parameters are needed: {', '.join(missing)}. Set them in the stage's file.")
    return found


def describe(cloudformation: Any, name: str) -> dict[str, Any] | None:
    """Return what CloudFormation says about a stack, or None if there is none."""
    try:
        return dict(cloudformation.describe_stacks(StackName=name)["Stacks"][0])
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def is_missing(deployment: Deployment, name: str) -> bool:
    """Return whether a stack has never been created with success."""
    stack = describe(deployment.client("cloudformation"), name)
    return stack is None or stack["StackStatus"] in ("ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS")


def outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    """Return the outputs of a described stack by name."""
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}


def _ready(deployment: Deployment, cloudformation: Any, name: str) -> dict[str, Any] | None:
    """Return the stack when it can be changed, None if it has to be created. Raises DeployError."""
    stack = describe(cloudformation, name)
    if stack is not None and stack["StackStatus"].endswith("_IN_PROGRESS") and not _is_new(stack):
        deployment.say(f"  stack {name} is being changed by somebody else ({stack['StackStatus']}), waiting")
        if deployment.dry_run:
            return stack
        stack = _settled(deployment, cloudformation, name, set())
    if stack is None or _is_new(stack) or stack["StackStatus"] in _GOOD:
        return stack
    status = stack["StackStatus"]
    if status == "ROLLBACK_COMPLETE":
        # What is left of a first creation that failed: an empty stack that cannot be updated.
        deployment.change(
            f"delete the empty stack {name}, whose creation failed", lambda: _delete(deployment, cloudformation, name)
        )
        return None
    if status == "DELETE_COMPLETE":
        return None
    raise DeployError(f"stack {name} is in the state {status}: {_ADVICE.get(status, _DELETE).format(name)}")


def _is_new(stack: Mapping[str, Any]) -> bool:
    return bool(stack["StackStatus"] == "REVIEW_IN_PROGRESS")


def _delete(deployment: Deployment, cloudformation: Any, name: str) -> None:
    cloudformation.delete_stack(StackName=name, **_role(deployment))
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=name, WaiterConfig={"Delay": deployment.poll_seconds, "MaxAttempts": 360}
    )


def _role(deployment: Deployment) -> dict[str, str]:
    role = deployment.settings.stack_role
    return {"RoleARN": role} if role else {}


def _tags(deployment: Deployment, target: Target) -> dict[str, str]:
    """Return the tags of all resources. The backup plan finds what it backs up by them, and so do bills."""
    shared = {"studysmart": deployment.settings.name}
    return shared if target.name == deployment.stack("artifacts") else {**shared, "studysmart-stage": deployment.stage}


def _differences(cloudformation: Any, stack: Mapping[str, Any], target: Target, tags: Mapping[str, str]) -> list[str]:
    """Return in words how the stack differs from the target."""
    if _is_new(stack):
        return ["there is no resource yet"]
    body = cloudformation.get_template(StackName=target.name, TemplateStage="Original")["TemplateBody"]
    template = json.loads(body) if isinstance(body, str) else body
    present = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", ())}
    found = [
        f"{name} {present.get(name, '')!r} becomes {value!r}"
        for name, value in target.parameters.items()
        if present.get(name) != value
    ]
    if _plain(template) != _plain(target.template):
        found.insert(0, "the template is new")
    if {tag["Key"]: tag["Value"] for tag in stack.get("Tags", ())} != tags:
        found.append("the tags are new")
    return found


def _plain(template: Any) -> str:
    return json.dumps(template, sort_keys=True)


def _apply(deployment: Deployment, cloudformation: Any, stack: Mapping[str, Any] | None, target: Target) -> None:
    """Make a change set, execute it and wait for its end. Raises DeployError."""
    creates = stack is None or _is_new(stack)
    source = {"TemplateURL": target.url} if target.url else {"TemplateBody": json.dumps(target.template)}
    seen = set() if stack is None else {one["EventId"] for one in _events(cloudformation, target.name)}
    try:
        change_set = cloudformation.create_change_set(
            StackName=target.name,
            ChangeSetName=f"deploy-{deployment.commit[:12]}-{time.time_ns() // 1_000_000}",
            ChangeSetType="CREATE" if creates else "UPDATE",
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in target.parameters.items()],
            Tags=[{"Key": key, "Value": value} for key, value in _tags(deployment, target).items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            **source,
            **_role(deployment),
        )["Id"]
    except ClientError as error:
        raise DeployError(f"CloudFormation refuses the change of stack {target.name}: {error}") from error
    if not _is_made(deployment, cloudformation, change_set, target.name):
        return
    cloudformation.execute_change_set(ChangeSetName=change_set)
    settled = _settled(deployment, cloudformation, target.name, seen)
    status = settled["StackStatus"] if settled is not None else "DELETE_COMPLETE"
    if status != ("CREATE_COMPLETE" if creates else "UPDATE_COMPLETE"):
        failed = [one for one in _events(cloudformation, target.name) if one["EventId"] not in seen]
        raise DeployError(
            f"stack {target.name} is in the state {status}, because:\n{_reasons(failed)}\n"
            "Everything is as it was before. Remove the cause and run the same command again."
        )


def _is_made(deployment: Deployment, cloudformation: Any, change_set: str, name: str) -> bool:
    """Wait until a change set can be executed; return False if it has no changes. Raises DeployError."""
    try:
        cloudformation.get_waiter("change_set_create_complete").wait(
            ChangeSetName=change_set, WaiterConfig={"Delay": deployment.poll_seconds, "MaxAttempts": 120}
        )
    except WaiterError as error:
        reason = cloudformation.describe_change_set(ChangeSetName=change_set).get("StatusReason") or str(error)
        cloudformation.delete_change_set(ChangeSetName=change_set)
        if any(words in reason for words in NO_CHANGES):
            deployment.say(f"  stack {name} has nothing to change")
            return False
        raise DeployError(f"the change set of stack {name} cannot be made: {reason}") from error
    return True


def _settled(deployment: Deployment, cloudformation: Any, name: str, seen: set[str]) -> dict[str, Any] | None:
    """Print the events of a stack until nothing is in progress, and return it. ``seen`` are old events."""
    told = set(seen)
    while True:
        stack = describe(cloudformation, name)
        for event in reversed(_events(cloudformation, name) if stack is not None else []):
            if event["EventId"] not in told and not event["ResourceStatus"].endswith("_IN_PROGRESS"):
                deployment.say(f"    {event['ResourceStatus']:<22} {event['LogicalResourceId']}")
            told.add(event["EventId"])
        if stack is None or not stack["StackStatus"].endswith("_IN_PROGRESS"):
            return stack
        time.sleep(deployment.poll_seconds)


def _events(cloudformation: Any, name: str) -> list[dict[str, Any]]:
    """Return the newest events of a stack, the newest first."""
    return list(cloudformation.describe_stack_events(StackName=name)["StackEvents"])


def _reasons(events: list[dict[str, Any]]) -> str:
    failed = [
        f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
        for event in reversed(events)
        # What CloudFormation cancelled on the way back is not the cause.
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in event.get("ResourceStatusReason", "")
    ]
    return "\n".join(failed) or "  CloudFormation names no resource; see the events of the stack"
