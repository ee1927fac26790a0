"""The output of all processes: to the terminal and ``logs/backend.log`` as text, to ``logs/backend.jsonl`` as JSON.

API and worker write the same JSON lines as on AWS. ``backend.jsonl`` keeps them unchanged for ``studysmart logs``;
people read them as text. Rotation limits the size of both files.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from chalicelib.logs import TEXT_FORMAT
from chalicelib.services import watch

_MAXIMUM_BYTES = 10 * 1024 * 1024
_OLD_FILES = 3
_REPORT_SECONDS = 60.0


class Output(logging.Handler):
    """Writes lines one after the other. As a logging handler it also formats the records of the supervisor.

    With ``as_json`` it shows the lines of the processes unchanged.
    """

    def __init__(self, log_file: Path, as_json: bool = False) -> None:
        super().__init__()
        log_file.parent.mkdir(parents=True, exist_ok=True)
        self.setFormatter(logging.Formatter(TEXT_FORMAT))
        self._file = LogFile(log_file)
        self._json_file = LogFile(log_file.with_suffix(".jsonl"))
        self._as_json = as_json
        self._terminal_lock = threading.Lock()
        self._terminal_is_gone = False

    def line(self, text: str) -> None:
        """Write one line to the terminal and the log."""
        _write(self._file, text)
        if self._terminal_is_gone:
            return
        try:
            with self._terminal_lock:
                sys.stdout.write(text + "\n")
                sys.stdout.flush()
        except OSError:
            # A closed terminal or pipe must not end the stack; the file is still written.
            self._terminal_is_gone = True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of this process."""
        self.line(self.format(record))

    def follow(self, process: subprocess.Popen[bytes]) -> threading.Thread:
        """Start a thread that copies what a process prints until it ends."""
        thread = threading.Thread(target=self._copy, args=(process,), daemon=True, name=f"output-{process.pid}")
        thread.start()
        return thread

    def _copy(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - narrows a type
        with process.stdout as stream:
            for raw in stream:
                self._take(raw.decode("utf-8", "replace").rstrip("\r\n"))

    def _take(self, line: str) -> None:
        fields = parsed(line)
        if fields is None:
            self.line(line)
            return
        _write(self._json_file, line)
        if self._as_json:
            self.line(line)
        elif fields["logger"] != watch.LOGGER:
            # The watch repeats its figures: they are for queries, not for people.
            self.line(as_text(fields))


def parsed(line: str) -> dict[str, Any] | None:
    """Return the fields of a JSON line of the product, None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and {"timestamp", "level", "logger", "message"} <= fields.keys() else None


def as_text(fields: dict[str, Any]) -> str:
    """Return a JSON line in the form of :data:`chalicelib.logs.TEXT_FORMAT`, with local time."""
    at = datetime.fromisoformat(fields["timestamp"]).astimezone()
    moment = f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1_000:03d}"
    text = f"{moment} {fields['level']} {fields['logger']}: {fields['message']}"
    return f"{text}\n{fields['exception']}" if fields.get("exception") else text


class LogFile(RotatingFileHandler):
    """A file of the log that loses lines when the disk is full, and says so at most once a minute.

    The standard library would print a traceback for every line.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(path, maxBytes=_MAXIMUM_BYTES, backupCount=_OLD_FILES, encoding="utf-8")
        self._clock = clock
        self._n_lost = 0
        self._next_report = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. The lines that were lost before are counted in front of the first one that fits again."""
        if lost := self._n_lost:
            # The last line that was written may have no end.
            super().emit(logging.makeLogRecord({"msg": f"\n{lost} lines of this file were lost: the disk was full"}))
            if self._n_lost > lost:  # it is still full: the line of the loss stands for this one
                return
            self._n_lost = 0
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of the base class
        """Count a line that could not be written."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._n_lost += 1
        # The stream would keep what it could not write, and grow. The next line opens the file again.
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()
        if self._clock() >= self._next_report:
            self._next_report = self._clock() + _REPORT_SECONDS
            text = f"{self.baseFilename} cannot be written ({error.strerror}): {self._n_lost} lines are lost so far"
            with suppress(OSError):
                print(text, file=sys.stderr, flush=True)


def _write(file: LogFile, line: str) -> None:
    file.handle(logging.makeLogRecord({"msg": line}))
