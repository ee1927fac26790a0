"""What a heartbeat may still do when the training that it keeps ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage.database import connect
from chalicelib.storage.tracker import Lease, PostgresTracker
from training_job.heartbeat import Heartbeat

pytestmark = pytest.mark.slow


@pytest.fixture
def tracker(database_url: str) -> Iterator[PostgresTracker]:
    engine = connect(database_url, pool_size=2)
    yield PostgresTracker(engine)
    engine.dispose()


def test_a_beat_that_comes_after_the_stop_leaves_the_lease_that_finishes(tracker: PostgresTracker) -> None:
    request = tracker.request_training("default", "forced")
    assert request is not None
    taken = tracker.take_lease(request, 60.0)
    assert isinstance(taken, Lease)
    heartbeat = Heartbeat(tracker, taken, 60.0, lambda _: None)
    lease = heartbeat.stop()
    heartbeat.renew()
    policy = TrainingPolicy(threshold=5, minimum_samples=10)
    assert tracker.finish(lease, counted=0, n_samples=0, version="v1", policy=policy) is None
    assert tracker.read("default").model_version == "v1"


def test_a_worker_that_lost_its_lease_cannot_end_the_request_of_another(tracker: PostgresTracker) -> None:
    request = tracker.request_training("default", "forced")
    assert request is not None
    slow = tracker.take_lease(request, 0.0)
    assert isinstance(slow, Lease)
    assert isinstance(tracker.take_lease(request, 60.0), Lease)
    assert tracker.fail_request(slow, "broken", TrainingPolicy()) is None
    tracker.skip_request(slow, "too little")
    row = tracker.read("default")
    assert (row.training_request_id, row.lease_live, row.last_error) == (request.request_id, True, None)
