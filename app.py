"""The Lambda's entry point: the Chalice app with its blueprints, and the event handlers.

Importing it needs no environment, because :mod:`chalicelib.wiring` reads the environment at the first request. Event
handlers stay in this file: Chalice would deploy a blueprint's handler by the path of its module, and the set-up here
would not run.

Two lines before the imports shorten a cold start by a fifth. Almost no object of an import is ever garbage, so the
collector is off during the imports, and the objects are frozen afterwards. OpenBLAS gets one thread: products of small
matrices gain nothing from more, and starting threads takes a third of NumPy's import.
"""

from __future__ import annotations

import gc
import os

gc.disable()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# ruff: noqa: E402
import time
from typing import Any

from chalice.app import Chalice, Rate

from chalicelib import wiring
from chalicelib.api import (
    analytics,
    answers,
    auth,
    export,
    model,
    pages,
    predictions,
    recommendations,
    root,
    tasks,
    unmatched,
    xapi,
)
from chalicelib.services import training, versions, watch, webhooks

app = Chalice(app_name="studysmart", configure_logs=False)

for area in (root, auth, tasks, answers, xapi, predictions, recommendations, analytics, export, model, pages):
    app.register_blueprint(area.routes.blueprint)
    root.documented.extend(area.routes.operations)
unmatched.complete(app)
if "CHALICE_LOCAL" in os.environ:  # set for `chalice local` by the stage `dev` in .chalice/config.json
    unmatched.add_local_depths(app)


@app.schedule(Rate(1, unit=Rate.MINUTES))  # type: ignore[untyped-decorator]  # Chalice has no types
def sweep_training_requests(_event: Any) -> None:
    """Send training requests that were not sent, free abandoned ones, forget what is old, deliver webhooks."""
    container = wiring.current()
    training.sweep(container.tracker, container.queue, container.policy)
    container.counts.prune()
    container.service_store.prune()
    watch.watch(container.tracker, container.settings.cohort, container.analytics_of, container.policy, time.time())
    container.webhooks.prune()  # also if a delivery fails
    webhooks.deliver(container.webhooks, container.sender, container.bus)


@app.schedule(Rate(1, unit=Rate.HOURS))  # type: ignore[untyped-decorator]  # Chalice has no types
def prune_models(_event: Any) -> None:
    """Delete old versions, and copies of answers that no training renews.

    The handler has a role of its own, because the API may not delete, and trainings may not delete versions.
    """
    container = wiring.current()
    versions.prune_all(container.registry, container.cohorts, container.settings.retained_versions)
    for cohort in container.cohorts.names():
        container.datasets.prune(cohort)


gc.freeze()
gc.enable()
