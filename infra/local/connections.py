"""What both local HTTP servers, the API's and moto's, do with a connection."""

from __future__ import annotations

from email.message import Message
from http.server import BaseHTTPRequestHandler


class KeptConnection(BaseHTTPRequestHandler):
    """Mixed into a handler: one write per answer, sent at once.

    Nagle's algorithm together with delayed acknowledgements would cost 40 ms an answer. With buffered writes the
    interim answer to ``Expect: 100-continue`` has to be flushed by hand, or the client waits a second for it.
    """

    headers: Message
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle_expect_100(self) -> bool:
        """Let the client send its body now; further down nobody needs to be asked again."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        del self.headers["Expect"]
        return proceed
