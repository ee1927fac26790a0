"""The checks of whole templates: ours pass, and each kind of fault is found by the check that is for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.checks.__main__ import DATABASE, NETWORK, ROOT, main, templates, violations
from infra.checks.combinations import Stack, TemplateError, stacks
from infra.checks.graph import closure, unfavourable_order
from infra.package import template
from infra.package.template import TEMPLATE
from tests.support.template_mutations import put_grant_into_own_policy, retain_bucket

Templates = dict[str, Any]
GATEWAY = "x-amazon-apigateway-gateway-responses"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """All templates, the product's as CloudFormation sees it."""
    return dict(templates(ROOT, tmp_path_factory.mktemp("checks") / "work"))


def resource(given: Templates, name: str, path: str = TEMPLATE) -> dict[str, Any]:
    found: dict[str, Any] = given[path]["Resources"][name]
    return found


def properties(given: Templates, name: str, path: str = TEMPLATE) -> dict[str, Any]:
    found: dict[str, Any] = resource(given, name, path)["Properties"]
    return found


def responses(given: Templates) -> dict[str, Any]:
    found: dict[str, Any] = properties(given, "RestAPI")["Body"][GATEWAY]
    return found


def grant_in_a_policy_of_its_own(given: Templates) -> None:
    put_grant_into_own_policy(given[TEMPLATE])


def grant_without_deleting(given: Templates) -> None:
    statements = properties(given, "SweeperRole")["Policies"][0]["Fn::If"][1]["PolicyDocument"]["Statement"]
    statements[0]["Action"].remove("ec2:DeleteNetworkInterface")


def kept_for_ever(given: Templates) -> None:
    retain_bucket(given[TEMPLATE])


def deleted_with_the_stack(given: Templates) -> None:
    del resource(given, "ImageRepository", "infra/artifacts.yaml")["DeletionPolicy"]


def protected_from_the_start(given: Templates) -> None:
    properties(given, "UserPool")["DeletionProtection"] = "ACTIVE"


def lost_when_replaced(given: Templates) -> None:
    del resource(given, "UserPool")["UpdateReplacePolicy"]


def older_python(given: Templates) -> None:
    properties(given, "PruneModels")["Runtime"] = "python3.11"


def no_endpoint_of_images(given: Templates) -> None:
    del given[NETWORK]["Resources"]["EcrImagesEndpoint"]


def no_endpoint_of_the_bus(given: Templates) -> None:
    del given[NETWORK]["Resources"]["EventBridgeEndpoint"]


def endpoints_of_tasks_without_tasks(given: Templates) -> None:
    given[NETWORK]["Conditions"]["TaskEndpoints"]["Fn::And"][1] = {"Fn::Equals": [{"Ref": "TrainingCompute"}, "lambda"]}


def endpoints_admit_nobody(given: Templates) -> None:
    properties(given, "EndpointsSecurityGroup", NETWORK)["SecurityGroupIngress"][0]["FromPort"] = 444


def programs_may_not_go_out(given: Templates) -> None:
    properties(given, "ProgramsSecurityGroup", NETWORK)["SecurityGroupEgress"].pop(0)


def no_way_to_the_database(given: Templates) -> None:
    properties(given, "ProgramsSecurityGroup", NETWORK)["SecurityGroupEgress"].pop(1)


def database_admits_nobody(given: Templates) -> None:
    ingress = properties(given, "DatabaseSecurityGroup", DATABASE)["SecurityGroupIngress"][0]
    ingress["SourceSecurityGroupId"] = {"Fn::GetAtt": ["DatabaseSecurityGroup", "GroupId"]}


def zone_without_a_route(given: Templates) -> None:
    del given[NETWORK]["Resources"]["PrivateDefaultRouteB"]


def zone_without_the_buckets(given: Templates) -> None:
    properties(given, "S3Endpoint", NETWORK)["RouteTableIds"].pop()


def unreadable_refusals(given: Templates) -> None:
    del responses(given)["DEFAULT_4XX"]


def refusal_of_another_form(given: Templates) -> None:
    responses(given)["THROTTLED"]["responseTemplates"] = {"application/json": '{"message": "no"}'}


def no_time_to_try_again(given: Templates) -> None:
    given = responses(given)["INTEGRATION_TIMEOUT"]
    given["responseParameters"] = {"gatewayresponse.header.Access-Control-Allow-Origin": "'*'"}


def silent_sweeper(given: Templates) -> None:
    properties(given, "SweeperAlarm")["TreatMissingData"] = "notBreaching"


def unwatched_pruner(given: Templates) -> None:
    del given[TEMPLATE]["Resources"]["PrunerAlarm"]


def silent_database(given: Templates) -> None:
    properties(given, "DatabaseProcessorAlarm")["TreatMissingData"] = "missing"


def counter_that_stops(given: Templates) -> None:
    properties(given, "NoTrainingAlarm")["TreatMissingData"] = "notBreaching"


def metrics_of_all_stacks(given: Templates) -> None:
    del properties(given, "FallbackAlarm")["Dimensions"]


def alarm_that_tells_nobody(given: Templates) -> None:
    properties(given, "ApiErrorsAlarm")["AlarmActions"] = []


MUTATIONS: dict[str, list[Callable[[Templates], None]]] = {
    "vpc_order": [grant_in_a_policy_of_its_own, grant_without_deleting],
    "retain_on_create": [kept_for_ever, deleted_with_the_stack, protected_from_the_start, lost_when_replaced],
    "runtime_matches_zip": [older_python],
    "ecs_can_start": [
        no_endpoint_of_images,
        no_endpoint_of_the_bus,
        endpoints_of_tasks_without_tasks,
        endpoints_admit_nobody,
        programs_may_not_go_out,
        no_way_to_the_database,
        database_admits_nobody,
        zone_without_a_route,
        zone_without_the_buckets,
    ],
    "gateway_responses": [unreadable_refusals, refusal_of_another_form, no_time_to_try_again],
    "alarms_breach_on_silence": [
        silent_sweeper,
        unwatched_pruner,
        silent_database,
        counter_that_stops,
        metrics_of_all_stacks,
        alarm_that_tells_nobody,
    ],
}


def test_our_templates_have_no_violation_of_any_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged: list[Any] = []
    original = template._packaged_by_chalice

    def remember(*arguments: Path) -> Any:
        packaged.append(original(*arguments))
        return copy.deepcopy(packaged[-1])

    monkeypatch.setattr(template, "_packaged_by_chalice", remember)
    assert main(["--json"]) == 0
    numbers = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: numbers[name] for name in MUTATIONS} == dict.fromkeys(MUTATIONS, 0)
    assert numbers["stacks"] > 70
    # Chalice itself would choose the Python that runs it, in the second rendering an older one.
    assert "python3.11" not in json.dumps(packaged[0])
    assert "python3.11" in json.dumps(packaged[1])


@pytest.mark.parametrize(
    ("check", "mutate"),
    [(check, mutate) for check, several in MUTATIONS.items() for mutate in several],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_each_fault_is_found_by_its_check_and_by_no_other(
    ours: Templates, check: str, mutate: Callable[[Templates], None]
) -> None:
    mutated = copy.deepcopy(ours)
    mutate(mutated)
    found, _ = violations(mutated)
    assert [name for name, lines in found.items() if lines] == [check]


def test_the_unfavourable_order_creates_late_grants_after_functions(ours: Templates) -> None:
    mutated = copy.deepcopy(ours)
    grant_in_a_policy_of_its_own(mutated)
    stack = next(one for one in stacks(mutated[TEMPLATE]) if one.condition("InVpc"))
    order = unfavourable_order(stack)
    assert sorted(order) == sorted(stack.resources)
    assert order.index("APIHandler") < order.index("NetworkPolicy")
    assert all(order.index(before) < order.index(name) for name in order for before in closure(stack, name))


SMALL: dict[str, Any] = {
    "Parameters": {"Kind": {"Type": "String", "AllowedValues": ["a", "b"]}, "N": {"Type": "Number", "Default": 0}},
    "Conditions": {"Both": {"Fn::And": [{"Fn::Equals": [{"Ref": "Kind"}, "b"]}, {"Fn::Not": [{"Condition": "Off"}]}]}},
    "Rules": {"R": {"Assertions": [{"Assert": {"Fn::Contains": [["0", "5"], {"Ref": "N"}]}}]}},
    "Resources": {
        "A": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": {"Fn::Sub": "${AWS::StackName}-${Kind}"}}},
        "B": {"Type": "AWS::SQS::Queue", "Condition": "Both", "Properties": {"Tags": [{"Ref": "A"}]}},
    },
}
SMALL["Conditions"]["Off"] = {"Fn::Equals": [{"Ref": "N"}, "0"]}


def test_every_combination_of_what_conditions_name_is_a_stack() -> None:
    made = list(stacks(SMALL))
    assert [(one.values["Kind"], one.values["N"]) for one in made] == [("a", "0"), ("a", "5"), ("b", "0"), ("b", "5")]
    assert [list(one.resources) for one in made] == [["A"], ["A"], ["A"], ["A", "B"]]
    assert made[0].resources["A"]["Properties"]["BucketName"] == "studysmart-a"


def test_a_parameter_without_default_and_example_is_named() -> None:
    unknown = {**SMALL, "Parameters": {**SMALL["Parameters"], "Colour": {"Type": "String"}}}
    with pytest.raises(TemplateError, match="Colour"):
        list(stacks(unknown))


def test_resources_that_refer_in_a_circle_are_named() -> None:
    circle = {name: {"Type": "AWS::S3::Bucket", "DependsOn": other} for name, other in (("A", "B"), ("B", "A"))}
    with pytest.raises(ValueError, match="A, B"):
        unfavourable_order(Stack({"Resources": circle}, {}))
