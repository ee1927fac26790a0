"""What every task store does, be it in memory or in PostgreSQL."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from chalicelib.domain.errors import ConflictError, InvalidInputError, NotFoundError, UnauthenticatedError
from chalicelib.domain.issuers import ForeignUser
from chalicelib.domain.items import item_of, key_of_id
from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction, Source
from chalicelib.domain.tasks import Difficulty, IdempotentRequest, NewTask, PracticeTask, Result
from chalicelib.domain.topics import split_key, topic_key
from chalicelib.domain.training import TrainingPolicy
from chalicelib.features.items import ANSWERS_COUNTED, ItemRecord
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.ports import TaskFilter
from tests.support.histories import rows_by_key

from .conftest import Stores

EASY = Difficulty.EASY
POLICY = TrainingPolicy(threshold=5, minimum_samples=10)
ALGEBRA, GEOMETRY, STATISTICS = (topic_key("Math", name) for name in ("Algebra", "Geometry", "Statistics"))
ENOUGH = 1_000_000


def new_task(topic: str = "Algebra", subject: str = "Math", difficulty: Difficulty = Difficulty.HARD) -> NewTask:
    return NewTask(subject, topic, difficulty, "What is 2 + 2?")


def create(stores: Stores, user: str = "ada", topic: str = "Algebra", subject: str = "Math") -> PracticeTask:
    return stores.tasks.insert(user, new_task(topic, subject), DEFAULT_PREDICTION)


def complete(stores: Stores, task: PracticeTask, *, correct: bool = True, seconds: float = 30.0) -> None:
    stores.tasks.complete(task.user_id, task.id, Result(correct, seconds), None, POLICY)


def assert_same_state(found: UserState, expected: UserState) -> None:
    assert found.n_answers == expected.n_answers
    mine, theirs = rows_by_key(found), rows_by_key(expected)
    assert mine.keys() == theirs.keys()
    for key, row in mine.items():
        other = theirs[key]
        assert (row.attempts, row.correct, row.timed, row.first_index, row.last_index, row.last_correct) == (
            other.attempts,
            other.correct,
            other.timed,
            other.first_index,
            other.last_index,
            other.last_correct,
        )
        np.testing.assert_allclose(row.decayed, other.decayed, rtol=1e-12)
        np.testing.assert_allclose(row.sum_log_seconds, other.sum_log_seconds, rtol=1e-12)


def test_a_new_task_shows_what_was_sent_and_predicted(stores: Stores) -> None:
    prediction = Prediction(0.71, 42, 20, 90, Source.EMBEDDING, "20260101T000000Z-abcdef01")
    task = stores.tasks.insert("ada", new_task("  Algebra "), prediction)
    assert (task.subject, task.topic, task.difficulty, task.difficulty_numeric) == ("Math", "  Algebra ", "hard", 3)
    assert (task.predicted_correct, task.predicted_time_seconds) == (0.71, 42)
    assert (task.predicted_time_low, task.predicted_time_high) == (20, 90)
    assert task.lnirt_model_version == "embedding_20260101T000000Z-abcdef01"
    assert (task.completed, task.completed_at, task.is_correct, task.actual_time_seconds) == (False, None, None, None)
    assert stores.tasks.get("ada", task.id) == task


def test_without_a_model_the_version_says_default(stores: Stores) -> None:
    assert create(stores).lnirt_model_version == "fallback_default"


@pytest.mark.parametrize("task_id", ["nonsense", "", "00000000-0000-4000-8000-000000000000", "0"])
def test_unknown_and_malformed_ids_are_not_found(stores: Stores, task_id: str) -> None:
    with pytest.raises(NotFoundError):
        stores.tasks.get("ada", task_id)


def test_the_task_of_another_student_is_not_found(stores: Stores) -> None:
    task = create(stores, "ada")
    for attempt in (
        lambda: stores.tasks.get("eve", task.id),
        lambda: stores.tasks.delete("eve", task.id),
        lambda: stores.tasks.complete("eve", task.id, Result(True, 1.0), None, POLICY),
        lambda: stores.tasks.edit("eve", task.id, {"task_content": "!"}, None),
    ):
        with pytest.raises(NotFoundError):
            attempt()
    assert not stores.tasks.get("ada", task.id).completed


def test_a_completion_stores_the_result_and_counts(stores: Stores) -> None:
    task = create(stores)
    done = stores.tasks.complete("ada", task.id, Result(False, 12.0), None, POLICY)
    assert done.counted is not None
    assert (done.counted.counter, done.counted.threshold, done.counted.n_samples_total) == (1, 5, 1)
    assert (done.task.completed, done.task.is_correct, done.task.actual_time_seconds) == (True, False, 12.0)
    assert done.task.completed_at is not None
    assert stores.tasks.get("ada", task.id) == done.task


def test_a_repeated_completion_changes_nothing_and_does_not_count(stores: Stores) -> None:
    task = create(stores)
    first = stores.tasks.complete("ada", task.id, Result(True, 12.0), None, POLICY)
    again = stores.tasks.complete("ada", task.id, Result(True, 12.0), None, POLICY)
    assert again.counted is None
    assert again.task == first.task
    assert stores.tracker.read("default").n_samples_total == 1
    assert stores.tasks.prediction_context("ada").state.n_answers == 1


def test_a_correction_is_stored_rebuilds_the_state_and_does_not_count(stores: Stores) -> None:
    tasks = [create(stores, topic=topic) for topic in ("Algebra", "Geometry", "Algebra")]
    for task in tasks:
        complete(stores, task, correct=True, seconds=10.0)
    corrected = stores.tasks.complete("ada", tasks[0].id, Result(False, 99.0), None, POLICY)
    assert corrected.counted is None
    assert (corrected.task.is_correct, corrected.task.actual_time_seconds) == (False, 99.0)
    assert stores.tracker.read("default").n_samples_since_training == 3
    history = [Answer(ALGEBRA, 3, False, 99.0), Answer(GEOMETRY, 3, True, 10.0), Answer(ALGEBRA, 3, True, 10.0)]
    assert_same_state(stores.tasks.prediction_context("ada").state, replay("ada", history))


def test_the_state_is_what_a_replay_of_the_answers_gives(stores: Stores) -> None:
    rng = np.random.default_rng(0)
    history = []
    for _ in range(25):
        subject, topic = (
            str(rng.choice(["Math", " MATH", "Physics"])),
            str(rng.choice(["Algebra", "Geometry", "ALGEBRA "])),
        )
        correct, seconds = bool(rng.random() < 0.5), float(rng.integers(0, 4) * 17)
        complete(stores, create(stores, topic=topic, subject=subject), correct=correct, seconds=seconds)
        history.append(Answer(topic_key(subject, topic), 3, correct, seconds))
    assert_same_state(stores.tasks.prediction_context("ada").state, replay("ada", history))


def test_the_same_topic_of_two_subjects_has_two_states(stores: Stores) -> None:
    """Also where a name is too long for a key, and where an open task moves to the other subject."""
    names = ["Chapter 1", "\ufdfa" * 200]
    tasks = [create(stores, topic=name, subject=subject) for name in names for subject in ("History", "Biology")]
    for task in tasks:
        complete(stores, task)
    moved = create(stores, topic="Chapter 1", subject="History")
    stores.tasks.edit("ada", moved.id, {"subject": "Biology"}, DEFAULT_PREDICTION)
    complete(stores, moved)
    found = {row.topic: row.attempts for row in stores.tasks.prediction_context("ada").state.rows}
    assert found == {
        topic_key(task.subject, task.topic): 2 if (task.subject, task.topic) == ("Biology", names[0]) else 1
        for task in tasks
    }


def first_practised(stores: Stores) -> dict[str, tuple[int, int]]:
    rows = stores.tasks.prediction_context("ada").state.rows
    return {row.topic: (row.first_index, row.last_index) for row in rows}


def test_the_state_says_at_which_answers_a_topic_was_practised_first_and_last(stores: Stores) -> None:
    for topic in ("Algebra", "Geometry", "Algebra", "Statistics", "Geometry"):
        complete(stores, create(stores, topic=topic))
    assert first_practised(stores) == {ALGEBRA: (0, 2), GEOMETRY: (1, 4), STATISTICS: (3, 3)}


def test_a_deletion_moves_when_a_topic_was_practised_first(stores: Stores) -> None:
    tasks = [create(stores, topic=topic) for topic in ("Algebra", "Geometry", "Algebra", "Statistics")]
    for task in tasks:
        complete(stores, task)
    stores.tasks.delete("ada", tasks[0].id)
    complete(stores, create(stores, topic="Geometry"))
    assert first_practised(stores) == {GEOMETRY: (0, 3), ALGEBRA: (1, 1), STATISTICS: (2, 2)}


def test_a_correction_leaves_when_a_topic_was_practised_first(stores: Stores) -> None:
    tasks = [create(stores, topic=topic) for topic in ("Algebra", "Geometry", "Algebra")]
    for task in tasks:
        complete(stores, task)
    before = first_practised(stores)
    complete(stores, tasks[0], correct=False)
    assert first_practised(stores) == before == {ALGEBRA: (0, 2), GEOMETRY: (1, 1)}


def last_outcomes(stores: Stores) -> dict[str, bool]:
    rows = stores.tasks.prediction_context("ada").state.rows
    return {row.topic: row.last_correct for row in rows}


def test_the_state_says_if_the_last_answer_on_a_topic_was_right(stores: Stores) -> None:
    seen = []
    for topic, correct in (("Algebra", False), ("Geometry", True), ("Algebra", True), ("Geometry", False)):
        complete(stores, create(stores, topic=topic), correct=correct)
        seen.append(last_outcomes(stores))
    assert seen == [
        {ALGEBRA: False},
        {ALGEBRA: False, GEOMETRY: True},
        {ALGEBRA: True, GEOMETRY: True},
        {ALGEBRA: True, GEOMETRY: False},
    ]


def test_a_correction_of_the_last_answer_turns_its_outcome_and_one_of_another_does_not(stores: Stores) -> None:
    tasks = [create(stores) for _ in range(2)]
    for task in tasks:
        complete(stores, task)
    complete(stores, tasks[0], correct=False)
    assert last_outcomes(stores) == {ALGEBRA: True}
    complete(stores, tasks[1], correct=False)
    assert last_outcomes(stores) == {ALGEBRA: False}


def test_after_a_deletion_the_answer_before_is_the_last(stores: Stores) -> None:
    tasks = [create(stores) for _ in range(2)]
    for task, correct in zip(tasks, (False, True), strict=True):
        complete(stores, task, correct=correct)
    stores.tasks.delete("ada", tasks[1].id)
    assert last_outcomes(stores) == {ALGEBRA: False}


def test_deleting_a_completed_task_takes_its_effect_away(stores: Stores) -> None:
    tasks = [create(stores, topic=topic) for topic in ("Algebra", "Geometry", "Algebra")]
    for task in tasks:
        complete(stores, task)
    stores.tasks.delete("ada", tasks[0].id)
    with pytest.raises(NotFoundError):
        stores.tasks.get("ada", tasks[0].id)
    history = [Answer(GEOMETRY, 3, True, 30.0), Answer(ALGEBRA, 3, True, 30.0)]
    assert_same_state(stores.tasks.prediction_context("ada").state, replay("ada", history))
    row = stores.tracker.read("default")
    assert (row.n_samples_total, row.n_samples_since_training) == (2, 3)


def test_a_completion_after_a_deletion_continues_the_history(stores: Stores) -> None:
    tasks = [create(stores) for _ in range(3)]
    for task in tasks:
        complete(stores, task)
    stores.tasks.delete("ada", tasks[1].id)
    complete(stores, create(stores, topic="Geometry"), correct=False)
    history = [Answer(ALGEBRA, 3, True, 30.0)] * 2 + [Answer(GEOMETRY, 3, False, 30.0)]
    assert_same_state(stores.tasks.prediction_context("ada").state, replay("ada", history))


def test_deleting_an_open_task_leaves_the_totals(stores: Stores) -> None:
    complete(stores, create(stores))
    stores.tasks.delete("ada", create(stores).id)
    assert stores.tracker.read("default").n_samples_total == 1


def test_no_training_is_requested_below_the_minimum_of_samples(stores: Stores) -> None:
    counted = [
        stores.tasks.complete("ada", create(stores).id, Result(True, 1.0), None, POLICY).counted for _ in range(9)
    ]
    assert [c.request for c in counted if c] == [None] * 9


def test_one_request_is_made_when_the_counter_is_full(stores: Stores) -> None:
    requests = []
    for _ in range(14):
        counted = stores.tasks.complete("ada", create(stores).id, Result(True, 1.0), None, POLICY).counted
        assert counted is not None
        if counted.request is not None:
            requests.append((counted.counter, counted.request))
    assert [counter for counter, _ in requests] == [10]
    assert stores.tracker.read("default").training_request_id == requests[0][1].request_id


def test_a_counter_set_to_four_triggers_at_the_next_completion(stores: Stores) -> None:
    for _ in range(9):
        complete(stores, create(stores))
    stores.tracker.set_counter("default", 4)
    counted = stores.tasks.complete("ada", create(stores).id, Result(True, 1.0), None, POLICY).counted
    assert counted is not None
    assert counted.counter == 5
    assert counted.request is not None


def test_fifty_completions_raced_from_eight_threads_count_exactly_fifty(stores: Stores) -> None:
    tasks = [create(stores, user="ada" if i % 2 else "bob", topic=f"t{i % 3}") for i in range(50)]

    def finish(task: PracticeTask) -> bool:
        done = stores.tasks.complete(task.user_id, task.id, Result(True, 5.0), None, POLICY)
        return done.counted is not None

    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(finish, tasks + tasks[::-1]))
    assert sum(counted) == 50
    row = stores.tracker.read("default")
    assert (row.n_samples_since_training, row.n_samples_total) == (50, 50)
    for user in ("ada", "bob"):
        state = stores.tasks.prediction_context(user).state
        assert state.n_answers == 25
        assert sum(r.attempts for r in state.rows) == 25


def test_pages_go_from_newest_to_oldest_without_gap_or_repeat(stores: Stores) -> None:
    made = [create(stores).id for _ in range(7)]
    create(stores, user="eve")
    seen: list[str] = []
    before = None
    while page := stores.tasks.page("ada", TaskFilter(), 3, before, ENOUGH):
        seen += [task.id for task in page]
        before = (page[-1].created_at, page[-1].id)
    assert seen == made[::-1]


def test_a_page_ends_with_the_task_that_exceeds_its_bytes(stores: Stores) -> None:
    large = NewTask(
        "Math", "Algebra", Difficulty.HARD, "é" * 500, solution_content="x" * 1_000, answer_content="x" * 500
    )
    made = [stores.tasks.insert("ada", large, DEFAULT_PREDICTION).id for _ in range(5)]
    for max_bytes, n in ((0, 1), (2_499, 1), (2_500, 2), (7_499, 3), (100_000, 5)):
        page = stores.tasks.page("ada", TaskFilter(), 9, None, max_bytes)
        assert [task.id for task in page] == made[::-1][: len(page)]
        assert len(page) == n, max_bytes


def test_a_page_is_filtered_by_keys_and_completion(stores: Stores) -> None:
    requested = create(stores, topic=" ÄLGEBRA", subject="Maths")
    create(stores, topic="Geometry", subject="Maths")
    complete(stores, requested)
    assert [t.id for t in stores.tasks.page("ada", TaskFilter(topic="älgebra"), 9, None, ENOUGH)] == [requested.id]
    assert [t.id for t in stores.tasks.page("ada", TaskFilter(completed=True), 9, None, ENOUGH)] == [requested.id]
    assert len(stores.tasks.page("ada", TaskFilter(subject="maths"), 9, None, ENOUGH)) == 2
    assert (
        stores.tasks.page("ada", TaskFilter(subject="maths", completed=False, topic="älgebra"), 9, None, ENOUGH) == []
    )


def test_a_search_looks_into_names_and_content_whatever_the_case(stores: Stores) -> None:
    texts = {"Älgebra": "Take 50 % of c_d\\e, re\u0301vision", "Geometry": "Take 50 of cad"}
    requested, _ = (
        stores.tasks.insert("ada", NewTask("Maths", topic, Difficulty.HARD, content), DEFAULT_PREDICTION)
        for topic, content in texts.items()
    )
    for search in ("älg", "50 %", "C_D", "d\\e", " Älgebra", "RÉVISION"):
        assert [t.id for t in stores.tasks.page("ada", TaskFilter(search=search), 9, None, ENOUGH)] == [requested.id], (
            search
        )
    assert len(stores.tasks.page("ada", TaskFilter(search="MATHS"), 9, None, ENOUGH)) == 2
    assert stores.tasks.page("ada", TaskFilter(search="álgebra"), 9, None, ENOUGH) == []
    assert stores.tasks.page("ada", TaskFilter(search="maths", completed=True), 9, None, ENOUGH) == []


def test_the_newest_task_of_a_subject_is_found_however_it_is_written(stores: Stores) -> None:
    create(stores, subject="Physics / Optics")
    newest = create(stores, subject="physics / OPTICS ")
    create(stores, subject="Math")
    assert stores.tasks.newest_of_subject("ada", "physics / optics").id == newest.id
    with pytest.raises(NotFoundError):
        stores.tasks.newest_of_subject("ada", "chemistry")


def test_fields_of_a_task_are_edited(stores: Stores) -> None:
    task, session = create(stores), uuid.uuid4()
    now = datetime.now(UTC)
    changes = {"study_session_id": session, "task_content": "!", "estimated_time_minutes": 2.5}
    stores.tasks.edit("ada", task.id, {**changes, "solution_viewed_at": now}, None)
    edited = stores.tasks.get("ada", task.id)
    assert (task.solution_viewed_at, edited.solution_viewed_at) == (None, now)
    assert (edited.study_session_id, edited.task_content, edited.estimated_time_minutes) == (session, "!", 2.5)
    assert (edited.topic, edited.solution_content) == (task.topic, task.solution_content)
    assert edited.updated_at > task.updated_at


def test_an_open_task_gets_another_topic_with_its_prediction(stores: Stores) -> None:
    task = create(stores)
    prediction = Prediction(0.9, 12, 8, 20, Source.LNIRT, "v1")
    changes = {"topic": " Geometry", "difficulty": Difficulty.EASY}
    edited = stores.tasks.edit("ada", task.id, changes, prediction)
    assert (edited.topic, edited.difficulty, edited.difficulty_numeric) == (" Geometry", Difficulty.EASY, 1)
    assert (edited.predicted_correct, edited.prediction_source, edited.model_version) == (0.9, Source.LNIRT, "v1")
    assert stores.tasks.page("ada", TaskFilter(topic="geometry"), 9, None, ENOUGH) == [edited]
    complete(stores, edited)
    with pytest.raises(ConflictError):
        stores.tasks.edit("ada", task.id, {"topic": "Algebra"}, prediction)


def of_item(stores: Stores, name: str, content: str = "?") -> PracticeTask:
    return stores.tasks.insert("ada", NewTask("Math", "Algebra", EASY, content, item_id=name), DEFAULT_PREDICTION)


def test_a_record_on_an_item_is_read_with_the_context(stores: Stores) -> None:
    assert stores.tasks.prediction_context("ada", 17).item == ItemRecord(17)
    for name, correct in (("q-1", True), ("q-2", False), (" Q-1", False), ("q-1", True), ("q-2", True)):
        complete(stores, task := of_item(stores, name), correct=correct)
        last = stores.tasks.get("ada", task.id).completed_at
    of_item(stores, "q-2")  # open
    assert stores.tasks.prediction_context("ada").item == ItemRecord()
    assert stores.tasks.prediction_context("eve", key_of_id("q-2")).item == ItemRecord(key_of_id("q-2"))
    assert stores.tasks.prediction_context("ada", key_of_id("q-2")).item == ItemRecord(
        key_of_id("q-2"), 2, 1, last_correct=True, last_index=4, last_at=last
    )
    first = stores.tasks.prediction_context("ada", key_of_id("q-1"))
    assert (first.item.attempts, first.item.correct, first.item.last_index) == (3, 2, 3)
    assert first.state.n_answers == 5


def test_a_record_follows_corrections_and_deletions(stores: Stores) -> None:
    tasks = [of_item(stores, name) for name in ("q-1", "q-2", "q-1")]
    for task in tasks:
        complete(stores, task)
    key = key_of_id("q-1")
    complete(stores, tasks[2], correct=False)
    found = stores.tasks.prediction_context("ada", key).item
    assert (found.attempts, found.correct, found.last_correct, found.last_index) == (2, 1, False, 2)
    stores.tasks.delete("ada", tasks[1].id)
    assert stores.tasks.prediction_context("ada", key).item.last_index == 1
    stores.tasks.complete("ada", tasks[0].id, Result(True, 9.0, datetime.now(UTC)), None, POLICY)
    found = stores.tasks.prediction_context("ada", key).item
    assert (found.last_correct, found.last_index) == (True, 1)
    for task in (tasks[0], tasks[2]):
        stores.tasks.delete("ada", task.id)
    assert stores.tasks.prediction_context("ada", key).item == ItemRecord(key)


def test_a_record_counts_the_newest_answers(stores: Stores) -> None:
    for n in range(ANSWERS_COUNTED + 2):
        complete(stores, of_item(stores, "q-1"), correct=n != 1)
    found = stores.tasks.prediction_context("ada", key_of_id("q-1")).item
    assert (found.attempts, found.correct, found.last_index) == (ANSWERS_COUNTED, ANSWERS_COUNTED, ANSWERS_COUNTED + 1)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Physics"},
        {"topic": "Heat"},
        {"difficulty": Difficulty.EXPERT},
        {"task_content": "1 + 1"},
        {"item_id": "q-1"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_edit_changes_the_item(stores: Stores, change: dict[str, Any]) -> None:
    task = create(stores)
    edited = stores.tasks.edit("ada", task.id, change, None)
    complete(stores, task)
    assert item_of(edited) != item_of(task)
    records = [stores.tasks.prediction_context("ada", item_of(one)).item.attempts for one in (task, edited)]
    assert records == [0, 1]
    with pytest.raises(NotFoundError):
        stores.tasks.edit("eve", task.id, change, None)


def test_edits_at_once_leave_the_item_of_the_task(stores: Stores) -> None:
    task = create(stores)
    changes = [{"topic": f"T{n}"} for n in range(8)] + [{"task_content": f"{n} + {n}"} for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda change: stores.tasks.edit("ada", task.id, change, None), changes))
    complete(stores, task)
    assert stores.tasks.prediction_context("ada", item_of(stores.tasks.get("ada", task.id))).item.attempts == 1


def test_an_answer_is_placed_by_its_time(stores: Stores) -> None:
    first, second, late, moved = (create(stores, topic=name) for name in ("a", "b", "c", "a"))
    complete(stores, first)
    complete(stores, moved)
    complete(stores, second)
    at = stores.tasks.get("ada", second.id).completed_at
    assert at is not None
    before = at - timedelta(microseconds=1)
    stores.tasks.complete("ada", late.id, Result(False, 9.0, before), None, POLICY)
    assert order(stores) == {"a": 1, "b": 3, "c": 2}
    stores.tasks.complete("ada", moved.id, Result(True, 20.0, at + timedelta(hours=1)), None, POLICY)
    assert order(stores) == {"a": 3, "b": 2, "c": 1}
    stores.tasks.complete("ada", late.id, Result(True, None, before), None, POLICY)
    assert order(stores) == {"a": 3, "b": 2, "c": 1}
    assert stores.tasks.get("ada", late.id).completed_at == before
    stores.tasks.complete("ada", late.id, Result(True, None, at), None, POLICY)
    assert order(stores) == {"a": 3, "b": 1, "c": 2}


def order(stores: Stores) -> dict[str, int]:
    """The place of the last answer on each topic."""
    return {split_key(row.topic)[1]: row.last_index for row in stores.tasks.prediction_context("ada").state.rows}


def test_answers_are_given_in_order_within_bounds(stores: Stores) -> None:
    made = [create(stores) for _ in range(4)]
    create(stores)
    for task in reversed(made):
        complete(stores, task)
    ids = [task.id for task in reversed(made)]
    answers = stores.tasks.answers("ada", -1, 3, 10**6)
    assert [(n, task.id) for n, task in answers] == list(enumerate(ids[:3]))
    assert [task.id for _, task in stores.tasks.answers("ada", 2, 3, 10**6)] == ids[3:]
    size = len(made[0].task_content)
    assert len(stores.tasks.answers("ada", -1, 3, 2 * size)) == 2
    assert len(stores.tasks.answers("ada", -1, 3, 1)) == 1
    assert stores.tasks.answers("eve", -1, 3, 10**6) == []


REQUEST = IdempotentRequest("key", b"digest")


def test_a_request_with_a_key_stores_one_task(stores: Stores) -> None:
    assert stores.tasks.made_by("ada", REQUEST) is None
    task = stores.tasks.insert("ada", new_task(), DEFAULT_PREDICTION, REQUEST)
    assert stores.tasks.made_by("ada", REQUEST) == task
    assert stores.tasks.insert("ada", new_task(), DEFAULT_PREDICTION, REQUEST) == task
    assert stores.tasks.made_by("eve", REQUEST) is None
    with pytest.raises(InvalidInputError):
        stores.tasks.made_by("ada", IdempotentRequest("key", b"other"))
    assert stores.tasks.insert("ada", new_task(), DEFAULT_PREDICTION, IdempotentRequest("2", b"digest")) != task
    stores.tasks.delete("ada", task.id)
    assert stores.tasks.made_by("ada", REQUEST) is None


def test_requests_with_one_key_at_once_store_one_task(stores: Stores) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = [threads.submit(stores.tasks.insert, "ada", new_task(), DEFAULT_PREDICTION, REQUEST) for _ in range(8)]
    assert len({task.result().id for task in made}) == 1


def test_an_erased_account_has_no_data_and_can_create_nothing(stores: Stores) -> None:
    stores.users.add("ada", "ada@example.com", "Ada")
    complete(stores, create(stores))
    complete(stores, create(stores, user="bob"))
    stores.users.erase("ada")
    with pytest.raises(UnauthenticatedError):
        create(stores)
    with pytest.raises(UnauthenticatedError):
        stores.users.get("ada")
    with pytest.raises(UnauthenticatedError):
        stores.tasks.prediction_context("ada")
    assert stores.tasks.page("ada", TaskFilter(), 9, None, ENOUGH) == []
    assert stores.tracker.read("default").n_samples_total == 1


def test_a_user_of_another_issuer_gets_a_row_and_later_addresses(stores: Stores) -> None:
    now = int(time.time())
    for email, name in (("a@example.org", "Ada"), (None, "Other"), ("b@example.org", None)):
        rule = stores.users.admit("x", ForeignUser("https://id.example.org", "7", email, name), now)
        assert not rule.deleted
    assert stores.users.get("x") == ("b@example.org", "Ada")
    stores.users.set_full_name("x", "Grace")
    stores.users.admit("x", ForeignUser("https://id.example.org", "7", "b@example.org", "Ada"), now)
    assert stores.users.get("x") == ("b@example.org", "Grace")


def test_a_deleted_user_of_another_issuer_begins_anew(stores: Stores) -> None:
    user, now = ForeignUser("https://id.example.org", "7", "a@example.org", "Ada"), int(time.time())
    stores.users.admit("x", user, now - 60)
    complete(stores, create(stores, user="x"))
    stores.users.erase("x")
    assert stores.users.admit("x", user, now - 60).deleted
    rule = stores.users.admit("x", user, now + 60)
    assert not rule.deleted
    assert [rule.admits(at, "token") for at in (now - 60, now + 60)] == [False, True]
    assert stores.users.get("x") == ("a@example.org", "Ada")
    assert stores.tasks.page("x", TaskFilter(), 9, None, ENOUGH) == []


def test_a_student_without_a_row_can_create_tasks(stores: Stores) -> None:
    task = create(stores, user="known-to-cognito-only")
    assert stores.tasks.get("known-to-cognito-only", task.id) == task


def test_the_context_names_the_version_that_should_serve(stores: Stores) -> None:
    assert stores.tasks.prediction_context("ada").model_version is None
    stores.tracker.set_counter("default", 0)
    stores.tracker.set_model_version("default", "v1")
    assert stores.tasks.prediction_context("ada").model_version == "v1"


def test_a_batch_context_is_that_of_each_student(stores: Stores) -> None:
    for user, results in {"ada": (True, False, True), "eve": (False,)}.items():
        for n, correct in enumerate(results):
            task = stores.tasks.insert(
                user, NewTask("Math", "Algebra", EASY, "?", item_id=f"q-{n % 2}"), DEFAULT_PREDICTION
            )
            complete(stores, task, correct=correct)
    stores.tracker.set_model_version("default", "v1")
    keys = [key_of_id("q-0"), key_of_id("q-1"), key_of_id("other")]
    users = {"ada": keys, "eve": keys, "unknown": keys[:1], "without items": []}
    found = stores.tasks.batch_context(users)
    assert found.model_version == "v1"
    assert found.states.keys() == users.keys()
    for user, items in users.items():
        for key in (None, *items):
            alone = stores.tasks.prediction_context(user, key)
            assert_same_state(found.states[user], alone.state)
            if key is not None:
                assert found.records.get((user, key), ItemRecord(key)) == alone.item
    assert len(found.records) == 3


def test_a_batch_context_reads_more_students_than_a_statement(stores: Stores) -> None:
    users = [f"student {n}" for n in range(2 * 100 + 1)]
    complete(stores, create(stores, users[-1]))
    found = stores.tasks.batch_context({user: [1, 2] for user in users})
    assert [state.n_answers for state in found.states.values()] == [0] * (len(users) - 1) + [1]
