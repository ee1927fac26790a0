"""Logging set-up: one line per event, as text on one machine and as JSON on AWS.

The ids of the current request and user are context variables, so each thread of the local server has its own. A filter
adds them to every record, together with the fields of the whole process, such as cohort and model version. Facts that
:func:`note` collects during a request are written with its last line. Lines never contain e-mail addresses or tokens.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

import msgspec

from chalicelib import metrics

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ROOT = "studysmart"

REPEAT_SECONDS = 60.0
"""The time in which a line that an outage repeats is written once."""

_REPEATS = "repeats"

Fields = Callable[[], Mapping[str, str | None]]
"""Returns the fields of the whole process at the time of a line. A None is left out."""

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_user_id: ContextVar[str | None] = ContextVar("user_id", default=None)
_fields: ContextVar[Mapping[str, str] | None] = ContextVar("fields", default=None)
_cohort: ContextVar[Fields | None] = ContextVar("cohort", default=None)
_noted: ContextVar[dict[str, Any] | None] = ContextVar("noted", default=None)


class ProductHandler(logging.StreamHandler[TextIO]):
    """The handler that :func:`configure` installs. Its type identifies it when it is replaced."""


class _RequestContext(logging.Filter):
    """A filter that adds the logger's name, the process's fields, and the ids of request and user to each record.

    Records with metrics get the name of the stack too.
    """

    def __init__(self, fields: Fields, stack: str) -> None:
        super().__init__()
        self._fields = fields
        self._stack = stack

    def filter(self, record: logging.LogRecord) -> bool:
        values = {"logger": record.name, "request_id": _request_id.get(), "user_id": _user_id.get()}
        values |= {**(_cohort.get() or self._fields)(), **(_fields.get() or {})}
        if metrics.FIELD in vars(record):
            values[metrics.STACK] = self._stack
        for name, value in values.items():
            if value is not None:
                setattr(record, name, value)
        return True


def repeats(key: str) -> dict[str, str]:
    """Return the ``extra`` of a line that an outage repeats with each request: it is written once a minute."""
    return {_REPEATS: key}


class _Repeats(logging.Filter):
    """A filter that passes lines of :func:`repeats` once a minute, with the number of those before that it left out.

    A full disk or a database that is away would otherwise write a line for each request, for hours.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = vars(record).pop(_REPEATS, None)
        if key is None:
            return True
        now = self._clock()
        with self._lock:
            written_at, left_out = self._seen.get(key, (-math.inf, 0))
            if now - written_at < REPEAT_SECONDS:
                self._seen[key] = written_at, left_out + 1
                return False
            self._seen[key] = now, 0
        if left_out:
            record.left_out = left_out
            record.msg, record.args = f"{record.getMessage()} ({left_out} such lines before were left out)", None
        return True


def configure(
    log_format: str,
    level: str,
    stream: TextIO | None = None,
    fields: Fields = dict,
    stack: str = "local",
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send all logging to ``stream`` (standard error by default) as ``text`` or ``json``. May be called repeatedly.

    The product's own loggers log from ``level`` up, those of libraries from WARNING up. The Lambda runtime and
    ``chalice local`` add handlers to the root logger; they are removed, or every line would be written twice. ``stack``
    names the deployment in lines with metrics.
    """
    handler = ProductHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(log_format))
    handler.addFilter(_Repeats(clock))
    handler.addFilter(_RequestContext(fields, stack))
    root = logging.getLogger()
    for old in list(root.handlers):
        if type(old) in (ProductHandler, logging.StreamHandler) or type(old).__name__ == "LambdaLoggerHandler":
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level)


def info(logger: logging.Logger, message: str, *values: object, extra: Mapping[str, Any]) -> None:
    """Log a line at level INFO. A line with metrics is written at every level, or the alarms would see nothing."""
    if metrics.FIELD in extra or logger.isEnabledFor(logging.INFO):
        logger.handle(logger.makeRecord(logger.name, logging.INFO, "", 0, message, values, None, extra=extra))


@contextmanager
def request(request_id: str) -> Iterator[dict[str, Any]]:
    """Add this request id to all lines logged inside. Yields the facts that :func:`note` collects inside."""
    noted: dict[str, Any] = {}
    request_token, user_token, noted_token = _request_id.set(request_id), _user_id.set(None), _noted.set(noted)
    cohort_token = _cohort.set(None)
    try:
        yield noted
    finally:
        _request_id.reset(request_token)
        _user_id.reset(user_token)
        _noted.reset(noted_token)
        _cohort.reset(cohort_token)


@contextmanager
def fields(**values: str) -> Iterator[None]:
    """Add the values to every line logged inside. A thread started inside needs a copy of the context."""
    token = _fields.set(values)
    try:
        yield
    finally:
        _fields.reset(token)


def note(**values: Any) -> None:
    """Add facts to the last line of the current request. Without a request, do nothing."""
    noted = _noted.get()
    if noted is not None:
        noted.update(values)


class timed:  # noqa: N801 - it reads like contextlib.suppress
    """A context that adds its duration to what the current request spent in a service, such as ``database``.

    A class, because a generator takes twice as long (2.3 µs), and each statement is timed.
    """

    __slots__ = ("_field", "_started")

    def __init__(self, service: str) -> None:
        self._field = f"{service}_ms"

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        noted = _noted.get()
        if noted is not None:
            milliseconds = (time.perf_counter() - self._started) * 1_000
            noted[self._field] = round(noted.get(self._field, 0) + milliseconds, 3)


def request_id() -> str | None:
    """Return the id of the current request, None without one."""
    return _request_id.get()


def set_user(user_id: str) -> None:
    """Add this user id to the further lines of the current request."""
    _user_id.set(user_id)


def set_cohort(fields: Fields) -> None:
    """Use these fields, those of the caller's cohort, in the further lines of the current request."""
    _cohort.set(fields)


def _formatter(log_format: str) -> logging.Formatter:
    if log_format == "text":
        return logging.Formatter(TEXT_FORMAT)
    # Imported only for JSON, because the import takes 30 ms.
    from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

    return LambdaPowertoolsFormatter(
        use_rfc3339=True,
        utc=True,
        log_record_order=["timestamp", "level", "logger", "message", "request_id", "user_id"],
        json_serializer=_encoded,
        # The logger's name and the message already show which code logged the line.
        location=None,
    )


def _encoded(line: object) -> str:
    """Return a line as JSON, in a quarter of the standard library's time."""
    return _ENCODER.encode(line).decode()


_ENCODER = msgspec.json.Encoder(enc_hook=str)
