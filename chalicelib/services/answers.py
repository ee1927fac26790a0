"""Use case of batches: store answers that were given in an app, of one learner or of many."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from chalicelib import logs
from chalicelib.domain.answers import CompletedAnswer, StoredAnswers
from chalicelib.domain.errors import Fault, InvalidInputError, LimitError
from chalicelib.domain.limits import CHANGES, NO_GROWTH, UNLIMITED, StudentLimits, Usage, reached
from chalicelib.domain.tasks import MIN_SECONDS, text_bytes
from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import TrainingNote, TrainingPolicy, TrainingState
from chalicelib.features.columns import StateColumns
from chalicelib.ports import TaskStore, Tracker, TrainingQueue
from chalicelib.services import training
from chalicelib.services.limits import FULL_SECONDS, Limiter
from chalicelib.services.tasks import CLOCK_SKEW

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""An earlier time of an answer is an error of a clock or of a program. Imports have the same bound."""


def store_answers(
    tasks: TaskStore,
    tracker: Tracker,
    queue: TrainingQueue,
    policy: TrainingPolicy,
    answers: Sequence[CompletedAnswer],
    existing: Collection[str],
    growth: Mapping[str, Usage],
    later: training.Later = training.at_once,
    *,
    of_cohort: bool = False,
) -> tuple[StoredAnswers, TrainingNote]:
    """Store the answers that are new and count them. A batch triggers at most one training of each cohort.

    ``existing`` are the students who have to have an account, with ``of_cohort`` in the store's cohort. ``growth`` is
    from :func:`check_limits`. Raises NotFoundError if the account of a student was deleted or is not there; nothing is
    stored then.
    """
    stored = tasks.add_answers(answers, policy, existing, growth, of_cohort=of_cohort)
    logs.note(answers=len(answers), new_answers=len(stored.new))
    requests = [counted.request for counted in stored.counted.values() if counted.request is not None]
    for counted in stored.counted.values():
        training.announce(counted)
    for request in requests:
        later(partial(training.try_to_send, tracker, queue, request))
    if (own := stored.counted.get(tasks.cohort)) is not None:
        return stored, TrainingNote(own.counter, policy.threshold, own.request is not None)
    row = tracker.read(tasks.cohort)
    queued = row.state is not TrainingState.IDLE
    return stored, TrainingNote(row.n_samples_since_training, policy.threshold, queued)


def check_limits(
    tasks: TaskStore,
    limiter: Limiter,
    limits: StudentLimits,
    answers: Sequence[CompletedAnswer],
    names: Mapping[str, str | None],
) -> dict[str, Usage]:
    """Check that each student may store the answers that are new, and count these in the limit of an hour.

    ``names`` has the students' names in errors. Returns what the students will have stored in addition. Raises
    LimitError.
    """
    known = tasks.known_answers({one.task_id for one in answers})
    new: dict[str, dict[str, CompletedAnswer]] = {}
    for one in answers:
        if one.task_id not in known:
            new.setdefault(one.user_id, {}).setdefault(one.task_id, one)
    growth = {} if limits == UNLIMITED or not new else _check_room(tasks, limits, new, names)
    # A student who has to wait refuses the batch before any other's answers are counted.
    for user_id in new:
        with _naming(names[user_id]):
            limiter.refuse_blocked(CHANGES, user_id)
    for user_id, mine in new.items():
        with _naming(names[user_id]):
            limiter.count((CHANGES, user_id), n=len(mine))
    return growth


def _check_room(
    tasks: TaskStore,
    limits: StudentLimits,
    new: Mapping[str, Mapping[str, CompletedAnswer]],
    names: Mapping[str, str | None],
) -> dict[str, Usage]:
    states = tasks.batch_context(dict.fromkeys(new, ())).states
    usages, growth = tasks.usages(new), {}
    for user_id, mine in new.items():
        topics = {topic_key(one.subject, one.topic) for one in mine.values()}
        n_new = len(topics - set(StateColumns.of_rows(states[user_id].rows).topics))
        more = growth[user_id] = Usage(0, n_new, sum(text_bytes(one.task_content) for one in mine.values()))
        if reached(usages.get(user_id, NO_GROWTH), limits, more) is None:
            continue
        if (text := reached(tasks.count_usage(user_id, None), limits, more)) is not None:
            with _naming(names[user_id]):
                raise LimitError(text, FULL_SECONDS)
    return growth


@contextmanager
def _naming(learner_id: str | None) -> Iterator[None]:
    """Name the learner in a LimitError of the block."""
    try:
        yield
    except LimitError as error:
        if learner_id is None:
            raise
        raise LimitError(f"Learner {learner_id}: {error}", error.retry_after) from error


def check_times(answers: Sequence[CompletedAnswer]) -> None:
    """Raise InvalidInputError for impossible times."""
    latest = datetime.now(UTC) + CLOCK_SKEW
    faults = []
    for n, one in enumerate(answers):
        place = ("body", "answers", n)
        if one.seconds is not None and 0 < one.seconds < MIN_SECONDS:
            message = f"Input should be 0 or greater than or equal to {MIN_SECONDS}"
            faults.append(Fault((*place, "actual_time_seconds"), message, "greater_than_equal"))
        if one.at is not None and not EARLIEST <= one.at <= latest:
            problem = "is in the future" if one.at > latest else f"is before {EARLIEST.year}"
            faults.append(Fault((*place, "completed_at"), f"{one.at.isoformat()} {problem}", "value_error"))
    if faults:
        raise InvalidInputError(faults[:100])
