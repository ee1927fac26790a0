"""What the proxies of these tests do at exactly one request: kill somebody, hold it, cut it, spoil it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

HELD_SECONDS = 600.0
"""After this long a held request goes on, so that a test that failed ends."""


class CutError(Exception):
    """The connection is to be reset, as by a peer that died."""


@dataclass
class Rule:
    """What happens at a request whose name contains ``pattern``.

    Before it is sent on, or with ``after`` when the server did it and the client does not know yet. Then the connection
    is reset (``cut``), or everything goes on. ``spoil`` changes what is sent on.
    """

    pattern: str
    act: Callable[[], object] = lambda: None
    after: bool = False
    cut: bool = False
    times: int = 1
    spoil: Callable[[bytes], bytes] = lambda body: body
    met: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    n_met: int = 0

    def happens(self) -> None:
        """Do it; CutError when the connection is to be reset."""
        self.met.set()
        self.act()
        if self.cut:
            raise CutError(self.pattern)

    def wait_until_met(self, seconds: float = 180.0) -> None:
        """Return when the request was seen, fail when it is not in time."""
        assert self.met.wait(seconds), f"no request like {self.pattern!r} came within {seconds:.0f} seconds"


class Rules:
    """The rules of a proxy; each request is judged by the first that it meets."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self.seen: list[str] = []

    def add(self, rule: Rule) -> Rule:
        """Judge requests by this rule from now on."""
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Let everything pass from now on, what is held too."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.released.set()

    def met_by(self, name: str) -> Rule | None:
        """The rule that a request meets, if any; it is used up by as many requests as it is made for."""
        with self._lock:
            self.seen.append(name)
            for rule in self._rules:
                if rule.n_met < rule.times and re.search(rule.pattern, name):
                    rule.n_met += 1
                    return rule
        return None


class Proxy:
    """The part that every proxy shares: making rules for what passes through it."""

    def __init__(self) -> None:
        self.rules = Rules()

    def at(self, pattern: str, **what: Any) -> Rule:
        """Make a rule (see :class:`Rule`)."""
        return self.rules.add(Rule(pattern, **what))

    def hold(self, pattern: str, **what: Any) -> Rule:
        """Keep a request from going on until ``rule.released`` is set."""
        rule = Rule(pattern, **what)
        rule.act = lambda: rule.released.wait(HELD_SECONDS)
        return self.rules.add(rule)

    def down(self, pattern: str = "") -> Rule:
        """Reset every connection on which such a request comes, until the rules are cleared."""
        return self.at(pattern, cut=True, times=1_000_000)

    def close(self) -> None:
        """Let go of whatever is held and end."""
        self.rules.clear()
