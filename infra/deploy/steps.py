"""The steps of a deployment in their order. Each does nothing when there is nothing to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from infra.deploy import DeployError, acceptance, releases, stacks
from infra.deploy.releases import TOOLS, Tools
from infra.deploy.stage import SHARED, Deployment

LOG_DAYS: Final = 30
"""Days that the log of PostgreSQL is kept."""

Step = Callable[[Deployment, Tools], None]


def network(deployment: Deployment, _: Tools) -> None:
    """Create or update the network, unless the settings name subnets."""
    if "SubnetIds" in deployment.settings.parameters:
        deployment.say("  the settings name SubnetIds, so there is no network of ours")
        return
    _deploy(deployment, "network")


def database(deployment: Deployment, _: Tools) -> None:
    """Create or update the database, unless the settings name its endpoint.

    Its deletion is refused from the first success on. Before that, CloudFormation could not roll back.
    """
    if "DatabaseEndpoint" in deployment.settings.parameters:
        deployment.say("  the settings name DatabaseEndpoint, so there is no database of ours")
        return
    deployment.values.setdefault("DatabaseAuth", "iam")
    if stacks.is_missing(deployment, deployment.stack("database")):
        _deploy(deployment, "database", {"DatabaseDeletionProtection": "false"})
        if deployment.dry_run:
            return
    _deploy(deployment, "database")
    _keep_log(deployment, deployment.values["LogGroupPrefix"])


def _keep_log(deployment: Deployment, prefix: str) -> None:
    """Bound the age of log lines in the groups that RDS makes by itself and would keep for ever."""
    logs = deployment.client("logs")
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix):
        for group in page["logGroups"]:
            if "retentionInDays" not in group:
                name = group["logGroupName"]
                deployment.change(
                    f"keep the lines of {name} for {LOG_DAYS} days",
                    partial(logs.put_retention_policy, logGroupName=name, retentionInDays=LOG_DAYS),
                )


def artifacts(deployment: Deployment, _: Tools) -> None:
    """Create or update the bucket and the repository of releases, which all stages share."""
    _deploy(deployment, SHARED)


def image(deployment: Deployment, tools: Tools) -> None:
    """Build, push and scan the image of the release, unless it is there."""
    uri = releases.image(deployment, tools)
    deployment.values |= {"Image": uri, "TrainingImage": uri}


def package(deployment: Deployment, tools: Tools) -> None:
    """Build and upload the zip and the template of the release, unless they are there."""
    releases.packaged(deployment, tools)


def migrate(deployment: Deployment, _: Tools) -> None:
    """Bring the tables up to date with the new image, before anything else of the release runs."""
    if deployment.rollback:
        deployment.say("  the tables stay as they are: an earlier release does not know the later ones")
        return
    _deploy(deployment, "migrator")
    function = deployment.values["MigratorFunctionName"]
    for arguments in commands(deployment):
        command = " ".join(arguments)
        answer = deployment.change(
            f"run `studysmart {command}` in {function}", partial(_invoke, deployment, function, arguments)
        )
        if answer is not None:
            deployment.say("".join(f"    {line}\n" for line in answer["output"].splitlines()).rstrip("\n"))
            if answer["status"] != 0:
                raise DeployError(
                    f"`studysmart {command}` failed with status {answer['status']}. The product's stack was not"
                    " touched: the earlier release goes on."
                )


def commands(deployment: Deployment) -> list[tuple[str, ...]]:
    """Return what the migrator runs: the migrations, and for logins by IAM the roles that programs log in as."""
    prefix = deployment.values.get("DatabaseRolePrefix", "studysmart")
    by_iam = deployment.values.get("DatabaseAuth") == "iam"
    return [("migrate",), *([("database", "roles", "--iam", "--prefix", prefix)] if by_iam else ())]


def _invoke(deployment: Deployment, function: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    answer = deployment.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps({"arguments": list(arguments)}).encode()
    )
    text = answer["Payload"].read().decode()
    if answer.get("FunctionError"):
        raise DeployError(f"{function} broke off: {text}")
    result = json.loads(text)
    return {"status": result["status"], "output": result["output"]}


def stack(deployment: Deployment, tools: Tools) -> None:
    """Create or update the product's stack, with zip and image of the release at once.

    As with the database, the deletion of the accounts is refused from the first success on.
    """
    template, url = releases.packaged(deployment, tools)
    parameters = stacks.parameters_of(template, deployment.values)
    if stacks.is_missing(deployment, deployment.stack()):
        unprotected = {**parameters, "DeletionProtection": "false"}
        deployment.values |= stacks.deploy(deployment, stacks.Target(deployment.stack(), template, unprotected, url))
        if deployment.dry_run:
            return
    target = stacks.Target(deployment.stack(), template, parameters, url)
    deployment.values |= stacks.deploy(deployment, target)


def backup(deployment: Deployment, _: Tools) -> None:
    """Create or update the backup plan, if the settings ask for one."""
    if deployment.settings.backup:
        _deploy(deployment, "backup")
    else:
        deployment.say("  the settings have no `backup = true`: RDS keeps its own backups only")


def edge(deployment: Deployment, _: Tools) -> None:
    """Create or update CloudFront, if the settings ask for it."""
    if not deployment.settings.edge:
        deployment.say("  the settings have no `edge = true`: browsers reach API Gateway directly")
        return
    deployment.values["ReleasesBucketRegion"] = deployment.region
    _deploy(deployment, "edge", region="us-east-1")


def check(deployment: Deployment, _: Tools) -> None:
    """Do over HTTP what a student does, at the address that was deployed."""
    address = deployment.values.get("EdgeUrl") or deployment.values["EndpointURL"]
    deployment.change(f"check {address} as a student", lambda: acceptance.check(address, deployment.say))


def _deploy(deployment: Deployment, part: str, fixed: dict[str, str] | None = None, region: str = "") -> None:
    template = deployment.template(part)
    parameters = stacks.parameters_of(template, {**deployment.values, **(fixed or {})})
    target = stacks.Target(deployment.stack(part), template, parameters, region=region)
    deployment.values |= stacks.deploy(deployment, target)


STEPS: Final[dict[str, Step]] = {
    step.__name__: step for step in (network, database, artifacts, image, package, migrate, stack, backup, edge, check)
}
"""All steps by name, in their order."""


def run(deployment: Deployment, tools: Tools = TOOLS, until: str = "check") -> None:
    """Run the steps in their order, up to and with ``until``. Raises DeployError."""
    for number, (name, step) in enumerate(STEPS.items(), start=1):
        deployment.say(f"{number}. {name}: {(step.__doc__ or '').partition('.')[0]}")
        try:
            step(deployment, tools)
        except DeployError as error:
            raise DeployError(f"step {name}: {error}") from error
        if name == until:
            return
