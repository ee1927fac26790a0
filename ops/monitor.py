"""Follows counter, training and epochs, one line for each change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from chalicelib.domain.errors import UnavailableError
from chalicelib.domain.training import TrainingState
from chalicelib.services.training import ModelStatus
from ops.status import counter_line, model_json, training_line, wait_lines


def follow(read: Callable[[], ModelStatus], interval: float, until_idle: bool, as_json: bool) -> Iterator[str]:
    """Yield a line for each present fact and for each later change of one.

    It ends only with ``until_idle``. A service that does not answer gives one line, and is asked again.
    """
    last: list[str] = []
    while True:
        model: ModelStatus | None = None
        try:
            model = read()
            events = describe(model)
        except UnavailableError as error:
            events = [f"no answer: {error}"]
        yield from (_line(event, model, as_json) for event in events if event not in last)
        last = events
        if until_idle and model is not None and model.training is TrainingState.IDLE:
            return
        time.sleep(interval)


def describe(model: ModelStatus) -> list[str]:
    """Return the facts that are worth a line when they change."""
    lines = [counter_line(model), f"Training: {training_line(model)}", *wait_lines(model)]
    if model.model_version:
        lines.append(f"Model: {model.model_version}")
    if model.last_error:
        lines.append(f"Last error: {model.last_error}")
    return lines


def _line(event: str, model: ModelStatus | None, as_json: bool) -> str:
    now = datetime.now(UTC)
    if not as_json:
        return f"{now:%H:%M:%S}  {event}"
    facts = {} if model is None else model_json(model)
    return json.dumps({"at": now.isoformat(), "event": event, **facts})
