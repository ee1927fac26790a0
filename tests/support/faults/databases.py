"""Starting and killing a PostgreSQL server."""

from __future__ import annotations

import psutil

from infra.local import postgres
from tests.support.servers import FAST_SETTINGS


def start(server: postgres.Postgres) -> None:
    with (server.data.parent / "log").open("ab") as output:
        postgres.start(server, FAST_SETTINGS, output)
    postgres.wait_until_ready(server)


def kill(server: postgres.Postgres) -> None:
    """End the server and its sessions as a power cut would."""
    assert server.process is not None
    main = psutil.Process(server.process.pid)
    main.suspend()  # so that it begins no session that would survive it, and keep its memory from the next server
    processes = [main, *main.children(recursive=True)]
    for process in processes:
        process.kill()
    server.process.wait()
    psutil.wait_procs(processes, timeout=120)


def kill_and_restart(server: postgres.Postgres) -> None:
    kill(server)
    start(server)
