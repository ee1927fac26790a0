"""The messages that Cognito would send by e-mail. Here they go to the log and to a file of one JSON object per line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger("studysmart.mail")


class Outbox:
    """Writes messages. Without a path they only go to the log."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def send(self, to: str, subject: str, code: str) -> None:
        """Write a message with a code."""
        log.info("mail to %s: %s: %s", to, subject, code)
        if self._path is None:
            return
        message = {"sent_at": datetime.now(UTC).isoformat(), "to": to, "subject": subject, "code": code}
        # Only the user of this machine may read the codes.
        self._path.touch(mode=0o600)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(message) + "\n")
