"""Predictions from a published version, for one task or for many of one student.

:mod:`chalicelib.prediction.chain` decides which of the networks, LNIRT and the default answers.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from datetime import datetime

import numpy as np

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, LnirtParameters, SuccessPrior, TimePrior
from chalicelib.domain.lnirt_json import from_json
from chalicelib.domain.numerics import table_columns
from chalicelib.domain.predictions import DEFAULT_PREDICTION, DEFAULT_SECONDS, Prediction, Source
from chalicelib.features.inputs import dense_columns, standardise, success_priors, time_priors
from chalicelib.features.pooled import Pooling
from chalicelib.features.state import UserState
from chalicelib.features.summary import Requested, StateView, Summary
from chalicelib.prediction import chain
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.network import Networks, check_fit, network_inputs
from chalicelib.prediction.vocabulary import OUT_OF_VOCABULARY, Vocabulary, read_vocabulary

MODEL_FILES = ("correctness_model.keras", "time_model.keras", "lnirt.json", "vocabulary.json")
"""What a version consists of, besides its ``metadata.json``."""

_LOG = logging.getLogger("studysmart.prediction")
_NETWORK_ERRORS = (ModelError, ArithmeticError, ValueError, IndexError)


class Predictor:
    """One published version, ready to predict. Immutable, so that threads may share it."""

    def __init__(self, version: str, lnirt: LnirtParameters, vocabulary: Vocabulary, networks: Networks) -> None:
        check_fit(networks, vocabulary, lnirt)
        self.version = version
        self.lnirt = lnirt
        self.vocabulary = vocabulary
        self.networks = networks
        self.constants = vocabulary.constants(lnirt)
        # What the vocabulary says of each row of the LNIRT parameters.
        self._topic_rows = np.array([*map(vocabulary.topic_embedding, lnirt.topics), OUT_OF_VOCABULARY])
        self._pooled_columns = np.array([*map(vocabulary.pooled_column, lnirt.topics), vocabulary.shared_column])
        self._pooling = Pooling((vocabulary.correctness_pooled, vocabulary.time_pooled))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Predictor:
        """Parse a version's files, ``metadata.json`` among them. Raises ModelError for anything damaged."""
        missing = [name for name in (*MODEL_FILES, "metadata.json") if name not in files]
        if missing:
            raise ModelError(f"the version lacks {', '.join(missing)}")
        return cls(
            version=_version(files["metadata.json"]),
            lnirt=from_json(files["lnirt.json"]),
            vocabulary=read_vocabulary(files["vocabulary.json"]),
            networks=Networks(
                correctness=read_keras(files["correctness_model.keras"]), time=read_keras(files["time_model.keras"])
            ),
        )

    def knows(self, topic: str) -> bool:
        """Whether the version has learnt from answers on a topic key."""
        return self.lnirt.topic_row(topic) != self.lnirt.average_row

    def predict(self, state: UserState, topic: str, difficulty: int, now: datetime) -> Prediction:
        """Return the prediction for a topic key and a difficulty of 1..4."""
        source = chain.choose(self.knows(topic), state.n_answers)
        if source is Source.DEFAULT:
            return DEFAULT_PREDICTION
        seen = StateView(state, self.constants)
        past = seen.summary(topic, difficulty, now)
        success, time = success_priors(past, self.lnirt), time_priors(past, self.lnirt)
        if source is Source.EMBEDDING:
            try:
                logit, log_seconds = self._embedding(seen, past, success, time)
                return self.served(source, logit, log_seconds, _variance(time))
            except _NETWORK_ERRORS as error:
                _LOG.warning("Embedding model prediction failed, falling back to LNIRT: %s", error)
        log_seconds = None if time is None else time.log_seconds
        return self.served(Source.LNIRT, success.logit, log_seconds, _variance(time))

    def predict_many(self, state: UserState, requested: Requested, now: datetime) -> list[Prediction]:
        """Return what :meth:`predict` gives for each topic key and difficulty, reading the state once."""
        if not requested:
            return []
        seen = StateView(state, self.constants)
        past = seen.summaries(requested, now)
        success, time = success_priors(past, self.lnirt), time_priors(past, self.lnirt)
        topic_known = np.not_equal(past.topic_row, self.lnirt.average_row)
        chosen = chain.choose_each(topic_known, np.full(len(requested), state.n_answers))
        logit, embedded = success.logit, chosen[Source.EMBEDDING]
        log_seconds = None if time is None else time.log_seconds
        if embedded.any():
            logits, seconds = self._networks_or_nan(seen, past, success, time)
            embedded = embedded & np.isfinite(logits) & np.isfinite(seconds)
            logit = np.where(embedded, logits, logit)
            log_seconds = None if log_seconds is None else np.where(embedded, seconds, log_seconds)
        return [
            DEFAULT_PREDICTION
            if chosen[Source.DEFAULT][i]
            else self.served(
                Source.EMBEDDING if embedded[i] else Source.LNIRT,
                float(logit[i]),
                None if log_seconds is None else float(log_seconds[i]),
                None if time is None else float(time.variance[i]),
            )
            for i in range(len(requested))
        ]

    def _networks_or_nan(
        self, seen: StateView, past: Summary, success: SuccessPrior, time: TimePrior | None
    ) -> tuple[FloatArray, FloatArray]:
        """Return :meth:`ask_networks`, or NaN for all when they fail."""
        try:
            logits, log_seconds = self.ask_networks(seen, past, success, time)
        except _NETWORK_ERRORS as error:
            _LOG.warning("Embedding model prediction failed, falling back to LNIRT: %s", error)
            nothing = np.full(np.size(past.topic_row), np.nan)
            return nothing, nothing
        failed = int((~(np.isfinite(logits) & np.isfinite(log_seconds))).sum())
        if failed:
            _LOG.warning(
                "Embedding model prediction failed, falling back to LNIRT: %d of %d not finite", failed, len(logits)
            )
        return logits, log_seconds

    def summarise(self, state: UserState, topic: str, difficulty: int, now: datetime) -> Summary:
        """What this version's models see of a student's state."""
        return StateView(state, self.constants).summary(topic, difficulty, now)

    def values(self, source: Source, state: UserState, past: Summary) -> tuple[float, float | None]:
        """The logit and, where the version knows times, the log seconds that ``source`` gives, before any bounds.

        ``past`` summarises ``state`` on a topic (or what an explanation puts in its place). Raises ModelError when
        the networks overflow.
        """
        success, time = success_priors(past, self.lnirt), time_priors(past, self.lnirt)
        if source is Source.EMBEDDING:
            return self._embedding(StateView(state, self.constants), past, success, time)
        return success.logit, None if time is None else time.log_seconds

    def ask_networks(
        self, seen: StateView, past: Summary, success: SuccessPrior, time: TimePrior | None
    ) -> tuple[FloatArray, FloatArray]:
        """Logits and log seconds that the networks give after N summaries, (N,) each; zeros for seconds without times.

        They are not finite where the networks overflow. ``success`` and ``time`` are the priors of ``past``, which are
        on topics that the version knows. Raises ModelError when the networks cannot be run.
        """
        vocabulary, asked = self.vocabulary, np.array(past.topic_row, ndmin=1)
        columns, own = self._pooled_columns.take(seen.topic_rows), self._pooled_columns.take(asked)
        correctness, timing = self._pooling.vectors(seen.decayed, columns, own)
        inputs = network_inputs(
            success.logit,
            vocabulary.user_embedding(seen.state.user_id) + 0 * past.topic_row,  # as often as there are topics
            table_columns(self._topic_rows, past.topic_row),
            past.level,
            past.last_outcome,
            standardise(dense_columns(past, self.lnirt, time), vocabulary.mean, vocabulary.scale),
            correctness,
        )
        nothing = np.zeros(len(asked))
        prior = np.array(nothing if time is None else time.log_seconds, dtype=np.float32).reshape(-1, 1)
        logits, log_seconds = self.networks(inputs, prior, timing)
        return logits, nothing if time is None else log_seconds

    def _embedding(
        self, seen: StateView, past: Summary, success: SuccessPrior, time: TimePrior | None
    ) -> tuple[float, float | None]:
        (logit,), (log_seconds,) = (part.tolist() for part in self.ask_networks(seen, past, success, time))
        if not (math.isfinite(logit) and math.isfinite(log_seconds)):
            raise ModelError(f"the networks gave {logit} and {log_seconds}")
        return logit, None if time is None else log_seconds

    def served(self, source: Source, logit: float, log_seconds: float | None, variance: float | None) -> Prediction:
        """The prediction that these numbers make, bounded and with its interval.

        ``variance`` is that of LNIRT's log seconds; it and ``log_seconds`` are None for a version without times.
        """
        correct = chain.bounded_probability(logit)
        if log_seconds is None or variance is None:
            return Prediction(correct, DEFAULT_SECONDS, None, None, source, self.version)
        low, high = self._quantiles(source)
        spread = math.sqrt(variance)
        shortest, middle, longest = (chain.whole_seconds(log_seconds + reach * spread) for reach in (low, 0.0, high))
        return Prediction(correct, middle, shortest, longest, source, self.version)

    def _quantiles(self, source: Source) -> tuple[float, float]:
        if source is Source.EMBEDDING:
            return self.vocabulary.time_low, self.vocabulary.time_high
        model = self.lnirt.time
        return (model.low, model.high) if model is not None else (0.0, 0.0)


def predict(predictor: Predictor | None, state: UserState, topic: str, difficulty: int, now: datetime) -> Prediction:
    """Return a prediction by the whole chain; ``predictor`` is None while no version was published."""
    if predictor is None:
        return DEFAULT_PREDICTION
    return predictor.predict(state, topic, difficulty, now)


def predict_many(
    predictor: Predictor | None, state: UserState, requested: Requested, now: datetime
) -> list[Prediction]:
    """Return what :func:`predict` gives for each topic key and difficulty, in that order."""
    if predictor is None:
        return [DEFAULT_PREDICTION] * len(requested)
    return predictor.predict_many(state, requested, now)


def _variance(time: TimePrior | None) -> float | None:
    """LNIRT's variance of one prediction's log seconds."""
    return None if time is None else time.variance


def _version(raw: bytes) -> str:
    try:
        version = json.loads(raw)["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"metadata.json is damaged: {error!r}") from error
    if not isinstance(version, str) or not version:
        raise ModelError(f"metadata.json has the version {version!r}")
    return version
