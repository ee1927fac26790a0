"""``python -m infra.local.proxy``: the reverse proxy of the one-machine stack, as its own process."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop

from chalicelib import logs
from chalicelib.config import origins_from
from chalicelib.domain.errors import ConfigurationError
from infra.local.processes import url_of, write_json
from infra.local.proxy.limits import limits_from
from infra.local.proxy.server import ReverseProxy

_GRACE_SECONDS = 1.0


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.proxy", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of a socket that is already bound")
    parser.add_argument("--api", type=int, required=True, help="port of the API on 127.0.0.1")
    parser.add_argument("--ready-file", type=Path, required=True, help="file to write when requests are taken")
    arguments = parser.parse_args()
    logs.configure(os.environ.get("LOG_FORMAT", "text"), os.environ.get("LOG_LEVEL", "INFO"))
    origins = origins_from(os.environ.get("CORS_ORIGINS", ""))
    try:
        limits = limits_from(os.environ)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    proxy = ReverseProxy(("127.0.0.1", arguments.api), limits, origins)
    uvloop.run(_serve(proxy, socket.socket(fileno=arguments.socket), arguments.ready_file))
    return 0


async def _serve(proxy: ReverseProxy, listening: socket.socket, ready: Path) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    listening.setblocking(False)
    write_json(ready, {"url": url_of(listening)})
    await proxy.serve(listening, stopped, _GRACE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
