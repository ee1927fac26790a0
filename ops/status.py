"""What an operator sees of the tracker and the registry, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.errors import ModelError, NotFoundError
from chalicelib.services.training import ModelStatus, status
from chalicelib.wiring import Container
from ops import tables


@dataclass(frozen=True, slots=True)
class Report:
    """The tracker's state, and the champion's files with their sizes in bytes."""

    cohort: str
    model: ModelStatus
    champion: str | None
    promoted_at: str | None
    files: Mapping[str, int]
    registry_fault: str | None


def read(container: Container) -> Report:
    """Read tracker and registry; a damaged version is reported, an unreachable service raises UnavailableError."""
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
    """The report as plain JSON values; the tracker's fields are named as in ``GET /model/status``."""
    model = report.model
    trained = model.last_trained_at
    return {
        "cohort": report.cohort,
        "counter": model.counter,
        "threshold": model.threshold,
        "n_samples_total": model.n_samples_total,
        "n_samples_last_training": model.n_samples_last_training,
        "last_trained_at": None if trained is None else trained.astimezone(UTC).isoformat(),
        "model_version": model.model_version,
        "training": str(model.training),
        "progress": None if model.progress is None else dict(model.progress),
        "last_error": model.last_error,
        "champion": report.champion,
        "promoted_at": report.promoted_at,
        "files": dict(report.files),
        "registry_fault": report.registry_fault,
    }


def as_lines(report: Report) -> list[str]:
    """The report for a terminal."""
    model = report.model
    lines = [
        counter_line(model),
        f"Samples: {model.n_samples_total:,} ({model.n_samples_last_training:,} at the last training)",
        f"Last training: {_when(model.last_trained_at)}",
        f"Training: {training_line(model)}",
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
    """``Counter: 3/5``."""
    return f"Counter: {model.counter}/{model.threshold}"


def training_line(model: ModelStatus) -> str:
    """State of the training, with phase and epoch while it runs."""
    progress = model.progress
    if not progress:
        return str(model.training)
    parts = [str(model.training)]
    if "phase" in progress:
        parts.append(str(progress["phase"]))
    if "epoch" in progress and "epochs" in progress:
        parts.append(f"epoch {progress['epoch']}/{progress['epochs']}")
    losses = [name for name in ("loss", "val_loss") if isinstance(progress.get(name), float)]
    parts += [f"{name} {progress[name]:.4f}" for name in losses]
    return ", ".join(parts)


def _when(at: datetime | None) -> str:
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
