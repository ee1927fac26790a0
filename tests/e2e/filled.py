"""Students' work, models and admins, put straight into the fakes behind the pages."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction, Source
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.services.models import successor
from tests.support.api import PASSWORD, World
from tests.support.archives import version_files
from tests.support.fakes.database import MemoryTaskStore
from tests.support.waiting import wait_for

from .conftest import PATIENCE_MS, Visit

V1, V2, V3 = "20260401T120000Z-0a1b2c3d", "20260402T120000Z-1a1b2c3d", "20260403T120000Z-2a1b2c3d"
ODD_TOPIC = "<b>Brüche</b> שברים 🍕"

ADMIN = "root@example.org"


def practised(world: World) -> None:
    """Every student of the world has finished 24 tasks on four topics, predicted by two versions and by default."""
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


def published(world: World) -> None:
    """Three versions: the first served before, the second serves, the third was not promoted."""
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
    """An account in the group of admins, whose token the pages have."""
    account = {"email": ADMIN, "password": PASSWORD, "full_name": "Grace"}
    assert visit.page.request.post(f"{visit.url}/auth/register", data=account).ok
    world.identity.add_to_admins(ADMIN)
    visit.sign_in_directly(ADMIN)


def fits_its_width(page: Page) -> None:
    """Nothing has to be scrolled sideways, once charts have followed the window's width."""
    wait_for(
        lambda: page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"),
        seconds=PATIENCE_MS / 1000,
        what="a page as narrow as its window",
    )


def settled(visit: Visit) -> None:
    """Nothing of the page is being loaded any more."""
    expect(visit.page.locator("main [aria-busy=true], main .pending")).to_have_count(0)
