"""A client of the StudySmart API: its operations are in ``api``, the types of bodies and answers in ``models``."""

from .client import AuthenticatedClient, Client
from .session import ApiError, StudySmart, answer

__all__ = ["ApiError", "AuthenticatedClient", "Client", "StudySmart", "answer"]
