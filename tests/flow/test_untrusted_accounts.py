"""A training on the database's answers does not learn from a bot, and its version says so."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from chalicelib.config import settings_from
from chalicelib.domain.training import TrainingRequest
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.wiring import build
from ops import cli
from tests.support.faults.nursery import quickly_trained
from tests.support.histories import simulate
from tests.support.parts import own_process
from training_job import pipeline
from training_job.execution import Execution
from training_job.fit.optimise import Progress
from training_job.fit.population import Population
from training_job.fit.train import TrainedVersion
from training_job.history.answers import AnswerTable

pytestmark = pytest.mark.slow

N_STUDENTS, N_ANSWERS, BOT_ANSWERS = 80, 2400, 40


def write_history(path: Path) -> None:
    """Write answers of students, and of a bot that is always wrong."""
    students = simulate(N_STUDENTS, 12, N_ANSWERS, seed=2, levels=(2,))
    names, topics = np.array(students.user_ids)[students.user], np.array(students.topics)[students.topic]
    rows = [
        f"{name},{topic},{int(right)}" for name, topic, right in zip(names, topics, students.is_correct, strict=True)
    ]
    rows += [f"bot,{students.topics[n % 12]},0" for n in range(BOT_ANSWERS)]
    path.write_text("\n".join(["user_id,topic,is_correct", *rows]))


def test_a_training_learns_nothing_from_a_bot_in_whichever_process(
    environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MIN_DIVIDED", N_ANSWERS)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "none"))
    write_history(tmp_path / "history.csv")
    assert cli.main(["import", str(tmp_path / "history.csv")]) == 0
    learnt: list[AnswerTable] = []

    def train(population: Population, *, version: str, on_progress: Progress, execution: Execution) -> TrainedVersion:
        learnt.append(population.everything)
        assert os.getpid() not in execution.map(own_process, range(4))
        return quickly_trained(population, version=version, on_progress=on_progress)

    container = build(settings_from(environment))
    registry = container.registry
    assert isinstance(registry, S3ModelRegistry)
    now = datetime.now(UTC)
    trained = pipeline.run(
        TrainingRequest(str(uuid.uuid4()), "default", now, "manual"),
        container.engine,
        registry,
        received_at=now,
        still_ours=lambda: None,
        report=lambda _: None,
        train=train,
        executor="processes:2",
    )
    assert trained.n_samples == N_ANSWERS + BOT_ANSWERS
    assert "bot" not in learnt[0].user_ids
    metadata = registry.read_metadata("default", trained.champion)
    assert metadata["n_untrusted_samples"] == N_ANSWERS + BOT_ANSWERS - len(learnt[0])
    assert BOT_ANSWERS <= metadata["n_untrusted_samples"] <= 0.05 * N_ANSWERS
