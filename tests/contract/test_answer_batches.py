"""What every task store does with a batch of completed answers."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from chalicelib.domain.answers import CompletedAnswer
from chalicelib.domain.errors import ConflictError, NotFoundError
from chalicelib.domain.limits import Usage
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import TrainingPolicy
from chalicelib.features.state import Answer, replay
from chalicelib.ports import TaskFilter

from .conftest import Stores
from .test_task_store import assert_same_state

POLICY = TrainingPolicy(threshold=5, minimum_samples=10)
FIRST = datetime(2026, 1, 5, 9, tzinfo=UTC)


def answer(n: int, user: str = "ada", **more: Any) -> CompletedAnswer:
    given = {"seconds": 10.0 + n, "at": FIRST + timedelta(minutes=n), **more}
    return CompletedAnswer(user, f"a-{n}", "Math", "Algebra", Difficulty.HARD, n % 3 > 0, **given)


def history_of(stores: Stores, user: str) -> list[Answer]:
    return [
        Answer(
            topic_key(task.subject, task.topic),
            task.difficulty_numeric,
            bool(task.is_correct),
            task.actual_time_seconds,
            task.completed_at,
        )
        for _, task in stores.tasks.answers(user, -1, 10_000, 10**9)
    ]


def assert_state_is_that_of_the_history(stores: Stores, user: str) -> list[Answer]:
    history = history_of(stores, user)
    assert_same_state(stores.tasks.prediction_context(user).state, replay(user, history))
    return history


def test_an_answer_becomes_a_completed_task(stores: Stores) -> None:
    one = answer(1, item_id="q-1", task_content="2 + 2")
    assert stores.tasks.add_answers([one], POLICY).new == {one.task_id}
    task = stores.tasks.get("ada", one.task_id)
    assert (task.subject, task.topic, task.difficulty, task.task_content) == ("Math", "Algebra", "hard", "2 + 2")
    assert (task.completed, task.is_correct, task.actual_time_seconds, task.item_id) == (True, True, 11.0, "q-1")
    assert task.created_at == task.completed_at == one.at
    assert (task.predicted_correct, task.prediction_source, task.model_version) == (0.5, "default", None)
    assert stores.tasks.prediction_context("ada", None).state.n_answers == 1


def test_a_batch_sent_again_is_counted_once(stores: Stores) -> None:
    batch = [answer(n, user) for user in ("ada", "eve") for n in range(6)]
    first = stores.tasks.add_answers(batch, POLICY)
    again = stores.tasks.add_answers([*batch, answer(6)], POLICY)
    assert (len(first.new), len(again.new)) == (12, 1)
    counted = first.counted["default"]
    assert counted.counter == counted.n_samples_total == 12
    row = stores.tracker.read("default")
    assert (row.n_samples_since_training, row.n_samples_total) == (13, 13)
    assert stores.tasks.add_answers(batch, POLICY) == (frozenset(), {})
    for user, n in {"ada": 7, "eve": 6}.items():
        assert len(assert_state_is_that_of_the_history(stores, user)) == n


def test_a_batch_triggers_one_training(stores: Stores) -> None:
    stored = stores.tasks.add_answers([answer(n) for n in range(40)], POLICY)
    request = stored.counted["default"].request
    assert request is not None
    live = stores.tracker.read("default").training_request_id
    assert request.request_id == live
    more = stores.tasks.add_answers([answer(n) for n in range(40, 60)], POLICY)
    assert (more.counted["default"].counter, more.counted["default"].request) == (60, None)
    assert stores.tracker.read("default").training_request_id == live


def test_of_two_answers_with_one_id_the_first_is_kept(stores: Stores) -> None:
    one, other = answer(1, seconds=5.0), answer(1, seconds=6.0)
    assert stores.tasks.add_answers([one, other], POLICY).new == {one.task_id}
    assert stores.tasks.get("ada", one.task_id).actual_time_seconds == 5.0
    assert len(stores.tasks.page("ada", TaskFilter(), 9, None, 10**6)) == 1


def test_answers_of_two_students_may_have_one_id(stores: Stores) -> None:
    assert len(stores.tasks.add_answers([answer(1, "ada"), answer(1, "eve")], POLICY).new) == 2


def test_late_answers_are_placed_by_their_times(stores: Stores) -> None:
    stores.tasks.add_answers([answer(n) for n in (4, 0, 8)], POLICY)
    stores.tasks.add_answers([answer(6), answer(2), replace(answer(9), at=answer(4).at)], POLICY)
    history = assert_state_is_that_of_the_history(stores, "ada")
    assert [one.seconds for one in history] == [10.0, 12.0, 14.0, 19.0, 16.0, 18.0]
    stores.tasks.add_answers([answer(10)], POLICY)
    assert assert_state_is_that_of_the_history(stores, "ada")[-1].seconds == 20.0


@pytest.mark.parametrize("seed", range(3))
def test_batches_in_any_order_give_one_history(stores: Stores, seed: int) -> None:
    rng = random.Random(seed)
    answers = [answer(n, topic, seconds=None if n % 5 == 0 else 5.0 + n) for n in range(30) for topic in ("ada", "eve")]
    rng.shuffle(answers)
    while answers:
        size = rng.randint(1, 12)
        batch, answers = answers[:size], answers[size:]
        stores.tasks.add_answers(batch, POLICY)
    for user in ("ada", "eve"):
        history = assert_state_is_that_of_the_history(stores, user)
        assert [one.at for one in history] == sorted(one.at for one in history if one.at)
        assert len(history) == 30


def test_a_batch_continues_the_answers_of_tasks(stores: Stores) -> None:
    task = stores.tasks.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
    stores.tasks.complete("ada", task.id, Result(True, 30.0), None, POLICY)
    stores.tasks.add_answers([answer(1, at=None), answer(2, at=None)], POLICY)
    assert [one.seconds for one in assert_state_is_that_of_the_history(stores, "ada")] == [30.0, 11.0, 12.0]
    stores.tasks.add_answers([answer(3)], POLICY)
    assert [one.seconds for one in assert_state_is_that_of_the_history(stores, "ada")] == [13.0, 30.0, 11.0, 12.0]


def test_a_deleted_account_refuses_the_whole_batch(stores: Stores) -> None:
    stores.tasks.add_answers([answer(1)], POLICY)
    stores.users.erase("ada")
    with pytest.raises(NotFoundError, match="ada"):
        stores.tasks.add_answers([answer(1, "eve"), answer(2)], POLICY)
    assert stores.tasks.prediction_context("eve").state.n_answers == 0
    assert stores.tracker.read("default").n_samples_since_training == 1


def test_a_missing_account_refuses_the_whole_batch(stores: Stores) -> None:
    for _ in range(2):
        with pytest.raises(NotFoundError, match="There is no account eve"):
            stores.tasks.add_answers([answer(1), answer(2, "eve")], POLICY, existing={"eve"})
    assert stores.tasks.known_answers({answer(1).task_id}) == set()
    stores.tasks.add_answers([answer(2, "eve")], POLICY)
    assert len(stores.tasks.add_answers([answer(1), answer(2, "eve")], POLICY, existing={"eve"}).new) == 1
    assert stores.tasks.known_answers({answer(n).task_id for n in (1, 2)}) == {answer(1).task_id}


def test_what_students_have_stored_grows_with_batches(stores: Stores) -> None:
    stores.tasks.add_answers([answer(1, task_content="four"), answer(2, task_content="two")], POLICY)
    stores.tasks.insert("eve", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
    stores.tasks.insert("new", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
    stores.tasks.count_usage("eve", None)
    first = {"ada": Usage(0, 1, 7), "eve": Usage(1, 1, 1), "new": Usage(1, 1, 1)}
    for _ in range(2):
        assert stores.tasks.usages(["eve", "ada", "new", "nobody"]) == first
    batch = [answer(3, task_content="five"), answer(3, "new")]
    stores.tasks.add_answers(batch, POLICY, growth={"ada": Usage(0, 1, 4)})
    assert stores.tasks.usages(["ada"]) == {"ada": Usage(0, 2, 11)}  # as it was given
    assert stores.tasks.usages(["new"]) == {"new": Usage(1, 1, 16)}  # counted anew


def test_halves_and_copies_at_once_are_counted_once(stores: Stores) -> None:
    users = [f"student {n}" for n in range(6)]
    batch = [answer(n, user) for n in range(10) for user in users]
    halves = [batch[:30], batch[30:]]
    copies = [*halves, batch, batch[::-1], *halves]
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda some: stores.tasks.add_answers(some, POLICY), copies))
    assert sum(len(one.new) for one in done) == len(batch)
    assert len(frozenset[str]().union(*(one.new for one in done))) == len(batch)
    assert sum(counted.request is not None for one in done for counted in one.counted.values()) == 1
    row = stores.tracker.read("default")
    assert (row.n_samples_since_training, row.n_samples_total) == (len(batch), len(batch))
    for user in users:
        assert len(assert_state_is_that_of_the_history(stores, user)) == 10


def test_batches_and_completions_at_once_are_all_counted(stores: Stores) -> None:
    new = NewTask("Math", "Algebra", Difficulty.HARD, "?")
    tasks = [stores.tasks.insert("ada", new, DEFAULT_PREDICTION) for _ in range(10)]
    batches = [[answer(n), answer(n, "eve")] for n in range(10)]

    def work(n: int) -> None:
        stores.tasks.complete("ada", tasks[n].id, Result(n % 2 == 0, 30.0), None, POLICY)
        stores.tasks.add_answers(batches[n], POLICY)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(10)))
    row = stores.tracker.read("default")
    assert (row.n_samples_since_training, row.n_samples_total) == (30, 30)
    assert len(assert_state_is_that_of_the_history(stores, "ada")) == 20


def test_an_id_of_another_students_task_is_refused(stores: Stores) -> None:
    one = answer(1, own_task_id="3f333df6-90a4-4fda-8dd3-9485d27cee36")
    assert stores.tasks.add_answers([one], POLICY).new == {"3f333df6-90a4-4fda-8dd3-9485d27cee36"}
    assert stores.tasks.add_answers([one], POLICY).new == frozenset()
    with pytest.raises(ConflictError, match="3f333df6-90a4-4fda-8dd3-9485d27cee36 is the id"):
        stores.tasks.add_answers([replace(one, user_id="eve"), answer(2, "eve")], POLICY)
    assert stores.tasks.answers("eve", -1, 10, 10**6) == []


def test_of_two_students_with_one_id_at_once_one_is_refused(stores: Stores) -> None:
    def send(one: CompletedAnswer) -> bool:
        try:
            return bool(stores.tasks.add_answers([one], POLICY).new)
        except ConflictError:
            return False

    with ThreadPoolExecutor(2) as pool:
        for n in range(10):
            both = [answer(n, user, own_task_id=str(UUID(int=n, version=4))) for user in ("ada", "eve")]
            assert sum(pool.map(send, both)) == 1
    assert sum(len(stores.tasks.answers(user, -1, 100, 10**6)) for user in ("ada", "eve")) == 10


def test_given_answers_are_read_from_both_ends(stores: Stores) -> None:
    stores.tasks.add_answers([answer(n, item_id=f"q-{n}") for n in range(6)] + [answer(1, "eve")], POLICY)

    def read(*, since: int | None = None, until: int | None = None, place: int | None = None, up: bool) -> list[str]:
        span = [None if n is None else FIRST + timedelta(minutes=n) for n in (since, until)]
        found = stores.tasks.given_answers("ada", span[0], span[1], place, 3, ascending=up)
        return [one.item_id or "" for one in found]

    assert read(up=True) == ["q-0", "q-1", "q-2"]
    assert read(up=True, place=2) == ["q-3", "q-4", "q-5"]
    assert read(up=False) == ["q-5", "q-4", "q-3"]
    assert read(up=False, place=3) == ["q-2", "q-1", "q-0"]
    assert read(up=True, since=1, until=3) == ["q-2", "q-3"]
    assert read(up=False, until=1) == ["q-1", "q-0"]
    first, *_ = stores.tasks.given_answers("ada", None, None, None, 1, ascending=True)
    shown = (first.id, first.subject, first.topic, first.difficulty, first.is_correct, first.seconds, first.at)
    assert shown == (answer(0).task_id, "Math", "Algebra", Difficulty.HARD, False, 10.0, FIRST)
    assert (first.session_id, first.place) == (None, 0)
    assert stores.tasks.given_answers("nobody", None, None, None, 3, ascending=True) == []
