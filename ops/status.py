"""The state of tracker and registry for an operator, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from chalicelib.domain.errors import ModelError, NotFoundError
from chalicelib.domain.training import WaitReason
from chalicelib.services.training import ModelStatus, status
from chalicelib.wiring import Container
from ops import tables


class Report(msgspec.Struct, frozen=True):
    """The tracker's state, and the champion's files with their sizes in bytes."""

    cohort: str
    model: ModelStatus
    champion: str | None
    promoted_at: str | None
    files: Mapping[str, int]
    registry_fault: str | None


def read(container: Container) -> Report:
    """Read tracker and registry. A damaged version is reported. Raises UnavailableError."""
    cohort = container.settings.cohort
    model = status(container.tracker, container.policy, cohort)
    champion = promoted_at = fault = None
    files: dict[str, int] = {}
    try:
        found = container.registry.read_champion(cohort)
        if found is not None:
            champion, promoted_at = found[0].version, found[0].promoted_at
            described = container.registry.read_metadata(cohort, champion)["files"]
            files = {name: int(entry["size"]) for name, entry in described.items()}
    except (ModelError, NotFoundError) as error:
        fault = str(error)
    return Report(cohort, model, champion, promoted_at, files, fault)


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON values."""
    fields = msgspec.structs.asdict(report)
    model = model_json(fields.pop("model"))
    return {**fields, **model}


def model_json(model: ModelStatus) -> dict[str, Any]:
    """Return the tracker's state as JSON values with the names of ``GET /model/status``."""
    fields = msgspec.structs.asdict(model)
    return {k: v.astimezone(UTC).isoformat() if isinstance(v, datetime) else v for k, v in fields.items()}


def as_lines(report: Report) -> list[str]:
    """Return the report for a terminal."""
    model = report.model
    trained = model.last_trained_at
    lines = [
        counter_line(model),
        f"Samples: {model.n_samples_total:,}",
        f"Last training: {'never' if trained is None else f'{tables.utc_time(trained.isoformat())} UTC'}"
        + (f", from {tables.count(model.n_samples_last_training, 'sample')}" if trained else ""),
        f"Training: {training_line(model)}",
        *wait_lines(model),
        f"Model: {report.champion or 'none yet'}",
    ]
    width = max(map(len, report.files), default=0)
    lines += [f"  {name:<{width}}  {tables.size(size):>9}" for name, size in report.files.items()]
    if report.registry_fault:
        lines.append(f"Registry: {report.registry_fault}")
    if model.last_error:
        lines.append(f"Last error: {model.last_error}")
    return lines


def counter_line(model: ModelStatus) -> str:
    """Return the counter as a line, such as ``Counter: 3/5``."""
    return f"Counter: {model.counter}/{model.threshold}"


def wait_lines(model: ModelStatus) -> list[str]:
    """Return a line about the earliest start of the next automatic training, or none if it need not wait."""
    if model.next_training_at is None:
        return []
    reason = f"TRAINING_DUTY, after a training of {model.last_training_seconds or 0.0:.1f} s"
    if model.wait_reason is WaitReason.FAILURES:
        reason = f"{tables.count(model.training_failures, 'training')} failed since the last success"
    return [f"Next training: not before {tables.utc_time(model.next_training_at.isoformat())} UTC ({reason})"]


def training_line(model: ModelStatus) -> str:
    """Return the state of the training, with phase, epoch and losses while it runs."""
    progress = model.progress or {}
    parts = [str(model.training)]
    if "phase" in progress:
        parts.append(str(progress["phase"]))
    if "epoch" in progress and "epochs" in progress:
        parts.append(f"epoch {progress['epoch']}/{progress['epochs']}")
    losses = [name for name in ("loss", "val_loss") if isinstance(progress.get(name), float)]
    parts += [f"{name} {progress[name]:.4f}" for name in losses]
    return ", ".join(parts)
