"""Signing in, renewing the access token, following pages, and errors as exceptions. The rest is generated."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx

from .api.accounts import login
from .client import AuthenticatedClient, Client
from .models import Detail, LoginBody, PasswordAnswer, TokenAnswer, ValidationDetail

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_PLACES: Mapping[str, Callable[[str], Any]] = {"cursor": str, "after": int}
"""The parameters that name the place of a page, with their types."""


class ApiError(Exception):
    """An answer that is an error. ``detail`` is a text, or for status 422 the list of all faults."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail = status, detail


class Answered(Protocol[T_co]):
    """The answer of a function ``sync_detailed`` or ``asyncio_detailed``."""

    @property
    def status_code(self) -> HTTPStatus:
        """The status."""

    @property
    def content(self) -> bytes:
        """The body as it was sent."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""

    @property
    def parsed(self) -> T_co:
        """The body, or None for a status that is not documented."""


def answer(response: Answered[T | Detail | ValidationDetail | None]) -> T:
    """Return the body of a successful answer. Raises ApiError for any other."""
    found = response.parsed
    if isinstance(found, Detail | ValidationDetail):
        raise ApiError(response.status_code, found.to_dict()["detail"])
    if found is None:
        raise ApiError(response.status_code, response.content.decode(errors="replace"))
    return found


class StudySmart:
    """A session of one account. ``client`` is what the functions of ``studysmart_client.api`` take.

    A kept ``refresh_token`` signs in without a password. Other arguments are those of ``httpx.Client``.
    """

    def __init__(
        self, base_url: str, *, refresh_token: str | None = None, timeout: float = 30.0, **httpx_arguments: Any
    ) -> None:
        self._base_url, self._timeout, self._arguments = base_url.rstrip("/"), httpx.Timeout(timeout), httpx_arguments
        self._tokens = _Tokens(f"{self._base_url}/auth/refresh", refresh_token)
        self.client = AuthenticatedClient(
            base_url=self._base_url,
            token="",
            timeout=self._timeout,
            httpx_args={**httpx_arguments, "auth": self._tokens},
        )

    @property
    def refresh_token(self) -> str | None:
        """The token with which an app can go on later, without the password."""
        return self._tokens.refresh_token

    def login(self, email: str, password: str) -> StudySmart:
        """Sign in, and return this session. Raises ApiError."""
        with Client(base_url=self._base_url, timeout=self._timeout, httpx_args=self._arguments) as anyone:
            self.keep(answer(login.sync_detailed(client=anyone, body=LoginBody(email, password))))
        return self

    def keep(self, tokens: TokenAnswer | PasswordAnswer) -> None:
        """Use other tokens from now on, such as those that a change of the password returns."""
        self._tokens.access_token, self._tokens.refresh_token = tokens.access_token, tokens.refresh_token

    def pages(
        self, operation: Callable[..., Answered[T | Detail | ValidationDetail | None]], **arguments: Any
    ) -> Iterator[T]:
        """Yield the pages of a list, such as ``pages(list_tasks.sync_detailed, limit=100)``. Raises ApiError."""
        place: dict[str, Any] = {}
        while True:
            response = operation(client=self.client, **arguments, **place)
            yield answer(response)
            link = response.headers.get("link")
            if link is None:
                return
            query = parse_qs(urlsplit(link[link.index("<") + 1 : link.index(">")]).query)
            place = {name: kind(query[name][0]) for name, kind in _PLACES.items() if name in query}


class _Tokens(httpx.Auth):
    """Sends the access token, and renews it once when the server refuses it."""

    requires_response_body = True

    def __init__(self, address: str, refresh_token: str | None) -> None:
        self.address, self.refresh_token = address, refresh_token
        self.access_token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        sent = self.access_token
        del request.headers["Authorization"]  # the generated client's, which has no token
        if sent:
            request.headers["Authorization"] = f"Bearer {sent}"
        response = yield request
        if response.status_code != HTTPStatus.UNAUTHORIZED or self.refresh_token is None:
            return
        if self.access_token == sent:  # no other thread has renewed it meanwhile
            renewed = yield httpx.Request("POST", self.address, json={"refresh_token": self.refresh_token})
            if renewed.status_code != HTTPStatus.OK:
                return
            self.access_token = renewed.json()["access_token"]
            self.refresh_token = renewed.json()["refresh_token"]
        request.headers["Authorization"] = f"Bearer {self.access_token}"
        yield request
