"""The reverse proxy of the one-machine stack, in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import uvloop

from infra.local.processes import bound_socket
from infra.local.proxy.limits import Limits
from infra.local.proxy.server import ReverseProxy
from tests.support.api import ORIGINS


@contextmanager
def proxied(url: str, **limits: Any) -> Iterator[str]:
    """Yield the address of a proxy in front of a server, with some limits changed."""
    parts = urlsplit(url)
    proxy = ReverseProxy((str(parts.hostname), int(parts.port or 80)), Limits(**limits), ORIGINS)
    listening = bound_socket(0)
    listening.setblocking(False)
    stopped = asyncio.Event()
    loop = uvloop.new_event_loop()
    serving = loop.create_task(proxy.serve(listening, stopped, 5.0))
    thread = threading.Thread(target=loop.run_until_complete, args=(serving,), daemon=True)
    listening.listen(128)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(120)
        loop.close()
