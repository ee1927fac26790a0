"""Work that requests defer is done after the answer, even when other work fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from chalicelib import logs
from infra.local.after_answer import AfterAnswer


@pytest.fixture
def later() -> Iterator[AfterAnswer]:
    after_answer = AfterAnswer()
    yield after_answer
    after_answer.finish(10)


def test_work_waits_for_the_answer_and_is_done_in_order(later: AfterAnswer) -> None:
    done: list[int] = []
    for n in range(3):
        later(lambda n=n: done.append(n))  # type: ignore[misc]
    assert done == []
    later.answered()
    later.answered()  # does nothing a second time
    later.finish(10)
    assert done == [0, 1, 2]


def test_an_answer_starts_only_the_work_of_its_thread(later: AfterAnswer) -> None:
    done: list[str] = []
    other = threading.Thread(target=later, args=(lambda: done.append("of another request"),))
    other.start()
    other.join()
    later(lambda: done.append("mine"))
    later.answered()
    later.finish(10)
    assert done == ["mine"]


def test_failed_work_is_logged_and_the_next_is_done(later: AfterAnswer, caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    later(lambda: done.append(1 // 0))
    later(lambda: done.append(2))
    later.answered()
    later.finish(10)
    assert done == [2]
    assert "the deferred work of a request failed" in caplog.text


def test_lines_of_the_work_carry_the_request(later: AfterAnswer) -> None:
    seen: list[str | None] = []
    with logs.request("request-7"):
        later(lambda: seen.append(logs._request_id.get()))
    later.answered()
    later.finish(10)
    assert seen == ["request-7"]
