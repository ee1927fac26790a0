"""Use cases of predictions: predict for a student, and explain the prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from chalicelib import logs
from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.items import key_of_id
from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import Difficulty, name_key
from chalicelib.domain.topics import split_key, topic_key
from chalicelib.features.columns import StateColumns
from chalicelib.features.items import NO_RECORD, ItemRecord
from chalicelib.features.state import UserState
from chalicelib.ports import PredictionContext, TaskStore
from chalicelib.prediction.chain import choose
from chalicelib.prediction.explain import Influence, explain
from chalicelib.prediction.predictor import Predictor, predict, predict_many
from chalicelib.services.champion import ChampionCache

MAX_NAMES = 20
"""Number of unknown students that an error names."""


def predict_for(
    tasks: TaskStore, champion: ChampionCache, user_id: str, subject: str, topic: str, difficulty: Difficulty
) -> Prediction:
    """Predict the student's result on a task of this topic, given by its names, and difficulty now."""
    return predict_in(tasks.prediction_context(user_id), champion, topic_key(subject, topic), difficulty)


def predict_in(context: PredictionContext, champion: ChampionCache, topic: str, difficulty: Difficulty) -> Prediction:
    """Predict a topic, given by its key, from a context that was read already for the item."""
    predictor = champion.current(context.model_version)
    return _predict(predictor, context.state, topic, difficulty, datetime.now(UTC), context.item)


def predict_and_explain(
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    subject: str | None,
    topic: str,
    difficulty: Difficulty,
    item_id: str | None = None,
) -> tuple[Prediction, list[Influence]]:
    """Return a prediction with its explanation, which takes as long as a dozen predictions.

    Subject and topic are names. Without a subject, :func:`key_of_name` finds one that has the topic.
    """
    now = datetime.now(UTC)
    context = tasks.prediction_context(user_id, None if item_id is None else key_of_id(item_id))
    predictor, state = champion.current(context.model_version), context.state
    key = key_of_name(predictor, state, topic) if subject is None else topic_key(subject, topic)
    prediction = _predict(predictor, state, key, difficulty, now, context.item)
    return prediction, explain(predictor, prediction, state, key, difficulty.numeric, now, context.item)


class Asked(NamedTuple):
    """A prediction to make: a student, names, and the name of an item or None.

    Without a subject, :func:`key_of_name` finds one that has the topic.
    """

    user_id: str
    subject: str | None
    topic: str
    difficulty: Difficulty
    item_id: str | None


def predict_batch(
    tasks: TaskStore, champion: ChampionCache, batch: Sequence[Asked], existing: Collection[str] = ()
) -> list[Prediction]:
    """Predict for several students, in the order of the batch. The database is asked about all students at once.

    Raises NotFoundError if one of the students in ``existing`` has no account.
    """
    now = datetime.now(UTC)
    by_student: dict[str, list[tuple[int, Asked, int | None]]] = {}
    for n, one in enumerate(batch):
        item = None if one.item_id is None else key_of_id(one.item_id)
        by_student.setdefault(one.user_id, []).append((n, one, item))
    context = tasks.batch_context(
        {user_id: {item for _, _, item in of if item is not None} for user_id, of in by_student.items()}
    )
    if missing := sorted(set(existing) & set(context.unknown)):
        raise NotFoundError(f"There is no account {', '.join(missing[:MAX_NAMES])} in the cohort {tasks.cohort}")
    predictor = champion.current(context.model_version)
    found: dict[int, Prediction] = {}
    for user_id, of in by_student.items():
        state = context.states[user_id]
        requested = [
            (
                key_of_name(predictor, state, one.topic) if one.subject is None else topic_key(one.subject, one.topic),
                one.difficulty.numeric,
            )
            for _, one, _ in of
        ]
        records = [
            NO_RECORD if item is None else context.records.get((user_id, item), ItemRecord(item)) for _, _, item in of
        ]
        items = records if any(item is not None for _, _, item in of) else None
        predictions = predict_many(predictor, state, requested, now, items)
        found.update((n, prediction) for (n, _, _), prediction in zip(of, predictions, strict=True))
    sources = Counter(prediction.source.value for prediction in found.values())
    logs.note(predictions=len(batch), learners=len(by_student), **{f"n_{name}": n for name, n in sources.items()})
    return [found[n] for n in range(len(batch))]


def key_of_name(predictor: Predictor | None, state: UserState, topic: str) -> str:
    """Return the key of a topic whose subject is not known, from its name.

    It is the one that the student practised last. If the student has no such topic, it is the one with the most answers
    among those that the version names. Otherwise the key has no subject.
    """
    name = name_key(topic)
    stored = StateColumns.of_rows(state.rows)
    own = [row for row, key in enumerate(stored.topics) if split_key(key)[1] == name]
    if own:
        return stored.topics[max(own, key=stored.last_index.tolist().__getitem__)]
    named = () if predictor is None else predictor.vocabulary.topics
    return next((key for key in named if split_key(key)[1] == name), name)


def _predict(
    predictor: Predictor | None,
    state: UserState,
    topic: str,
    difficulty: Difficulty,
    now: datetime,
    item: ItemRecord,
) -> Prediction:
    """Return the prediction of a topic key. Its source goes into the request's log line."""
    prediction = predict(predictor, state, topic, difficulty.numeric, now, item)
    logs.note(source=prediction.source.value)
    if (reason := fallback_reason(prediction, predictor, state, topic)) is not None:
        logs.note(fallback_reason=reason)
    return prediction


def fallback_reason(prediction: Prediction, predictor: Predictor | None, state: UserState, topic: str) -> str | None:
    """Return why the networks did not make a prediction on a topic key, None if they did.

    ``all new`` means a new student on a new topic. No reason is a part of another one, so queries can search for them.
    """
    if prediction.source is Source.EMBEDDING:
        return None
    if predictor is None:
        return "no model"
    chosen = choose(predictor.knows(topic), state.n_answers)
    if chosen is Source.EMBEDDING:
        return "networks failed"
    if chosen is Source.DEFAULT:
        return "all new"
    return "new student" if state.n_answers == 0 else "new topic"
