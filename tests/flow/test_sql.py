"""``studysmart sql`` on a real database: statements, shapes of output, errors, and the prompt."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from ops import cli
from ops.sql import split
from tests.support.waiting import wait_for

SQL = "import sys; from ops.cli import main; sys.exit(main(['sql', *sys.argv[1:]]))"
TRACKER = "SELECT last_trained_at, n_samples_last_training, n_samples_since_training, model_version"


@pytest.fixture
def database(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that only DATABASE_URL names; nothing else of a deployment is known."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "none"))
    return database_url


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", " SELECT 2"], ""),
        ("SELECT ';', \"a;b\"; x", ["SELECT ';', \"a;b\""], " x"),
        ("SELECT 'it''s;' ;", ["SELECT 'it''s;' "], ""),
        (r"SELECT E'\';' ;", [r"SELECT E'\';' "], ""),
        ("DO $$ BEGIN; END $$; SELECT $a$ $$; $a$", ["DO $$ BEGIN; END $$"], " SELECT $a$ $$; $a$"),
        ("SELECT 1 -- one;\n/* two; */;", ["SELECT 1 -- one;\n/* two; */"], ""),
        ("SELECT 'open;", [], "SELECT 'open;"),
        ("/* open;", [], "/* open;"),
    ],
)
def test_a_text_is_split_where_its_statements_end(text: str, statements: list[str], rest: str) -> None:
    assert split(text) == (statements, rest)


@pytest.mark.slow
def test_the_statements_that_operators_know_work(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    update = "UPDATE embedding_model_tracker SET n_samples_since_training = 4;"
    assert cli.main(["sql", "-c", f"{update} {TRACKER} FROM embedding_model_tracker;"]) == 0
    done, header, row, count = capsys.readouterr().out.splitlines()
    assert (done, count) == ("UPDATE 1", "(1 row)")
    assert header.split() == TRACKER.removeprefix("SELECT ").split(", ")
    assert row.split() == ["NULL", "0", "4", "NULL"]


@pytest.mark.slow
def test_rows_are_printed_as_json_and_csv(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT 'a,b' AS text, 1.5::numeric AS number, NULL AS nothing, '\\x01'::bytea AS bytes, 5 % 3 AS rest"
    assert cli.main(["sql", "--json", "-c", query]) == 0
    row = {"text": "a,b", "number": 1.5, "nothing": None, "bytes": "\\x01", "rest": 2}
    assert json.loads(capsys.readouterr().out) == [row]
    assert cli.main(["sql", "--csv", "-c", f"CREATE TEMP TABLE t (i int); {query}"]) == 0
    output = capsys.readouterr()
    assert output.out == 'text,number,nothing,bytes,rest\n"a,b",1.5,,\\x01,2\n'
    assert output.err == "CREATE\n"


@pytest.mark.slow
def test_an_error_is_one_line_and_ends_the_statements(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    insert = "INSERT INTO users (id) VALUES ('a')"
    assert cli.main(["sql", "-c", f"{insert}; {insert}; DELETE FROM users"]) == 1
    output = capsys.readouterr()
    assert output.out == "INSERT 1\n"
    detail = "Key (id)=(a) already exists."
    assert output.err == f'error: duplicate key value violates unique constraint "users_pkey". {detail}\n'


@pytest.mark.slow
def test_statements_are_read_from_standard_input(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("-- a comment;\nSELECT 1 AS one\n"))
    assert cli.main(["sql", "--csv"]) == 0
    assert capsys.readouterr().out == "one\n1\n"


def test_an_unusable_database_url_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    for url, error in (
        ("postgresql+pg8000://x@127.0.0.1:1/x", "PostgreSQL does not answer: "),
        ("postgres://x@127.0.0.1:1/x?sslmode=disable", "PostgreSQL does not answer: "),
        ("nonsense", "DATABASE_URL is not a URL such as postgresql://"),
        ("sqlite://", "DATABASE_URL begins with sqlite:, not with postgresql:"),
        ("postgres://x@h/x?sslmod=disable", "DATABASE_URL has the unknown option sslmod "),
    ):
        monkeypatch.setenv("DATABASE_URL", url)
        assert cli.main(["sql", "-c", "SELECT 1"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {error}")


class Terminal:
    """The prompt in a terminal of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SQL],
            env={**environment, "TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def expect(self, text: str) -> None:
        """Wait until the terminal shows a text after what was expected before."""

        def found() -> bool:
            with suppress(OSError):  # nothing new, or the program has ended
                self.shown += os.read(self._ours, 65_536).decode().replace("\r\n", "\n")
            return text in self.shown

        wait_for(found, what=f"{text!r} in the terminal")
        self.shown = self.shown.partition(text)[2]

    def interrupt_until(self, text: str) -> None:
        """Press Ctrl-C until the terminal shows a text: readline misses one that comes just after the prompt."""
        pressed = 0.0

        def press_and_look() -> bool:
            nonlocal pressed
            if time.monotonic() - pressed > 2:
                pressed = time.monotonic()
                self.process.send_signal(signal.SIGINT)
            with suppress(OSError):
                self.shown += os.read(self._ours, 65_536).decode().replace("\r\n", "\n")
            return text in self.shown

        wait_for(press_and_look, what=f"{text!r} in the terminal")
        self.shown = self.shown.partition(text)[2]


@pytest.mark.slow
def test_the_prompt_survives_errors_and_ctrl_c(database: str) -> None:
    terminal = Terminal(os.environ)
    terminal.expect("studysmart=> ")
    terminal.type("SELECT 40 AS answer,\n")
    terminal.expect("studysmart-> ")
    terminal.type("2 AS more;\n")
    terminal.expect("answer  more\n    40     2\n(1 row)\nstudysmart=> ")
    terminal.type("SELECT nothing;\n")
    terminal.expect('error: column "nothing" does not exist\nstudysmart=> ')
    terminal.type("SELECT 'dropped\n")
    terminal.expect("studysmart-> ")
    terminal.interrupt_until("studysmart=> ")
    terminal.type("SELECT pg_sleep(100);\n")
    terminal.expect("\n")
    wait_for(lambda: sleeping(database), what="the start of the long statement")
    terminal.process.send_signal(signal.SIGINT)
    terminal.expect("error: canceling statement due to user request\nstudysmart=> ")
    terminal.type("\\d users\n")
    terminal.expect("n_answers ")
    terminal.type("\\q\n")
    assert terminal.process.wait(120) == 0


def sleeping(database_url: str) -> bool:
    from chalicelib.storage.database import connect

    engine = connect(database_url)
    with engine.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100)%' AND wait_event = 'PgSleep'"
        return bool(connection.exec_driver_sql(query.replace("%", "%%")).scalar_one())
