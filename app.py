"""The Lambda's entry: Chalice with its blueprints, and the event handlers.

Importing this needs no environment: :mod:`chalicelib.wiring` reads it at the first request. Event handlers stay in
this file, because Chalice would deploy a blueprint's handler by its own module's path, past what is set up here.

Two things come before the imports, because they make a cold start shorter by a fifth. Hardly anything that an import
makes is ever garbage, so the collector rests meanwhile, and never looks at it again. And OpenBLAS gets one thread:
products of small matrices gain nothing from more, and starting them takes a third of NumPy's import.
"""

from __future__ import annotations

import gc
import os

gc.disable()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# ruff: noqa: E402
from typing import Any

from chalice.app import Chalice, Rate

from chalicelib import wiring
from chalicelib.api import analytics, auth, model, pages, predictions, recommendations, root, tasks, unmatched
from chalicelib.services import training, versions, watch

app = Chalice(app_name="studysmart", configure_logs=False)

for area in (root, auth, tasks, predictions, recommendations, analytics, model, pages):
    app.register_blueprint(area.routes.blueprint)
    root.documented.extend(area.routes.operations)
unmatched.complete(app)


@app.schedule(Rate(1, unit=Rate.MINUTES))  # type: ignore[untyped-decorator]  # Chalice has no types
def sweep_training_requests(_event: Any) -> None:
    """Send again what was never sent, free requests whose worker is gone, and say what an operator must hear of."""
    container = wiring.current()
    training.sweep(container.tracker, container.queue)
    watch.watch(container.tracker, container.analytics, container.policy, container.settings.cohort)


@app.schedule(Rate(1, unit=Rate.HOURS))  # type: ignore[untyped-decorator]  # Chalice has no types
def prune_models(_event: Any) -> None:
    """Delete the versions beyond the retention: with a role of its own, as neither API nor training may delete."""
    container = wiring.current()
    versions.prune(container.registry, container.settings.cohort, container.settings.retained_versions)


gc.freeze()
gc.enable()
