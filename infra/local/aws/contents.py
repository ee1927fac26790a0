"""The contents of moto's memory that are kept: how they become items, and how items are restored.

``CURRENT`` and ``RESTORE`` have a function for each kind of item: one lists the present items, one restores them.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from moto.cognitoidp.models import CognitoIdpUser, CognitoIdpUserPool, UserStatus, cognitoidp_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey, S3Backend, s3_backends
from moto.sqs.models import Message, Queue, sqs_backends

from infra.local.aws.resources import REGION

log = logging.getLogger("studysmart.aws")


@dataclass(frozen=True, slots=True)
class Item:
    """One item to keep. Its body is only read when it is written."""

    key: str
    facts: dict[str, Any]
    body: Callable[[], bytes] = bytes


class HashedPassword:
    """Replaces the password that moto would compare with, so that no password is stored on the disk."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, password: str) -> HashedPassword:
        """Return the scrypt digest of a password with a new salt."""
        salt = os.urandom(16)
        return cls(f"{salt.hex()}${cls._digest(password, salt).hex()}")

    @staticmethod
    def _digest(password: str, salt: bytes) -> bytes:
        return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=2**13, r=8, p=1)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return isinstance(other, HashedPassword) and other.text == self.text
        salt, _, digest = self.text.partition("$")
        return hmac.compare_digest(self._digest(other, bytes.fromhex(salt)), bytes.fromhex(digest))

    def __hash__(self) -> int:
        return hash(self.text)


def _s3() -> S3Backend:
    """Return moto's memory of S3."""
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def _objects() -> Iterator[Item]:
    for bucket in list(_s3().buckets.values()):
        for key in list(bucket.keys.values()):
            if isinstance(key, FakeKey):
                facts = {
                    "bucket": bucket.name,
                    "etag": key.etag,
                    "modified": key.last_modified.isoformat(),
                    "metadata": dict(key.metadata),
                }
                yield Item(f"{bucket.name}/{key.name}", facts, partial(getattr, key, "value"))


def _restore_objects(items: Iterable[Item]) -> None:
    for item in items:
        bucket = item.facts["bucket"]
        key = _s3().put_object(bucket, item.key.removeprefix(f"{bucket}/"), item.body(), disable_notification=True)
        key.set_metadata(item.facts["metadata"], replace=True)
        key.last_modified = datetime.fromisoformat(item.facts["modified"])


def _pools() -> list[CognitoIdpUserPool]:
    return list(cognitoidp_backends[DEFAULT_ACCOUNT_ID][REGION].user_pools.values())


def _accounts() -> Iterator[Item]:
    for pool in _pools():
        for user in list(pool.users.values()):
            if isinstance(user.password, str):
                user.password = HashedPassword.of(user.password)
            facts = {
                "pool": pool.id,
                "username": user.username,
                "password": user.password.text if user.password is not None else None,
                "status": UserStatus(user.status).value,
                "enabled": user.enabled,
                "attributes": user.attributes,
                "groups": sorted(group.group_name for group in user.groups),
                "created": user.create_date.isoformat(),
                "modified": user.last_modified_date.isoformat(),
            }
            yield Item(f"{pool.id}/{user.id}", facts)


def _restore_accounts(items: Iterable[Item]) -> None:
    pools = {pool.id: pool for pool in _pools()}
    for item in items:
        facts = item.facts
        pool = pools[facts["pool"]]
        password = HashedPassword(facts["password"]) if facts["password"] is not None else None
        user = CognitoIdpUser(pool.id, facts["username"], password, UserStatus(facts["status"]), [])
        user.id = item.key.removeprefix(f"{pool.id}/")
        user.enabled = facts["enabled"]
        user.update_attributes(facts["attributes"])
        user.create_date = datetime.fromisoformat(facts["created"])
        user.last_modified_date = datetime.fromisoformat(facts["modified"])
        for name in facts["groups"]:
            if name not in pool.groups:
                log.error("account %s: the template has no group %s any more", user.id, name)
                continue
            pool.groups[name].users.add(user)
            user.groups.add(pool.groups[name])
        pool.users[user.username] = user


class AccountExistsError(Exception):
    """Another account has the name or the address of one that is to be added."""


def add_accounts(items: Iterable[Item]) -> None:
    """Add accounts of another stack to the pool of this one; those that it has already stay as they are.

    Raises AccountExistsError, and adds none, if another account has the name or the address of one of them.
    """
    (pool,) = _pools()
    added = []
    for item in items:
        user_id = item.key.rpartition("/")[2]
        addresses = [each["Value"] for each in item.facts["attributes"] if each["Name"] == "email"]
        for name in (item.facts["username"], *addresses):
            present = pool._get_user(name)
            if present is not None and present.id != user_id:
                raise AccountExistsError(f"the stack has another account {name} already")
        if not any(user.id == user_id for user in pool.users.values()):
            added.append(Item(f"{pool.id}/{user_id}", {**item.facts, "pool": pool.id}))
    _restore_accounts(added)


def _queues() -> list[Queue]:
    return list(sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues.values())


_MESSAGE_FACTS = (
    "body",
    "group_id",
    "deduplication_id",
    "sequence_number",
    "sent_timestamp",
    "approximate_receive_count",
    "approximate_first_receive_timestamp",
    "message_attributes",
)


def _messages() -> Iterator[Item]:
    for queue in _queues():
        for message in list(queue._messages):
            facts = {"queue": queue.name, **{name: getattr(message, name) for name in _MESSAGE_FACTS}}
            yield Item(f"{queue.name}/{message.id}", facts)


def _restore_messages(items: Iterable[Item]) -> None:
    """Put the messages back, visible: a worker that had received one has ended with the stack."""
    queues = {queue.name: queue for queue in _queues()}
    for item in items:
        queue = queues[item.facts["queue"]]
        message = Message(item.key.removeprefix(f"{queue.name}/"), item.facts["body"])
        for name in _MESSAGE_FACTS:
            setattr(message, name, item.facts[name])
        queue._messages.append(message)


CURRENT: dict[str, Callable[[], Iterator[Item]]] = {"object": _objects, "account": _accounts, "message": _messages}
RESTORE: dict[str, Callable[[Iterable[Item]], None]] = {
    "object": _restore_objects,
    "account": _restore_accounts,
    "message": _restore_messages,
}
