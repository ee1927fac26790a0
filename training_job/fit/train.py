"""Trains one version from a history: LNIRT, the two networks over it, and their calibration.

First LNIRT and the networks learn from the older answers, with early stopping on the newest ones. The newest answers
also decide on the scale of the networks, the temperature and the interval. They are both the ones that resemble what
will be served, and too valuable to leave out. So the version has an LNIRT that learnt from all answers, and every
network that proved useful goes on with the newest ones. The features are computed once (docs/decisions/0046).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as library_version
from typing import Any

import numpy as np

from chalicelib.domain.digests import MINIMUM_STUDENTS, digest
from chalicelib.domain.lnirt_json import to_json
from chalicelib.domain.topics import split_key
from chalicelib.features.inputs import FEATURE_SCHEMA
from chalicelib.features.state import DECAY_ANSWERS, STATE_SCHEMA
from chalicelib.prediction.predictor import Predictor
from training_job.execution import INLINE, Execution
from training_job.fit.lnirt import coded
from training_job.fit.networks import archive_bytes, rescaled
from training_job.fit.optimise import Progress
from training_job.fit.passes import (
    Stage,
    TrainedNetwork,
    both_statistics,
    final_networks,
    stage_of,
    validated_networks,
    with_statistics,
)
from training_job.fit.population import Population
from training_job.fit.split import validation_rows
from training_job.history.answers import AnswerTable
from training_job.history.memory import release_memory
from training_job.scores import against_lnirt, holdout_scores, short

MIN_SAMPLES = 10

_LOG = logging.getLogger("studysmart.training")


class TrainingSkipped(Exception):  # noqa: N818  (a decision with a reason, not an error)
    """There is nothing sensible to train on. The message is the reason."""


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """The four files of a version by name, the contents of its ``metadata.json``, and its predictor of the first pass.

    ``validated`` has learnt from the older answers only (:func:`training_job.fit.split.validation_rows`) of the
    population's sample.
    """

    files: dict[str, bytes]
    metadata: dict[str, Any]
    validated: Predictor


def train_version(
    population: Population,
    *,
    version: str,
    seed: int = 0,
    on_progress: Progress = lambda _: None,
    execution: Execution = INLINE,
) -> TrainedVersion:
    """Train the version called ``version``. Raises TrainingSkipped for too few answers or only one outcome.

    The phases of the progress are lnirt, features, correctness, time, evaluate, final, final correctness
    and final time.
    """
    begun = time.monotonic()
    check_samples(population.sample)
    _prepare_tensorflow()
    sample = population.sample
    newest = validation_rows(sample)
    on_progress({"phase": "lnirt"})
    statistics, final_statistics = both_statistics(population, ~newest)
    release_memory()
    first = stage_of(population, ~newest, seed, on_progress, execution, statistics)
    execution.close()
    release_memory()
    networks = validated_networks(first, newest, seed, on_progress)
    on_progress({"phase": "evaluate"})
    validated = _predictor(version, first, networks)
    scores = holdout_scores(validated, sample, newest)
    on_progress({"phase": "final"})
    final = with_statistics(first, final_statistics)
    finished = final_networks(final, networks, newest, seed, on_progress)
    judged = (replace(finished[0], fitted=networks[0].fitted), replace(finished[1], fitted=networks[1].fitted))
    if judged != networks:
        # A network was given up in the final pass. The gate must not judge the version by it.
        validated = _predictor(version, first, judged)
    metadata = _metadata(version, population, finished, scores, final.vocabulary.has_time)
    metadata["trained_seconds"] = round(time.monotonic() - begun, 2)
    return TrainedVersion(_files(final, finished), metadata, validated)


def check_samples(table: AnswerTable) -> None:
    """Raise TrainingSkipped for too few answers, or for answers that are all correct or all incorrect."""
    if len(table) < MIN_SAMPLES:
        raise TrainingSkipped(f"{len(table)} samples, at least {MIN_SAMPLES} are needed")
    if table.is_correct.all() or not table.is_correct.any():
        raise TrainingSkipped(f"all {len(table)} samples are {'correct' if table.is_correct[0] else 'incorrect'}")


def _prepare_tensorflow() -> None:
    import tensorflow as tf

    # The graph optimiser takes a third of a second per network, and gains nothing measurable on graphs this small.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        # One thread computes the operations of all members, while each member makes its batches in a thread of its own.
        # The operations are small: with two threads for each of them an epoch of two members took a quarter longer, and
        # with one thread for each member a twentieth.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        # Possible only before TensorFlow's first operation: a second training in a process keeps the thread pools.
        _LOG.debug("the thread pools stay as they are: %s", error)


def _files(stage: Stage, networks: tuple[TrainedNetwork, TrainedNetwork]) -> dict[str, bytes]:
    correctness, timing = (
        archive_bytes(
            rescaled(item.fitted.model, item.fitted.shape, item.calibration.scale, item.calibration.temperature)
        )
        for item in networks
    )
    table = stage.population.everything
    hidden = _of_few(table, table.topics)
    hidden_subjects = _of_few(table, [split_key(topic)[0] for topic in table.topics])
    lnirt, names = stage.lnirt, stage.vocabulary
    vocabulary = replace(
        names,
        topics=_published(names.topics, hidden),
        users=tuple(map(digest, names.users)),
        time_interval=networks[1].interval,
    )
    return {
        "correctness_model.keras": correctness,
        "time_model.keras": timing,
        "lnirt.json": to_json(
            replace(
                lnirt, topics=_published(lnirt.topics, hidden), subjects=_published(lnirt.subjects, hidden_subjects)
            )
        ),
        "vocabulary.json": vocabulary.to_json(),
    }


def _published(names: Iterable[str], hidden: Container[str]) -> tuple[str, ...]:
    """Return the keys of topics or subjects as a version shows them."""
    return tuple(digest(name) if name in hidden else name for name in names)


def _of_few(table: AnswerTable, names: Sequence[str]) -> set[str]:
    """Return the names that nobody but their students may see, of names (T,) of the table's topics or subjects."""
    known, codes = coded(names)
    pairs = np.unique(codes[table.topic] * len(table.user_ids) + table.user)
    students = np.bincount(pairs // len(table.user_ids), minlength=len(known))
    return {name for name, n in zip(known, students, strict=True) if n < MINIMUM_STUDENTS}


def _predictor(version: str, stage: Stage, networks: tuple[TrainedNetwork, TrainedNetwork]) -> Predictor:
    metadata = json.dumps({"version": version}).encode()
    return Predictor.from_files({**_files(stage, networks), "metadata.json": metadata})


def _metadata(
    version: str,
    population: Population,
    networks: tuple[TrainedNetwork, TrainedNetwork],
    scores: Mapping[str, Any],
    has_time: bool,
) -> dict[str, Any]:
    correctness, timing = networks
    table = population.everything
    figures = {name: value for name, value in scores.items() if not isinstance(value, np.ndarray)}
    return {
        "version": version,
        "feature_schema": FEATURE_SCHEMA,
        "state_schema": STATE_SCHEMA,
        "decay_answers": DECAY_ANSWERS.tolist(),
        "n_samples": len(table),
        "n_network_samples": len(population.sample),
        "n_users": len(np.unique(table.user)),
        "n_topics": len(np.unique(table.topic)),
        "n_timed": int(table.timed.sum()),
        "time": "lognormal" if has_time else "none",
        # These were chosen on the validation answers, so the scores are slightly better than on unused answers.
        "validation_decided_on": ["early stopping", "scale", "temperature", "time interval"],
        "validation": {name: short(value) if isinstance(value, float) else value for name, value in figures.items()},
        "against_lnirt": against_lnirt(scores),
        "correctness_scale": short(correctness.calibration.scale),
        "temperature": short(correctness.calibration.temperature),
        "time_scale": short(timing.calibration.scale),
        "epochs": [correctness.fitted.best_epoch, timing.fitted.best_epoch],
        "libraries": {name: library_version(name) for name in ("keras", "numpy", "h5py")},
    }
