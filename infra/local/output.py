"""Where the lines of all processes go: the terminal and ``logs/backend.log``, which is kept small by rotation."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path

from chalicelib.logs import TEXT_FORMAT

_MAX_BYTES = 10 * 1024 * 1024
_OLD_FILES = 3


class Output(logging.Handler):
    """Writes lines as they are, one after the other; as a logging handler it formats the supervisor's own records."""

    def __init__(self, log_file: Path) -> None:
        super().__init__()
        log_file.parent.mkdir(parents=True, exist_ok=True)
        self.setFormatter(logging.Formatter(TEXT_FORMAT))
        self._file = RotatingFileHandler(log_file, maxBytes=_MAX_BYTES, backupCount=_OLD_FILES, encoding="utf-8")
        self._terminal_lock = threading.Lock()
        self._terminal_is_gone = False

    def line(self, text: str) -> None:
        """Write one line to both places."""
        self._file.handle(logging.makeLogRecord({"msg": text}))
        if self._terminal_is_gone:
            return
        try:
            with self._terminal_lock:
                sys.stdout.write(text + "\n")
                sys.stdout.flush()
        except OSError:
            # A closed terminal or pipe must not end the stack: the file goes on.
            self._terminal_is_gone = True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of this process."""
        self.line(self.format(record))

    def follow(self, process: subprocess.Popen[bytes]) -> threading.Thread:
        """Copy what a process prints until it ends, on a thread of its own."""
        thread = threading.Thread(target=self._copy, args=(process,), daemon=True, name=f"output-{process.pid}")
        thread.start()
        return thread

    def _copy(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for raw in stream:
                self.line(raw.decode("utf-8", "replace").rstrip("\r\n"))
