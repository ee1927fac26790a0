"""The health check of the database, the registry and the queue."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import msgspec

from chalicelib import logs
from chalicelib.domain.errors import ModelError, UnavailableError
from chalicelib.domain.fields import ServedVersion, about
from chalicelib.ports import ModelRegistry, Tracker, TrainingQueue

_log = logging.getLogger("studysmart.health")

OK = "ok"
UNAVAILABLE = "unavailable"


class Health(msgspec.Struct, frozen=True):
    """The answer of ``GET /health``, field for field."""

    status: Annotated[str, about("`healthy` or `unhealthy`", "healthy")]
    database: Annotated[str, about("`ok` or `unavailable`", "ok")]
    registry: Annotated[str, about("`ok` or `unavailable`: the store of the models", "ok")]
    queue: Annotated[str, about("`ok` or `unavailable`: the queue of the trainings", "ok")]
    model_version: ServedVersion | None
    disk: Annotated[str, about("`ok` or `unavailable`: room on the disk; absent on AWS", "ok")] | msgspec.UnsetType = (
        msgspec.UNSET
    )

    @property
    def healthy(self) -> bool:
        """Whether every part answers."""
        return self.status == "healthy"


def check(
    tracker: Tracker,
    registry: ModelRegistry,
    queue: TrainingQueue,
    cohort: str,
    model_version: str | None,
    disk: Callable[[], None] | None = None,
) -> Health:
    """Check database, registry, queue and disk in parallel.

    ``model_version`` is the version that this process serves.
    """
    probes: dict[str, Callable[[], object]] = {
        "database": tracker.ping,
        "registry": lambda: registry.champion_etag(cohort),
        "queue": queue.check,
    }
    if disk is not None:
        probes["disk"] = disk
    with ThreadPoolExecutor(max_workers=len(probes)) as pool:
        found = dict(zip(probes, pool.map(_probe, probes, probes.values()), strict=True))
    status = "healthy" if set(found.values()) == {OK} else "unhealthy"
    return Health(
        status, found["database"], found["registry"], found["queue"], model_version, found.get("disk", msgspec.UNSET)
    )


def _probe(name: str, ask: Callable[[], object]) -> str:
    try:
        ask()
    except (UnavailableError, ModelError) as error:
        _log.error("health: %s does not answer: %s", name, error, extra=logs.repeats(f"health {name}"))
        return UNAVAILABLE
    return OK
