"""``python -m infra.local.api``: the API on Chalice's local server, with the schedules of AWS as threads."""

from __future__ import annotations

import argparse
import http.client
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from chalicelib import logs, wiring
from infra.local import schedules
from infra.local.after_answer import AfterAnswer
from infra.local.http import chalice_server
from infra.local.processes import write_json

log = logging.getLogger("studysmart.local")

# Each loads something that the first student would otherwise wait for: templates, schemas, JWKS, boto3, the model.
# The login and the token are wrong on purpose.
_JSON = {"Content-Type": "application/json"}
_WARM_UP: tuple[tuple[str, str, str | None, dict[str, str]], ...] = (
    *(("GET", path, None, {}) for path in ("/", "/docs", "/openapi.json", "/dashboard", "/health")),
    ("POST", "/auth/login", '{"email": "nobody@invalid", "password": ""}', _JSON),
    ("GET", "/model/status", None, {"Authorization": "Bearer x.y.z"}),
)
_GRACE_SECONDS = 1.0


def warm_up(port: int) -> None:
    """Request everything that is slow the first time. A failure is only logged: serving does not depend on it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for method, path, body, headers in _WARM_UP:
            connection.request(method, path, body, headers)
            connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        log.warning("the API did not warm up: %r", error)
    finally:
        connection.close()


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.api", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of a socket that is already bound")
    parser.add_argument("--ready-file", type=Path, required=True, help="file to write when requests are answered fast")
    arguments = parser.parse_args()
    logs.configure(os.environ.get("LOG_FORMAT", "text"), os.environ.get("LOG_LEVEL", "INFO"))

    # Late, because this takes most of the start and a wrong command line should be reported before.
    from app import app

    after_answer = AfterAnswer()
    wiring.current().later = after_answer
    server = chalice_server(app, socket.socket(fileno=arguments.socket), after_answer.answered)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="http").start()
    warm_up(server.server_port)
    write_json(arguments.ready_file, {"url": f"http://127.0.0.1:{server.server_port}"})
    schedules.start(stopped)
    stopped.wait()
    server.finish(_GRACE_SECONDS)
    after_answer.finish(_GRACE_SECONDS / 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
