"""In-memory stand-ins for Cognito, SQS and S3."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.accounts import Caller, Session
from chalicelib.domain.errors import (
    BadRequestError,
    EmailTakenError,
    IdentityUnavailableError,
    ModelError,
    NotFoundError,
    PointerConflictError,
    QueueUnavailableError,
    RegistryUnavailableError,
    UnauthenticatedError,
)
from chalicelib.domain.training import Champion, TrainingRequest
from chalicelib.domain.webhooks import Delivery, Receiver


@dataclass
class _Person:
    user_id: str
    email: str
    password: str
    groups: set[str] = field(default_factory=set)
    confirmed: bool = False
    enabled: bool = True
    verified: bool = False
    code: str | None = None


class _Service:
    """A service that can be switched off."""

    error: type[Exception]

    def __init__(self) -> None:
        self.available = True

    def check(self) -> None:
        if not self.available:
            raise self.error("the fake service is switched off")


class MemoryIdentity(_Service):
    """Implements :class:`chalicelib.ports.Identity`; a token has the claims that pages read, unsigned."""

    error = IdentityUnavailableError

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._people: dict[str, _Person] = {}
        self._tokens: dict[str, tuple[str, int]] = {}
        self._refresh_tokens: dict[str, str] = {}
        self.can_delete = True
        self.outbox: list[tuple[str, str]] = []

    def register(self, email: str, password: str, full_name: str | None) -> str:
        self.check()
        with self._lock:
            name = email.strip().lower()
            if name in self._people:
                raise EmailTakenError("Email already registered")
            self._people[name] = _Person(str(uuid.uuid4()), name, password)
            return self._people[name].user_id

    def confirm(self, email: str) -> None:
        self.check()
        self._people[email.strip().lower()].confirmed = True

    def account_of(self, email: str, password: str) -> tuple[str, bool] | None:
        try:
            person = self._with_password(email, password)
        except BadRequestError:
            return None
        return person.user_id, person.confirmed

    def login(self, email: str, password: str) -> Session:
        try:
            person = self._with_password(email, password)
        except BadRequestError:
            raise UnauthenticatedError("Incorrect email or password") from None
        person.confirmed = True
        refresh_token = str(uuid.uuid4())
        self._refresh_tokens[refresh_token] = person.user_id
        return self._session(person, refresh_token)

    def refresh(self, refresh_token: str) -> Session:
        self.check()
        person = self._find(self._refresh_tokens.get(refresh_token, ""))
        if person is None:
            raise UnauthenticatedError("The session has ended, please sign in again")
        return self._session(person, refresh_token)

    def sign_out(self, user_id: str) -> None:
        self.check()
        self._refresh_tokens = {token: user for token, user in self._refresh_tokens.items() if user != user_id}

    def _session(self, person: _Person, refresh_token: str) -> Session:
        claims = {"sub": person.user_id, "cognito:groups": sorted(person.groups), "jti": str(uuid.uuid4())}
        token = f"none.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.none"
        self._tokens[token] = person.user_id, int(time.time())
        return Session(token, refresh_token, 3600)

    def verify(self, token: str) -> Caller:
        if token not in self._tokens:
            raise UnauthenticatedError("Could not validate credentials")
        user_id, issued_at = self._tokens[token]
        person = self._find(user_id)
        return Caller(user_id, frozenset(person.groups if person else ()), issued_at)

    def email_verified(self, user_id: str) -> bool:
        person = self._find(user_id)
        if person is None:
            raise UnauthenticatedError("This account does not exist")
        return person.verified

    def is_admin(self, user_id: str, group: str = "admins") -> bool:
        self.check()
        person = self._find(user_id)
        return person is not None and person.enabled and group in person.groups

    def id_of(self, email: str) -> str:
        return self._named(email).user_id

    def set_password(self, email: str, new: str) -> None:
        self._named(email).password = new

    def set_enabled(self, email: str, enabled: bool) -> None:
        self._named(email).enabled = enabled

    def _named(self, email: str) -> _Person:
        self.check()
        person = self._people.get(email.strip().lower())
        if person is None:
            raise NotFoundError(f"no account has the e-mail {email}")
        return person

    def send_reset_code(self, email: str) -> None:
        self.check()
        person = self._people.get(email.strip().lower())
        if person is not None:
            self._send_code(person)

    def reset_password(self, email: str, code: str, new: str) -> None:
        person = self._people.get(email.strip().lower())
        self._use_code(person, code).password = new

    def send_verification_code(self, token: str) -> None:
        self.check()
        self._send_code(self._of_token(token))

    def verify_email(self, token: str, code: str) -> None:
        self._use_code(self._of_token(token), code)

    def _of_token(self, token: str) -> _Person:
        person = self._find(self.verify(token).user_id)
        if person is None:
            raise UnauthenticatedError("Incorrect email or password")
        return person

    def _send_code(self, person: _Person) -> None:
        person.code = f"{random.randrange(1_000_000):06}"
        self.outbox.append((person.email, person.code))

    def _use_code(self, person: _Person | None, code: str) -> _Person:
        self.check()
        if person is None or person.code is None or person.code != code:
            raise BadRequestError("The code is wrong or has expired")
        person.code, person.verified, person.confirmed = None, True, True
        return person

    def check_password(self, email: str, password: str) -> None:
        self._with_password(email, password)

    def change_password(self, email: str, old: str, new: str) -> None:
        self._with_password(email, old).password = new

    def _with_password(self, email: str, password: str) -> _Person:
        self.check()
        person = self._people.get(email.strip().lower())
        if person is None or person.password != password or not person.enabled:
            raise BadRequestError("Incorrect password")
        return person

    def delete(self, user_id: str) -> None:
        self.check()
        if not self.can_delete:
            raise IdentityUnavailableError("Cognito failed")
        person = self._find(user_id)
        if person is not None:
            del self._people[person.email]

    def make_admin(self, user_id: str, group: str = "admins") -> None:
        """Put an account into a group of admins."""
        person = self._find(user_id)
        assert person is not None
        person.groups.add(group)

    def demote(self, user_id: str) -> None:
        """Take an account out of the group of admins. Its tokens keep their claims."""
        person = self._find(user_id)
        assert person is not None
        person.groups.clear()

    def add_to_admins(self, email: str, group: str = "admins") -> None:
        self._named(email).groups.add(group)

    def _find(self, user_id: str) -> _Person | None:
        return next((person for person in self._people.values() if person.user_id == user_id), None)


class MemoryQueue(_Service):
    """Implements :class:`chalicelib.ports.TrainingQueue`; drops what has the id of an earlier message."""

    error = QueueUnavailableError

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[TrainingRequest] = []

    def send(self, request: TrainingRequest) -> None:
        self.check()
        if all(request.request_id != sent.request_id for sent in self.messages):
            self.messages.append(request)


class MemoryRegistry(_Service):
    """Implements :class:`chalicelib.ports.ModelRegistry`."""

    error = RegistryUnavailableError

    def __init__(self) -> None:
        super().__init__()
        self._versions: dict[tuple[str, str], dict[str, bytes]] = {}
        self._pointers: dict[str, tuple[Champion, str]] = {}
        self._malformed: set[str] = set()
        self._lock = threading.Lock()

    def read_champion(self, cohort: str, etag: str | None = None) -> tuple[Champion, str] | None:
        self.check()
        found = self._pointers.get(cohort)
        if found is None or found[1] == etag:
            return None
        if found[1] in self._malformed:
            raise ModelError("champion.json is malformed")
        return found

    def champion_etag(self, cohort: str) -> str | None:
        self.check()
        found = self._pointers.get(cohort)
        return found[1] if found else None

    def write_champion(self, cohort: str, champion: Champion, expected_etag: str | None) -> str:
        self.check()
        with self._lock:
            found = self._pointers.get(cohort)
            if (found[1] if found else None) != expected_etag:
                raise PointerConflictError("the champion was moved meanwhile")
            etag = f'"{uuid.uuid4().hex}"'
            self._pointers[cohort] = (champion, etag)
            return etag

    def read_version(self, cohort: str, version: str, names: Sequence[str] | None = None) -> dict[str, bytes]:
        metadata = self.read_metadata(cohort, version)
        stored = self._versions[cohort, version]
        files = {}
        for name in metadata["files"] if names is None else names:
            if name not in stored or name not in metadata["files"]:
                raise ModelError(f"{name} of version {version} is missing")
            if hashlib.sha256(stored[name]).hexdigest() != metadata["files"][name]["sha256"]:
                raise ModelError(f"{name} of version {version} is damaged")
            files[name] = stored[name]
        return {**files, "metadata.json": stored["metadata.json"]}

    def read_metadata(self, cohort: str, version: str) -> Mapping[str, Any]:
        self.check()
        raw = self._versions.get((cohort, version), {}).get("metadata.json")
        if raw is None:
            raise NotFoundError(f"version {version} is not in the registry")
        return dict(json.loads(raw))

    def write_version(
        self,
        cohort: str,
        version: str,
        files: Mapping[str, bytes],
        metadata: Mapping[str, Any],
        still_ours: Callable[[], object] = lambda: None,
    ) -> Mapping[str, Any]:
        self.check()
        still_ours()
        described = {
            name: {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in files.items()
        }
        complete = {**metadata, "version": version, "cohort": cohort, "files": described}
        self._versions[cohort, version] = {**files, "metadata.json": json.dumps(complete).encode()}
        return complete

    def annotate_version(self, cohort: str, version: str, notes: Mapping[str, Any]) -> None:
        complete = {**self.read_metadata(cohort, version), **notes}
        self._versions[cohort, version]["metadata.json"] = json.dumps(complete).encode()

    def list_versions(self, cohort: str) -> list[str]:
        self.check()
        return sorted(
            (version for (of, version), files in self._versions.items() if of == cohort and "metadata.json" in files),
            reverse=True,
        )

    def delete_version(self, cohort: str, version: str) -> None:
        self.check()
        self._versions.pop((cohort, version), None)

    def damage_pointer(self, cohort: str) -> None:
        """Make the pointer unreadable; moving it repairs it."""
        self._malformed.add(self._pointers[cohort][1])

    def damage(self, cohort: str, version: str, name: str, content: bytes) -> None:
        """Replace a stored file's content without telling the metadata."""
        self._versions[cohort, version][name] = content


class MemoryWebhooks:
    """Implements :class:`chalicelib.ports.Webhooks` for a stack without receivers."""

    def take(self, seconds: float) -> list[Receiver]:
        return []

    def next_events(self, receiver: Receiver, limit: int = 1) -> list[Delivery]:
        raise NotFoundError(f"there is no receiver {receiver.id}")

    def delivered(self, receiver: Receiver, deliveries: Sequence[Delivery]) -> None:
        raise NotFoundError(f"there is no receiver {receiver.id}")

    def failed(self, receiver: Receiver, delivery: Delivery, error: str, **_: object) -> None:
        raise NotFoundError(f"there is no receiver {receiver.id}")

    def release(self, receiver: Receiver) -> None:
        raise NotFoundError(f"there is no receiver {receiver.id}")

    def prune(self) -> None:
        pass
