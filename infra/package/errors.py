"""What may go wrong in packaging."""

from __future__ import annotations


class PackageError(Exception):
    """The zip cannot be built, or what was built must not be deployed; the message names every fault."""
