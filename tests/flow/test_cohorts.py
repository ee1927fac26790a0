"""``studysmart cohort``, and ``--cohort`` with the other commands, on real services."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.cohorts import invitation_digest
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import Champion, TrainingPolicy
from chalicelib.services import accounts
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.storage.webhook_store import PostgresWebhooks
from chalicelib.wiring import Container
from ops import cli
from ops.doctor.checks import Doctor
from ops.registry_files import RegistryFiles

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=1_000, minimum_samples=10)
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(deployment: Container, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command and returns its exit status and everything that it printed."""

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = cli.main(arguments)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def listed(run: Run) -> dict[str, Any]:
    status, out = run("cohort", "list", "--json")
    assert status == 0
    return {one["name"]: one for one in json.loads(out)}


def practise(container: Container, student: str, n: int = 1) -> None:
    for _ in range(n):
        task = container.tasks.insert(student, NewTask("Math", "sets", Difficulty.EASY, "?"), DEFAULT_PREDICTION)
        container.tasks.complete(student, task.id, Result(True, 9.0), None, POLICY)


def test_cohorts_are_created_and_listed(deployment: Container, run: Run) -> None:
    practise(deployment, "ada", 2)
    status, out = run("cohort", "create", "physics-1", "--email-domain", "@School.example", "--invitation")
    assert status == 0
    code = out.splitlines()[-1]
    found = listed(run)
    assert found.keys() == {"default", "physics-1"}
    assert (found["default"]["students"], found["default"]["n_samples_total"]) == (1, 2)
    assert (found["physics-1"]["email_domains"], found["physics-1"]["has_invitation"]) == (["school.example"], True)
    assert "school.example, invitation" in run("cohort", "list")[1]
    services = deployment.users, deployment.identity, deployment.cohorts
    user = accounts.register(*services, "eve@example.com", "correct horse", None, code)
    rule = deployment.users.token_rule(user.id)
    assert rule is not None
    assert rule.cohort == "physics-1"
    renewed = run("cohort", "invite", "physics-1")[1].strip()
    valid = [deployment.cohorts.of_invitation(invitation_digest(one)) for one in (code, renewed)]
    assert valid == [None, "physics-1"]
    assert run("cohort", "invite", "physics-1", "--end")[0] == 0
    assert deployment.cohorts.of_invitation(invitation_digest(renewed)) is None
    assert run("cohort", "domains", "physics-1", "new.example", "school.example")[0] == 0
    assert deployment.cohorts.of_address("ada@New.example") == "physics-1"
    assert run("cohort", "domains", "physics-1")[0] == 0
    assert listed(run)["physics-1"]["email_domains"] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create", "default"], "exists already"),
        (["create", "../x"], "COHORT '../x'"),
        (["create", "physics\n"], "COHORT 'physics\\n'"),
        (["create", "physics", "--email-domain", "nowhere"], "domain 'nowhere'"),
        (["create", "physics", "--email-domain", "*.example"], "domain '*.example'"),
        (["create", "physics", "--email-domain", "schüle.example"], "domain 'schüle.example'"),
        (["create", "physics", "--email-domain", "taken.example"], "the cohort history has such a domain"),
        (["domains", "history", "here.example", "no domain"], "domain 'no domain'"),
        (["domains", "default", "here.example"], "own cohort (COHORT), which has neither"),
        (["assign", "none", "ada"], "there is no cohort none"),
        (["assign", "history", "nobody"], "no account has the e-mail or the id nobody; nobody was moved"),
        (["assign", "history"], "either accounts, or a service account"),
        (["move", "history", "history"], "are the same cohort"),
        (["invite", "default"], "own cohort (COHORT), which has neither"),
        (["move", "nowhere", "history"], "there is no cohort nowhere"),
        (["remove", "nowhere"], "there is no cohort nowhere"),
        (["remove", "default", "--yes"], "own cohort"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_mistakes_are_named_and_change_nothing(
    deployment: Container, run: Run, arguments: list[str], reason: str
) -> None:
    practise(deployment, "ada")
    run("cohort", "create", "history", "--email-domain", "taken.example")
    before = listed(run)
    status, out = run("cohort", *arguments)
    assert status == 1
    assert reason in out
    assert listed(run) == before


def test_students_are_assigned_and_cohorts_merged(deployment: Container, run: Run) -> None:
    practise(deployment, "ada", 3)
    practise(deployment, "bob", 2)
    run("cohort", "create", "physics")
    out = run("cohort", "assign", "physics", "ada")[1]
    assert "1 student moved to the cohort physics" in out
    assert "studysmart --cohort physics train" in out
    assert {name: one["n_samples_total"] for name, one in listed(run).items()} == {"default": 2, "physics": 3}
    assert "ada" in [one["id"] for one in json.loads(run("account", "list", "--json")[1]) if one["cohort"] == "physics"]
    assert "1 student moved to the cohort physics" in run("cohort", "move", "default", "physics")[1]
    assert {name: one["n_samples_total"] for name, one in listed(run).items()} == {"default": 0, "physics": 5}
    assert Doctor(deployment).examine().findings == []


def test_a_service_account_moves_with_its_learners(deployment: Container, run: Run) -> None:
    run("cohort", "create", "physics")
    key = run("--cohort", "default", "service", "create", "lms")[1].strip()
    account = deployment.service_accounts.account(key)
    learner = deployment.service_accounts.learners(account, ["L1"])["L1"]
    practise(deployment, learner)
    status, out = run("cohort", "assign", "physics", learner)
    assert (status, "moves with it (--service); nobody was moved" in out) == (1, True)
    assert run("cohort", "assign", "physics", "--service", "lms")[0] == 0
    assert {name: one["n_samples_total"] for name, one in listed(run).items()} == {"default": 0, "physics": 1}
    (described,) = json.loads(run("service", "list", "--json")[1])
    assert described["cohort"] == "physics"


def test_receivers_of_a_service_account_are_in_its_cohort(deployment: Container, run: Run) -> None:
    run("cohort", "create", "physics")
    run("cohort", "create", "history")
    run("--cohort", "physics", "service", "create", "lms")
    added = run("webhooks", "add", "https://192.0.2.1/hooks", "--service", "lms")
    assert added[0] == 0, added
    assert len(json.loads(run("--cohort", "physics", "webhooks", "list", "--json")[1])) == 1
    assert run("cohort", "assign", "history", "--service", "lms")[0] == 0
    assert len(json.loads(run("--cohort", "history", "webhooks", "list", "--json")[1])) == 1


def test_a_bus_has_one_receiver_of_a_cohort_after_a_merger(
    deployment: Container, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENT_BUS_NAME", "bus-1")
    PostgresWebhooks(deployment.engine, "default").use_bus("bus-1")
    assert run("cohort", "create", "physics")[0] == 0
    assert run("cohort", "move", "physics", "default")[0] == 0
    assert len(PostgresWebhooks(deployment.engine, "default").receivers()) == 1


def test_an_interrupted_removal_is_run_again(deployment: Container, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("cohort", "create", "physics")
    registry = deployment.registry
    assert isinstance(registry, S3ModelRegistry)
    deployment.tracker.set_counter("physics", 0)
    registry.write_version("physics", "v1", {"lnirt.json": b"{}"}, {})
    with monkeypatch.context() as patch:
        patch.setattr(RegistryFiles, "delete", interrupted)
        assert run("cohort", "remove", "physics", "--yes")[0] == 130
    assert (run("cohort", "create", "physics")[0], registry.list_versions("physics")) == (1, ["v1"])
    assert run("cohort", "remove", "physics", "--yes")[0] == 0
    assert registry.list_versions("physics") == []
    # A version that a training published after the removal.
    registry.write_version("physics", "v2", {"lnirt.json": b"{}"}, {})
    status, out = run("cohort", "create", "physics")
    assert (status, "models of a former cohort physics" in out) == (1, True)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_admin_of_one_cohort_is_made_where_the_account_is(deployment: Container, run: Run) -> None:
    run("cohort", "create", "physics")
    services = deployment.users, deployment.identity, deployment.cohorts
    accounts.register(*services, "eve@example.com", "correct horse", None)
    status, out = run("--cohort", "physics", "make-admin", "eve@example.com", "--of-cohort")
    assert (status, "eve@example.com belongs to the cohort default" in out) == (1, True)
    assert "of the cohort default" in run("make-admin", "eve@example.com", "--of-cohort")[1]
    assert "is an admin of physics now" in run("cohort", "assign", "physics", "eve@example.com")[1]


def test_a_cohort_is_removed_with_its_models_when_it_is_empty(deployment: Container, run: Run) -> None:
    run("cohort", "create", "physics")
    practise(deployment.in_cohort("physics"), "ada")
    registry = deployment.registry
    assert isinstance(registry, S3ModelRegistry)
    for cohort in ("physics", "physics-2"):
        registry.write_version(cohort, "v1", {"lnirt.json": b"{}"}, {})
        registry.write_champion(cohort, Champion("v1", None, "2026-01-31T00:00:00+00:00", None), None)
    status, out = run("cohort", "remove", "physics", "--yes")
    assert (status, "the cohort physics has 1 student and 0 service accounts" in out) == (1, True)
    assert run("cohort", "move", "physics", "default")[0] == 0
    status, out = run("cohort", "remove", "physics")
    assert (status, "3 files" in out) == (1, True)
    assert registry.list_versions("physics") == ["v1"]
    assert run("cohort", "remove", "physics", "--yes")[0] == 0
    assert registry.champion_etag("physics") is None
    assert registry.list_versions("physics") == []
    assert registry.list_versions("physics-2") == ["v1"]
    assert listed(run).keys() == {"default"}


def test_the_name_of_a_removed_cohort_with_tasks_is_not_used_again(deployment: Container, run: Run) -> None:
    run("cohort", "create", "physics")
    practise(deployment.in_cohort("physics"), "ada")
    run("cohort", "move", "physics", "default")
    assert run("cohort", "remove", "physics", "--yes")[0] == 0
    # A process that has the student in the removed cohort for some seconds more.
    assert deployment.in_cohort("physics").tracker.read("physics").n_samples_total == 0
    assert listed(run).keys() == {"default"}
    status, out = run("cohort", "create", "physics")
    assert (status, "tasks were predicted by the models of a former cohort physics" in out) == (1, True)
    assert run("cohort", "create", "physics-2")[0] == 0


def test_a_webhook_of_all_students_does_not_move(deployment: Container, run: Run) -> None:
    run("cohort", "create", "physics")
    practise(deployment.in_cohort("physics"), "ada")
    assert run("--cohort", "physics", "webhooks", "add", "https://192.0.2.1/hooks")[0] == 0
    out = run("cohort", "move", "physics", "default")[1]
    assert "1 webhook stayed in physics" in out
    assert "in the group cohort-admins are admins of default now" in out
    assert json.loads(run("webhooks", "list", "--json")[1]) == []
    assert "Nobody had to be moved" in run("cohort", "move", "physics", "default")[1]


def test_an_import_is_taken_back_in_its_cohort(deployment: Container, run: Run, tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text("user_id,topic,is_correct\nada,sets,1\n")
    run("cohort", "create", "physics")
    run("--cohort", "physics", "import", str(history))
    for command in (["undo", "1"], [str(history), "--replace", "1"], [str(history), "--replace", "1", "--dry-run"]):
        status, out = run("import", *command)
        assert (status, "the cohort default has no import 1" in out) == (1, True)
    out = run("--cohort", "physics", "import", str(history), "--replace", "1", "--dry-run")[1]
    assert "Nothing was taken back: answers of import 1 count as already there." in out
    assert listed(run)["physics"]["n_samples_total"] == 1


def test_an_import_into_a_removed_cohort_can_be_taken_back(deployment: Container, run: Run, tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text("user_id,topic,is_correct\nada,sets,1\n")
    run("cohort", "create", "physics")
    run("--cohort", "physics", "import", str(history))
    run("cohort", "assign", "default", "ada")
    assert run("cohort", "remove", "physics", "--yes")[0] == 0
    assert run("import", "undo", "1")[0] == 0
    assert Doctor(deployment).examine().findings == []


def test_the_cohort_that_was_served_before_can_still_be_named(
    deployment: Container, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    practise(deployment, "ada", 2)
    monkeypatch.setenv("COHORT", "renamed")
    assert {name: one["students"] for name, one in listed(run).items()} == {"default": 1, "renamed": 0}
    assert json.loads(run("--cohort", "default", "status", "--json")[1])["n_samples_total"] == 2
    assert run("cohort", "move", "default", "renamed")[0] == 0
    assert {name: one["students"] for name, one in listed(run).items()} == {"default": 0, "renamed": 1}


def test_a_training_keeps_its_cohort_from_being_removed(deployment: Container, run: Run) -> None:
    run("cohort", "create", "physics")
    assert run("--cohort", "physics", "train")[0] == 0
    status, out = run("cohort", "remove", "physics", "--yes")
    assert (status, "a training of the cohort physics is queued" in out) == (1, True)


def test_other_commands_work_on_the_cohort_that_is_named(deployment: Container, run: Run, tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text("user_id,topic,is_correct\nada,sets,1\nada,sets,0\n")
    run("cohort", "create", "physics")
    assert run("--cohort", "physics", "import", str(history))[0] == 0
    assert json.loads(run("--cohort", "physics", "status", "--json")[1])["n_samples_total"] == 2
    assert json.loads(run("status", "--json")[1])["n_samples_total"] == 0
    status, out = run("import", str(history))
    assert "user_id is a student of the cohort physics: use `studysmart --cohort physics import`" in out
    assert json.loads(run("--cohort", "physics", "import", "list", "--json")[1])[0]["added"] == 2
    run("cohort", "move", "physics", "default")
    assert run("import", "undo", "1")[0] == 0
    assert listed(run)["default"]["n_samples_total"] == 0
    status, out = run("--cohort", "nowhere", "status")
    assert (status, "there is no cohort nowhere" in out) == (1, True)
    assert Doctor(deployment).examine().findings == []


def test_the_doctor_repairs_the_total_of_the_cohort_that_is_wrong(deployment: Container, run: Run) -> None:
    run("cohort", "create", "physics")
    practise(deployment, "bob", 2)
    practise(deployment.in_cohort("physics"), "ada", 3)
    with deployment.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE embedding_model_tracker SET n_samples_total = 9 WHERE cohort = 'physics'")
    assert "cohort physics: n_samples_total is 9, but 3 tasks are completed" in run("doctor")[1]
    status, out = run("doctor", "--repair")
    assert "cohort physics: n_samples_total set to 3" in out
    assert (status, listed(run)["default"]["n_samples_total"]) == (0, 2)


def test_an_exclusion_names_the_command_that_trains_the_cohort_of_the_account(deployment: Container, run: Run) -> None:
    practise(deployment, "ada")
    assert run("cohort", "create", "physics")[0] == 0
    assert run("cohort", "assign", "physics", "ada")[0] == 0
    assert "`studysmart --cohort physics train`" in run("account", "exclude", "ada")[1]
    assert "`studysmart --cohort physics train`" in run("account", "include", "ada")[1]
