"""Limits of accounts and addresses, counted where all processes see them."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256

from chalicelib import logs
from chalicelib.domain.errors import BadRequestError, LimitError, UnauthenticatedError, UnavailableError
from chalicelib.domain.limits import (
    GUESSES,
    GUESSES_OF_ADDRESS,
    MAILS,
    MAILS_OF_ADDRESS,
    NO_GROWTH,
    UNLIMITED,
    Limit,
    StudentLimits,
    Usage,
    Use,
    reached,
    sampled,
)
from chalicelib.features.columns import StateColumns
from chalicelib.ports import LimitCounts, PredictionContext, TaskStore

_log = logging.getLogger("studysmart.limits")

_PARTS = 100
"""A limit is counted in steps of a hundredth, and so exactly up to 100."""

_KEPT_BLOCKS = 10_000
FULL_SECONDS = 60
"""Pause before a student may try again who has stored too much. Only a deletion or completion makes room."""


class Limiter:
    """Counts what accounts and addresses do. ``maxima`` holds each limit's maximum by its setting; 0 switches it off.

    A large limit is not counted with each request: one of n requests counts for n. So most requests need no statement,
    and the counts of all processes together are right on average.
    """

    def __init__(
        self,
        counts: LimitCounts,
        maxima: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._counts = counts
        self._maxima = maxima
        self._clock = clock
        self._chance = chance
        self._blocked: dict[Use, float] = {}

    def count(self, *uses: Use, n: int = 1) -> None:
        """Count ``n`` of what is bounded. Raises LimitError if it is too much for the account or the address."""
        for limit, who in uses:
            maximum = self._maxima[limit.setting]
            if maximum == 0:
                continue
            self.refuse_blocked(limit, who)
            step = max(1, maximum // _PARTS)
            if self._chance() * step < n:
                self._add(limit, who, max(step, n))

    @contextmanager
    def attempt(self, email: str, address: str) -> Iterator[None]:
        """Count the block if it fails for a wrong password or code. Raises LimitError after too many of them.

        The account is bounded for each address, so that nobody can lock an account for its owner elsewhere.
        """
        uses = [(GUESSES, digest(email, address)), (GUESSES_OF_ADDRESS, address)]
        for limit, who in uses:
            if (maximum := self._maxima[limit.setting]) > 0:
                self._check(limit, who, maximum)
        try:
            yield
        except (UnauthenticatedError, BadRequestError):
            for limit, who in uses:
                if self._maxima[limit.setting] > 0:
                    self._tolerating(lambda limit=limit, who=who: self._counts.add(limit, who, 1))  # type: ignore[misc]
            raise

    def mail(self, email: str, address: str) -> None:
        """Count a code that is sent by e-mail. Raises LimitError."""
        self.count((MAILS_OF_ADDRESS, address), (MAILS, digest(email)))

    def _check(self, limit: Limit, who: str, maximum: int) -> None:
        n, seconds = self._tolerating(lambda: self._counts.read(limit, who)) or (0, 0.0)
        if n >= maximum:
            raise LimitError(limit.describe(maximum), seconds)

    def _add(self, limit: Limit, who: str, step: int) -> None:
        maximum = self._maxima[limit.setting]
        n, seconds = self._tolerating(lambda: self._counts.add(limit, who, step)) or (0, 0.0)
        if n > maximum:
            if len(self._blocked) >= _KEPT_BLOCKS:
                self._blocked.clear()
            self._blocked[limit, who] = self._clock() + seconds
            raise LimitError(limit.describe(maximum), seconds)

    def refuse_blocked(self, limit: Limit, who: str) -> None:
        """Raise LimitError for an account or address that this process has refused and that has to wait still."""
        until = self._blocked.get((limit, who))
        if until is None:
            return
        if (seconds := until - self._clock()) <= 0:
            self._blocked.pop((limit, who), None)
            return
        raise LimitError(limit.describe(self._maxima[limit.setting]), seconds)

    @staticmethod
    def _tolerating(count: Callable[[], tuple[int, float]]) -> tuple[int, float] | None:
        """Return the result of a count, None without a database: then requests fail by themselves or need none."""
        try:
            return count()
        except UnavailableError as error:
            _log.warning("a limit was not counted: %s", error, extra=logs.repeats("limits"))
            return None


def digest(*parts: str) -> str:
    """Return a digest of an e-mail address, so that the table of counts holds none."""
    return sha256("\n".join(part.strip().lower() for part in parts).encode("utf-8", "surrogatepass")).hexdigest()


def check_room(
    tasks: TaskStore, limits: StudentLimits, context: PredictionContext, topic: str | None, n_bytes: int, n_open: int
) -> Usage:
    """Check that a student may store more, and return what to add to the stored quantities. ``topic`` is a key.

    The stored quantities are counted anew only when they reach a limit. Raises LimitError.
    """
    if limits == UNLIMITED:
        return NO_GROWTH
    known = topic is None or topic in StateColumns.of_rows(context.state.rows).topics
    user_id = context.state.user_id
    more = Usage(n_open, int(not known), n_bytes)
    if context.usage is not None and reached(context.usage, limits, more) is None:
        return sampled(more, limits, random.random())  # noqa: S311 - not a secret
    usage = tasks.count_usage(user_id, topic)
    more = Usage(n_open, int(not known and not usage.knows_topic), n_bytes)
    if (text := reached(usage, limits, more)) is not None:
        raise LimitError(text, FULL_SECONDS)
    return sampled(more, limits, random.random())  # noqa: S311 - not a secret
