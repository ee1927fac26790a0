"""Students and an admin who use the API without a pause, and go on when it dies under them.

What is safe to send again is sent again until it is answered: whatever reads, a completion or correction (the same
result changes nothing), a deletion (404 says that it is gone), a registration (400 says that the account is there).
A creation is not: sent again it would make a second task.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

from benchmarks._clients import task_body
from benchmarks._ledger import Ledger, Result

TOPICS = tuple(f"Topic {n}" for n in range(12))
LEVELS = ("easy", "medium", "hard", "expert")

GIVE_UP_SECONDS = 120.0
"""How long a request is sent again."""

THINKING_SECONDS = 0.03
"""Mean pause of a client: without any, the clients would take the processors from worker and API."""

_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Trouble:
    """A request that went wrong: ``what`` is a status or what became of the connection.

    ``began`` is when the request was sent, or its connection opened where that broke: a connection to a process that
    was killed breaks later, at its next use.
    """

    what: str
    began: float
    ended: float


@dataclass(slots=True)
class Noted:
    """What one client saw."""

    requests: int = 0
    troubles: list[Trouble] = field(default_factory=list)


class Unanswered(Exception):  # noqa: N818  (what a client has to live with, not a fault of the program)
    """No answer came, or none that says what was done."""


class Wire:
    """One kept-open connection. Used by one thread."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection: http.client.HTTPConnection | None = None
        self._opened = 0.0
        self.token: str | None = None
        self.noted = Noted()

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """(status, decoded answer) below 500; Unanswered for 5xx and for a connection that broke."""
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        self.noted.requests += 1
        began = time.monotonic()
        try:
            if self._connection is None:
                self._opened = began
                self._connection = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_SECONDS)
            self._connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            answer = self._connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._note(_words(error), self._opened)
            self.close()
            raise Unanswered(str(error)) from error
        if answer.status >= 500:
            self._note(str(answer.status), began)
            raise Unanswered(f"{answer.status} {raw[:200]!r}")
        return answer.status, json.loads(raw) if raw else None

    def insist(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, also: int | None = None
    ) -> tuple[int, Any]:
        """Send until there is an answer. Beyond 2xx it is trouble, but not where ``also`` says that it was done."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                began = time.monotonic()
                status, answer = self.send(method, path, body)
            except Unanswered:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
                continue
            if not 200 <= status < 300 and status != also:
                self._note(str(status), began)
            return status, answer

    def _note(self, what: str, began: float) -> None:
        self.noted.troubles.append(Trouble(what, began, time.monotonic()))

    def close(self) -> None:
        """Hang up; the next request opens a connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _words(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "timeout" if isinstance(error, TimeoutError) else "broken"


class User(threading.Thread):
    """One account that acts until ``stopped``, on the dice of ``random``."""

    def __init__(self, name: str, url: str, random: Random, stopped: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.wire = Wire(url)
        self.random = random
        self.ledger = Ledger()
        self.trouble: BaseException | None = None
        self._stopped = stopped
        self._account = {"email": f"{name}@example.com", "password": f"password of {name}"}

    def register(self) -> str:
        """Make the account and log in; returns the e-mail address."""
        self.wire.insist("POST", "/auth/register", self._account, also=400)
        self.log_in()
        self.ledger.user_id = self.wire.insist("GET", "/auth/me")[1]["id"]
        return self._account["email"]

    def log_in(self) -> None:
        """Get a fresh token."""
        self.wire.token = self.wire.insist("POST", "/auth/login", self._account)[1]["access_token"]

    def run(self) -> None:
        """Act until it is over."""
        try:
            while not self._stopped.is_set():
                self.act()
                self._stopped.wait(self.random.expovariate(1 / THINKING_SECONDS))
        except Exception as error:  # noqa: BLE001 - the thread that waits for this one raises it
            self.trouble = error
        finally:
            self.wire.close()

    def act(self) -> None:
        """Do one thing."""
        raise NotImplementedError


class Student(User):
    """Creates, completes, repeats, corrects, deletes and reads."""

    def act(self) -> None:
        """Do one thing, most often something about an open task."""
        ledger = self.ledger
        if not ledger.open or (len(ledger.open) < 5 and self.random.random() < 0.3):
            self.create()
            return
        acts: dict[Callable[[], None], int] = {
            self.create: 4,
            self.complete: 8,
            self.read: 4,
            self.log_in: 1,
        }
        if ledger.completed:
            acts |= {self.repeat: 2, self.correct: 2, self.delete: 1}
        (chosen,) = self.random.choices(list(acts), list(acts.values()))
        chosen()

    def create(self) -> None:
        """Create a task, once; a task whose answer was lost is nobody's."""
        body = task_body(self.random.choice(TOPICS), self.random.choice(LEVELS))
        try:
            status, task = self.wire.send("POST", "/practice-tasks", body)
        except Unanswered:
            time.sleep(_PAUSE_SECONDS)
            return
        assert status == 201, f"{status} {task}"
        self.ledger.open.append(task["id"])

    def complete(self) -> None:
        """Complete an open task."""
        self._store(self.random.choice(self.ledger.open), self._result())

    def repeat(self) -> None:
        """Send a completion again that was answered long ago."""
        task_id = self._completed()
        self._store(task_id, self.ledger.completed[task_id])

    def correct(self) -> None:
        """Send another result of a completed task."""
        self._store(self._completed(), self._result())

    def delete(self) -> None:
        """Delete a completed task, or an open one."""
        task_id = self._completed() if self.random.random() < 0.7 else self.random.choice(self.ledger.open)
        try:
            self.wire.insist("DELETE", f"/practice-tasks/{task_id}", also=404)
        except Unanswered:
            self.ledger.doubt(task_id)
            return
        self.ledger.delete(task_id)

    def read(self) -> None:
        """Read what the pages read."""
        topic = self.random.choice(TOPICS).replace(" ", "%20")
        prediction = f"/predictions?subject=Mathematics&topic={topic}&difficulty={self.random.choice(LEVELS)}"
        paths = ("/practice-tasks?limit=10", prediction, "/recommendations", "/analytics/summary", "/model/status")
        self.wire.insist("GET", self.random.choice(paths))

    def _store(self, task_id: str, result: Result) -> None:
        body = {"completed": True, "is_correct": result[0], "actual_time_seconds": result[1]}
        try:
            status, _ = self.wire.insist("PATCH", f"/practice-tasks/{task_id}", body)
        except Unanswered:
            self.ledger.doubt(task_id)
            return
        if status == 200:
            self.ledger.complete(task_id, result)

    def _result(self) -> Result:
        return self.random.random() < 0.6, float(self.random.randrange(5, 300))

    def _completed(self) -> str:
        return self.random.choice(list(self.ledger.completed))


class Admin(User):
    """Looks at the versions, now and then rolls back, forces a training or sets the counter."""

    def act(self) -> None:
        """Do one thing, then leave it alone for a while."""
        status, versions = self.wire.insist("GET", "/model/versions")
        servable = [entry["version"] for entry in versions["versions"] if entry["promoted"]] if status == 200 else []
        chance = self.random.random()
        if servable and chance < 0.3:
            # A version may have been pruned since it was listed.
            self.wire.insist("POST", "/model/rollback", {"version": self.random.choice(servable)}, also=404)
        elif chance < 0.5:
            self.wire.insist("POST", "/model/train", also=409)
        elif chance < 0.6:
            self.wire.insist("POST", "/model/counter", {"value": self.random.randrange(5)})
        self._stopped.wait(2.0)
