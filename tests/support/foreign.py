"""The application with two other issuers: one whose groups count, and Google."""

from __future__ import annotations

from typing import Any

from chalicelib import wiring
from chalicelib.domain.errors import IdentityUnavailableError
from chalicelib.domain.issuers import GOOGLE, Issuer
from chalicelib.storage.issuers import ForeignTokens
from tests.support.api import World
from tests.support.oidc import AUDIENCE, Provider


class Foreign:
    """The application with two issuers more."""

    def __init__(self) -> None:
        self.school, self.google = Provider(), Provider(GOOGLE)
        self.tokens = ForeignTokens(
            [
                Issuer(issuer=self.school.issuer, audience=(AUDIENCE,), groups_claim="groups"),
                Issuer(issuer=GOOGLE, audience=(AUDIENCE,)),
            ],
            self._fetch,
        )

    def install(self, world: World) -> None:
        """Let the application of these fakes accept the tokens."""
        container = world.container()
        container.foreign = self.tokens
        wiring.install(container)

    def _fetch(self, address: str) -> dict[str, Any]:
        document = (self.google if address.startswith(GOOGLE) else self.school).answer(address)
        if document is None:
            raise IdentityUnavailableError("away")
        return document
