"""Every error that StudySmart raises on purpose, under one root.

Layers below the API raise these; one table in :mod:`chalicelib.api.errors` maps them to HTTP statuses.
"""

from __future__ import annotations

import msgspec


class StudySmartError(Exception):
    """Root of all errors that the product raises on purpose."""


class Fault(msgspec.Struct, frozen=True):
    """One fault in an input: where it is, what is wrong with it, and a stable code for it."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class InvalidInputError(StudySmartError):
    """An input breaks the contract; ``faults`` names every fault at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, f.loc))}: {f.msg}" for f in faults))
        self.faults = faults


class BadRequestError(StudySmartError):
    """The request cannot be carried out as it stands, for a reason that is not one field's."""


class UnauthenticatedError(StudySmartError):
    """No valid token, or a wrong e-mail or password."""


class ForbiddenError(StudySmartError):
    """The caller is known and may not do this."""


class NotFoundError(StudySmartError):
    """There is no such thing, or it belongs to somebody else: the caller cannot tell which."""


class ConflictError(StudySmartError):
    """The thing changed meanwhile, or its present state does not allow this."""


class PayloadTooLargeError(StudySmartError):
    """The request's body is over the limit."""


class TooManyRequestsError(StudySmartError):
    """An outside service limits the rate; trying again later may work."""


class UnavailableError(StudySmartError):
    """An outside service (database, registry, queue, identity) did not answer as it should."""


class DatabaseUnavailableError(UnavailableError):
    """PostgreSQL could not be reached, or broke the connection."""


class RegistryUnavailableError(UnavailableError):
    """The model registry (S3) could not be reached."""


class QueueUnavailableError(UnavailableError):
    """The training queue (SQS) could not be reached."""


class IdentityUnavailableError(UnavailableError):
    """The identity provider (Cognito) could not be reached."""


class LogsUnavailableError(UnavailableError):
    """The log (CloudWatch Logs) could not be queried."""


class ModelError(StudySmartError):
    """A model artifact is damaged, incomplete, or of a kind that this version cannot run."""


class PointerConflictError(ConflictError):
    """The champion pointer was moved by somebody else between reading and writing it."""


class LeaseLostError(StudySmartError):
    """Another worker holds the lease of this training now; this one must not publish."""


class BackupError(StudySmartError):
    """A backup cannot be written, is incomplete or damaged, or does not fit what it should be restored into."""


class ConfigurationError(StudySmartError):
    """The environment is incomplete or wrong; the message names every fault with its value."""
