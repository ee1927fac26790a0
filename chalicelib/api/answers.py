"""Answers that were given in another app."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Struct

from chalicelib.api.routing import Routes
from chalicelib.api.validation import MAX_FAULTS
from chalicelib.domain.accounts import Caller
from chalicelib.domain.answers import MAX_BATCH, CompletedAnswer, StoredAnswers
from chalicelib.domain.errors import Fault, InvalidInputError
from chalicelib.domain.fields import LearnerId, about
from chalicelib.domain.items import IMPORTED_CONTENT
from chalicelib.domain.service_accounts import LEARNER_PATTERN, Scope
from chalicelib.domain.tasks import Content, DifficultyField, ItemId, Seconds, SessionId, Subject, Topic
from chalicelib.domain.training import TrainingNote
from chalicelib.services import answers
from chalicelib.services.learners import accounts_of
from chalicelib.wiring import Container

routes = Routes(__name__, "answers")

AnswerId = Annotated[
    str, about("The app's own id of the answer, unique for the learner", "attempt-2041", min_length=1, max_length=200)
]


class AnswerRequest(Struct):
    """An answer that a learner has given. The same ``id`` of the same learner is stored and counted once."""

    id: AnswerId
    subject: Subject
    topic: Topic
    difficulty: DifficultyField
    is_correct: Annotated[bool, about("The answer is correct", True)]
    actual_time_seconds: Seconds | None = None
    completed_at: (
        Annotated[datetime, about("Time of the answer; now if it is left out", "2026-03-02T09:01:00Z")] | None
    ) = None
    item_id: ItemId | None = None
    task_content: Content | None = None
    study_session_id: SessionId | None = None
    learner_id: LearnerId | None = None


class AnswerBatch(Struct):
    """The answers to store."""

    answers: Annotated[
        list[AnswerRequest], about("Up to 1,000 answers, of up to 1,000 learners", min_length=1, max_length=MAX_BATCH)
    ]


class StoredAnswer(Struct):
    """One answer of a batch. Its task can be read and corrected like any other task of the learner."""

    id: AnswerId
    learner_id: LearnerId | None
    task_id: Annotated[str, about("Id of the task that holds it", "3f333df6-90a4-5fda-8dd3-9485d27cee36", "uuid")]
    stored: Annotated[bool, about("True if this request stored the answer, false if it was known", True)]


class StoredBatch(Struct):
    """The answers of a batch, and the counter."""

    answers: Annotated[list[StoredAnswer], about("The answers in the order of the request")]
    stored: Annotated[int, about("Number of answers that this request stored and counted", 1)]
    training: Annotated[TrainingNote, about("The counter towards the next training")]


@routes.route(
    "POST",
    "/answers",
    "Store completed answers",
    body=AnswerBatch,
    answer=StoredBatch,
    errors=(403, 404),
    of_cohort=True,
    scope=Scope.ANSWERS,
    learner=False,
)
def store_answers(container: Container, caller: Caller, body: AnswerBatch) -> StoredBatch:
    """Store up to 1,000 answers that were given elsewhere, of one learner or many: all of them or none.

    It can be sent again as it is, also in other batches: an answer that is known is not changed and not counted again.
    Answers are placed by their times. They were not predicted, so they do not count for the calibration. Without
    ``learner_id`` an answer is the caller's. Admins may name the id of any account, service accounts their learners.
    """
    accounts = accounts_of(caller, {one.learner_id for one in body.answers})
    if caller.service is not None:
        _check_learner_ids(body.answers)
    batch = [_answer(one, accounts[one.learner_id]) for one in body.answers]
    answers.check_times(batch)
    if caller.service is not None:
        container.service_accounts.learners(caller.service, filter(None, accounts))
    names = {user_id: learner_id for learner_id, user_id in accounts.items()}
    stored, note = store(container, caller, batch, names)
    new = set(stored.new)
    shown = []
    for sent, one in zip(body.answers, batch, strict=True):
        shown.append(StoredAnswer(sent.id, sent.learner_id, one.task_id, one.task_id in new))
        new.discard(one.task_id)  # of two with one id, the first was stored
    return StoredBatch(shown, len(stored.new), note)


def store(
    container: Container, caller: Caller, batch: list[CompletedAnswer], names: Mapping[str, str | None]
) -> tuple[StoredAnswers, TrainingNote]:
    """Store the answers of a batch that are new. ``names`` are the learners' names in errors."""
    growth = answers.check_limits(container.tasks, container.limiter, container.student_limits, batch, names)
    return answers.store_answers(
        container.tasks,
        container.tracker,
        container.queue,
        container.policy,
        batch,
        names.keys() - {caller.user_id},
        growth,
        container.later,
        of_cohort=caller.service is None,
    )


def _check_learner_ids(sent: list[AnswerRequest]) -> None:
    """Raise InvalidInputError for ids that the header of a service account could not have either."""
    faults = [
        Fault(("body", "answers", n, "learner_id"), "must be 1 to 128 visible ASCII characters", "value_error")
        for n, one in enumerate(sent)
        if re.search(LEARNER_PATTERN, one.learner_id or "", re.ASCII) is None
    ]
    if faults:
        raise InvalidInputError(faults[:MAX_FAULTS])


def _answer(one: AnswerRequest, user_id: str) -> CompletedAnswer:
    at = one.completed_at
    return CompletedAnswer(
        user_id,
        one.id,
        one.subject,
        one.topic,
        one.difficulty,
        one.is_correct,
        one.actual_time_seconds,
        at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at,
        one.item_id,
        IMPORTED_CONTENT if one.task_content is None else one.task_content,
        one.study_session_id,
    )
