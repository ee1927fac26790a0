"""Reads ``DATABASE_URL`` as PostgreSQL's own programs write it."""

from __future__ import annotations

import ssl
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from chalicelib.domain.errors import ConfigurationError

_DRIVER = "postgresql+pg8000"
_SCHEMES = ("postgres", "postgresql", _DRIVER)
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PASSED_ON = ("unix_sock", "application_name")
_OPTIONS = ("sslmode", "sslrootcert", *_PASSED_ON)


def connection_options(database_url: str) -> tuple[URL, dict[str, Any]]:
    """Return the URL for SQLAlchemy and pg8000's options of TLS. Raises ConfigurationError.

    ``sslmode`` and ``sslrootcert`` mean what they mean for libpq: ``require`` encrypts, and verifies the certificate
    if a root certificate is given; ``verify-ca`` and ``verify-full`` always verify it.
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
    return url, _security(options.get("sslmode"), options.get("sslrootcert"))


def _security(mode: str | None, root: str | None) -> dict[str, Any]:
    if mode is not None and mode not in _MODES:
        raise ConfigurationError(f"DATABASE_URL has sslmode={mode}, which is none of {', '.join(_MODES)}")
    if mode in (None, "allow", "prefer"):
        return {}  # pg8000 encrypts if the server can, and verifies nothing
    if mode == "disable":
        return {"ssl_context": False}
    context = ssl.create_default_context()
    if root not in (None, "system"):
        try:
            context = ssl.create_default_context(cafile=root)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigurationError(f"DATABASE_URL has sslrootcert={root}, which cannot be read: {reason}") from None
    context.check_hostname = mode == "verify-full"
    if mode == "require" and root is None:
        context.verify_mode = ssl.CERT_NONE
    return {"ssl_context": context}
