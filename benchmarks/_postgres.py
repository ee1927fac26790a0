"""A PostgreSQL server of its own for a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.local import postgres
from migrations import upgrade


@contextmanager
def migrated_server(folder: Path, settings: Sequence[str] = ()) -> Iterator[postgres.Postgres]:
    """Start a server in a folder, with a database that has all tables, and stop it afterwards.

    ``settings`` are PostgreSQL's, such as ``max_connections=200``.
    """
    server = postgres.prepare(folder / "postgres")
    with (folder / "postgres.log").open("wb") as output:
        postgres.start(server, tuple(settings), output)
    try:
        postgres.wait_until_ready(server)
        postgres.create_database(server)
        upgrade(server.url())
        yield server
    finally:
        postgres.stop(server)
