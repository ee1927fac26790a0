"""The API on in-memory adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api import Api, World, installed_world, serving, sign_up
from tests.support.proxies import proxied


@pytest.fixture
def world() -> Iterator[World]:
    with installed_world() as world:
        yield world


@pytest.fixture
def anyone(world: World) -> Api:
    """A client that is not signed in."""
    return Api()


@pytest.fixture
def student(world: World) -> Api:
    """A client that is signed in as a student."""
    return sign_up(world)


@pytest.fixture
def other(world: World) -> Api:
    """A client that is signed in as another student."""
    return sign_up(world, "grace@example.org")


@pytest.fixture
def admin(world: World) -> Api:
    """A client that is signed in as an admin."""
    api = sign_up(world, "root@example.org")
    world.identity.make_admin(api.get("/auth/me").json["id"])
    return api


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """The API on the fakes behind Chalice's local server and the reverse proxy, on a free port."""
    with serving() as server, proxied(server) as address:
        yield address
