"""Limits of accounts and addresses."""

from __future__ import annotations

import random

import pytest

from chalicelib.domain.errors import BadRequestError, IdentityUnavailableError, LimitError, UnauthenticatedError
from chalicelib.domain.limits import NO_GROWTH, Limit, StudentLimits, Usage, sampled
from chalicelib.services.limits import Limiter, digest
from tests.support.fakes.database import MemoryDatabase, MemoryLimitCounts

HOUR = Limit("per_hour", 3_600, "At most {} in an hour")
MAXIMA = {"per_hour": 3, "failed_sign_ins": 2, "address_failed_sign_ins": 4}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


def limiter(database: MemoryDatabase, clock: Clock | None = None, **maxima: int) -> Limiter:
    return Limiter(MemoryLimitCounts(database), MAXIMA | maxima, clock or Clock(), random.Random(1).random)


def test_one_request_too_many_is_refused_with_the_limit_s_name(database: MemoryDatabase) -> None:
    mine = limiter(database)
    for _ in range(3):
        mine.count((HOUR, "ada"))
    with pytest.raises(LimitError, match=r"At most 3 in an hour \(PER_HOUR\)") as refused:
        mine.count((HOUR, "ada"))
    assert 3_500 < refused.value.retry_after <= 3_600
    mine.count((HOUR, "eve"))
    with pytest.raises(LimitError):
        limiter(database).count((HOUR, "ada"))  # another process


def test_a_refused_account_is_not_counted_again(database: MemoryDatabase) -> None:
    clock = Clock()
    mine = limiter(database, clock)
    for _ in range(3):
        mine.count((HOUR, "ada"))
    for _ in range(10):
        with pytest.raises(LimitError):
            mine.count((HOUR, "ada"))
    assert database.counts["per_hour", "ada"][1] == 4
    clock.now = 3_601.0
    database.counts.clear()
    mine.count((HOUR, "ada"))


def test_a_large_limit_is_counted_by_few_statements(database: MemoryDatabase) -> None:
    mine = limiter(database, per_hour=10_000)
    counted = 0
    for _ in range(5_000):
        before = database.counts.get(("per_hour", "ada"))
        mine.count((HOUR, "ada"))
        counted += database.counts.get(("per_hour", "ada")) != before
    assert 20 < counted < 100
    assert database.counts["per_hour", "ada"][1] == counted * 100


def test_a_student_s_usage_is_right_on_average() -> None:
    limits, chances = StudentLimits(1_000, 50, 10**6), random.Random(1)
    added = [sampled(Usage(1, 1, 400), limits, chances.random()) for _ in range(10_000)]
    assert sum(more.topics for more in added) == 10_000, "a limit up to 100 is exact"
    assert sum(more.open_tasks for more in added) == pytest.approx(10_000, rel=0.1)
    assert sum(more.n_bytes for more in added) == pytest.approx(4_000_000, rel=0.1)
    assert sampled(NO_GROWTH, limits, 0.0) == NO_GROWTH


def test_zero_switches_a_limit_off(database: MemoryDatabase) -> None:
    mine = limiter(database, per_hour=0, failed_sign_ins=0, address_failed_sign_ins=0)
    for _ in range(10):
        mine.count((HOUR, "ada"))
        with pytest.raises(UnauthenticatedError), mine.attempt("ada@example.org", "address"):
            raise UnauthenticatedError
    assert database.counts == {}


def fail(mine: Limiter, email: str, address: str, error: type[Exception] = UnauthenticatedError) -> None:
    with pytest.raises(error), mine.attempt(email, address):
        raise error


def test_only_wrong_passwords_count(database: MemoryDatabase) -> None:
    mine = limiter(database)
    for _ in range(5):
        with mine.attempt("ada@example.org", "school"):
            pass
        fail(mine, "ada@example.org", "school", IdentityUnavailableError)
    fail(mine, "ada@example.org", "school")
    fail(mine, " Ada@Example.org", "school", BadRequestError)
    with pytest.raises(LimitError, match=r"FAILED_SIGN_INS"), mine.attempt("ada@example.org", "school"):
        pytest.fail("this was an attempt")
    with mine.attempt("ada@example.org", "home"):
        pass  # a guesser elsewhere does not lock the owner out


def test_an_address_that_guesses_many_accounts_has_to_wait(database: MemoryDatabase) -> None:
    mine = limiter(database)
    for n in range(4):
        fail(mine, f"{n}@example.org", "attacker")
    with pytest.raises(LimitError, match="ADDRESS_FAILED_SIGN_INS"), mine.attempt("5@example.org", "attacker"):
        pass


def test_without_a_database_nothing_is_refused(database: MemoryDatabase, caplog: pytest.LogCaptureFixture) -> None:
    database.available = False
    mine = limiter(database)
    mine.count((HOUR, "ada"))
    with mine.attempt("ada@example.org", "address"):
        pass
    assert "a limit was not counted" in caplog.text


def test_no_address_is_kept_as_it_is(database: MemoryDatabase) -> None:
    mine = limiter(database)
    fail(mine, "ada@example.org", "1.2.3.4")
    assert not [who for _, who in database.counts if "ada" in who]
    assert digest("Ada@example.org ") == digest("ada@example.org") != digest("eve@example.org")
