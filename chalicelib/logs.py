"""Logging set-up: one line per event, as text on one machine and as JSON on AWS.

The request id and the user id of the request in hand are context variables: each thread of the local server and each
invocation of the Lambda has its own. A filter copies them onto every record, so that a JSON line of any logger below
carries them, together with what is true of the whole process (cohort, model version; the worker's training request).
What is noted of a request while it is worked on is written with its last line. Lines never carry an e-mail address or a
token.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

import msgspec

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ROOT = "studysmart"

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_user_id: ContextVar[str | None] = ContextVar("user_id", default=None)
_fields: ContextVar[Mapping[str, str] | None] = ContextVar("fields", default=None)
_noted: ContextVar[dict[str, Any] | None] = ContextVar("noted", default=None)


class ProductHandler(logging.StreamHandler[TextIO]):
    """The handler that :func:`configure` installs, known by its type so that it can be replaced."""


Fields = Callable[[], Mapping[str, str | None]]
"""Gives what is true of the whole process at the time of a line; None is left out."""


class _RequestContext(logging.Filter):
    """Adds to each record the logger's name, the process's fields, and request and user while there is a request."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self._fields = fields

    def filter(self, record: logging.LogRecord) -> bool:
        values = {"logger": record.name, "request_id": _request_id.get(), "user_id": _user_id.get()}
        values |= {**self._fields(), **(_fields.get() or {})}
        for name, value in values.items():
            if value is not None:
                setattr(record, name, value)
        return True


def configure(log_format: str, level: str, stream: TextIO | None = None, fields: Fields = dict) -> None:
    """Send all logging to ``stream`` (standard error by default) as ``text`` or ``json``; again changes nothing.

    The product's own loggers speak from ``level`` up, those of libraries from WARNING up. The handlers that the Lambda
    runtime and ``chalice local`` put on the root logger are taken off, because every line would be written twice.
    """
    handler = ProductHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(log_format))
    handler.addFilter(_RequestContext(fields))
    root = logging.getLogger()
    for old in list(root.handlers):
        if type(old) in (ProductHandler, logging.StreamHandler) or type(old).__name__ == "LambdaLoggerHandler":
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level)


@contextmanager
def request(request_id: str) -> Iterator[dict[str, Any]]:
    """Mark all lines logged inside with this request id; gives what :func:`note` notes inside."""
    noted: dict[str, Any] = {}
    request_token, user_token, noted_token = _request_id.set(request_id), _user_id.set(None), _noted.set(noted)
    try:
        yield noted
    finally:
        _request_id.reset(request_token)
        _user_id.reset(user_token)
        _noted.reset(noted_token)


@contextmanager
def fields(**values: str) -> Iterator[None]:
    """Add the values to every line logged inside. A thread started inside needs a copy of the context."""
    token = _fields.set(values)
    try:
        yield
    finally:
        _fields.reset(token)


def note(**values: Any) -> None:
    """Note facts for the last line of the request in hand, each under a name of its own; without a request, nothing."""
    noted = _noted.get()
    if noted is not None:
        noted.update(values)


def set_user(user_id: str) -> None:
    """Mark the rest of this request's lines with its user."""
    _user_id.set(user_id)


def _formatter(log_format: str) -> logging.Formatter:
    if log_format == "text":
        return logging.Formatter(TEXT_FORMAT)
    # Imported here: text needs none of it, and it costs some 30 ms.
    from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

    return LambdaPowertoolsFormatter(
        use_rfc3339=True,
        utc=True,
        log_record_order=["timestamp", "level", "logger", "message", "request_id", "user_id"],
        json_serializer=_encoded,
        # Where in our code a line comes from is clear from its logger and its words.
        location=None,
    )


def _encoded(line: object) -> str:
    """A line as JSON: a quarter of the standard library's time, which a line with metrics would notice."""
    return _ENCODER.encode(line).decode()


_ENCODER = msgspec.json.Encoder(enc_hook=str)
