"""``studysmart database roles``: three logins, each with the privileges that its program needs and no others."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.errors import DatabaseUnavailableError
from chalicelib.domain.items import item_key
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage.database import connect, sql_state, statement
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import PostgresTracker
from infra.local import postgres
from migrations import alembic_config, upgrade
from migrations.roles import API, GRANTS, MIGRATOR, OWNER, PURPOSES, TRAINER
from migrations.schema import metadata
from ops import cli
from training_job.history.snapshot import read_snapshot

pytestmark = pytest.mark.slow

REFUSED = "42501"
POLICY = TrainingPolicy(threshold=5, minimum_samples=10)


@dataclass(frozen=True)
class Site:
    """A database of a master user who is no superuser, as on RDS, and roles with a prefix of its own."""

    url: str
    prefix: str
    run: Callable[..., tuple[int, str, str]]

    def url_of(self, user: str, password: str | None = None) -> str:
        return make_url(self.url).set(username=user, password=password).render_as_string(hide_password=False)

    def role_url(self, role: str, password: str | None = None) -> str:
        return self.url_of(f"{self.prefix}_{role}", password)

    def create_roles(self, *options: str) -> tuple[int, str, str]:
        return self.run("database", "roles", "--prefix", self.prefix, *options)


def asked(url: str, sql: str) -> list[tuple[object, ...]]:
    """Run a statement as the user of the URL, and return its rows."""
    engine = connect(url, pool_size=1)
    try:
        result = statement(engine, lambda c: (r := c.exec_driver_sql(sql)).returns_rows and [tuple(row) for row in r])
        return result or []
    finally:
        engine.dispose()


@pytest.fixture
def site(
    postgres_server: postgres.Postgres,
    aws: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Site]:
    name = f"roles_{uuid.uuid4().hex[:12]}"
    superuser = postgres_server.url("postgres")
    asked(superuser, f"CREATE ROLE {name} LOGIN CREATEROLE CREATEDB")
    asked(superuser, f"CREATE DATABASE {name} OWNER {name}")
    url = make_url(postgres_server.url(name)).set(username=name).render_as_string()

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    for variable, value in {**aws, "DATABASE_URL": url, "STATE_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(variable, value)
    yield Site(url, f"{name}_r", run)
    postgres.drop_database(postgres_server, name)
    for user in (*(f"{name}_r_{role}" for role in (*PURPOSES, OWNER)), name):
        asked(superuser, f"DROP ROLE IF EXISTS {user}")


def test_every_table_is_granted_or_closed_on_purpose() -> None:
    closed_to_the_api = {"imports"}
    assert set(GRANTS[API]) == set(metadata.tables) - closed_to_the_api
    events = {"webhook_receivers", "webhook_deliveries"}
    assert set(GRANTS[TRAINER]) == {"users", "practice_tasks", "embedding_model_tracker", "tracker_shards", *events}


def privileges(site: Site) -> list[tuple[object, ...]]:
    return asked(
        site.url,
        "SELECT relname, relowner::regrole::text, relacl::text, (SELECT array_agg(attname || attacl::text ORDER BY"
        " attname) FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL)::text FROM pg_class c"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname",
    )


@pytest.mark.parametrize("tables_first", [True, False])
def test_roles_and_migrations_come_in_any_order(site: Site, *, tables_first: bool) -> None:
    if tables_first:
        upgrade(site.url)
        status, out, err = site.create_roles()
    else:
        status, out, err = site.create_roles()
        upgrade(site.role_url(MIGRATOR))
    assert (status, err) == (0, "")
    assert f"{site.prefix}_trainer" in out
    once = privileges(site)
    assert {owner for _, owner, *_ in once} == {f"{site.prefix}_table_owner"}
    # Surplus privileges go, also with the prefix of the last time.
    asked(site.role_url(MIGRATOR), f"GRANT ALL ON users, imports TO {site.prefix}_trainer")
    assert site.run("database", "roles")[0] == 0
    assert privileges(site) == once
    for url in (site.role_url(MIGRATOR), site.url):
        # Migrations of a later release, by either login.
        command.downgrade(alembic_config(url), "0010")
        assert site.run("database", "roles")[2].startswith("error: the tables are of revision 0010: run ")
        upgrade(url)
        assert privileges(site) == once


def test_each_program_works_with_its_own_login(site: Site) -> None:
    assert site.create_roles()[0] == 0
    upgrade(site.role_url(MIGRATOR))
    engines = {role: connect(site.role_url(role), pool_size=1) for role in PURPOSES}
    store = PostgresTaskStore(engines[API], "default")
    for n in range(6):
        task = store.insert("ada", NewTask("Maths", f"t{n}", Difficulty.EASY, "?"), DEFAULT_PREDICTION)
        store.complete("ada", task.id, Result(True, 5.0), None, POLICY)
    snapshot = read_snapshot(engines[TRAINER], "default")
    assert (len(snapshot.table), snapshot.counter) == (6, 6)
    items = [item_key("Maths", f"t{n}", Difficulty.EASY, "?", None) for n in range(6)]
    assert snapshot.table.item.tolist() == items
    tracker = PostgresTracker(engines[TRAINER])
    tracker.set_model_version("default", "20260101T000000Z-00000001")
    assert tracker.read("default").model_version == "20260101T000000Z-00000001"
    for engine in engines.values():
        engine.dispose()


DEFINITIONS = [
    "CREATE TABLE mine (id integer)",
    "CREATE TEMPORARY TABLE mine (id integer)",
    "CREATE SCHEMA mine",
    "CREATE INDEX mine ON users (email)",
    "CREATE ROLE mine",
    "ALTER TABLE users ADD COLUMN mine text",
    "DROP TABLE idempotency_keys",
    "TRUNCATE practice_state",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
]
NOT_FOR_THE_API = [
    "SELECT * FROM imports",
    "SELECT * FROM alembic_version",
    "DELETE FROM users",
    "DELETE FROM embedding_model_tracker",
]
NOT_FOR_TRAININGS = [
    "SELECT email FROM users",
    "SELECT full_name FROM users",
    "SELECT kept_tokens FROM users",
    "SELECT * FROM users",
    "SELECT task_content FROM practice_tasks",
    "SELECT answer_content FROM practice_tasks",
    "SELECT * FROM practice_state",
    "SELECT * FROM limit_counts",
    "SELECT * FROM idempotency_keys",
    "SELECT * FROM student_usage",
    "SELECT * FROM imports",
    "UPDATE users SET excluded_at = NULL",
    "UPDATE practice_tasks SET is_correct = true",
    "DELETE FROM practice_tasks",
    "DELETE FROM embedding_model_tracker",
    "UPDATE tracker_shards SET n = 0",
]


def test_a_role_is_refused_what_its_program_does_not_need(site: Site) -> None:
    upgrade(site.url)
    assert site.create_roles()[0] == 0
    forbidden = {API: DEFINITIONS + NOT_FOR_THE_API, TRAINER: DEFINITIONS + NOT_FOR_TRAININGS}
    for role, statements in forbidden.items():
        engine = connect(site.role_url(role), pool_size=1)
        for sql in statements:
            with pytest.raises(DBAPIError) as caught:
                statement(engine, lambda c, sql=sql: c.exec_driver_sql(sql))  # type: ignore[misc]
            assert sql_state(caught.value) == REFUSED, (role, sql)
        engine.dispose()
    for sql in ("CREATE TABLE mine (id integer)", "SELECT email FROM users", "ALTER TABLE users ADD COLUMN mine text"):
        asked(site.role_url(MIGRATOR), sql)


def test_the_limits_of_requests_are_those_of_the_role(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATEMENT_SECONDS", "7")
    monkeypatch.setenv("LOCK_SECONDS", "1.5")
    assert site.create_roles()[0] == 0
    found = asked(
        site.url, f"SELECT rolname, rolconfig::text FROM pg_roles WHERE rolname LIKE '{site.prefix}%' ORDER BY 1"
    )
    others = "lock_timeout=1500,idle_in_transaction_session_timeout=10000"
    assert [config for _, config in found] == [f"{{statement_timeout=7000,{others}}}", None, None, f"{{{others}}}"]


def test_logins_by_iam_need_rds_and_can_be_taken_back(site: Site, postgres_server: postgres.Postgres) -> None:
    status, _, err = site.create_roles("--iam")
    assert (status, err) == (1, "error: --iam needs the role rds_iam, which only servers of RDS have\n")
    master, superuser = make_url(site.url).username, postgres_server.url("postgres")
    asked(superuser, "CREATE ROLE rds_iam")
    try:
        asked(superuser, f"GRANT rds_iam TO {master} WITH ADMIN OPTION")
        query = (
            "SELECT count(*) FROM pg_auth_members WHERE roleid = 'rds_iam'::regrole"
            f" AND member::regrole::text LIKE '{site.prefix}%'"
        )
        roles_of_master = (
            "SELECT roleid::regrole::text FROM pg_auth_members"
            f" WHERE member = '{master}'::regrole AND (inherit_option OR set_option) AND roleid <> 'rds_iam'::regrole"
        )
        for options, members in ((["--iam"], 3), (["--iam"], 3), ([], 0), ([], 0)):
            assert site.create_roles(*options)[0] == 0
            assert asked(superuser, query) == [(members,)]
            # RDS refuses the password of a user who uses the privileges of a role that logs in by IAM.
            assert asked(superuser, roles_of_master) == [(f"{site.prefix}_table_owner",)]
    finally:
        asked(superuser, "DROP ROLE rds_iam")


@pytest.fixture
def asks_for_passwords(postgres_server: postgres.Postgres, site: Site) -> Iterator[None]:
    """Lets the server ask the roles of the site for their passwords."""
    rules = postgres_server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all /^{site.prefix} scram-sha-256\n{before}")
    asked(postgres_server.url("postgres"), "SELECT pg_reload_conf()")
    yield
    rules.write_text(before)
    asked(postgres_server.url("postgres"), "SELECT pg_reload_conf()")


@pytest.mark.usefixtures("asks_for_passwords")
def test_passwords_come_from_the_environment(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for role in (API, MIGRATOR):
        monkeypatch.setenv(f"{role.upper()}_PASSWORD", f"the pässword' of {role}")
    assert site.create_roles("--iam") == (1, "", "error: --iam needs no password, and API_PASSWORD is set\n")
    assert site.create_roles()[0] == 0
    monkeypatch.delenv("API_PASSWORD")
    monkeypatch.setenv("MIGRATOR_PASSWORD", "another")
    assert site.create_roles()[0] == 0
    assert asked(site.role_url(API, "the pässword' of api"), "SELECT 1") == [(1,)]
    upgrade(site.role_url(MIGRATOR, "another"))
    for role, password in ((API, "wrong"), (TRAINER, "none was set"), (MIGRATOR, "the pässword' of migrator")):
        with pytest.raises(DatabaseUnavailableError, match=r"refuses the login.*password authentication failed"):
            asked(site.role_url(role, password), "SELECT 1")
    with pytest.raises(DatabaseUnavailableError, match=r"refuses the login.*password authentication failed"):
        upgrade(site.role_url(MIGRATOR, "wrong"))


@pytest.mark.parametrize("tables", [True, False])
def test_a_login_that_may_not_create_roles_is_told_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, *, tables: bool
) -> None:
    assert site.create_roles()[0] == 0
    if tables:
        upgrade(site.url)
    monkeypatch.setenv("DATABASE_URL", site.role_url(API))
    status, _, err = site.create_roles()
    assert status == 1
    assert err.startswith("error: the roles were not changed, because PostgreSQL says: ")
    assert "permission denied" in err
    with pytest.raises(SystemExit):
        site.run("database", "roles", "--prefix", "Robert'); DROP TABLE")
