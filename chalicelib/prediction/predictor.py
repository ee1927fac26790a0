"""Predictions of a published version, for one task or for many tasks of one student.

:mod:`chalicelib.prediction.chain` decides if the networks, LNIRT or the default predict.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, LnirtParameters, SuccessPrior, TimePrior
from chalicelib.domain.lnirt_json import from_json
from chalicelib.domain.model_files import MALFORMED, json_object
from chalicelib.domain.numerics import table_columns
from chalicelib.domain.predictions import DEFAULT_PREDICTION, DEFAULT_SECONDS, Prediction, Source
from chalicelib.features.inputs import dense_columns, monotone_columns, standardise, success_priors, time_priors
from chalicelib.features.items import NO_RECORD, ItemRecord
from chalicelib.features.pooled import Pooling
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.features.summary import Requested, StateView, Summary
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.chain import bounded_probability, choose, choose_each, whole_seconds
from chalicelib.prediction.network import Networks, check_fit, network_inputs
from chalicelib.prediction.vocabulary import OUT_OF_VOCABULARY, Vocabulary, read_vocabulary

MODEL_FILES = ("correctness_model.keras", "time_model.keras", "lnirt.json", "vocabulary.json")
"""The files of a version, in addition to its ``metadata.json``."""

PROBE_TOPICS = 8
"""Number of topics for which a version predicts once when it is read."""

_LOG = logging.getLogger("studysmart.prediction")
_NETWORK_ERRORS = (ModelError, ArithmeticError, ValueError, IndexError)


class Predictor:
    """One published version, ready to predict. Immutable, so threads may share it."""

    def __init__(self, version: str, lnirt: LnirtParameters, vocabulary: Vocabulary, networks: Networks) -> None:
        check_fit(networks, vocabulary, lnirt)
        self.version = version
        self.lnirt = lnirt
        self.vocabulary = vocabulary
        self.networks = networks
        self.constants = vocabulary.constants(lnirt)
        # The embedding row and the pooled column of each row of the LNIRT parameters.
        averages = len(lnirt.easiness) - len(lnirt.topics)
        self._topic_embeddings = np.array(
            [*map(vocabulary.topic_embedding, lnirt.topics), *[OUT_OF_VOCABULARY] * averages]
        )
        self._pooled_columns = np.array(
            [*map(vocabulary.pooled_column, lnirt.topics), *[vocabulary.shared_column] * averages]
        )
        self._pooling = Pooling((vocabulary.correctness_pooled, vocabulary.time_pooled))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Predictor:
        """Read the files of a version, with ``metadata.json``, and predict once with them.

        Raises ModelError if a file is missing or damaged, or if the version does not predict.
        """
        missing = [name for name in (*MODEL_FILES, "metadata.json") if name not in files]
        if missing:
            raise ModelError(f"the version lacks {', '.join(missing)}")
        try:
            predictor = cls(
                version=_version(files["metadata.json"]),
                lnirt=from_json(files["lnirt.json"]),
                vocabulary=read_vocabulary(files["vocabulary.json"]),
                networks=Networks(
                    correctness=read_keras(files["correctness_model.keras"]),
                    time=read_keras(files["time_model.keras"]),
                ),
            )
            predictor._check()
        except MALFORMED as error:
            raise ModelError(f"the version cannot be used: {error!r}") from error
        return predictor

    def _check(self) -> None:
        """Predict for a student without answers and for one with some. Raises ModelError without a prediction."""
        now = datetime(2026, 1, 1, tzinfo=UTC)
        topics = self.lnirt.topics[:PROBE_TOPICS]
        answers = [Answer(topic, 1 + n % 4, n % 3 > 0, 20.0 + n, now) for n, topic in enumerate(topics * 2)]
        requested = [(topic, 1 + n % 4) for n, topic in enumerate(topics)]
        for state in (UserState("", 0, ()), replay("", answers)):
            if any(found.source is Source.DEFAULT for found in self.predict_many(state, requested, now)):
                raise ModelError(f"version {self.version} gives predictions that are no numbers")

    def knows(self, topic: str) -> bool:
        """Return True if the version was trained on answers on this topic key."""
        return bool(self.lnirt.knows(self.lnirt.topic_row(topic)))

    def predict(
        self, state: UserState, topic: str, difficulty: int, now: datetime, item: ItemRecord = NO_RECORD
    ) -> Prediction:
        """Return the prediction for a topic key, a difficulty of 1..4, and the student's record on the item."""
        source = choose(self.knows(topic), state.n_answers)
        if source is Source.DEFAULT:
            return DEFAULT_PREDICTION
        view = StateView(state, self.constants)
        past = view.summary(topic, difficulty, now, item)
        success, time = success_priors(past, self.lnirt), time_priors(past, self.lnirt)
        variance = None if time is None else time.variance
        if source is Source.EMBEDDING:
            try:
                return self._prediction(source, *self._network_output(view, past, success, time), variance)
            except _NETWORK_ERRORS as error:
                _LOG.warning("Embedding model prediction failed, falling back to LNIRT: %s", error)
        return self._prediction(Source.LNIRT, success.logit, None if time is None else time.log_seconds, variance)

    def predict_many(
        self, state: UserState, requested: Requested, now: datetime, items: Sequence[ItemRecord] | None = None
    ) -> list[Prediction]:
        """Return what :meth:`predict` returns for each topic key and difficulty, with the state read once.

        ``items`` holds the record on the item of each.
        """
        return self.predict_at(state, requested, [now], items)[0]

    def predict_at(
        self,
        state: UserState,
        requested: Requested,
        moments: Sequence[datetime],
        items: Sequence[ItemRecord] | None = None,
    ) -> list[list[Prediction]]:
        """Return what :meth:`predict_many` returns at each of some moments, all with the state of now."""
        if not requested or not moments:
            return [[] for _ in moments]
        view = StateView(state, self.constants)
        past = view.summaries(requested, *moments, items=items)
        success, time = success_priors(past, self.lnirt), time_priors(past, self.lnirt)
        topic_known = np.asarray(self.lnirt.knows(past.topic_row))
        chosen = choose_each(topic_known, np.full(topic_known.shape, state.n_answers))
        by_networks, logits = chosen[Source.EMBEDDING], success.logit
        log_seconds = None if time is None else time.log_seconds
        if by_networks.any():
            from_networks, seconds_from_networks = self._network_outputs_or_nan(view, past, success, time)
            by_networks = by_networks & np.isfinite(from_networks) & np.isfinite(seconds_from_networks)
            logits = np.where(by_networks, from_networks, logits)
            log_seconds = None if log_seconds is None else np.where(by_networks, seconds_from_networks, log_seconds)
        found = [
            DEFAULT_PREDICTION
            if chosen[Source.DEFAULT][i]
            else self._prediction(
                Source.EMBEDDING if by_networks[i] else Source.LNIRT,
                float(logits[i]),
                None if log_seconds is None else float(log_seconds[i]),
                None if time is None else float(time.variance[i]),
            )
            for i in range(len(topic_known))
        ]
        return [found[begin : begin + len(requested)] for begin in range(0, len(found), len(requested))]

    def summarise(
        self, state: UserState, topic: str, difficulty: int, now: datetime, item: ItemRecord = NO_RECORD
    ) -> Summary:
        """Return the summary from which :meth:`predict` predicts."""
        return StateView(state, self.constants).summary(topic, difficulty, now, item)

    def values(self, source: Source, state: UserState, past: Summary) -> tuple[float, float | None]:
        """Return the logit and the log seconds that a source predicts from a summary, before any bounds.

        ``past`` may differ from the summary of ``state``: an explanation replaces some of its fields. The log seconds
        are None for a version without times. Raises ModelError if the networks overflow.
        """
        success, time = success_priors(past, self.lnirt), time_priors(past, self.lnirt)
        if source is Source.EMBEDDING:
            return self._network_output(StateView(state, self.constants), past, success, time)
        return success.logit, None if time is None else time.log_seconds

    def _network_outputs(
        self, view: StateView, past: Summary, success: SuccessPrior, time: TimePrior | None
    ) -> tuple[FloatArray, FloatArray]:
        """Return the networks' logits and log seconds after N summaries, (N,) each; zeros without times.

        They are not finite where the networks overflow. ``success`` and ``time`` are the priors of ``past``. Raises
        ModelError if the networks cannot be run.
        """
        vocabulary, topic_rows = self.vocabulary, np.array(past.topic_row, ndmin=1)
        schema = vocabulary.feature_schema
        columns, target = self._pooled_columns.take(view.topic_rows), self._pooled_columns.take(topic_rows)
        correctness_pooled, time_pooled = self._pooling.vectors(view.decayed, columns, target)
        inputs = network_inputs(
            success.logit,
            vocabulary.user_embedding(view.state.user_id) + 0 * past.topic_row,  # one code, or N of them
            table_columns(self._topic_embeddings, past.topic_row),
            past.level,
            monotone_columns(past, schema),
            standardise(dense_columns(past, self.lnirt, time, schema), vocabulary.mean, vocabulary.scale),
            correctness_pooled,
        )
        zeros = np.zeros(len(topic_rows))
        time_prior = np.array(zeros if time is None else time.log_seconds, dtype=np.float32).reshape(-1, 1)
        logits, log_seconds = self.networks(inputs, time_prior, time_pooled)
        return logits, zeros if time is None else log_seconds

    def _network_output(
        self, view: StateView, past: Summary, success: SuccessPrior, time: TimePrior | None
    ) -> tuple[float, float | None]:
        """Return the networks' logit and log seconds after one summary. Raises ModelError if they are not finite."""
        (logit,), (log_seconds,) = (part.tolist() for part in self._network_outputs(view, past, success, time))
        if not (math.isfinite(logit) and math.isfinite(log_seconds)):
            raise ModelError(f"the networks gave {logit} and {log_seconds}")
        return logit, None if time is None else log_seconds

    def _network_outputs_or_nan(
        self, view: StateView, past: Summary, success: SuccessPrior, time: TimePrior | None
    ) -> tuple[FloatArray, FloatArray]:
        """Return :meth:`_network_outputs`, or NaN for all N summaries if the networks cannot be run."""
        try:
            logits, log_seconds = self._network_outputs(view, past, success, time)
        except _NETWORK_ERRORS as error:
            _LOG.warning("Embedding model prediction failed, falling back to LNIRT: %s", error)
            nan = np.full(np.size(past.topic_row), np.nan)
            return nan, nan
        failed = int((~(np.isfinite(logits) & np.isfinite(log_seconds))).sum())
        if failed:
            _LOG.warning(
                "Embedding model prediction failed, falling back to LNIRT: %d of %d not finite", failed, len(logits)
            )
        return logits, log_seconds

    def _prediction(
        self, source: Source, logit: float, log_seconds: float | None, variance: float | None
    ) -> Prediction:
        """Return the bounded prediction with its interval of time; the default if it is not finite.

        ``variance`` is that of LNIRT's log seconds; it and ``log_seconds`` are None for a version without times.
        """
        if not all(map(math.isfinite, (logit, log_seconds or 0.0, variance or 0.0))):
            _LOG.warning("LNIRT prediction failed: %s and %s with a variance of %s", logit, log_seconds, variance)
            return DEFAULT_PREDICTION
        correct = bounded_probability(logit)
        if log_seconds is None or variance is None or self.lnirt.time is None:
            return Prediction(correct, DEFAULT_SECONDS, None, None, source, self.version)
        low, high = (
            map(float, self.vocabulary.time_interval.bounds(np.asarray(log_seconds)))
            if source is Source.EMBEDDING
            else (self.lnirt.time.low, self.lnirt.time.high)
        )
        spread = math.sqrt(variance)
        shortest, median, longest = (whole_seconds(log_seconds + sds * spread) for sds in (low, 0.0, high))
        return Prediction(correct, median, shortest, longest, source, self.version)


def predict(
    predictor: Predictor | None,
    state: UserState,
    topic: str,
    difficulty: int,
    now: datetime,
    item: ItemRecord = NO_RECORD,
) -> Prediction:
    """Return a prediction; the default if ``predictor`` is None because no version is published, or fails."""
    if predictor is None:
        return DEFAULT_PREDICTION
    try:
        return predictor.predict(state, topic, difficulty, now, item)
    except _NETWORK_ERRORS as error:
        _LOG.error("version %s failed, falling back to the default: %r", predictor.version, error)
        return DEFAULT_PREDICTION


def predict_many(
    predictor: Predictor | None,
    state: UserState,
    requested: Requested,
    now: datetime,
    items: Sequence[ItemRecord] | None = None,
) -> list[Prediction]:
    """Return what :func:`predict` returns for each topic key and difficulty, in that order.

    ``items`` holds the record on the item of each.
    """
    return predict_at(predictor, state, requested, [now], items)[0]


def predict_at(
    predictor: Predictor | None,
    state: UserState,
    requested: Requested,
    moments: Sequence[datetime],
    items: Sequence[ItemRecord] | None = None,
) -> list[list[Prediction]]:
    """Return what :func:`predict_many` returns at each of some moments, all with the state of now."""
    if predictor is not None:
        try:
            return predictor.predict_at(state, requested, moments, items)
        except _NETWORK_ERRORS as error:
            _LOG.error("version %s failed, falling back to the default: %r", predictor.version, error)
    return [[DEFAULT_PREDICTION] * len(requested) for _ in moments]


def _version(raw: bytes) -> str:
    version = json_object(raw, "metadata.json").get("version")
    if not isinstance(version, str) or not version:
        raise ModelError(f"metadata.json has the version {version!r}")
    return version
