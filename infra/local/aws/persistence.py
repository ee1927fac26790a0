"""Keeps the objects, accounts and messages of the moto server in one SQLite file.

At each start the resources are created from the template, so a changed template takes effect. Only their contents are
kept, in a format of our own, which no new version of moto can make unreadable. A change is committed before its request
is answered, so it survives a kill -9. Requests that change nothing, such as polling an empty queue, write nothing.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from infra.local.aws import contents
from infra.local.aws.contents import Item
from infra.local.processes import ACCOUNTS_PATH

log = logging.getLogger("studysmart.aws")

_FORMAT = 1
_READY_SECONDS = 60.0
_READING_ACTIONS = ("Get", "List", "Describe", "InitiateAuth", "AdminGet", "AdminList", "AdminInitiateAuth")

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class StateError(Exception):
    """The state file cannot be used."""


class State:
    """The SQLite file; :meth:`save` writes what differs from what it holds."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # A commit reaches the operating system, so it survives any process. It does not wait for the disk.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        found = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT):
            self.close()
            raise StateError(f"{path} has format {found}, this program reads {_FORMAT}; the file was not changed")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS items"
            " (kind TEXT, key TEXT, facts TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, key))"
        )
        self._connection.execute(f"PRAGMA user_version = {_FORMAT}")
        self._saved: dict[str, dict[str, str]] = {}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def load(self, kind: str) -> list[Item]:
        """Return all kept items of a kind, in the order in which they were first saved."""
        rows = self._connection.execute("SELECT key, facts, body FROM items WHERE kind = ? ORDER BY rowid", [kind])
        items = [Item(key, json.loads(facts), partial(bytes, body)) for key, facts, body in rows]
        self._saved[kind] = {item.key: _text(item.facts) for item in items}
        return items

    def save(self, kind: str, items: Iterable[Item]) -> None:
        """Make the file hold exactly these items of a kind, in one transaction."""
        saved = self._saved.setdefault(kind, {})
        current = {item.key: (_text(item.facts), item) for item in items}
        gone = saved.keys() - current.keys()
        changed = {key: pair for key, pair in current.items() if saved.get(key) != pair[0]}
        if not gone and not changed:
            return
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM items WHERE kind = ? AND key = ?", [(kind, key) for key in gone])
            self._connection.executemany(
                "INSERT INTO items (kind, key, facts, body) VALUES (?, ?, ?, ?) ON CONFLICT (kind, key)"
                " DO UPDATE SET facts = excluded.facts, body = excluded.body",
                [(kind, key, facts, item.body()) for key, (facts, item) in changed.items()],
            )
        for key in gone:
            del saved[key]
        saved.update({key: facts for key, (facts, _) in changed.items()})


class WriteThrough:
    """A WSGI layer around moto. It answers when the state is restored, and saves changes before it answers."""

    def __init__(self, app: WsgiApp, state: State | None) -> None:
        self.app = app
        self.state = state
        self._restored = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request after its changes are on disk."""
        creating_resources = "/cloudformation/" in environ.get("HTTP_AUTHORIZATION", "")
        if not creating_resources and not self._restored.wait(_READY_SECONDS):
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return []
        if environ["PATH_INFO"] == ACCOUNTS_PATH:
            return self._take_accounts(environ, start_response)
        answer = self.app(environ, start_response)
        kind = changed_kind(environ)
        if self.state is not None and kind is not None and not creating_resources:
            with self._lock:
                self.state.save(kind, contents.CURRENT[kind]())
        return answer

    def _take_accounts(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Add the accounts of a backup: one JSON object per line, with the key and the facts of an item."""
        try:
            lines = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).splitlines()
            items = [Item(fields["key"], fields["facts"]) for fields in map(json.loads, lines)]
            with self._lock:
                contents.add_accounts(items)
                if self.state is not None:
                    self.state.save("account", contents.CURRENT["account"]())
        except contents.AccountExistsError as error:
            return _answer(start_response, "409 Conflict", str(error))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("accounts of a backup were refused: %r", error)
            return _answer(start_response, "400 Bad Request", f"the accounts of the backup are malformed: {error!r}")
        return _answer(start_response, "204 No Content", "")

    def restore_and_keep(self) -> dict[str, int]:
        """Restore the contents of the resources, then let requests in; return the number of items of each kind."""
        counts = {}
        for kind, restore in contents.RESTORE.items():
            items = self.state.load(kind) if self.state is not None else []
            restore(items)
            counts[kind] = len(items)
        self._restored.set()
        return counts


def changed_kind(environ: dict[str, Any]) -> str | None:
    """Return the kind of content that a request may have changed, None if it only reads."""
    service, _, action = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
    if service == "AmazonSQS":
        # A receive counts its attempts and may move a message to the dead-letter queue.
        return None if action.startswith(_READING_ACTIONS) else "message"
    if service == "AWSCognitoIdentityProviderService":
        return None if action.startswith(_READING_ACTIONS) else "account"
    if service:
        return None
    return "object" if environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE") else None


def _answer(start_response: Any, status: str, text: str) -> Iterable[bytes]:
    body = text.encode()
    start_response(status, [("Content-Length", str(len(body)))] if body else [])
    return [body]


def _text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True)
