"""Accounts of a stack on one machine after ``backup`` and ``restore``: the old passwords log in."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.stacks import Api, RunningStack, end

pytestmark = pytest.mark.slow

ADA = {"email": "ada@example.org", "password": "ada's own password"}
BOB = {"email": "bob@example.org", "password": "bob's own password"}
CHANGED = {**BOB, "password": "a changed password"}


def login_status(api: Api, account: dict[str, str]) -> int:
    return api.http.post("/auth/login", json=account).status_code


def test_old_passwords_log_in_after_a_restore(started: Callable[..., RunningStack], tmp_path: Path) -> None:
    first, directory = started(tmp_path / "first"), tmp_path / "backup"
    directory.mkdir(mode=0o755)
    for account in (ADA, BOB):
        first.api.post("/auth/register", account)
    first.api.login(BOB)
    passwords = {"current_password": BOB["password"], "new_password": CHANGED["password"]}
    first.api.post("/auth/change-password", passwords)
    first.api.login(ADA)
    ids = {first.api.get("/auth/me")["id"]}
    first.command("make-admin", ADA["email"])
    assert ", 2 passwords, " in first.command("backup", str(directory))
    end(first)
    assert [path for path in directory.rglob("*") if path.is_file() and path.stat().st_mode & 0o077] == []
    content = gzip.decompress((directory / "accounts.jsonl.gz").read_bytes()).decode()
    assert [account["password"] for account in (ADA, BOB, CHANGED) if account["password"] in content] == []

    second = started(tmp_path / "second")
    assert "nothing is wrong" in second.command("restore", str(directory))
    assert [login_status(second.api, account) for account in (ADA, BOB, CHANGED)] == [200, 401, 200]
    second.api.login(ADA)
    assert {second.api.get("/auth/me")["id"]} == ids, "the same id, so the same answers"
    second.api.post("/model/counter", {"value": 2})
    end(second)
    with closing(sqlite3.connect(second.state / "aws" / "state.sqlite3")) as state:
        kept = [json.loads(facts) for (facts,) in state.execute("SELECT facts FROM items WHERE kind = 'account'")]
    assert sorted(account["groups"] for account in kept) == [[], ["admins"]], "restored accounts survive a restart"
