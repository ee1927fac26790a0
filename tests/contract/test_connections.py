"""Connections to PostgreSQL as deployments have them: by TLS, through a pooler, and over a network that goes silent."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, make_url, text

from chalicelib.domain.errors import ConfigurationError, DatabaseUnavailableError, TooSlowError
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage.database import connect, statement
from chalicelib.storage.database_url import server_of
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.timeouts import DEFAULT, Timeouts
from infra.local import postgres
from migrations import upgrade
from tests.support.fronts import Front, certificate, free_port, pgbouncer, pooled

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=5, minimum_samples=10)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "is not a URL"),
        ("mysql://u@h/d", "begins with mysql:"),
        ("postgresql://u@h/d?sslmode=on", "sslmode=on, which is none of disable"),
        ("postgresql://u@h/d?connect_timout=3", "unknown option connect_timout"),
        ("postgresql://u@h/d?sslmode=verify-full&sslrootcert=/none.pem", "cannot be read: No such file"),
    ],
)
def test_a_url_that_cannot_be_used_is_explained(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        connect(url)


def test_a_statement_that_takes_too_long_is_stopped(database_url: str) -> None:
    sleep = text("SELECT 1 FROM pg_sleep(CAST(:seconds AS double precision))")
    engine = connect(database_url, pool_size=1, timeouts=Timeouts(statement=1.0))
    with pytest.raises(TooSlowError):
        statement(engine, lambda c: c.execute(sleep, {"seconds": 60.0}).one())
    with engine.connect() as connection:
        assert (
            connection.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' "
                "AND state = 'active' AND pid <> pg_backend_pid()"
            ).scalar_one()
            == 0
        )
    assert statement(engine, lambda c: c.execute(sleep, {"seconds": 0.01}).one()) == (1,)
    engine.dispose()
    patient = connect(database_url, pool_size=1)
    assert statement(patient, lambda c: c.execute(sleep, {"seconds": 0.4}).one()) == (1,)
    patient.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+pg8000"])
def test_every_usual_scheme_means_our_driver(scheme: str) -> None:
    assert server_of(f"{scheme}://u@h/d").url.drivername == "postgresql+pg8000"


@pytest.fixture
def front(postgres_server: postgres.Postgres, tmp_path: Path) -> Iterator[Front]:
    found = Front(postgres_server.socket_path, certificate(tmp_path))
    yield found
    found.close()


ONE = text("SELECT CAST(:n AS integer)")


def ask(engine: Engine, n: int = 1) -> int:
    """Let PostgreSQL return a number."""
    return int(statement(engine, lambda c: c.execute(ONE, {"n": n}).scalar_one()))


@pytest.mark.parametrize(
    ("options", "encrypted"),
    [
        ("sslmode=disable", False),
        ("sslmode=prefer", True),
        ("sslmode=require", True),
        ("sslmode=verify-ca&sslrootcert={root}", True),
        ("sslmode=verify-full&sslrootcert={root}", True),
    ],
)
def test_the_mode_of_tls_is_that_of_the_url(front: Front, options: str, *, encrypted: bool) -> None:
    engine = connect(front.url(options.format(root=front.root)))
    assert ask(engine) == 1
    assert front.encrypted == [encrypted]
    engine.dispose()


@pytest.mark.parametrize(
    ("host", "context"),
    [
        ("127.0.0.1", "prefer"),
        ("localhost", "prefer"),
        ("[::1]", "prefer"),
        ("db.example.org", "verify-full"),
        ("10.0.0.7", "verify-full"),
        ("s.abc.eu-central-1.rds.amazonaws.com", "verify-full"),
    ],
)
def test_servers_elsewhere_are_verified_by_default(host: str, context: str) -> None:
    options = server_of(f"postgresql://u@{host}/d").options
    assert (options == {}) == (context == "prefer")
    if options:
        assert options["ssl_context"].check_hostname
        assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ap-southeast-3"])
def test_rds_needs_no_file_of_certificates(region: str) -> None:
    options = server_of(f"postgresql://u@s.abc.{region}.rds.amazonaws.com/d").options
    names = [dict(part[0] for part in found["subject"]) for found in options["ssl_context"].get_ca_certs()]
    common = [name.get("commonName", "") for name in names]
    assert [name for name in common if name == f"Amazon RDS {region} Root CA RSA2048 G1"]
    assert len([name for name in common if name.startswith("Amazon RDS")]) <= 3
    assert "Amazon Root CA 1" in common  # of RDS Proxy


def test_a_server_without_tls_is_refused_with_a_hint() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        for _ in range(2):  # the first attempt and its repetition
            client, _ = listener.accept()
            client.recv(8)
            client.sendall(b"N")

    threading.Thread(target=refuse, daemon=True).start()
    url = f"postgresql://postgres@127.0.0.1:{listener.getsockname()[1]}/d?sslmode=require"
    with pytest.raises(DatabaseUnavailableError, match=r"SSL.*sslmode and sslrootcert"):
        ask(connect(url))
    listener.close()


@pytest.mark.parametrize(
    "options", ["sslmode=verify-full", "sslmode=verify-ca&sslrootcert=system", "sslmode=require&sslrootcert=system"]
)
def test_a_certificate_of_an_unknown_authority_is_refused(front: Front, options: str) -> None:
    with pytest.raises(DatabaseUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(connect(front.url(options)))


def test_migrations_use_the_tls_of_the_url(front: Front) -> None:
    database = f"studysmart_{uuid4().hex}"
    engine = connect(front.url("sslmode=disable"))
    statement(engine, lambda c: c.execute(text(f"CREATE DATABASE {database}")))
    front.encrypted.clear()
    url = front.url("sslmode=verify-full").replace("/postgres?", f"/{database}?")
    with pytest.raises(DatabaseUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        upgrade(url)
    upgrade(f"{url}&sslrootcert={front.root}")
    assert front.encrypted == [True, True]
    with pytest.raises(DatabaseUnavailableError, match="does not answer"):
        upgrade(f"postgresql://postgres@127.0.0.1:{free_port()}/{database}")
    statement(engine, lambda c: c.execute(text(f"DROP DATABASE {database} WITH (FORCE)")))
    engine.dispose()


def test_the_name_in_the_certificate_is_verified(front: Front) -> None:
    options = f"sslrootcert={front.root}&sslmode="
    assert ask(connect(front.url(f"{options}verify-ca", "localhost"))) == 1
    with pytest.raises(DatabaseUnavailableError, match="localhost"):
        ask(connect(front.url(f"{options}verify-full", "localhost")))


def test_a_connection_that_goes_silent_is_given_up_within_ten_seconds(front: Front) -> None:
    assert 2 * DEFAULT.answer < 10  # it is tried twice
    engine = connect(front.url("sslmode=disable"))
    assert ask(engine) == 1
    front.speaks.clear()
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError):
        ask(engine)
    assert time.monotonic() - started < 20
    front.speaks.set()
    assert ask(engine, 3) == 3
    engine.dispose()


def test_long_queries_outside_of_requests_may_take_their_time(front: Front) -> None:
    engine = connect(front.url("sslmode=disable"))
    assert ask(engine) == 1
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert driver._usock.gettimeout() is None
    engine.dispose()


@pytest.fixture
def pooled_url(postgres_server: postgres.Postgres, database_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of PgBouncer in transaction mode, with two sessions for everybody, in front of a database."""
    program = pgbouncer()
    if program is None:
        pytest.skip("pgbouncer is not installed")
    with pooled(program, postgres_server.sockets, str(make_url(database_url).database), tmp_path) as url:
        yield url


def test_a_pooler_in_transaction_mode_mixes_nothing_up(pooled_url: str) -> None:
    engines = [connect(pooled_url) for _ in range(2)]
    stores = [PostgresTaskStore(engine, "default") for engine in engines]

    def practise(n: int) -> None:
        store, user = stores[n % 2], f"student-{n}"
        for i in range(12):
            task = store.insert(user, NewTask("Maths", f"t{i}", Difficulty.EASY, "?"), DEFAULT_PREDICTION)
            assert store.complete(user, task.id, Result(True, 5.0), None, POLICY).task.completed
            assert store.prediction_context(user).state.n_answers == i + 1
        store.delete(user, task.id)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(practise, range(4)))
    with engines[0].connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert driver.pooled
    for engine in engines:
        engine.dispose()
