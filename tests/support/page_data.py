"""Practice, models and admins, put straight into the fakes behind the pages."""

from __future__ import annotations

from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction, Source
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.services.versions import successor
from tests.support.api import World
from tests.support.archives import version_files
from tests.support.fakes.database import MemoryTaskStore
from tests.support.visits import Visit

V1, V2, V3 = "20260401T120000Z-0a1b2c3d", "20260402T120000Z-1a1b2c3d", "20260403T120000Z-2a1b2c3d"
ODD_TOPIC = "<b>Brüche</b> שברים 🍕"

ADMIN = "root@example.org"


def add_practice(world: World) -> None:
    """Let every student finish 24 tasks on four topics, predicted by two versions and by default."""
    store = MemoryTaskStore(world.database)
    topics = ("Fractions", "Algebra", "Geometry", ODD_TOPIC)
    predictions = (
        Prediction(0.85, 40, 20, 80, Source.EMBEDDING, V1),
        Prediction(0.35, 60, 30, 120, Source.EMBEDDING, V2),
        Prediction(0.62, 50, 25, 100, Source.LNIRT, V2),
        DEFAULT_PREDICTION,
    )
    for user in list(world.database.users):
        for n in range(24):
            new = NewTask("Mathematics", topics[n % 4], Difficulty.HARD, f"exercise {n}")
            task = store.insert(user, new, predictions[n // 2 % 4])
            store.complete(user, task.id, Result(n % 3 > 0, 20 + 7 * n), None, TrainingPolicy(1000, 1000))


def publish_versions(world: World) -> None:
    """Publish three versions: V1 served before, V2 serves, V3 was not promoted."""
    for n, version in enumerate((V1, V2, V3)):
        files = version_files(version=version)
        del files["metadata.json"]
        worse = version == V3
        metadata = {
            "n_samples": 600 + n,
            "trained_at": f"2026-04-0{n + 1}T12:00:09+00:00",
            "trained_seconds": 9.5,
            "reason": "threshold",
            "validation": {"n": 120, "log_loss": 0.48 + 0.01 * n, "lnirt_log_loss": 0.48, "auc": 0.8, "ece": 0.05},
            "promotion": {"promoted": not worse, "reason": "worse in log-loss" if worse else "not worse"},
        }
        world.registry.write_version("default", version, files, metadata)
        if not worse:
            champion, etag = world.registry.read_champion("default") or (None, None)
            world.registry.write_champion("default", successor(champion, version, None), etag)


def sign_in_as_admin(visit: Visit, world: World) -> None:
    """Create an account in the group of admins and sign in with it."""
    visit.register(ADMIN)
    world.identity.add_to_admins(ADMIN)
    visit.sign_in_directly(ADMIN)
