"""``python -m infra.local.aws``: the moto server of the one-machine stack and of the tests, as its own process."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
import threading
from pathlib import Path

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from chalicelib import logs
from infra.local.aws import accounts, bucket, cognito, signing
from infra.local.aws.outbox import Outbox
from infra.local.aws.persistence import State, WriteThrough
from infra.local.aws.resources import client_environment, create_stack, program_environment
from infra.local.connections import KeptConnection
from infra.local.processes import bound_socket, write_json

log = logging.getLogger("studysmart.aws")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local.aws", description=__doc__)
    parser.add_argument("--socket", type=int, help="file descriptor of a bound socket (default: a free port)")
    parser.add_argument("--state", type=Path, help="file that keeps the state; without it nothing is kept")
    parser.add_argument("--outbox", type=Path, help="file for the messages that Cognito would send by e-mail")
    parser.add_argument("--ready-file", type=Path, help="file to write when all is ready, with variables for clients")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="of the stack")
    return parser.parse_args()


class _Handler(KeptConnection, MotoRequestHandler):  # type: ignore[misc]
    """Keeps connections open, as AWS does, and writes no line for each request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing: polling alone would fill the log."""


def main() -> int:
    """Serve until SIGTERM. The answer to every change is sent after the change is on disk."""
    arguments = _arguments()
    logs.configure("text", "INFO")
    bucket.register()
    cognito.register()
    accounts.register(Outbox(arguments.outbox))
    listening = socket.socket(fileno=arguments.socket) if arguments.socket is not None else bound_socket(0)
    listening.listen(128)
    host, port = listening.getsockname()
    state = State(arguments.state) if arguments.state else None
    signing.use_own_key(arguments.state.with_name("signing-key.json") if arguments.state else None)
    app = WriteThrough(DomainDispatcherApplication(create_backend_app), state)
    server = make_server(
        host, port, signing.refuse_browsers(app), threaded=True, request_handler=_Handler, fd=listening.fileno()
    )
    # At once: every answered change is committed, and there is nothing else to finish.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=server.serve_forever, daemon=True, name="moto").start()

    endpoint = f"http://127.0.0.1:{port}"
    parameters = dict(item.split("=", 1) for item in arguments.parameter)
    outputs = create_stack(endpoint, "studysmart-local", parameters)
    kept = app.restore_and_keep()
    counts = ", ".join(f"{kept[kind]} {kind}s" for kind in ("account", "object", "message"))
    log.info("%s: %s of an earlier run", endpoint, counts)
    if arguments.ready_file:
        write_json(arguments.ready_file, {**client_environment(endpoint), **program_environment(endpoint, outputs)})
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
