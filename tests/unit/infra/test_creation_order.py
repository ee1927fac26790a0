"""Stacks created, failed, deleted and created again in the order that suits them least."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from infra.checks.__main__ import NETWORK, ROOT, templates
from infra.checks.combinations import Stack, stacks
from infra.checks.graph import unfavourable_order
from infra.package.template import TEMPLATE
from tests.support.fakes.cloudformation import Account, RefusedError
from tests.support.template_mutations import put_grant_into_own_policy, retain_bucket

Templates = dict[str, Any]
IN_ORDER = (
    *("infra/pipeline.yaml", NETWORK, "infra/database.yaml", "infra/artifacts.yaml", "infra/migrator.yaml", TEMPLATE),
    *("infra/backup.yaml", "infra/edge.yaml"),
)
"""The stacks of a deployment, as `make deploy` orders them. The pipeline that runs it is there before."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return dict(templates(ROOT, tmp_path_factory.mktemp("order") / "work"))


def first(template: Any, **values: str) -> Stack:
    """The stack of a first deployment, in a VPC and with an image, with these parameters."""
    return next(
        stack
        for stack in stacks(template)
        if all(stack.values.get(name) == value for name, value in values.items())
        and stack.is_first()
        and stack.values.get("SubnetIds") != [""]
        and stack.values.get("TrainingImage") != ""
    )


@pytest.mark.parametrize("compute", ["lambda", "ecs"])
def test_a_deployment_succeeds_and_is_removed_in_the_order_of_the_documents(ours: Templates, compute: str) -> None:
    account = Account()
    assert sorted(IN_ORDER) == sorted(ours)
    for path in IN_ORDER:
        values = {"TrainingCompute": compute} if path in (NETWORK, TEMPLATE) else {}
        assert account.create(path, first(ours[path], **values)) == "CREATE_COMPLETE", account.events
    for path in reversed(IN_ORDER):
        assert account.delete(path) == "DELETE_COMPLETE", account.events
    # What holds data is kept, and its names with it.
    assert {kind for kind, _ in account.names} == {"AWS::S3::Bucket", "AWS::Cognito::UserPool", "AWS::ECR::Repository"}


@pytest.mark.parametrize("path", IN_ORDER)
def test_a_first_creation_may_fail_anywhere_and_succeeds_at_the_next_attempt(ours: Templates, path: str) -> None:
    stack = first(ours[path])
    for resource in unfavourable_order(stack):
        account = Account()
        assert account.create("studysmart", stack, fails_at=resource) == "ROLLBACK_COMPLETE", account.events
        assert account.names == set(), resource
        assert account.delete("studysmart") == "DELETE_COMPLETE"
        assert account.create("studysmart", stack) == "CREATE_COMPLETE", account.events


def a_pool_that_is_protected(template: Any) -> None:
    template["Resources"]["UserPool"]["Properties"]["DeletionProtection"] = "ACTIVE"


def a_route_before_its_gateway(template: Any) -> None:
    del template["Resources"]["PublicDefaultRoute"]["DependsOn"]


@pytest.mark.parametrize(
    ("path", "mutate", "reason"),
    [
        (
            TEMPLATE,
            put_grant_into_own_policy,
            "APIHandler: the role may not yet, or no longer, ec2:CreateNetworkInterface",
        ),
        (NETWORK, a_route_before_its_gateway, "PublicDefaultRoute: the gateway is not attached"),
    ],
)
def test_a_creation_in_a_wrong_order_is_refused(
    ours: Templates, path: str, mutate: Callable[[Any], None], reason: str
) -> None:
    mutated = copy.deepcopy(ours[path])
    mutate(mutated)
    account = Account()
    assert account.create("studysmart", first(mutated)) == "ROLLBACK_COMPLETE"
    assert account.events[0].startswith(reason)


def test_a_bucket_that_a_failed_creation_leaves_blocks_the_next_one(ours: Templates) -> None:
    mutated = copy.deepcopy(ours[TEMPLATE])
    retain_bucket(mutated)
    stack, account = first(mutated), Account()
    assert account.create("studysmart", stack, fails_at="Dashboard") == "ROLLBACK_COMPLETE"
    assert account.delete("studysmart") == "DELETE_COMPLETE"
    assert account.create("studysmart", stack) == "ROLLBACK_COMPLETE"
    assert account.events[-1] == "RegistryBucket: studysmart-registry-123456789012-us-east-1 already exists"


def test_a_protected_pool_keeps_a_failed_creation_from_being_rolled_back(ours: Templates) -> None:
    mutated = copy.deepcopy(ours[TEMPLATE])
    a_pool_that_is_protected(mutated)
    account = Account()
    assert account.create("studysmart", first(mutated), fails_at="UserPoolClient") == "ROLLBACK_FAILED"
    assert account.events[-1] == "UserPool is protected from deletion"
    with pytest.raises(RefusedError, match="studysmart exists: ROLLBACK_FAILED"):
        account.create("studysmart", first(mutated))


def test_a_grant_that_is_deleted_before_its_function_leaves_network_interfaces(ours: Templates) -> None:
    mutated = copy.deepcopy(ours[TEMPLATE])
    put_grant_into_own_policy(mutated)
    # The grant comes first by luck, and so it goes last or first by luck.
    mutated["Resources"]["APIHandler"]["DependsOn"] = "NetworkPolicy"
    stack, account = first(mutated), Account()
    assert account.create("studysmart", stack) == "CREATE_COMPLETE", account.events
    existing = account.existing["studysmart"]
    existing["NetworkPolicy"] = existing.pop("NetworkPolicy")
    assert account.delete("studysmart") == "DELETE_FAILED"
    assert account.events[-1].startswith("the network interfaces of APIHandler: the role may not yet, or no longer,")
