"""Admission control: the requests that are served, those that wait, and those that are refused.

Each kind of request has a queue of its own. Within a kind the clients take turns, so a client that sends much waits for
itself. A queue is full when its last request would wait too long, by the recent durations of its kind. Then the newest
request of the client with the most waiting requests is refused.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Protocol

from infra.local.proxy.head import Head, Kind
from infra.local.proxy.limits import Limits


class Waiting(Protocol):
    """A request. ``since`` is when it began to wait, in monotonic seconds."""

    head: Head
    since: float


_NEWEST = 0.05
"""Share of the newest duration in the mean duration of a kind."""


class Admission:
    """The queues of all kinds, and the number of requests in progress."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # No kind may take all places, so the others go on during a flood of one kind.
        self._most = {
            Kind.HEALTH: 2,
            Kind.COMPLETION: max(limits.requests - 3, 1),
            Kind.ORDINARY: max(limits.requests - 4, 1),
            Kind.ACCOUNT: limits.accounts,
            Kind.LIST: limits.lists,
        }
        self._queues: dict[Kind, OrderedDict[bytes, deque[Waiting]]] = {kind: OrderedDict() for kind in Kind}
        self._n_waiting: Counter[Kind] = Counter()
        self._n_served: Counter[Kind] = Counter()
        self._lists_of: Counter[bytes] = Counter()
        self._seconds: dict[Kind, float] = dict.fromkeys(Kind, 0.0)

    @property
    def n_served(self) -> int:
        """The number of requests in progress."""
        return self._n_served.total()

    @property
    def n_waiting(self) -> int:
        """The number of requests that wait."""
        return self._n_waiting.total()

    def add(self, request: Waiting) -> Waiting | None:
        """Let a request wait. Return the request that is refused in exchange, which may be the same one."""
        kind, client = request.head.kind, request.head.client
        queue = self._queues[kind]
        refused = None
        if self._n_waiting[kind] >= self._room(kind):
            longest = max(queue, key=lambda name: len(queue[name]))
            if len(queue[longest]) <= len(queue.get(client, ())) + 1:
                return request
            refused = queue[longest].pop()
            self._n_waiting[kind] -= 1
        queue.setdefault(client, deque()).append(request)
        self._n_waiting[kind] += 1
        return refused

    def _room(self, kind: Kind) -> int:
        """Return how many requests of a kind may wait so that the last one is served in time."""
        served_meanwhile = self._most[kind] * self._limits.wait_seconds / max(self._seconds[kind], 1e-4)
        return min(max(int(served_meanwhile), self._most[kind]), self._limits.waiting)

    def take(self) -> Waiting | None:
        """Return the request to serve next, None if none may be served now. Call :meth:`finished` after it."""
        if self._n_waiting.total() == 0 or self.n_served >= self._limits.requests:
            return None
        for kind, queue in self._queues.items():
            if self._n_waiting[kind] == 0 or self._n_served[kind] >= self._most[kind]:
                continue
            for client in queue:
                if kind is Kind.LIST and self._lists_of[client] >= self._limits.lists_per_student:
                    continue
                return self._start(kind, client)
        return None

    def _start(self, kind: Kind, client: bytes) -> Waiting:
        queue = self._queues[kind]
        request = queue[client].popleft()
        self._n_waiting[kind] -= 1
        if queue[client]:
            queue.move_to_end(client)
        else:
            del queue[client]
        self._n_served[kind] += 1
        if kind is Kind.LIST:
            self._lists_of[client] += 1
        return request

    def finished(self, head: Head, seconds: float) -> None:
        """Free the place of a request that was taken and then served for so long."""
        self._n_served[head.kind] -= 1
        self._seconds[head.kind] += _NEWEST * (seconds - self._seconds[head.kind])
        if head.kind is Kind.LIST:
            self._lists_of[head.client] -= 1
            if self._lists_of[head.client] == 0:
                del self._lists_of[head.client]

    def remove(self, request: Waiting) -> None:
        """Forget a waiting request, whose client has gone. One that does not wait is ignored."""
        queue = self._queues[request.head.kind]
        mine = queue.get(request.head.client)
        if mine is None or request not in mine:
            return
        mine.remove(request)
        self._n_waiting[request.head.kind] -= 1
        if not mine:
            del queue[request.head.client]

    def expired(self, now: float) -> list[Waiting]:
        """Remove and return the requests that have waited too long."""
        oldest = now - self._limits.wait_seconds
        late = [
            request
            for queue in self._queues.values()
            for requests in queue.values()
            for request in requests
            if request.since <= oldest
        ]
        for request in late:
            self.remove(request)
        return late
