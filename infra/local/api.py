"""``python -m infra.local.api``: the API on Chalice's local server, with what AWS runs by a schedule."""

from __future__ import annotations

import argparse
import http.client
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from chalicelib import logs, wiring
from chalicelib.services import models, training
from chalicelib.services import watch as watching
from chalicelib.wiring import Container
from infra.local.after_answer import AfterAnswer
from infra.local.http import chalice_server
from infra.local.processes import bound_socket, write_json

log = logging.getLogger("studysmart.local")

# Each loads something that the first student would otherwise wait for: templates, schemas, JWKS, boto3, the model.
_WARM_UP = ("/", "/docs", "/openapi.json", "/dashboard", "/health")

_GRACE_SECONDS = 1.0
_PRUNE_SECONDS = 60.0
_WATCH_SECONDS = 15.0


def warm_up(port: int) -> None:
    """Request what is slow the first time; a failure is only logged, since serving does not depend on it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for path in _WARM_UP:
            connection.request("GET", path)
            connection.getresponse().read()
        # Wrong on purpose: the client of the accounts is made, the way to the token is walked.
        for path, headers in (("/auth/login", {}), ("/model/status", {"Authorization": "Bearer x.y.z"})):
            method, body = ("POST", '{"email": "nobody@invalid", "password": ""}') if not headers else ("GET", None)
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        log.warning("the API did not warm up: %r", error)
    finally:
        connection.close()


def repeat(work: Callable[[Container], object], interval_seconds: float, stopped: threading.Event) -> None:
    """Do at each interval what ``app`` does on AWS by a schedule."""
    while not stopped.wait(interval_seconds):
        try:
            work(wiring.current())
        except Exception:
            # Whatever happened once, the next time is another chance; on AWS an invocation fails alone as well.
            log.exception("%s failed", work.__name__)


def sweep(container: Container) -> None:
    """As ``app.sweep_training_requests``."""
    training.sweep(container.tracker, container.queue)


def watch(container: Container) -> None:
    """As ``app.sweep_training_requests`` after the sweep: apart from it, for here sweeps are more frequent."""
    watching.watch(container.tracker, container.analytics, container.policy, container.settings.cohort)


def prune(container: Container) -> None:
    """As ``app.prune_models``."""
    models.prune(container.registry, container.settings.cohort, container.settings.retained_versions)


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.api", description=__doc__)
    parser.add_argument("--port", type=int, default=4008)
    parser.add_argument("--socket", type=int, help="file descriptor of a socket that is bound already")
    parser.add_argument("--ready-file", type=Path, help="where to write the address once requests are answered fast")
    parser.add_argument("--sweep-seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    logs.configure(os.environ.get("LOG_FORMAT", "text"), os.environ.get("LOG_LEVEL", "INFO"))
    bound = socket.socket(fileno=arguments.socket) if arguments.socket is not None else bound_socket(arguments.port)

    # Late: importing the API takes most of the start, and what is wrong with the command line shows before.
    from app import app
    from chalicelib.api import fallback

    fallback.add_local_depths(app)
    after_answer = AfterAnswer()
    wiring.current().later = after_answer
    server = chalice_server(app, bound, after_answer.answered)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="http").start()
    warm_up(server.server_port)
    if arguments.ready_file:
        write_json(arguments.ready_file, {"url": f"http://127.0.0.1:{server.server_port}"})
    for work, seconds in ((sweep, arguments.sweep_seconds), (watch, _WATCH_SECONDS), (prune, _PRUNE_SECONDS)):
        threading.Thread(target=repeat, args=(work, seconds, stopped), daemon=True, name=work.__name__).start()
    stopped.wait()
    server.finish(_GRACE_SECONDS)
    after_answer.finish(_GRACE_SECONDS / 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
