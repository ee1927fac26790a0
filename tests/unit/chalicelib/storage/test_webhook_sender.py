"""Where webhooks may be sent."""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.domain.errors import BadRequestError, WebhookError
from chalicelib.storage.webhook_sender import WebhookSender, _Pinned, is_public
from tests.support.fronts import free_port
from tests.support.receivers import Receiver, listening

PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1"),
    *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1"),
    *("64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1", "fec0::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_nothing_is_sent_to_a_private_address(address: str) -> None:
    sender = WebhookSender(private=False, resolve=lambda _host, _port: ["8.8.8.8", address])
    with pytest.raises(WebhookError, match="private address"):
        sender.send("https://example.org/hooks", {}, b"{}")


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/", "ftp://example.org/", "file:///etc/passwd", "https://", "example.org", "https:///x"),
        *(
            "https://user@example.org/",
            "https://example.org/#part",
            "https://example.org/a b",
            "https://example.org:x/",
        ),
        *(
            "https://example.org/\r\nHost: evil",
            "https://exämple.org/",
            "https://[::1",
            "https://a..b/",
            f"https://{'a' * 64}.org/",
        ),
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(BadRequestError):
        WebhookSender(private=False).check(url)


def test_a_public_address_with_https_is_accepted() -> None:
    WebhookSender(private=False).check("https://example.org:8443/hooks?app=school")


def test_a_name_is_resolved_once_and_the_checked_address_used() -> None:
    receiver, asked = Receiver(), []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    with listening(receiver) as url:
        port = url.split(":")[2].split("/")[0]
        status = WebhookSender(private=True, resolve=resolve).send(f"http://hooks.test:{port}/x?y=1", {"A": "b"}, b"{}")
    assert (status, asked) == (204, [("hooks.test", int(port))])
    [(headers, body)] = receiver.seen
    assert (headers["host"], headers["a"], body) == (f"hooks.test:{port}", "b", b"{}")


def test_a_redirect_is_not_followed() -> None:
    receiver = Receiver()
    receiver.statuses = [302]
    with listening(receiver) as url:
        assert WebhookSender(private=True).send(url, {"webhook-id": "1"}, b"{}") == 302
    assert len(receiver.seen) == 1


def test_a_receiver_that_does_not_answer_costs_limited_time() -> None:
    receiver = Receiver()
    receiver.held = threading.Event()
    with listening(receiver) as url:
        with pytest.raises(WebhookError):
            WebhookSender(private=True, seconds=0.2).send(url, {"webhook-id": "1"}, b"{}")
        receiver.held.set()


def test_a_handshake_that_does_not_end_can_be_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        port = server.getsockname()[1]
        connection = _Pinned("127.0.0.1", port, "127.0.0.1", 15.0, ssl.create_default_context())
        running = pool.submit(connection.request, "POST", "/", b"{}")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b"\x16"  # the handshake has begun
            connection.hang_up()
            assert isinstance(running.exception(timeout=60), OSError)
        connection.close()


def test_a_connection_that_comes_too_late_is_not_used() -> None:
    receiver = Receiver()
    with listening(receiver) as url:
        connection = _Pinned("127.0.0.1", int(url.split(":")[2].split("/")[0]), "127.0.0.1", 5.0, None)
        connection.hang_up()
        with pytest.raises(TimeoutError):
            connection.request("POST", "/", b"{}")
        connection.close()
    assert receiver.seen == []


def test_a_name_that_is_not_resolved_in_time_is_an_error() -> None:
    never = threading.Event()

    def resolve(_host: str, _port: int) -> list[str]:
        never.wait(10)
        return ["127.0.0.1"]

    with pytest.raises(WebhookError, match="not resolved in time"):
        WebhookSender(private=True, seconds=0.1, resolve=resolve).send("http://hooks.test/", {}, b"{}")
    never.set()


def test_a_name_that_no_resolver_takes_is_an_error() -> None:
    def resolve(_host: str, _port: int) -> list[str]:
        raise UnicodeError("label empty or too long")

    with pytest.raises(WebhookError, match="label"):
        WebhookSender(private=False, resolve=resolve).send("https://example.org/", {}, b"{}")


def test_a_receiver_that_is_away_is_an_error() -> None:
    with pytest.raises(WebhookError, match="refused"):
        WebhookSender(private=True).send(f"http://127.0.0.1:{free_port()}/hooks", {}, b"{}")


def test_names_without_an_address_are_an_error() -> None:
    def resolve(_host: str, _port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(WebhookError, match="not known"):
        WebhookSender(private=False, resolve=resolve).send("https://example.org/", {}, b"{}")
