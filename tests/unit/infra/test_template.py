"""The templates agree with the program and with themselves, where no linter can know."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from chalicelib import metrics
from chalicelib.config import settings_from
from infra.package import PYTHON, PackageError, template
from training_job.worker import MAX_RECEIVES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `make package` writes."""
    return template.render(ROOT, tmp_path_factory.mktemp("template") / "work")


def properties(rendered: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(rendered["Resources"][name]["Properties"])


def of_type(rendered: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of all resources of a type."""
    return {name: one["Properties"] for name, one in rendered["Resources"].items() if one["Type"] == f"AWS::{kind}"}


def test_every_route_leads_to_the_alias_that_a_deployment_moves(rendered: dict[str, Any]) -> None:
    paths = properties(rendered, "RestAPI")["DefinitionBody"]["paths"]
    uris = [
        method["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
        for path in paths.values()
        for method in path.values()
        if "x-amazon-apigateway-integration" in method and "uri" in method["x-amazon-apigateway-integration"]
    ]
    assert "/practice-tasks/{task_id}" in paths
    assert len(uris) > len(paths)
    assert {uri.rpartition("functions/")[2] for uri in uris} == {"${APIHandlerAliaslive}/invocations"}
    assert properties(rendered, "APIHandler")["AutoPublishAlias"] == "live"


def test_each_function_of_chalice_has_our_zip_and_a_role_of_its_own(rendered: dict[str, Any]) -> None:
    functions = of_type(rendered, "Serverless::Function")
    assert set(functions) == {"APIHandler", "SweepTrainingRequests", "PruneModels"}
    assert {function["CodeUri"] for function in functions.values()} == {"./studysmart-lambda.zip"}
    # The zip has packages of one Python, whichever Python renders the template.
    assert {function["Runtime"] for function in functions.values()} == {f"python{PYTHON}"}
    roles = {function["Role"]["Fn::GetAtt"][0] for function in functions.values()}
    assert roles == {"ApiRole", "SweeperRole", "PrunerRole"}


def test_every_function_may_log_in_to_the_database(rendered: dict[str, Any]) -> None:
    functions = {**of_type(rendered, "Serverless::Function"), **of_type(rendered, "Lambda::Function")}
    roles = {function["Role"]["Fn::GetAtt"][0] for function in functions.values()}
    may = {name for name, role in of_type(rendered, "IAM::Role").items() if '"rds-db:connect"' in json.dumps(role)}
    assert roles - may == {"SyntheticCheckRole"}  # it is a client


def test_a_task_in_ecs_gets_the_settings_of_the_lambdas(rendered: dict[str, Any]) -> None:
    variables = rendered["Globals"]["Function"]["Environment"]["Variables"]
    for name, role in (("TrainingFunction", "trainer"), ("OperatorFunction", "migrator")):
        own = dict(properties(rendered, name)["Environment"]["Variables"])
        as_password = variables["DATABASE_USER"]["Fn::If"][2]
        assert own.pop("DATABASE_USER") == {
            "Fn::If": ["LogsInByIam", {"Fn::Sub": f"${{DatabaseRolePrefix}}_{role}"}, as_password]
        }
        assert own == {key: value for key, value in variables.items() if key != "DATABASE_USER"}
    (container,) = properties(rendered, "TrainingTask")["ContainerDefinitions"]
    given = {entry["Name"]: entry["Value"] for entry in container["Environment"] if "Name" in entry}
    (only_by_iam,) = (entry["Fn::If"][1] for entry in container["Environment"] if "Fn::If" in entry)
    assert only_by_iam == {"Name": "DATABASE_USER", "Value": {"Fn::Sub": "${DatabaseRolePrefix}_trainer"}}
    secrets = {part["Name"] for entry in container["Secrets"] for part in entry["Fn::If"] if "Name" in part}
    # Lambda sets its region itself.
    assert given.pop("AWS_REGION") == {"Ref": "AWS::Region"}
    # A Lambda cannot start processes that share locks.
    assert given.pop("TRAINING_EXECUTOR") == {"Ref": "TrainingExecutor"}
    assert given == {name: value for name, value in variables.items() if name not in secrets}
    assert secrets == {"DATABASE_USER", "DATABASE_PASSWORD", "MODEL_SIGNING_KEY"}


def test_the_program_accepts_what_the_template_gives_it(rendered: dict[str, Any]) -> None:
    variables = rendered["Globals"]["Function"]["Environment"]["Variables"]
    defaults = {name: str(parameter.get("Default", "x")) for name, parameter in rendered["Parameters"].items()}

    def resolved(value: Any) -> str:
        if "Fn::If" in value:
            return resolved(value["Fn::If"][chosen])
        if value == {"Ref": "AWS::NoValue"}:
            return ""
        if "Ref" in value:
            return defaults.get(value["Ref"], "x")
        return re.sub(r"\$\{(\w+)\}", lambda found: defaults.get(found[1], "x"), value["Fn::Sub"])

    chosen = 1
    defaults |= {"DatabaseAuth": "iam", "ModelSigningSecretArn": "a secret"}
    by_iam = {name: resolved(value) for name, value in variables.items()}
    found = settings_from({**by_iam, "AWS_REGION": "eu-central-1"})
    assert found.database_url.endswith("//studysmart_api@x:5432/studysmart?auth=iam&region=eu-central-1")
    chosen = 2
    defaults["DatabaseAuth"] = "password"
    environment = {name: resolved(value) for name, value in variables.items()}
    settings = settings_from({**environment, "AWS_REGION": "eu-central-1"})
    assert settings.database_url.endswith("@x:5432/studysmart")
    assert (settings.training_threshold, settings.retained_versions, settings.cors_origins) == (5, 10, ())


def test_a_worker_gives_up_at_the_receive_after_which_the_queue_does(rendered: dict[str, Any]) -> None:
    assert properties(rendered, "TrainingQueue")["RedrivePolicy"]["maxReceiveCount"] == MAX_RECEIVES


def test_a_message_is_hidden_for_as_long_as_the_training_lambda_may_run(rendered: dict[str, Any]) -> None:
    hidden = rendered["Parameters"]["TrainingVisibilitySeconds"]["Default"]
    assert hidden >= properties(rendered, "TrainingFunction")["Timeout"]


def test_functions_tasks_and_zip_are_for_one_processor(rendered: dict[str, Any], tmp_path: Path) -> None:
    assert rendered["Parameters"]["Architecture"]["AllowedValues"] == ["x86_64"]
    architecture = [{"Ref": "Architecture"}]
    assert rendered["Globals"]["Function"]["Architectures"] == architecture
    functions = of_type(rendered, "Lambda::Function").values()
    assert [one["Architectures"] for one in functions] == [architecture] * 3
    arm = template.render(ROOT, tmp_path / "work", "arm64")["Parameters"]["Architecture"]
    assert (arm["Default"], arm["AllowedValues"]) == ("arm64", ["arm64"])


def test_alarms_and_dashboard_watch_metrics_that_the_product_has(rendered: dict[str, Any]) -> None:
    known = {metric.name for metric in metrics.METRICS}
    alarms = of_type(rendered, "CloudWatch::Alarm").values()
    watched = {alarm["MetricName"] for alarm in alarms if alarm.get("Namespace") == metrics.NAMESPACE}
    body = json.loads(properties(rendered, "Dashboard")["DashboardBody"]["Fn::Sub"])
    rows = [row for widget in body["widgets"] for row in widget["properties"].get("metrics", [])]
    shown = {row[1] for row in rows if row[0] == metrics.NAMESPACE}
    assert watched == {"FallbackRate", "TrainingFailures", "CounterOverThreshold", "CalibrationError"}
    assert shown == known


def test_every_alarm_for_people_tells_the_topic_and_says_what_it_is(rendered: dict[str, Any]) -> None:
    for name, alarm in of_type(rendered, "CloudWatch::Alarm").items():
        assert alarm["AlarmDescription"].endswith("."), name
        scaling = alarm["AlarmActions"] in ([{"Ref": "TrainingStart"}], [{"Ref": "TrainingStop"}])
        assert scaling or alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}], name


def test_the_training_may_not_delete_and_only_the_pruner_and_the_operator_may(rendered: dict[str, Any]) -> None:
    roles = {name: json.dumps(role) for name, role in of_type(rendered, "IAM::Role").items()}
    assert {name for name, text in roles.items() if '"s3:DeleteObject"' in text} == {"PrunerRole", "OperatorRole"}


def test_the_training_deletes_copies_of_answers_only(rendered: dict[str, Any]) -> None:
    policies = [policy for role in of_type(rendered, "IAM::Role").values() for policy in role["Policies"]]
    statements = [one for policy in policies for one in policy.get("PolicyDocument", {}).get("Statement", [])]
    deletions = [one["Resource"] for one in statements if "s3:DeleteObjectVersion" in one.get("Action", "")]
    assert deletions == [{"Fn::Sub": "${RegistryBucket.Arn}/datasets/*"}] * 3


def test_every_skipped_check_says_why(rendered: dict[str, Any]) -> None:
    skips = [
        skip
        for resource in rendered["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert skips
    assert [skip for skip in skips if len(skip.get("comment", "")) < 40] == []


def test_two_parts_that_define_the_same_are_refused() -> None:
    part: dict[str, Any] = {"Resources": {"A": {}}}
    with pytest.raises(PackageError, match="two: Resources A"):
        template.joined({"one": part, "two": {"Resources": {"A": {"Type": "T"}}}})
