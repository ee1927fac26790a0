"""Which request is served next, and which is refused."""

from __future__ import annotations

import re

import msgspec
import pytest

from chalicelib.domain.errors import ConfigurationError
from infra.local.proxy.admission import Admission
from infra.local.proxy.head import BadHeadError, Head, Kind, read_head
from infra.local.proxy.limits import Limits, limits_from
from tests.support.sources import ROOT


class Sent(msgspec.Struct, eq=False):
    head: Head
    since: float = 0.0


def sent(client: str = "ada", target: str = "POST /practice-tasks", since: float = 0.0) -> Sent:
    raw = f"{target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client}\r\n\r\n"
    return Sent(read_head(raw.encode(), 100), since)


def taken(admission: Admission) -> list[Sent]:
    requests = []
    while (request := admission.take()) is not None:
        assert isinstance(request, Sent)
        requests.append(request)
    return requests


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("GET /health", Kind.HEALTH),
        ("GET /health?x=1", Kind.HEALTH),
        ("PATCH /practice-tasks/1", Kind.COMPLETION),
        ("POST /practice-tasks", Kind.ORDINARY),
        ("GET /practice-tasks/1", Kind.ORDINARY),
        ("GET /dashboard", Kind.ORDINARY),
        ("GET /practice-tasks?q=a", Kind.LIST),
        ("GET /practice-tasks/", Kind.LIST),
        ("GET //practice-tasks", Kind.LIST),
        ("GET /practice-tasks;x?q=a", Kind.LIST),
        ("GET /practice-tasks#x", Kind.LIST),
        ("HEAD /practice-tasks", Kind.LIST),
        ("GET /analytics/topics", Kind.LIST),
        ("GET /export?after=1", Kind.LIST),
        ("POST /auth/login", Kind.ACCOUNT),
    ],
)
def test_a_request_has_the_kind_of_its_path(target: str, kind: Kind) -> None:
    assert sent(target=target).head.kind is kind


@pytest.mark.parametrize(("token", "differ"), [("ssk_x", True), ("eyJ", False)])
def test_learners_of_a_service_are_clients_of_their_own(token: str, differ: bool) -> None:
    lines = f"GET /export HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"
    heads = [read_head(f"{lines}x-Learner-ID: {name}\r\n\r\n".encode(), 100) for name in ("ada", "eve", "ada")]
    assert (heads[0].client != heads[1].client) is differ
    assert heads[0].client == heads[2].client


def test_urgent_requests_are_served_first() -> None:
    admission = Admission(Limits(requests=16))
    for target in ("GET /export", "POST /auth/login", "POST /practice-tasks", "PATCH /practice-tasks/1", "GET /health"):
        assert admission.add(sent(target=target)) is None
    assert [request.head.kind for request in taken(admission)] == list(Kind)


@pytest.mark.parametrize(
    "target", ["GET /health", "PATCH /practice-tasks/1", "POST /practice-tasks", "POST /auth/login", "GET /export"]
)
def test_no_kind_takes_all_places(target: str) -> None:
    admission = Admission(Limits(requests=8))
    for n in range(20):
        admission.add(sent(str(n), target))
    assert 0 < len(taken(admission)) < 8


def test_a_student_who_sends_much_waits_for_himself() -> None:
    admission = Admission(Limits(requests=5, waiting=10))
    flood = [sent("flood") for _ in range(12)]
    refused = [admission.add(request) for request in flood]
    assert refused == [None] * 10 + flood[10:]
    other = sent("other")
    assert admission.add(other) is flood[9], "the newest of the student who has the most"
    (first,) = taken(admission)
    assert first is flood[0]
    admission.finished(first.head, 0.01)
    (second,) = taken(admission)
    assert second is other


def test_a_student_has_two_lists_at_a_time() -> None:
    admission = Admission(Limits(requests=16, lists=4))
    for _ in range(5):
        admission.add(sent("ada", "GET /export"))
    mine = taken(admission)
    assert len(mine) == 2
    admission.add(sent("grace", "GET /export"))
    assert [request.head.client for request in taken(admission)] == [b"Bearer grace"]
    admission.finished(mine[0].head, 0.01)
    assert [request.head.client for request in taken(admission)] == [b"Bearer ada"]


def test_slow_requests_make_the_queue_shorter() -> None:
    admission = Admission(Limits(requests=5, waiting=100, wait_seconds=0.2))
    for _ in range(200):
        admission.add(sent())
        (request,) = taken(admission)
        admission.finished(request.head, 0.05)
    refused = [admission.add(sent()) for _ in range(100)]
    assert refused.index(next(filter(None, refused))) in (4, 5), "one place, so 4 of 50 ms take 200 ms"


def test_what_waits_too_long_is_given_up() -> None:
    admission = Admission(Limits(requests=5, wait_seconds=0.2))
    old, new = sent(since=1.0), sent(since=1.1)
    admission.add(old)
    admission.add(new)
    assert admission.expired(1.25) == [old]
    assert taken(admission) == [new]
    assert admission.n_waiting == 0


def test_a_request_whose_client_is_gone_is_not_served() -> None:
    admission = Admission(Limits(requests=5))
    gone, here = sent(), sent()
    for request in (gone, here):
        admission.add(request)
    admission.remove(gone)
    assert taken(admission) == [here]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("GET /", 400),
        ("GET / HTTP/2.0\r\n\r\n", 400),
        ("get / HTTP/1.1\r\n\r\n", 400),
        ("GET http://x/practice-tasks HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: b\nContent-Length: 5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: b\rContent-Length: 5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: b\r\n Content-Length: 5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: \0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        ("POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nAuthorization: x\r\nContent-Length: 1000001\r\n\r\n", 413),
    ],
)
def test_a_head_that_two_readers_could_read_in_two_ways_is_refused(raw: str, status: int) -> None:
    with pytest.raises(BadHeadError) as refused:
        read_head(raw.encode(), 100)
    assert refused.value.status == status


def test_the_api_gets_no_header_of_the_client_s_connection() -> None:
    raw = b"GET /x HTTP/1.0\r\nConnection: close\r\nX-A: caf\xe9\r\nExpect: 100-continue\r\n\r\n"
    head = read_head(raw, 100)
    assert head.for_api() == b"GET /x HTTP/1.1\r\nX-A: caf\xe9\r\n\r\n"
    assert not head.stays_open


def test_a_wrong_limit_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"SERVER_WAIT_SECONDS='-1'.*SERVER_LISTS='none'"):
        limits_from({"SERVER_LISTS": "none", "SERVER_WAIT_SECONDS": "-1"})
    assert limits_from({"SERVER_LISTS": "3"}).lists == 3


def test_every_limit_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    documented = re.findall(r"^\| `(SERVER_\w+)` \| ([\d.]+) \|", text, re.MULTILINE)
    assert [(name, float(value)) for name, value in documented] == [
        (field.encode_name, float(field.default)) for field in msgspec.structs.fields(Limits)
    ]
