"""The operator's commands against a real database, registry and queue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, IdempotentRequest, NewTask
from chalicelib.services import accounts
from chalicelib.wiring import Container
from evaluation import simulator
from infra.local.aws.outbox import Outbox
from ops import cli
from training_job.history.snapshot import read_snapshot

MONITOR = "import sys; from ops.cli import main; sys.exit(main(['monitor']))"
HISTORY = "user_id,topic,is_correct\nu,t,1\nu,t,0\n"


def history(tmp_path: Path, content: str = HISTORY) -> str:
    path = tmp_path / "history.csv"
    path.write_text(content)
    return str(path)


def test_a_command_without_a_stack_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert cli.main(["status"]) == 1
    assert capsys.readouterr().err == f"error: no stack is running in {tmp_path} (start one with `make run`)\n"


def test_a_killed_stack_does_not_count_as_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    (tmp_path / "stack.json").write_text(json.dumps({"url": "http://x", "pid": process.pid, "environment": {}}))
    assert cli.main(["--state-dir", str(tmp_path), "status"]) == 1
    assert "is not running" in capsys.readouterr().err


def test_the_environment_never_replaces_a_requested_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+pg8000://elsewhere/x")
    assert cli.main(["--state-dir", str(tmp_path), "status"]) == 1
    assert "no stack is running in" in capsys.readouterr().err


def test_an_incomplete_environment_names_every_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql+pg8000://elsewhere/x")
    for name in ("REGISTRY_BUCKET", "TRAINING_QUEUE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert cli.main(["status"]) == 1
    error = capsys.readouterr().err
    assert "REGISTRY_BUCKET is not set" in error
    assert "TRAINING_QUEUE_URL is not set" in error


def note(state_dir: Path, **environment: str) -> None:
    """Make a directory look like that of a running stack: this process is alive."""
    content = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "environment": environment}
    (state_dir / "stack.json").write_text(json.dumps(content))


def test_env_prints_nothing_but_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = """it's a "$HOME" `x` \\ text\nin two lines"""
    note(tmp_path, ODD=odd, LOG_FORMAT="json")
    assert cli.main(["--state-dir", str(tmp_path), "env"]) == 0
    script = capsys.readouterr().out
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    run = f"{script}\nexec '{sys.executable}' -c '{show}'"
    done = subprocess.run(["sh", "-euc", run], env={}, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert (seen["ODD"], seen["LOG_FORMAT"], seen["STATE_DIR"]) == (odd, "text", str(tmp_path))
    assert cli.main(["--state-dir", str(tmp_path), "env", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).items() <= seen.items()


def test_env_adds_to_pythonpath_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    for _ in range(2):
        assert cli.main(["--state-dir", str(tmp_path), "env", "--json"]) == 0
        monkeypatch.setenv("PYTHONPATH", json.loads(capsys.readouterr().out)["PYTHONPATH"])
    added, *mine = os.environ["PYTHONPATH"].split(os.pathsep)
    assert mine == ["/mine"]
    assert (Path(added) / "sitecustomize.py").is_file()


def test_env_without_a_stack_is_an_error_even_with_an_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql+pg8000://elsewhere/x")
    assert cli.main(["env"]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"error: no stack is running in {tmp_path} (start one with `make run`)\n")


def test_the_version_is_the_one_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"StudySmart {project['version']}\n"


@pytest.mark.slow
def test_status_shows_the_counter_and_the_lack_of_a_model(
    deployment: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Counter: 0/5"
    assert "Model: none yet" in lines
    assert "Last training: never" in lines
    assert "Training: idle" in lines


@pytest.mark.slow
def test_status_shows_the_files_of_the_model(deployment: Container, capsys: pytest.CaptureFixture[str]) -> None:
    from chalicelib.domain.training import Champion

    deployment.registry.write_version("default", "v1", {"lnirt.json": b"{}" * 700}, {"n_samples": 3})
    deployment.registry.write_champion("default", Champion("v1", None, "2026-01-01T00:00:00+00:00", None), None)
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    assert "Model: v1\n" in out
    assert "lnirt.json     1.4 kB\n" in out
    assert cli.main(["status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["files"] == {"lnirt.json": 1400}
    assert (report["champion"], report["counter"], report["training"]) == ("v1", 0, "idle")


@pytest.mark.slow
def test_the_counter_is_set(deployment: Container, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reset-counter", "4"]) == 0
    assert capsys.readouterr().out == "Counter: 4/5\n"
    assert deployment.tracker.read("default").n_samples_since_training == 4


@pytest.mark.slow
def test_a_training_is_requested_once(deployment: Container, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train"]) == 0
    request = deployment.tracker.read("default").training_request_id
    output = capsys.readouterr()
    assert output.out == f"Training requested: {request}\n"
    assert output.err == "warning: it will be skipped: a training needs 10 answers, and there are 0\n"
    assert cli.main(["train"]) == 1
    assert "already queued or running" in capsys.readouterr().err


@pytest.mark.slow
def test_monitor_ends_when_no_training_is_running(deployment: Container, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["monitor", "--until", "idle", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["Counter: 0/5", "Training: idle"]


@pytest.mark.slow
def test_an_account_becomes_an_administrator(deployment: Container, capsys: pytest.CaptureFixture[str]) -> None:
    deployment.identity.register("ada@example.com", "correct horse", None)
    assert cli.main(["make-admin", "Ada@example.com"]) == 0
    token = deployment.identity.login("ada@example.com", "correct horse").access_token
    assert deployment.identity.verify(token).is_admin
    assert cli.main(["make-admin", "nobody@example.com"]) == 1
    assert "no account has the e-mail" in capsys.readouterr().err


@pytest.mark.slow
def test_accounts_are_listed_changed_and_erased(deployment: Container, capsys: pytest.CaptureFixture[str]) -> None:
    accounts.register(
        deployment.users, deployment.identity, deployment.cohorts, "Ada@example.com", "correct horse", "Ada"
    )
    assert cli.main(["account", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["email"], listed["full_name"], listed["n_answers"]) == ("Ada@example.com", "Ada", 0)
    assert cli.main(["account", "set-password", "ada@example.com", "battery staple"]) == 0
    rule = deployment.users.token_rule(listed["id"])
    assert rule is not None
    assert rule.valid_from > 0
    deployment.identity.login("ada@example.com", "battery staple")
    for action, admitted in (("disable", False), ("enable", True)):
        assert cli.main(["account", action, "ada@example.com"]) == 0
        assert (deployment.identity.account_of("ada@example.com", "battery staple") is not None) is admitted
    assert cli.main(["account", "set-password", "ada@example.com", "short"]) == 1
    assert cli.main(["account", "erase", "ada@example.com"]) == 1
    assert cli.main(["account", "erase", "ada@example.com", "--yes"]) == 0
    assert deployment.identity.account_of("ada@example.com", "battery staple") is None
    assert cli.main(["account", "erase", "ada@example.com", "--yes"]) == 1
    assert "no account has the e-mail" in capsys.readouterr().err


@pytest.mark.slow
def test_disabling_an_account_ends_its_sessions(deployment: Container) -> None:
    user = accounts.register(
        deployment.users, deployment.identity, deployment.cohorts, "ada@example.com", "correct horse", None
    )
    session = deployment.identity.login("ada@example.com", "correct horse")
    assert cli.main(["account", "disable", "ada@example.com"]) == 0
    rule = deployment.users.token_rule(user.id)
    assert rule is not None
    assert rule.valid_from > 0
    with pytest.raises(UnauthenticatedError):
        deployment.identity.refresh(session.refresh_token)


@pytest.mark.slow
def test_everything_about_an_account_is_exported(
    deployment: Container, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "ada,Algebra,1\nada,Geometry,0\nben,Botany,1\n"
    assert cli.main(["import", history(tmp_path, f"user_id,topic,is_correct\n{rows}")]) == 0
    new = NewTask("Maths", "Algebra", Difficulty.EASY, "a solution for Ada")
    deployment.tasks.insert("ada", new, DEFAULT_PREDICTION, IdempotentRequest("key", b"digest"))
    capsys.readouterr()
    assert cli.main(["account", "export", "ada"]) == 0
    text = capsys.readouterr().out
    found = Counter(json.loads(line)["table"] for line in text.splitlines())
    assert found == {"users": 1, "practice_tasks": 3, "practice_state": 2, "idempotency_keys": 1}
    assert "a solution for Ada" in text
    assert "Botany" not in text
    assert cli.main(["account", "export", "nobody"]) == 1


@pytest.mark.slow
def test_trainings_do_not_learn_from_excluded_accounts(
    deployment: Container, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def learnt() -> set[str]:
        table = read_snapshot(deployment.engine, "default").table
        return {table.user_ids[user] for user in table.user}

    rows = "".join(f"student {n},t,{n % 2}\n" for n in range(4))
    assert cli.main(["import", history(tmp_path, f"user_id,topic,is_correct\n{rows}")]) == 0
    assert learnt() == {f"student {n}" for n in range(4)}
    assert cli.main(["account", "exclude", "student 1", "student 3"]) == 0
    assert learnt() == {"student 0", "student 2"}
    capsys.readouterr()
    assert cli.main(["account", "list", "--json"]) == 0
    listed = {one["id"]: one["excluded_at"] is None for one in json.loads(capsys.readouterr().out)}
    assert listed == {"student 0": True, "student 1": False, "student 2": True, "student 3": False}
    assert cli.main(["doctor", "--json"]) in (0, 1)
    assert not [code for code in ("state-differs", "total-differs") if code in capsys.readouterr().out]
    assert cli.main(["account", "include", "student 1", "nobody"]) == 1
    assert "the id nobody; nothing was changed" in capsys.readouterr().err
    assert learnt() == {"student 0", "student 2"}
    assert cli.main(["account", "include", "student 1"]) == 0
    assert learnt() == {"student 0", "student 1", "student 2"}


@pytest.mark.slow
def test_anomalies_are_listed(deployment: Container, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["anomalies"]) == 0
    assert capsys.readouterr().out.startswith("None of 0 accounts looks like a bot.\n")
    rows = "".join(
        f"{who},t{n % 3},{n % 2},{1 if who == 'bot' else 30}\n" for n in range(40) for who in ("bot", "student")
    )
    assert cli.main(["import", history(tmp_path, f"user_id,topic,is_correct,actual_time_seconds\n{rows}")]) == 0
    capsys.readouterr()
    assert cli.main(["anomalies", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"user_id": "bot", "n_answers": 40, "reasons": ["half of its answers took less than 1.0 seconds"]}
    ]


def test_the_outbox_shows_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--state-dir", str(tmp_path), "outbox"]) == 0
    assert "No message" in capsys.readouterr().out
    Outbox(tmp_path / "outbox.jsonl").send("ada@example.com", "Your code", "123456")
    assert cli.main(["--state-dir", str(tmp_path), "outbox", "Ada@example.com", "--json"]) == 0
    assert [message["code"] for message in json.loads(capsys.readouterr().out)] == ["123456"]
    assert cli.main(["--state-dir", str(tmp_path / "none"), "outbox"]) == 1


@pytest.mark.slow
def test_a_good_import_ends_with_status_0(
    deployment: Container, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["import", history(tmp_path)]) == 0
    assert "2 rows read, 2 answers added, 0 already there, 1 new user (" in capsys.readouterr().out


@pytest.mark.slow
def test_an_import_with_bad_rows_keeps_the_good_ones(
    deployment: Container, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["import", history(tmp_path, HISTORY + "u,t,x\nu,t,z\n")]) == 1
    output = capsys.readouterr()
    assert "2 rows: is_correct is neither a clear yes nor a clear no (line 4 'x', line 5 'z')" in output.out
    assert "4 rows read, 2 answers added" in output.out
    assert "2 bad rows skipped" in output.out


@pytest.mark.slow
def test_an_unusable_file_ends_with_status_2(
    deployment: Container, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["import", history(tmp_path, "user_id,topic\nu,t\n")]) == 2
    assert "no column is_correct" in capsys.readouterr().err
    assert deployment.tracker.read("default").n_samples_total == 0


@pytest.mark.slow
def test_imported_answers_count_in_predictions(deployment: Container, tmp_path: Path) -> None:
    path = tmp_path / "simulated.csv"
    simulator.write_csv(simulator.history(80), path)
    assert cli.main(["import", str(path)]) == 0
    state = deployment.tasks.prediction_context(simulator.history(1)[0].user_id).state
    assert state.n_answers == 20


@pytest.mark.slow
def test_migrating_an_up_to_date_database_does_nothing(
    deployment: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["migrate"]) == 0
    assert capsys.readouterr().out == "The tables are up to date.\n"


@pytest.mark.slow
def test_monitor_ends_cleanly_with_ctrl_c(deployment: Container) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + MONITOR],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said.endswith("Counter: 0/5\n"):
        process.kill()
        pytest.fail(f"it said {said!r}: {process.communicate()}")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
