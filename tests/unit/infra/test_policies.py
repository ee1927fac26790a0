"""The comparison of policies with recorded calls sees what is missing and what is too much."""

from __future__ import annotations

from typing import Any

from infra.check.calls import Need
from infra.check.policies import Grant, grants_of, missing, unused

BUCKET = "arn:aws:s3:::b"


def template(*statements: dict[str, Any]) -> dict[str, Any]:
    policy = {"PolicyDocument": {"Statement": [{"Effect": "Allow", **statement} for statement in statements]}}
    return {"Resources": {"JobRole": {"Type": "AWS::IAM::Role", "Properties": {"Policies": [policy]}}}}


def granted(action: Any, resource: Any) -> list[Grant]:
    return grants_of(template({"Action": action, "Resource": resource}), {"Bucket.Arn": BUCKET})


def test_references_are_resolved_to_the_running_stacks_arns() -> None:
    assert granted(["a:B", "a:C"], {"Fn::Sub": "${Bucket.Arn}/models/*"}) == [
        Grant("JobRole", "a:B", f"{BUCKET}/models/*"),
        Grant("JobRole", "a:C", f"{BUCKET}/models/*"),
    ]
    assert granted("a:B", {"Fn::GetAtt": ["Bucket", "Arn"]}) == [Grant("JobRole", "a:B", BUCKET)]


def test_a_call_on_a_resource_that_no_grant_covers_is_missing() -> None:
    grants = granted("s3:PutObject", {"Fn::Sub": "${Bucket.Arn}/models/*/champion.json"})
    pointer = Need("JobRole", "s3:PutObject", f"{BUCKET}/models/default/champion.json")
    model = Need("JobRole", "s3:PutObject", f"{BUCKET}/models/default/v/lnirt.json")
    others = Need("ApiRole", "s3:PutObject", f"{BUCKET}/models/default/champion.json")
    assert missing(grants, [pointer, model, others]) == [others, model]


def test_a_grant_that_no_call_needed_is_unused_unless_aws_uses_it() -> None:
    grants = [*granted(["s3:GetObject", "s3:DeleteObject"], "*"), *granted("logs:PutLogEvents", "*")]
    needs = [Need("JobRole", "s3:GetObject", f"{BUCKET}/x")]
    assert unused(grants, needs) == [Grant("JobRole", "s3:DeleteObject", "*")]
