"""Service accounts in the database: the commands that make them, and what the API reads and writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from chalicelib.domain.errors import LimitError, NotFoundError
from chalicelib.domain.service_accounts import DEFAULT_SCOPES, Scope, ServiceAction, key_digest
from chalicelib.services.service_accounts import ServiceAccounts
from chalicelib.storage.database import connect
from chalicelib.storage.service_store import PostgresServiceStore
from chalicelib.storage.user_store import PostgresUserStore
from migrations.roles import API
from ops import cli
from tests.support.servers import login_as

pytestmark = pytest.mark.slow


class Commands:
    """``studysmart service`` on the test's database."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> str:
        status, out, err = self.tried(*arguments)
        assert (status, err) == (0, ""), err
        return out

    def tried(self, *arguments: str) -> tuple[int, str, str]:
        status = cli.main(["service", *arguments])
        said = self._capsys.readouterr()
        return status, said.out.strip(), said.err.strip()


@pytest.fixture
def service(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Commands:
    for name, value in {**environment, "STATE_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    return Commands(capsys)


@pytest.fixture
def engine(environment: Mapping[str, str]) -> Any:
    """The database with the login of the API."""
    engine = connect(login_as(API, environment["DATABASE_URL"]), pool_size=2)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> PostgresServiceStore:
    return PostgresServiceStore(engine)


def test_a_key_gives_its_account_and_is_not_stored(service: Commands, store: PostgresServiceStore) -> None:
    key = service("create", "school")
    account = store.account(key_digest(key))
    assert account is not None
    assert (account.name, account.scopes, account.hint) == ("school", DEFAULT_SCOPES, key[:10])
    assert store.account(key_digest(key + "x")) is None
    assert key not in json.dumps(json.loads(service("list", "--json")))


def test_scopes_are_checked(service: Commands, store: PostgresServiceStore) -> None:
    status, _, err = service.tried("create", "school", "--scopes", "learners:read,everything")
    assert (status, err.partition(";")[0]) == (1, "error: unknown scope everything")
    account = store.account(key_digest(service("create", "school", "--scopes", "learners:read, predictions")))
    assert account is not None
    assert account.scopes == {Scope.LEARNERS_READ, Scope.PREDICTIONS}
    assert "exists already" in service.tried("create", "school")[2]


def test_a_rotation_leaves_no_moment_without_a_key(service: Commands, store: PostgresServiceStore) -> None:
    first = service("create", "school")
    second = service("rotate", "school", "--overlap", "1")
    found = [store.account(key_digest(key)) for key in (first, second)]
    assert [one is not None for one in found] == [True, True]
    assert [one.expires_at is not None for one in found if one] == [True, False]
    third = service("rotate", "school", "--overlap", "0")
    assert [store.account(key_digest(key)) is not None for key in (first, second, third)] == [False, False, True]
    states = [key["expires_at"] is None for key in json.loads(service("list", "--json"))[0]["keys"]]
    assert states == [False, False, True]


def test_a_rotation_never_lengthens_the_life_of_a_key(service: Commands, store: PostgresServiceStore) -> None:
    first = service("create", "school")
    service("rotate", "school", "--overlap", "1")
    before = store.account(key_digest(first))
    service("rotate", "school", "--overlap", "5")
    after = store.account(key_digest(first))
    assert before is not None
    assert after is not None
    assert before.expires_at == after.expires_at


def test_keys_and_accounts_are_revoked(service: Commands, store: PostgresServiceStore) -> None:
    first = service("create", "school")
    second = service("rotate", "school")
    service("revoke", "school", "--key", second[:10])
    assert [store.account(key_digest(key)) is not None for key in (first, second)] == [True, False]
    assert "no valid key" in service.tried("revoke", "school", "--key", second[:10])[2]
    service("revoke", "school")
    assert store.account(key_digest(first)) is None
    assert "no service account" in service.tried("revoke", "none")[2]


def test_a_complete_key_is_revoked_and_not_printed(service: Commands, store: PostgresServiceStore) -> None:
    first = service("create", "school")
    second = service("rotate", "school")
    unknown = first[:10] + "x" * 37
    status, out, err = service.tried("revoke", "school", "--key", unknown)
    assert (status, out, unknown in err, first[:10] in err) == (1, "", False, True)
    assert second not in service("revoke", "school", "--key", second)
    assert [store.account(key_digest(key)) is not None for key in (first, second)] == [True, False]


def test_a_revoked_account_gets_no_key(service: Commands) -> None:
    service("create", "school")
    service("revoke", "school")
    status, out, err = service.tried("rotate", "school")
    assert (status, out, "is revoked" in err) == (1, "", True)


def test_the_last_use_is_written_once_a_minute(
    service: Commands, store: PostgresServiceStore, environment: Mapping[str, str]
) -> None:
    digest = key_digest(service("create", "school"))
    owner = connect(environment["DATABASE_URL"], pool_size=1)
    query = text("SELECT last_used_at, xmin::text FROM service_keys")

    def row() -> Any:
        with owner.connect() as connection:
            return connection.execute(query).one()

    assert row()[0] is None
    store.account(digest)
    first = row()
    assert first[0] is not None
    store.account(digest)
    assert row() == first
    with owner.connect() as connection:
        connection.execute(text("UPDATE service_keys SET last_used_at = last_used_at - interval '61 seconds'"))
    store.account(digest)
    assert row()[0] > first[0]
    owner.dispose()


def test_learners_get_rows_once(service: Commands, store: PostgresServiceStore, engine: Engine) -> None:
    accounts = ServiceAccounts(store)
    account = accounts.account(service("create", "school"))
    names = ["pupil-1", "a\"b\\c'{},", "NULL", "ä".encode().hex()]
    ids = accounts.learners(account, names)
    assert accounts.learners(account, names) == ids
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT subject, id, issuer FROM users")).all()
    assert {(row[0], row[1]) for row in rows} == set(ids.items())
    assert {row[2] for row in rows} == {f"service:{account.id}"}


def test_learners_are_bounded_for_each_account(service: Commands, store: PostgresServiceStore, engine: Engine) -> None:
    accounts = ServiceAccounts(store, max_learners=3)
    school, other = (accounts.account(service("create", name)) for name in ("school", "other"))
    ids = accounts.learners(school, ["pupil-1", "pupil-2"])
    with pytest.raises(LimitError, match="SERVICE_LEARNERS"):
        accounts.learners(school, ["pupil-1", "pupil-3", "pupil-4"])
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM users")).scalar_one() == 2, "none of them was made"
    accounts.learners(school, ["pupil-1", "pupil-3"])
    assert accounts.learners(school, ["pupil-1", "pupil-2"]) == ids, "those that exist go on working"
    accounts.learners(other, ["pupil-1"])
    PostgresUserStore(engine, "default").erase(ids["pupil-1"])
    accounts.learners(school, ["pupil-4"])


def test_a_deleted_learner_is_refused(service: Commands, store: PostgresServiceStore, engine: Engine) -> None:
    accounts = ServiceAccounts(store)
    account = accounts.account(service("create", "school"))
    ids = accounts.learners(account, ["pupil-1", "pupil-2"])
    PostgresUserStore(engine, "default").erase(ids["pupil-1"])
    with pytest.raises(NotFoundError, match="pupil-1"):
        accounts.learners(account, ["pupil-1", "pupil-2"])
    assert [store.is_deleted(id_) for id_ in (*ids.values(), "unknown")] == [True, False, False]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM users WHERE subject = 'pupil-1'")).scalar_one() == 0


def test_a_learner_cannot_hide_an_account(
    service: Commands, store: PostgresServiceStore, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = ServiceAccounts(store)
    account = accounts.account(service("create", "school"))
    other = accounts.account(service("create", "other"))
    PostgresUserStore(engine, "default").add("id-of-ada", "ada@example.org", "Ada")
    PostgresUserStore(engine, "default").add("id-of-eve", "id-of-ada", "Eve")
    names = ["ada@example.org", "id-of-ada"]
    ids = accounts.learners(account, names)
    accounts.learners(other, names)

    def found(*arguments: str) -> str | None:
        capsys.readouterr()
        status = cli.main(["account", "export", *arguments])
        printed = capsys.readouterr().out
        return str(json.loads(printed.splitlines()[0])["id"]) if status == 0 else None

    assert [found(name) for name in names] == ["id-of-ada"] * 2
    assert [found(name, "--service", "school") for name in names] == list(ids.values())
    assert [found("ada@example.org", "--service", "none"), found("pupil", "--service", "school")] == [None, None]
    accounts.learners(account, ["pupil"])
    assert found("pupil") is None
    assert cli.main(["account", "erase", "ada@example.org", "--service", "none", "--yes"]) == 1
    assert cli.main(["account", "erase", "ada@example.org", "--service", "school", "--yes"]) == 0
    assert found("ada@example.org") == "id-of-ada"
    assert found("ada@example.org", "--service", "school") is None


def test_actions_are_shown_newest_first(service: Commands, store: PostgresServiceStore) -> None:
    accounts = ServiceAccounts(store)
    account = accounts.account(service("create", "school"))
    user_id = accounts.learners(account, ["pupil-1"])["pupil-1"]
    for status in (201, 403):
        accounts.record(ServiceAction(account.id, account.hint, "POST /practice-tasks", user_id, status, "r"))
    shown = json.loads(service("actions", "school", "--json"))
    assert [(one["status"], one["learner"], one["key"]) for one in shown] == [
        (403, "pupil-1", account.hint),
        (201, "pupil-1", account.hint),
    ]
    assert len(service("actions", "school", "--limit", "1").splitlines()) == 2


def test_old_actions_are_deleted(
    service: Commands, store: PostgresServiceStore, environment: Mapping[str, str]
) -> None:
    account = ServiceAccounts(store).account(service("create", "school"))
    for _ in range(2):
        store.record(ServiceAction(account.id, account.hint, "GET /model/status", None, 200, None))
    owner = connect(environment["DATABASE_URL"], pool_size=1)
    with owner.connect() as connection:
        one = "(SELECT id FROM service_actions LIMIT 1)"
        connection.execute(text(f"UPDATE service_actions SET at = now() - interval '401 days' WHERE id = {one}"))
    store.prune()
    assert len(json.loads(service("actions", "school", "--json"))) == 1
    owner.dispose()


def test_the_api_can_neither_make_nor_read_back_keys(service: Commands, engine: Engine) -> None:
    service("create", "school")
    for forbidden in (
        "INSERT INTO service_accounts (id, name, scopes) VALUES ('x', 'x', '{}')",
        "INSERT INTO service_keys (digest, service_id, hint) SELECT 'x', id, 'x' FROM service_accounts",
        "UPDATE service_keys SET expires_at = NULL",
        "UPDATE service_accounts SET scopes = '{answers}'",
        "UPDATE service_actions SET status = 200",
    ):
        with engine.connect() as connection, pytest.raises(Exception, match="permission denied"):
            connection.execute(text(forbidden))
