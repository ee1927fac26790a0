"""Sends messages to addresses that an operator has entered, and to no address inside the network.

A name is resolved once, every address of it is checked, and the connection goes to one of the checked ones. So a name
that changes between check and connection leads nowhere. Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTP_PORT, HTTPS_PORT, HTTPConnection, HTTPException
from typing import Any, cast
from urllib.parse import urlsplit

from chalicelib.domain.errors import BadRequestError, WebhookError

SECONDS = 8.0
"""Time for one message, from the resolution of the name to the status of the answer."""

Resolve = Callable[[str, int], list[str]]
"""Gives the addresses of a name. Raises OSError."""


def resolve(host: str, port: int) -> list[str]:
    """Return the network addresses of a name."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class WebhookSender:
    """Sends messages by HTTPS. With ``private`` also by HTTP, and to addresses of this machine and its networks."""

    def __init__(self, *, private: bool, seconds: float = SECONDS, resolve: Resolve = resolve) -> None:
        self._private = private
        self._seconds = seconds
        self._resolve = resolve
        self._tls = ssl.create_default_context()

    def check(self, url: str) -> None:
        """Raise BadRequestError for an address to which nothing may be sent."""
        self._target(url)

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send a message and return the status of the answer. Raises WebhookError."""
        end = time.monotonic() + self._seconds
        try:
            scheme, host, port, path = self._target(url)
            address = self._address(host, port)
        except (BadRequestError, OSError, ValueError) as error:
            raise WebhookError(str(error)) from error
        seconds = max(0.001, end - time.monotonic())
        connection = _Pinned(host, port, address, seconds, self._tls if scheme == "https" else None)
        # The time-out of a socket begins anew with each byte. This one does not.
        watchdog = threading.Timer(seconds, connection.hang_up)
        watchdog.daemon = True
        watchdog.start()
        try:
            connection.request("POST", path, body, dict(headers))
            return connection.getresponse().status
        except (OSError, HTTPException, ValueError) as error:
            raise WebhookError(f"{type(error).__name__}: {error}") from error
        finally:
            watchdog.cancel()
            connection.close()

    def _target(self, url: str) -> tuple[str, str, int, str]:
        """Return scheme, host, port and path of an address. Raises BadRequestError."""
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")  # as the resolver does
        except ValueError as error:
            raise BadRequestError(f"{url!r} is not an address") from error
        allowed = ("https", "http") if self._private else ("https",)
        if parts.scheme not in allowed or not parts.hostname:
            raise BadRequestError(f"{url!r} must begin with {' or '.join(f'{name}://' for name in allowed)}")
        if parts.username is not None or parts.fragment or not (url.isascii() and url.isprintable() and " " not in url):
            raise BadRequestError(f"{url!r} has a login, a fragment or characters that an address may not have")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), path

    def _address(self, host: str, port: int) -> str:
        """Return an address of a host. Raises OSError, and BadRequestError if one of them is private."""
        addresses = _within(self._seconds, lambda: self._resolve(host, port))
        if not self._private:
            for address in addresses:
                if not is_public(address):
                    raise BadRequestError(f"{host} is the private address {address} (WEBHOOK_PRIVATE_ADDRESSES)")
        return addresses[0]


def is_public(text: str) -> bool:
    """Return True for an address of the public internet, also if it is written as an IPv6 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
        elif address.is_site_local:  # fec0::/10, which some versions of Python call global
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _within(seconds: float, work: Callable[[], list[str]]) -> list[str]:
    """Return the result of a call that has no time-out of its own. Raises what it raises, and TimeoutError."""
    results: queue.SimpleQueue[list[str] | OSError | ValueError] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except (OSError, ValueError) as error:  # UnicodeError is a ValueError
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("the name was not resolved in time") from None
    if isinstance(result, list):
        return result
    raise result


class _Pinned(HTTPConnection):
    """A connection to a checked address of the host. With TLS the certificate must be that of the name."""

    def __init__(self, host: str, port: int, address: str, seconds: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=seconds)
        self.default_port = HTTP_PORT if tls is None else HTTPS_PORT
        self._address = address
        self._pinned_tls = tls
        self._is_late = threading.Event()

    def connect(self) -> None:
        """Connect. From the first moment the socket is one that :meth:`hang_up` can close."""
        plain = socket.create_connection((self._address, self.port), self.timeout)
        if self._pinned_tls is None:
            self.sock = plain
            self._refuse_if_late()
            return
        secure = self._pinned_tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = cast("Any", secure)
        self._refuse_if_late()
        secure.do_handshake()

    def hang_up(self) -> None:
        """End the connection from another thread, or refuse it when it comes to be."""
        self._is_late.set()
        if (sock := self.sock) is not None:
            try:
                # Not the method of a TLS socket, which takes its state away under the thread that uses it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already

    def _refuse_if_late(self) -> None:
        if self._is_late.is_set():
            raise TimeoutError("the connection took too long")
