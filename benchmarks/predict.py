"""Measures a warm prediction: the fallback chain with both networks and all features, from a state read before.

``python -m benchmarks.predict --json`` trains a version on simulated students in a separate process. More than 50,000
answers with times on 300 topics make it publish the mean of three members. It stores three students with 10, 100 and
1,000 state rows in its own PostgreSQL, reads their states, and predicts on topics in turn.

* ``p50_ms_N``, ``p99_ms_N``: one prediction for the student with N state rows.
* ``speedup_vs_keras_call``, ``speedup_vs_keras_predict``: the time of Keras for the outputs of the two models alone, by
  ``model(inputs, training=False)`` and by ``model.predict(inputs, verbose=0)``, divided by ``p50_ms_10``, the time of
  the whole chain.
* ``networks_p50_ms`` and ``plain_networks_p50_ms``: the two networks alone, as served and layer by layer.
* ``max_abs_diff_vs_keras``: the largest difference between served and Keras outputs (logits, log seconds).
* ``context_p50_ms_N``: the statement that reads a state, with the decoding of its answer.
* ``load_ms`` and ``loaded_mb``: reading the files of a version, and the memory that stays allocated.

Times are medians over calls one after the other, with one thread for matrix products as in app.py, and are measured
before TensorFlow is imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._percentiles import percentile
from chalicelib.domain.tasks import Difficulty
from chalicelib.domain.topics import topic_key
from chalicelib.features.inputs import success_priors, time_priors
from chalicelib.features.state import UserState
from chalicelib.features.summary import StateView
from chalicelib.prediction.predictor import Predictor, predict
from ops.imports.rows import DEFAULT_SUBJECT
from training_job.history.answers import AnswerTable

STUDENTS, TOPICS, ANSWERS_EACH = 450, 300, 120
SIZES = (10, 100, 1_000)
CALLS = {10: 3_000, 100: 2_000, 1_000: 600}
KERAS_CALLS, KERAS_PREDICTS = 40, 15
CONTEXT_CALLS = 200
NOW = datetime(2026, 6, 1, tzinfo=UTC)

Inputs = dict[str, npt.NDArray[Any]]


def population(seed: int) -> AnswerTable:
    """Return answers of students with four abilities and paces, which networks learn better than LNIRT."""
    rng = np.random.default_rng(seed)
    n = STUDENTS * ANSWERS_EACH
    student = np.tile(np.arange(STUDENTS), ANSWERS_EACH)
    topic, level = rng.integers(TOPICS, size=n), rng.integers(len(Difficulty), size=n)
    able, pace = rng.normal(size=(STUDENTS, 4)), rng.normal(scale=0.35, size=(STUDENTS, 4))
    easiness, intensity = rng.normal(0.4, 0.7, size=TOPICS), rng.normal(3.5, 0.3, size=TOPICS)
    logit = 1.3 * able[student, topic % 4] + easiness[topic] - 0.6 * (level - 1.5)
    log_seconds = intensity[topic] + 0.2 * level - pace[student, topic % 4] + rng.normal(scale=0.4, size=n)
    return AnswerTable.from_columns(
        user=student, user_ids=[f"student {i}" for i in range(STUDENTS)], topic=topic,
        topics=[key_of(i) for i in range(TOPICS)], difficulty=level + 1,
        is_correct=rng.random(n) < 1.0 / (1.0 + np.exp(-logit)), seconds=np.exp(log_seconds),
        at=1.7e9 + 60.0 * np.arange(n),
    )  # fmt: skip


def topic_name(number: int) -> str:
    """Return the name of a topic."""
    return f"topic {number}"


def key_of(number: int) -> str:
    """Return the key of a topic that was imported without a subject."""
    return topic_key(DEFAULT_SUBJECT.text, topic_name(number))


def train(folder: Path, seed: int) -> None:
    """Train a version and write its files, with ``metadata.json``."""
    from training_job.fit.population import Population
    from training_job.fit.train import train_version

    trained = train_version(Population.of(population(seed)), version="benchmark", seed=seed)
    for name, content in trained.files.items():
        (folder / name).write_bytes(content)
    (folder / "metadata.json").write_text(json.dumps(trained.metadata))


def trained_files(seed: int) -> tuple[dict[str, bytes], float]:
    """Return the files of a version that a fresh process trained, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.predict", "--train", folder, "--seed", str(seed)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}, time.monotonic() - began


def history_of(n_rows: int, seed: int) -> Iterator[dict[str, object]]:
    """Yield rows of a file to import: each of ``n_rows`` topics and difficulties once, then as many at random."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(TOPICS * len(Difficulty))[:n_rows]
    for number, cell in enumerate(np.concatenate([cells, rng.choice(cells, n_rows)])):
        yield {
            "user_id": f"student {n_rows}",
            "topic": topic_name(int(cell) // len(Difficulty)),
            "difficulty": list(Difficulty)[int(cell) % len(Difficulty)].value,
            "is_correct": int(rng.random() < 0.6),
            "actual_time_seconds": int(rng.integers(5, 120)),
            "completed_at": (NOW - timedelta(minutes=10 * (2 * n_rows - number))).isoformat(),
            "position": number,
        }


@contextmanager
def stored_students(seed: int) -> Iterator[Callable[[str], UserState]]:
    """Run a PostgreSQL that holds the students, and yield the function that reads a student's state."""
    import csv

    from chalicelib.storage.database import connect
    from chalicelib.storage.task_store import PostgresTaskStore
    from infra.local import postgres
    from migrations import upgrade
    from ops.imports.importer import import_file

    with tempfile.TemporaryDirectory() as folder:
        server = postgres.prepare(Path(folder) / "postgres")
        with (Path(folder) / "log").open("wb") as output:
            postgres.start(server, ("fsync=off",), output)
        try:
            postgres.wait_until_ready(server)
            postgres.create_database(server)
            upgrade(server.url())
            engine = connect(server.url())
            path = Path(folder) / "answers.csv"
            rows = [row for size in SIZES for row in history_of(size, seed)]
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
            import_file(engine, "default", path, NOW, lambda _: None)
            store = PostgresTaskStore(engine, "default")
            yield lambda user_id: store.prediction_context(user_id).state
            engine.dispose()
        finally:
            postgres.stop(server)


def timed_ms(calls: int, run: Callable[[int], object]) -> list[float]:
    """Return the milliseconds of each call, after some that are not counted; ``run`` gets the number of the call."""
    for number in range(max(3, calls // 20)):
        run(number)
    durations = []
    for number in range(calls):
        began = time.perf_counter()
        run(number)
        durations.append(1e3 * (time.perf_counter() - began))
    return durations


@dataclass(frozen=True, slots=True)
class Asked:
    """The inputs of the correctness network for one prediction, and the other inputs of the time network."""

    inputs: Inputs
    time_prior: npt.NDArray[np.float32]
    time_pooled: npt.NDArray[np.float32]

    @property
    def of_time(self) -> Inputs:
        """All inputs of the time model."""
        return {**self.inputs, "prior": self.time_prior, "pooled": self.time_pooled}


class Recorder:
    """The networks of a version, with a record of their inputs."""

    def __init__(self, predictor: Predictor) -> None:
        self.asked: list[Asked] = []
        self._networks = predictor.networks

    def __call__(self, inputs: Inputs, time_prior: Any, time_pooled: Any) -> Any:
        """Return the outputs of the networks."""
        self.asked.append(Asked(inputs, time_prior, time_pooled))
        return self._networks(inputs, time_prior, time_pooled)


def asked_of(predictor: Predictor, files: Mapping[str, bytes], states: Sequence[UserState]) -> list[Asked]:
    """Return the inputs of the networks for each student on some topics, at every difficulty."""
    recorder = Recorder(predictor)
    observed = Predictor.from_files(files)
    observed.networks = recorder  # type: ignore[assignment]
    for state in states:
        for number in range(12):
            predict(observed, state, key_of(25 * number), 1 + number % 4, NOW)
    return recorder.asked


def measure_predictions(predictor: Predictor, states: Mapping[int, UserState]) -> dict[str, float]:
    """Measure warm predictions by number of state rows."""
    figures = {}
    for size, state in states.items():
        topics = [key_of(number) for number in range(0, TOPICS, 7)]

        def run(number: int, state: UserState = state, topics: Sequence[str] = topics) -> object:
            # Each request reads a state of its own.
            fresh = UserState(state.user_id, state.n_answers, state.rows)
            return predict(predictor, fresh, topics[number % len(topics)], 1 + number % 4, NOW)

        durations = timed_ms(CALLS[size], run)
        figures[f"p50_ms_{size}"] = statistics.median(durations)
        figures[f"p99_ms_{size}"] = percentile(durations, 0.99)
    return figures


def measure_parts(predictor: Predictor, asked: Sequence[Asked], state: UserState) -> dict[str, float]:
    """Measure the networks alone, as served and layer by layer, and the features alone."""
    networks = predictor.networks

    def served(number: int) -> object:
        one = asked[number % len(asked)]
        return networks(one.inputs, one.time_prior, one.time_pooled)

    def plain(number: int) -> object:
        one = asked[number % len(asked)]
        return networks.correctness.model(one.inputs), networks.time.model(one.of_time)

    def features(_number: int) -> object:
        past = StateView(state, predictor.constants).summary(key_of(0), 2, NOW)
        return success_priors(past, predictor.lnirt), time_priors(past, predictor.lnirt)

    return {
        "networks_p50_ms": statistics.median(timed_ms(2_000, served)),
        "plain_networks_p50_ms": statistics.median(timed_ms(500, plain)),
        "summaries_and_priors_p50_ms_10": statistics.median(timed_ms(2_000, features)),
    }


def measure_loading(files: Mapping[str, bytes]) -> tuple[Predictor, dict[str, float]]:
    """Return a version, and the figures of reading its files."""
    load_ms = statistics.median(timed_ms(3, lambda _: Predictor.from_files(files)))
    gc.collect()
    tracemalloc.start()
    predictor = Predictor.from_files(files)
    predict(predictor, UserState("nobody", 1, ()), key_of(0), 2, NOW)  # fills what is kept from then on
    gc.collect()
    loaded = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return predictor, {
        "load_ms": load_ms,
        "loaded_mb": loaded / 1e6,
        "artifact_mb": sum(map(len, files.values())) / 1e6,
    }


def measure_keras(predictor: Predictor, files: Mapping[str, bytes], asked: Sequence[Asked]) -> dict[str, float]:
    """Measure Keras on the same inputs, and the largest difference to the served outputs."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        models = []
        for name in ("correctness_model.keras", "time_model.keras"):
            path = Path(folder) / name
            path.write_bytes(files[name])
            models.append(keras.models.load_model(path, compile=False))

    def call(number: int) -> list[Any]:
        one = asked[number % len(asked)]
        return [model(inputs, training=False) for model, inputs in zip(models, (one.inputs, one.of_time), strict=True)]

    def predict_(number: int) -> list[Any]:
        one = asked[number % len(asked)]
        return [
            model.predict(inputs, verbose=0) for model, inputs in zip(models, (one.inputs, one.of_time), strict=True)
        ]

    differences = []
    for number, one in enumerate(asked):
        served = predictor.networks(one.inputs, one.time_prior, one.time_pooled)
        differences += [
            abs(float(mine[0]) - float(theirs[0, 0])) for mine, theirs in zip(served, call(number), strict=True)
        ]
    return {
        "keras_call_ms": statistics.median(timed_ms(KERAS_CALLS, call)),
        "keras_predict_ms": statistics.median(timed_ms(KERAS_PREDICTS, predict_)),
        "max_abs_diff_vs_keras": max(differences),
    }


def measure(seed: int, say: Callable[[str], None]) -> dict[str, float | int]:
    """Return all figures."""
    say("training")
    files, train_s = trained_files(seed)
    predictor, loading = measure_loading(files)
    figures: dict[str, float | int] = {}
    say("storing the students")
    with stored_students(seed) as read:
        states = {size: read(f"student {size}") for size in SIZES}
        for size, state in states.items():
            if len(state.rows) != size:
                raise RuntimeError(f"the state of {size} rows has {len(state.rows)}")
            durations = timed_ms(CONTEXT_CALLS, lambda _, user=f"student {size}": read(user))  # type: ignore[misc]
            figures[f"context_p50_ms_{size}"] = statistics.median(durations)
    say("predicting")
    figures |= measure_predictions(predictor, states)
    asked = asked_of(predictor, files, list(states.values()))
    figures |= measure_parts(predictor, asked, states[SIZES[0]])
    say("asking Keras")
    keras = measure_keras(predictor, files, asked)
    metadata = json.loads(files["metadata.json"])
    return {
        **figures,
        **keras,
        "speedup_vs_keras_call": keras["keras_call_ms"] / figures["p50_ms_10"],
        "speedup_vs_keras_predict": keras["keras_predict_ms"] / figures["p50_ms_10"],
        **loading,
        "samples": metadata["n_samples"],
        "members": members_of(predictor),
        "train_s": train_s,
        "cpus": os.cpu_count() or 0,
        "load_1min": os.getloadavg()[0],
    }


def members_of(predictor: Predictor) -> int:
    """Return the number of members of the correctness network."""
    return sum(node.name.startswith("head_") for node in predictor.networks.correctness.model.nodes)


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    began = time.monotonic()
    if options.train is not None:
        train(options.train, options.seed)
        return 0

    def say(what: str) -> None:
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {what} ...", file=sys.stderr)

    figures = measure(options.seed, say)
    figures["seconds"] = time.monotonic() - began
    print(
        json.dumps(
            {name: value if isinstance(value, int) else float(f"{value:.4g}") for name, value in figures.items()}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
