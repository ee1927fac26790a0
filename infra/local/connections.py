"""The connection handling of both local HTTP servers, that of the API and that of moto."""

from __future__ import annotations

from email.message import Message
from http.server import BaseHTTPRequestHandler


class KeptConnection(BaseHTTPRequestHandler):
    """A mixin for request handlers that sends each answer at once, in one write.

    Nagle's algorithm together with delayed acknowledgements would cost 40 ms for each answer. With buffered writes the
    interim answer to ``Expect: 100-continue`` must be flushed here, or the client waits a second for it.
    """

    headers: Message
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle_expect_100(self) -> bool:
        """Tell the client to send its body, and remove the header, so that nobody answers it again."""
        proceed = super().handle_expect_100()
        self.wfile.flush()
        del self.headers["Expect"]
        return proceed
