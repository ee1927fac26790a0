"""Service accounts: servers of other apps, which act for learners by the apps' own ids."""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from chalicelib.domain.errors import BadRequestError

KEY_PREFIX = "ssk_"
"""Beginning of every key. An access token never begins so: its first part is JSON in base64."""

_KEY_BYTES = 32
_HINT_LENGTH = len(KEY_PREFIX) + 6

LEARNER_HEADER = "X-Learner-Id"
LEARNER_PATTERN = r"^[!-~]{1,128}\Z"

LearnerId = Annotated[str, Meta(pattern=LEARNER_PATTERN)]
"""The app's own id of a learner: 1 to 128 visible ASCII characters, upper and lower case distinguished."""


class Scope(Enum):
    """A permission of a service account."""

    LEARNERS_READ = "learners:read"
    LEARNERS_WRITE = "learners:write"
    LEARNERS_DELETE = "learners:delete"
    PREDICTIONS = "predictions"
    ANSWERS = "answers"


ABOUT_SCOPES = {
    Scope.LEARNERS_READ: "read tasks, results and the profile of learners",
    Scope.LEARNERS_WRITE: "create, complete, change and delete tasks of learners, and change their names",
    Scope.LEARNERS_DELETE: "delete learners with everything that is stored about them",
    Scope.PREDICTIONS: "predictions, recommendations, and the state of the model",
    Scope.ANSWERS: "send answers of many learners at once",
}

DEFAULT_SCOPES = frozenset({Scope.LEARNERS_READ, Scope.LEARNERS_WRITE, Scope.PREDICTIONS, Scope.ANSWERS})


class ServiceAccount(msgspec.Struct, frozen=True):
    """A service account with a valid key. ``hint`` is the beginning of the key that was sent.

    ``expires_at`` is the end of that key, None if it has none. The account's learners belong to ``cohort``, None for
    the deployment's own.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    hint: str
    expires_at: datetime | None = None
    cohort: str | None = None

    def user_id(self, learner_id: str) -> str:
        """Return the id of the row in ``users`` of one of this account's learners. Needs no database."""
        return user_id_of(issuer_of(self.id), learner_id)


class ServiceAction(msgspec.Struct, frozen=True):
    """A request of a service account, for the record. ``user_id`` is that of the learner, None without one."""

    service_id: str
    hint: str
    operation: str
    user_id: str | None
    status: int
    request_id: str | None


def new_key() -> str:
    """Return a new key with 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def key_digest(key: str) -> str:
    """Return the digest by which a key is stored. A fast one is enough, because nobody can guess 256 bits."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def hint_of(key: str) -> str:
    """Return the beginning of a key, by which lists and records name it."""
    return key[:_HINT_LENGTH]


def issuer_of(service_id: str) -> str:
    """Return the value of ``users.issuer`` for the learners of a service account."""
    return f"service:{service_id}"


def user_id_of(issuer: str, subject: str) -> str:
    """Return the account id of a user whom somebody else identifies.

    It is a digest, because logs contain it and a subject may be an e-mail address. Nobody can choose a subject so that
    the id is that of another account.
    """
    raw = bytearray(sha256(f"{issuer}\n{subject}".encode("utf-8", "surrogatepass")).digest()[:16])
    # The marks of a UUID whose content the application defines (RFC 9562, version 8).
    raw[6], raw[8] = 0x80 | raw[6] & 0x0F, 0x80 | raw[8] & 0x3F
    return str(UUID(bytes=bytes(raw)))


def scopes_of(names: list[str]) -> frozenset[Scope]:
    """Return scopes by their names. Raises BadRequestError."""
    known = {scope.value for scope in Scope}
    if unknown := [name for name in names if name not in known]:
        raise BadRequestError(f"unknown scope {', '.join(unknown)}; the scopes are {', '.join(sorted(known))}")
    return frozenset(Scope(name) for name in names)
