"""The parts of the one-machine stack that need no server."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from chalicelib.domain.errors import ConfigurationError
from infra.local.aws.contents import HashedPassword, Item
from infra.local.aws.persistence import State, StateError, changed_kind
from infra.local.children import Child, stop_all
from infra.local.environment import base_environment, program_settings, worker_module, worker_options
from infra.local.output import Output
from infra.local.processes import bound_socket, child_command, url_of
from tests.support.waiting import wait_for


def item(key: str, body: bytes = b"", **facts: str) -> Item:
    return Item(key, facts, partial(bytes, body))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with closing(State(tmp_path / "state")) as state:
        yield state


def rows(path: Path) -> list[tuple[str, str, bytes]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT key, facts, body FROM items ORDER BY rowid").fetchall()


def test_items_are_loaded_in_the_order_of_their_arrival(tmp_path: Path, state: State) -> None:
    state.save("message", [item("b", b"1"), item("a", b"2")])
    with closing(State(tmp_path / "state")) as restarted:
        loaded = [(found.key, found.body()) for found in restarted.load("message")]
    assert loaded == [("b", b"1"), ("a", b"2")]


def test_a_missing_item_is_deleted_and_a_changed_one_replaced(tmp_path: Path, state: State) -> None:
    state.save("object", [item("a"), item("b", b"old", etag="1")])
    state.save("object", [item("b", b"new", etag="2")])
    assert rows(tmp_path / "state") == [("b", '{"etag": "2"}', b"new")]


def test_an_unchanged_item_is_not_read_again(state: State) -> None:
    def unread() -> bytes:
        raise AssertionError("the body was read")

    state.save("object", [item("a", b"1", etag="1")])
    state.save("object", [Item("a", {"etag": "1"}, unread)])


def test_saving_one_kind_leaves_the_others(state: State) -> None:
    state.save("account", [item("a")])
    state.save("object", [])
    assert [found.key for found in state.load("account")] == ["a"]


def test_a_state_of_a_later_format_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="format 99"):
        State(tmp_path / "state")


@pytest.mark.parametrize(
    ("target", "method", "kind"),
    [
        ("AmazonSQS.SendMessage", "POST", "message"),
        ("AmazonSQS.ReceiveMessage", "POST", "message"),
        ("AmazonSQS.GetQueueAttributes", "POST", None),
        ("AWSCognitoIdentityProviderService.SignUp", "POST", "account"),
        ("AWSCognitoIdentityProviderService.AdminAddUserToGroup", "POST", "account"),
        ("AWSCognitoIdentityProviderService.InitiateAuth", "POST", None),
        ("AWSCognitoIdentityProviderService.AdminGetUser", "POST", None),
        ("", "PUT", "object"),
        ("", "DELETE", "object"),
        ("", "GET", None),
        ("", "HEAD", None),
    ],
)
def test_a_request_is_classified_by_what_it_may_change(target: str, method: str, kind: str | None) -> None:
    assert changed_kind({"HTTP_X_AMZ_TARGET": target, "REQUEST_METHOD": method}) == kind


def test_a_hashed_password_equals_only_its_own_text() -> None:
    hashed = HashedPassword.of("correct horse")
    assert hashed == "correct horse"
    assert hashed != "correct horse "
    assert "correct" not in hashed.text
    assert HashedPassword(hashed.text) == "correct horse"
    assert HashedPassword.of("correct horse").text != hashed.text, "each has a salt of its own"


def test_no_credential_of_the_user_reaches_the_stack() -> None:
    environment = base_environment({"AWS_PROFILE": "work", "AWS_SECRET_ACCESS_KEY": "x", "PATH": "/bin"})
    assert not [name for name in environment if name.startswith("AWS_")]
    assert environment["PATH"] == "/bin"


def test_a_proxy_is_not_used_for_this_machine() -> None:
    assert base_environment({"NO_PROXY": "corp"})["NO_PROXY"] == "corp,127.0.0.1,localhost"


@pytest.mark.parametrize(("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])  # noqa: S104 - bound only
def test_the_url_is_one_that_this_machine_reaches(host: str, reached: str) -> None:
    with bound_socket(0, host) as bound:
        assert url_of(bound) == f"http://{reached}:{bound.getsockname()[1]}"


def test_the_user_may_choose_the_cors_origins() -> None:
    settings = program_settings({"CORS_ORIGINS": "http://localhost:9"}, "postgresql+pg8000://", {})
    assert settings["CORS_ORIGINS"] == "http://localhost:9"


def test_the_commands_of_a_stack_use_its_settings() -> None:
    given = {"TRAINING_THRESHOLD": "20", "LIMITS": "topics=9", "DATABASE_URL": "mine", "HOME": "/root"}
    settings = program_settings(given, "postgresql+pg8000://", {}, Path("/somewhere"))
    assert settings["DISK_PATH"] == "/somewhere"
    assert (settings["TRAINING_THRESHOLD"], settings["LIMITS"]) == ("20", "topics=9")
    assert settings["DATABASE_URL"] == "postgresql+pg8000://"
    assert "HOME" not in settings
    assert "http://127.0.0.1:5173" in settings["CORS_ORIGINS"]


def test_the_second_worker_needs_no_tensorflow_until_it_trains() -> None:
    assert worker_options({}) == [[], ["--reserve"]]


@pytest.mark.parametrize("n", [1, 3, 16])
def test_as_many_workers_train_as_are_asked_for(n: int) -> None:
    assert len(worker_options({"TRAINING_WORKERS": str(n)})) == n


@pytest.mark.parametrize("value", ["", "0", "17", "-1", "2.5", "two", "²", "9" * 5000])
def test_a_number_of_workers_that_cannot_be_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"TRAINING_WORKERS='.*' is not a whole number from 1 to 16"):
        worker_options({"TRAINING_WORKERS": value})


def test_workers_that_train_as_a_lambda_does_have_no_options() -> None:
    as_lambda = {"TRAINING_COMPUTE": "lambda"}
    assert worker_module(as_lambda) == "infra.local.event_source"
    assert worker_options(as_lambda) == [[], []]


def child(tmp_path: Path, program: str) -> Child:
    return Child("test", [sys.executable, "-c", program], {}, Output(tmp_path / "log"), tmp_path / "ready")


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    deaf = child(tmp_path, program)
    deaf.start()
    wait_for(lambda: "deaf" in (tmp_path / "log").read_text(), what="the deaf child")
    stop_all([deaf], patience_seconds=0.1)
    assert deaf.exit_status() == -9


def test_output_that_is_not_utf_8_is_logged(tmp_path: Path) -> None:
    talker = child(tmp_path, r"import sys; sys.stdout.buffer.write(b'caf\xe9 \xc3\xa9\n')")
    talker.start()
    wait_for(lambda: "caf� é\n" in (tmp_path / "log").read_text(encoding="utf-8"), what="the line")


def test_a_command_runs_at_the_requested_priority() -> None:
    command = [sys.executable, "-c", "import os; print(os.nice(0))"]
    done = subprocess.run(child_command(command, nice=7), capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(19, os.nice(0) + 7)
