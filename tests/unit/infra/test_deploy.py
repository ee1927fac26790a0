"""`make deploy` against moto, step by step: what it makes, in which order, again, and when something fails."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.ecr.models import ECRBackend

from chalicelib.api import pages
from chalicelib.config import settings_from
from infra.checks.__main__ import templates
from infra.deploy import DeployError, acceptance, releases, steps
from infra.deploy import __main__ as command
from infra.deploy.stage import STANDALONE, Deployment, Settings, read_settings
from infra.package.template import PARTS, STATE, TEMPLATE, Template, read_part
from ops import cli
from tests.support.clouds import ROOT, Cloud, account
from tests.support.fakes.cloudformation import Order
from tests.support.template_mutations import put_grant_into_own_policy, retain_bucket

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # pragma: allowlist secret
MIGRATED = {"status": 0, "output": "The tables are up to date.\n"}
READS = ("Describe", "Get", "List", "Head", "BatchGet")


class Build:
    """Builds a release as Docker and `make package` would, from the part of the template that moto knows."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []
        self.description = "first"

    def run(self, command: Sequence[str], *, text: str | None = None) -> str:
        self.commands.append(command)
        if command[:2] == ["docker", "push"]:
            repository, _, tag = command[2].rpartition(":")
            name = repository.partition("/")[2]
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {"digest": f"sha256:{len(self.commands):064}"},
                "layers": [],
            }
            ecr = boto3.client("ecr")
            ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag=tag)
            ecr.start_image_scan(repositoryName=name, imageId={"imageTag": tag})
        return ""

    def package(self, architecture: str, work: Path) -> tuple[bytes, Template]:
        template = read_part(ROOT / STATE)
        template["Description"] = self.description
        for part in PARTS:
            template["Parameters"] |= read_part(ROOT / part).get("Parameters", {})
        template["Outputs"]["EndpointURL"] = {"Value": "https://abc.execute-api.us-east-1.amazonaws.com/api/"}
        return b"a zip", template

    @property
    def tools(self) -> releases.Tools:
        return releases.Tools(self.run, self.package)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with account(monkeypatch) as cloud:
        cloud.answer = MIGRATED
        monkeypatch.setattr(releases, "SCAN_SECONDS", 5.0)
        monkeypatch.setattr(acceptance, "check", lambda address, say: None)
        yield cloud


def deployment(said: list[str] | None = None, commit: str = COMMIT, **how: Any) -> Deployment:
    say = (said if said is not None else []).append
    return Deployment("staging", how.pop("settings", Settings()), commit, say=say, poll_seconds=0.01, **how)


def run(build: Build, until: str = "check", **how: Any) -> Deployment:
    one = deployment(**how)
    steps.run(one, build.tools, until)
    return one


def statuses() -> dict[str, str]:
    stacks = boto3.client("cloudformation").describe_stacks()["Stacks"]
    return {stack["StackName"].removeprefix("studysmart-"): stack["StackStatus"] for stack in stacks}


def test_an_empty_account_gets_everything_in_the_documented_order(cloud: Cloud) -> None:
    build = Build()
    first = run(build)
    created = [what.split()[2].rstrip(":") for what in first.changes if what.startswith("create stack")]
    assert created == [f"studysmart-{name}" for name in ("staging-network", "staging-database", "artifacts")] + [
        "studysmart-staging-migrator",
        "studysmart-staging",
    ]
    order = [" ".join(what.split()[:2]) for what in first.changes]
    assert (
        order.index("build image")
        < order.index("run `studysmart")
        < first.changes.index(
            next(what for what in first.changes if what.startswith("create stack studysmart-staging:"))
        )
    )
    assert first.changes[-1].startswith("check https://abc.execute-api")
    (stack,) = boto3.client("cloudformation").describe_stacks(StackName="studysmart-staging")["Stacks"]
    given = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    assert given["TrainingImage"].endswith(f"/studysmart-artifacts:{COMMIT[:12]}")
    assert given["SubnetIds"] == first.values["SubnetIds"]
    assert given["DatabaseEndpoint"] == first.values["DatabaseEndpoint"]
    assert given["DatabaseAuth"] == "iam"
    (database,) = boto3.client("rds").describe_db_instances()["DBInstances"]
    assert database["DeletionProtection"] is True
    # Created without protection, or CloudFormation could not roll back a first creation that failed.
    protections = [what.partition(": ")[2] for what in first.changes if "Protection" in what]
    assert protections == [f"{name}DeletionProtection 'false' becomes 'true'" for name in ("Database", "")]


def test_a_second_run_changes_nothing(cloud: Cloud) -> None:
    build = Build()
    run(build)
    build.commands.clear()
    again = run(build)
    assert [what for what in again.changes if not what.startswith(("run `studysmart", "check "))] == []
    assert build.commands == []


def test_a_dry_run_calls_nothing_that_writes(cloud: Cloud) -> None:
    said: list[str] = []
    run(Build(), said=said, dry_run=True)
    assert [call for call in cloud.calls if not call.partition(":")[2].startswith(READS)] == []
    text = "\n".join(said)
    assert "would create stack studysmart-staging-network" in text
    assert "would build image" in text
    assert "would run `studysmart migrate`" in text
    assert statuses() == {}
    run(Build())
    cloud.calls.clear()
    said.clear()
    run(
        Build(),
        said=said,
        dry_run=True,
        settings=Settings(parameters={"Egress": "endpoints"}),
    )
    assert [call for call in cloud.calls if not call.partition(":")[2].startswith(READS)] == []
    assert "  would update stack studysmart-staging-network: Egress 'nat' becomes 'endpoints'" in said


def test_a_new_release_is_migrated_before_its_stack_is_updated(cloud: Cloud) -> None:
    build = Build()
    run(build)
    build.description = "second"
    second = run(build, commit="f" * 40)
    changed = [what.partition(":")[0] for what in second.changes]
    migrator = changed.index("update stack studysmart-staging-migrator")
    assert migrator < changed.index("update stack studysmart-staging")
    assert second.changes[migrator + 1].startswith("run `studysmart migrate`")
    assert second.changes[migrator].count("Image") == 1


def test_an_earlier_release_is_deployed_again_without_migrations(cloud: Cloud) -> None:
    build = Build()
    run(build)
    build.description = "second"
    run(build, commit="f" * 40)
    build.commands.clear()
    said: list[str] = []
    back = run(build, said=said, kept=True, rollback=True)
    assert build.commands == []
    assert back.changes[0].startswith("update stack studysmart-staging:")
    template = boto3.client("cloudformation").get_template(StackName="studysmart-staging")["TemplateBody"]
    assert template["Description"] == "first"
    assert any("the tables stay as they are" in line for line in said)
    # The digits that people copy are enough.
    assert run(build, commit=COMMIT[:12], kept=True, rollback=True).changes[:-1] == []


@pytest.mark.parametrize("rollback", [True, False])
def test_a_release_that_is_not_kept_is_refused(cloud: Cloud, rollback: bool) -> None:
    """It would be built from the checkout, which has another commit."""
    with pytest.raises(DeployError, match=r"step image: there is no image .*:eeeeeeeeeeee: the repository keeps"):
        run(Build(), commit="e" * 40, kept=True, rollback=rollback)


def test_production_gets_the_release_of_staging_and_migrates(cloud: Cloud) -> None:
    run(Build())
    build = Build()
    one = Deployment("production", Settings(), COMMIT[:12], kept=True, say=lambda _: None, poll_seconds=0.01)
    steps.run(one, build.tools)
    assert build.commands == []
    assert any(what.startswith("run `studysmart migrate` in studysmart-production-migrator") for what in one.changes)
    assert not any("artifacts" in what for what in one.changes)


@pytest.mark.parametrize("commit", ["1a2b3c4", "main", ""])
def test_a_commit_is_named_by_its_digits(commit: str) -> None:
    with pytest.raises(DeployError, match=f"the commit '{commit}' must be given with at least 12"):
        deployment(commit=commit)


def test_after_a_failed_migration_the_product_is_as_before(cloud: Cloud) -> None:
    build = Build()
    run(build)
    cloud.answer = {"status": 1, "output": "error: PostgreSQL does not answer\n"}
    build.description = "second"
    said: list[str] = []
    with pytest.raises(DeployError, match="step migrate: `studysmart migrate` failed with status 1"):
        run(build, commit="f" * 40, said=said)
    assert any("PostgreSQL does not answer" in line for line in said)
    template = boto3.client("cloudformation").get_template(StackName="studysmart-staging")["TemplateBody"]
    assert template["Description"] == "first"


@pytest.mark.parametrize(
    ("part", "step"),
    [
        ("staging-network", "network"),
        ("staging-database", "database"),
        ("artifacts", "artifacts"),
        ("staging-migrator", "migrate"),
        ("staging", "check"),
    ],
)
def test_a_first_deployment_that_failed_can_be_repeated(cloud: Cloud, part: str, step: str) -> None:
    name, reason = f"studysmart-{part}", "The quota is exceeded"
    cloud.failing[name] = reason
    with pytest.raises(DeployError) as failure:
        run(Build(), until=step)
    assert f"stack {name} is in the state ROLLBACK_COMPLETE" in str(failure.value)
    assert reason in str(failure.value)
    cloud.failing.clear()
    second = run(Build(), until=step)
    assert f"delete the empty stack {name}, whose creation failed" in second.changes
    assert set(statuses().values()) <= {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
    databases = boto3.client("rds").describe_db_instances()["DBInstances"]
    assert all(database["DeletionProtection"] for database in databases)


def test_an_update_that_failed_can_be_repeated(cloud: Cloud) -> None:
    build = Build()
    run(build)
    build.description = "second"
    cloud.failing["studysmart-staging"] = "The alarm went off"
    with pytest.raises(DeployError, match=r"UPDATE_ROLLBACK_COMPLETE, because:\n.*The alarm went off"):
        run(build, commit="f" * 40)
    cloud.failing.clear()
    assert any(what.startswith("update stack studysmart-staging:") for what in run(build, commit="f" * 40).changes)


@pytest.mark.parametrize("status", ["ROLLBACK_FAILED", "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"])
def test_a_stack_that_needs_a_person_is_named_with_the_command(
    cloud: Cloud, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(Build(), until="network")
    cloud.set_status("studysmart-staging-network", status)
    with pytest.raises(DeployError, match=rf"step network: stack .* {status}: .*aws cloudformation"):
        run(Build(), until="network")


def test_own_subnets_and_own_database_are_used(cloud: Cloud) -> None:
    own = {
        "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
        "SecurityGroupIds": "sg-0123456789abcdef0",
        "DatabaseEndpoint": "db.example.com",
        "DatabaseSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:own-AbCdEf",
    }
    one = run(Build(), settings=Settings(parameters=dict(own)))
    assert sorted(statuses()) == ["artifacts", "staging", "staging-migrator"]
    assert {name: one.values[name] for name in own} == own
    # A login by IAM needs roles that only the owner of the database can decide on.
    assert [what for what in one.changes if what.startswith("run ")] == [
        f"run `studysmart migrate` in {one.values['MigratorFunctionName']}"
    ]


def test_own_subnets_need_their_network_for_a_database_of_ours(cloud: Cloud) -> None:
    own = {"SubnetIds": "subnet-0123456789abcdef0", "SecurityGroupIds": "sg-0123456789abcdef0"}
    with pytest.raises(DeployError, match="step database: these parameters are needed: VpcId"):
        run(Build(), settings=Settings(parameters=dict(own)))


def test_an_image_with_critical_vulnerabilities_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def findings(self: Any, *args: Any, **kwargs: Any) -> Any:
        return {**original(self, *args, **kwargs), "imageScanFindings": {"findingSeverityCounts": {"CRITICAL": 2}}}

    original = ECRBackend.describe_image_scan_findings
    monkeypatch.setattr(ECRBackend, "describe_image_scan_findings", findings)
    with pytest.raises(DeployError, match=r"step image: the image has 2 critical vulnerabilities\. Take a newer"):
        run(Build(), until="image")
    said: list[str] = []
    run(Build(), said=said, until="image", settings=Settings(allow_critical_findings=True))
    assert "  vulnerabilities known in the image: 2 critical" in said


def test_an_image_that_was_not_scanned_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def findings(self: Any, *args: Any, **kwargs: Any) -> Any:
        unsupported = {"status": "UNSUPPORTED_IMAGE", "description": "The operating system is not supported"}
        return {**original(self, *args, **kwargs), "imageScanStatus": unsupported}

    original = ECRBackend.describe_image_scan_findings
    monkeypatch.setattr(ECRBackend, "describe_image_scan_findings", findings)
    with pytest.raises(DeployError, match=r"step image: the image was not scanned .* The operating system is not"):
        run(Build(), until="image")
    run(Build(), until="image", settings=Settings(allow_critical_findings=True))


def test_all_settings_of_a_stage_are_read(tmp_path: Path) -> None:
    path = tmp_path / "staging.toml"
    path.write_text(
        'region = "eu-central-1"\narchitecture = "arm64"\nedge = true\n[parameters]\nMaxTrainingTasks = 3\n'
    )
    settings = read_settings("staging", path)
    assert (settings.region, settings.architecture, settings.edge) == ("eu-central-1", "arm64", True)
    one = Deployment("staging", settings, COMMIT)
    assert (one.values["MaxTrainingTasks"], one.values["Architecture"]) == ("3", "arm64")
    # Behind CloudFront many students share an address; WAF counts their own.
    assert one.values["Limits"] == "address_failed_sign_ins=0,address_mails_per_hour=0,sign_ups_per_hour=0"
    assert read_settings("none", tmp_path / "none.toml") == Settings()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("area = 'x'", "unknown field `area`"),
        ("region = ", "Invalid value"),
        ("architecture = 'arm'", "architecture 'arm' is none of x86_64, arm64"),
        ("name = 'Study Smart'", "name 'Study Smart' must be"),
        ("[parameters]\nEgres = 'nat'", "no template has a parameter Egres"),
        ("[parameters]\nEgress = 'nut'", "Egress='nut' is none of nat, nat-per-zone, endpoints"),
        ("[parameters]\nMaxTrainingTasks = 1", "MaxTrainingTasks='1' is not between 2 and 20"),
        ("[parameters]\nDatabasePort = 'x'", "DatabasePort='x' is not a number"),
        ("[parameters]\nSubnetIds = 'net-1'", r"SubnetIds='net-1' is not of the form"),
        ("[parameters]\nDatabaseEndpoint = 'https://x/'", "is not a host name, without scheme and port"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "staging.toml"
    path.write_text(text)
    with pytest.raises(DeployError) as failure:
        read_settings("staging", path)
    assert fault in str(failure.value)
    assert str(path) in str(failure.value)


def test_a_stage_has_a_plain_name(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="the stage 'Prod/1' must be"):
        read_settings("Prod/1", tmp_path / "x.toml")


def test_edge_and_backup_come_last_and_only_when_they_are_asked_for(cloud: Cloud) -> None:
    settings = Settings(edge=True, backup=True, parameters={"DatabaseKind": "aurora"})
    one = run(Build(), settings=settings, dry_run=True)
    created = [what.split()[2].rstrip(":") for what in one.changes if what.startswith("create stack")]
    assert created[-3:] == ["studysmart-staging", "studysmart-staging-backup", "studysmart-staging-edge"]
    assert one.changes[-1] == "check <EdgeUrl of studysmart-staging-edge> as a student"
    assert one.values["ReleasesBucketRegion"] == "us-east-1"


def test_what_the_migrator_runs_are_commands_that_exist(cloud: Cloud) -> None:
    one = deployment()
    one.values["DatabaseAuth"] = "iam"
    assert [" ".join(words) for words in steps.commands(one)] == [
        "migrate",
        "database roles --iam --prefix studysmart",
    ]
    for words in steps.commands(one):
        assert callable(cli.parser().parse_args(words).command)


def test_the_command_line_accepts_the_settings_of_the_migrator() -> None:
    (function,) = [
        one for one in read_part(ROOT / "infra/migrator.yaml")["Resources"].values() if "Function" in one["Type"]
    ]
    variables = {name: str(value) for name, value in function["Properties"]["Environment"]["Variables"].items()}
    variables |= {
        "DATABASE_URL": "postgresql://db.example.com/studysmart",
        "AWS_REGION": "us-east-1",
        "EVENT_BUS_NAME": "",
    }
    assert settings_from({**variables, "DATABASE_USER": "owner", "DATABASE_PASSWORD": "x"}).registry_bucket


def test_the_stack_role_reaches_every_service_of_the_templates() -> None:
    role = read_part(ROOT / "infra/pipeline.yaml")["Resources"]["StackRole"]["Properties"]["Policies"][0]
    allowed = [one for one in role["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
    services = {
        action.partition(":")[0] for one in allowed for action in one["Action"] if isinstance(one["Action"], list)
    }
    kinds = {
        resource["Type"].split("::")[1].lower()
        for part in (*PARTS, *(f"infra/{name}.yaml" for name in STANDALONE))
        for resource in read_part(ROOT / part)["Resources"].values()
        # Chalice's part, joined with ours, has the types of its resources.
        if "Type" in resource
    } | {"apigateway", "events", "codedeploy"}
    own_names = {
        "certificatemanager": "acm",
        "applicationautoscaling": "application-autoscaling",
        "cognito": "cognito-idp",
    }
    assert {own_names.get(kind, kind) for kind in kinds} <= services


def test_the_role_of_the_workflow_may_call_what_a_deployment_calls(cloud: Cloud) -> None:
    build = Build()
    run(build)
    build.description = "second"
    run(build, commit="f" * 40)
    role = read_part(ROOT / "infra/pipeline.yaml")["Resources"]["DeployRole"]["Properties"]["Policies"][0]
    granted = {
        action.lower()
        for one in role["PolicyDocument"]["Statement"]
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }
    # What the tests themselves call, and what creates resources inside of moto.
    of_tests = {"ecr:putimage", "ecr:startimagescan"}
    names = {"lambda:invoke": "lambda:invokefunction"}
    called = {names.get(call, call) for call in map(str.lower, cloud.calls)} - of_tests
    assert called <= granted


def test_the_options_that_are_shown_exist() -> None:
    shown = [ROOT / "docs/deploy.md", ROOT / ".github/workflows/deploy.yml"]
    words = {
        word for path in shown for words in re.findall(r'ARGS="?([^"\n`]+)', path.read_text()) for word in words.split()
    }
    options = {word for word in words if word.startswith("--")}
    assert {"--commit", "--dry-run", "--rollback", "--settings", "--until"} <= options
    assert options <= {option for action in command._parser()._actions for option in action.option_strings}


def test_a_rollback_names_the_release(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["staging", "--rollback"])
    assert "--rollback needs --commit" in capsys.readouterr().err


def test_the_whole_command_in_a_dry_run(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "staging.toml"
    path.write_text('account = "123456789012"\n')
    arguments = ["staging", "--settings", str(path), "--dry-run", "--until", "artifacts", "--json"]
    assert command.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("studysmart-staging in 123456789012 us-east-1, commit ")
    assert lines[-2] == "Nothing was changed."
    assert len(json.loads(lines[-1])["changes"]) == 3
    path.write_text('account = "999999999999"\n')
    assert command.main(arguments) == 1
    assert "these credentials are of account 123456789012" in capsys.readouterr().err


def test_a_stack_from_before_is_taken_over_by_its_name() -> None:
    one = deployment(settings=Settings(stack="study"))
    assert [one.stack(part) for part in ("", "network", "artifacts")] == [
        "study",
        "study-network",
        "studysmart-artifacts",
    ]


def test_a_checkout_with_changes_is_no_release() -> None:
    answers = {"status": " M app.py\n", "rev-parse": f"{COMMIT}\n"}
    tools = releases.Tools(lambda words: answers[words[1]], Build().package)
    with pytest.raises(DeployError, match="the checkout has changes that are not committed"):
        releases.current_commit(tools)
    assert releases.current_commit(tools, dry_run=True) == COMMIT
    answers["status"] = ""
    assert releases.current_commit(tools) == COMMIT


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-program"], "no-such-program cannot be run: "),
        ([sys.executable, "-c", "raise SystemExit(3)"], "failed with exit status 3"),
    ],
)
def test_a_program_that_fails_is_named(words: list[str], message: str) -> None:
    with pytest.raises(DeployError, match=message):
        releases.run(words)


def test_a_program_gets_its_text_and_gives_its_output() -> None:
    assert releases.run([sys.executable, "-c", "print(input()[::-1])"], text="secret\n") == "terces\n"


def test_functions_get_their_code_from_the_bucket() -> None:
    rendered: Template = {
        "Resources": {"A": {"Properties": {"CodeUri": "./studysmart-lambda.zip"}}, "B": {"Type": "T"}}
    }
    place = {"Bucket": "b", "Key": "code/1.zip"}
    assert releases.with_code(rendered, place)["Resources"]["A"]["Properties"] == {"CodeUri": place}
    assert rendered["Resources"]["A"]["Properties"]["CodeUri"] == "./studysmart-lambda.zip"


def test_a_release_has_the_assets_that_its_pages_refer_to(cloud: Cloud) -> None:
    one = run(Build(), until="package")
    bucket = one.values["ReleasesBucketName"]
    s3 = boto3.client("s3")
    names = {found["Key"] for found in s3.list_objects_v2(Bucket=bucket, Prefix="static/")["Contents"]}
    assert names == {f"static/{pages.version()}/{name}" for name in pages.assets()}
    style = s3.get_object(Bucket=bucket, Key=f"static/{pages.version()}/style.css")
    assert (style["ContentType"], style["CacheControl"]) == ("text/css; charset=utf-8", pages.IMMUTABLE)
    assert style["Body"].read().decode() == pages.assets()["style.css"]


PRODUCT = "studysmart-staging"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return templates(ROOT, tmp_path_factory.mktemp("order") / "work")[TEMPLATE]


def test_a_deployment_succeeds_in_the_least_suitable_order(cloud: Cloud, product: Any) -> None:
    cloud.refuses = order = Order(PRODUCT, product)
    run(Build())
    assert set(statuses().values()) <= {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
    assert order.account.status == dict.fromkeys((f"studysmart-{name}" for name in statuses()), "CREATE_COMPLETE")
    assert "APIHandler" in order.account.existing[PRODUCT]


def mutated(product: Any, mutate: Callable[[Any], None]) -> Any:
    changed = copy.deepcopy(product)
    mutate(changed)
    return changed


def test_a_template_in_a_wrong_order_fails_and_the_corrected_one_succeeds(cloud: Cloud, product: Any) -> None:
    cloud.refuses = order = Order(PRODUCT, mutated(product, put_grant_into_own_policy))
    with pytest.raises(
        DeployError, match=r"APIHandler: the role may not yet, or no longer, ec2:CreateNetworkInterface"
    ):
        run(Build())
    order.product = product
    run(Build())
    assert order.account.status[PRODUCT] == "CREATE_COMPLETE"


def test_a_bucket_that_a_failure_leaves_blocks_the_next_deployment(cloud: Cloud, product: Any) -> None:
    cloud.refuses = order = Order(PRODUCT, mutated(product, retain_bucket), "Dashboard")
    with pytest.raises(DeployError, match="Dashboard exceeds a quota"):
        run(Build())
    order.fails_at = None
    with pytest.raises(DeployError, match=r"RegistryBucket: studysmart-registry-.* already exists"):
        run(Build())


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-central-1"}, "eu-central-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-central-1"),
    ],
)
def test_the_region_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], region: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Deployment("staging", Settings(), COMMIT).region == region
    assert Deployment("staging", Settings(region="us-west-2"), COMMIT).region == "us-west-2"
