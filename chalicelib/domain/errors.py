"""The errors that StudySmart raises on purpose, with one common base class.

Layers below the API raise these; one table in :mod:`chalicelib.api.errors` maps them to HTTP statuses.
"""

from __future__ import annotations

import msgspec


class StudySmartError(Exception):
    """Base class of all errors that the product raises on purpose."""


class Fault(msgspec.Struct, frozen=True):
    """One fault in an input: its location, a message, and a stable code."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class InvalidInputError(StudySmartError):
    """An input breaks the contract; ``faults`` names every fault at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, f.loc))}: {f.msg}" for f in faults))
        self.faults = faults


class BadRequestError(StudySmartError):
    """The request is valid field by field but cannot be carried out."""


class EmailTakenError(BadRequestError):
    """The e-mail address already has an account."""


class UnauthenticatedError(StudySmartError):
    """The token is missing or invalid, or the e-mail or password is wrong."""


class ForbiddenError(StudySmartError):
    """The caller is known and may not do this."""


class NotFoundError(StudySmartError):
    """The object does not exist or belongs to another user; the caller cannot distinguish the two."""


class ConflictError(StudySmartError):
    """The object has changed meanwhile, or its state does not allow the request."""


class PayloadTooLargeError(StudySmartError):
    """The body of the request exceeds the limit."""


class TooManyRequestsError(StudySmartError):
    """An outside service limits the rate; a later attempt may succeed."""


class LimitError(TooManyRequestsError):
    """An account or address has reached a limit; ``retry_after`` is in seconds."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class UnavailableError(StudySmartError):
    """An outside service (database, registry, queue, identity provider) failed or did not answer."""


class DatabaseUnavailableError(UnavailableError):
    """PostgreSQL could not be reached, or the connection broke."""


class TooSlowError(UnavailableError):
    """A statement took so long that PostgreSQL stopped it."""


class RegistryUnavailableError(UnavailableError):
    """The model registry (S3) could not be reached."""


class QueueUnavailableError(UnavailableError):
    """The training queue (SQS) could not be reached."""


class IdentityUnavailableError(UnavailableError):
    """The identity provider (Cognito) could not be reached."""


class DiskFullError(UnavailableError):
    """The disk of a stack on one machine has too little room."""


class LogsUnavailableError(UnavailableError):
    """The log (CloudWatch Logs) could not be queried."""


class ModelError(StudySmartError):
    """A file of a model is damaged or missing, or this program cannot run it."""


class DatasetError(StudySmartError):
    """A file of a dataset is lost or damaged."""


class PointerConflictError(ConflictError):
    """The champion pointer changed between reading and writing it."""


class LeaseLostError(StudySmartError):
    """Another worker now holds the lease of this training; this worker must not publish."""


class BackupError(StudySmartError):
    """A backup cannot be written, is incomplete or damaged, or does not fit its target."""


class ObjectError(StudySmartError):
    """A bucket or an object of S3 that an operator named cannot be used."""


class AbsentObjectError(ObjectError):
    """A bucket has no object with the key."""


class ConfigurationError(StudySmartError):
    """The settings are incomplete or wrong; the message names every fault with its value."""


class WebhookError(StudySmartError):
    """A message did not reach a receiver of webhooks, or was not answered in time."""
