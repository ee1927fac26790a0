"""Use case of batches: store answers that were given in an app, of one learner or of many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from chalicelib import logs
from chalicelib.domain.answers import CompletedAnswer, StoredAnswers
from chalicelib.domain.errors import Fault, InvalidInputError, LimitError
from chalicelib.domain.limits import UNLIMITED, StudentLimits, Usage, reached
from chalicelib.domain.tasks import MIN_SECONDS, text_bytes
from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import TrainingNote, TrainingPolicy, TrainingState
from chalicelib.features.columns import StateColumns
from chalicelib.ports import TaskStore, Tracker, TrainingQueue
from chalicelib.services import training
from chalicelib.services.limits import FULL_SECONDS
from chalicelib.services.tasks import CLOCK_SKEW

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""An earlier time of an answer is an error of a clock or of a program. Imports have the same bound."""


def store_answers(
    tasks: TaskStore,
    tracker: Tracker,
    queue: TrainingQueue,
    policy: TrainingPolicy,
    answers: Sequence[CompletedAnswer],
    later: training.Later = training.at_once,
) -> tuple[StoredAnswers, TrainingNote]:
    """Store the answers that are new and count them. A batch triggers one training at most.

    Raises InvalidInputError for impossible times, and NotFoundError if the account of a learner was deleted; nothing is
    stored then.
    """
    _check_times(answers)
    stored = tasks.add_answers(answers, policy)
    logs.note(answers=len(answers), new_answers=len(stored.new))
    if (counted := stored.counted) is None:
        row = tracker.read(tasks.cohort)
        queued = row.state is not TrainingState.IDLE
        return stored, TrainingNote(row.n_samples_since_training, policy.threshold, queued)
    training.announce(counted)
    if (request := counted.request) is not None:
        later(lambda: training.try_to_send(tracker, queue, request))
    return stored, TrainingNote(counted.counter, policy.threshold, counted.request is not None)


def check_own_room(tasks: TaskStore, limits: StudentLimits, answers: Sequence[CompletedAnswer]) -> None:
    """Check that a student may store these answers, which are all the student's. Raises LimitError."""
    if limits == UNLIMITED:
        return
    user_id = answers[0].user_id
    state = tasks.batch_context({user_id: ()}).states[user_id]
    new_topics = {topic_key(one.subject, one.topic) for one in answers} - set(StateColumns.of_rows(state.rows).topics)
    more = Usage(0, len(new_topics), sum(text_bytes(one.task_content) for one in answers))
    if (text := reached(tasks.count_usage(user_id, None), limits, more)) is not None:
        raise LimitError(text, FULL_SECONDS)


def _check_times(answers: Sequence[CompletedAnswer]) -> None:
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
