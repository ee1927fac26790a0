"""Cohorts: the students of a school, a course or a tenant, who share a model."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Annotated

from msgspec import Meta

CohortName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
"""A name can be a part of a key in S3 and of an address."""

_CODE_BYTES = 9


def new_invitation() -> str:
    """Return a code with which students can register in a cohort. It cannot be guessed."""
    return secrets.token_urlsafe(_CODE_BYTES)


def invitation_digest(code: str) -> str:
    """Return the digest by which a code is recognised. Codes themselves are not stored."""
    return sha256(code.strip().encode("utf-8", "surrogatepass")).hexdigest()
