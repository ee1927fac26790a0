"""What every tracker does, be it in memory or in PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from chalicelib.domain.training import TrainingPolicy, TrainingState
from chalicelib.storage.database import connect, statement
from chalicelib.storage.shards import due_sql, policy_values

from .conftest import Stores


def test_a_new_cohort_is_idle_and_empty(stores: Stores) -> None:
    row = stores.tracker.read("evening-class")
    assert (row.cohort, row.n_samples_total, row.n_samples_since_training) == ("evening-class", 0, 0)
    assert row.state is TrainingState.IDLE


def test_reading_creates_no_cohort(stores: Stores) -> None:
    stores.tracker.read("a cohort that was removed")
    stores.tracker.set_model_version("a cohort that was removed", "v1")
    assert "a cohort that was removed" not in {row.cohort for row in stores.tracker.rows()}


def test_a_forced_request_is_queued_and_only_one_lives(stores: Stores) -> None:
    request = stores.tracker.request_training("default", "forced")
    assert request is not None
    assert stores.tracker.request_training("default", "forced") is None
    row = stores.tracker.read("default")
    assert row.training_request_id == request.request_id
    assert row.state is TrainingState.QUEUED


def test_a_request_that_was_never_sent_is_found(stores: Stores) -> None:
    request = stores.tracker.request_training("default", "forced")
    assert request is not None
    assert stores.tracker.unsent_requests(grace_seconds=60, resend_seconds=600) == []
    assert stores.tracker.unsent_requests(grace_seconds=-1, resend_seconds=600) == [request]


def test_a_request_that_was_sent_is_sent_again_only_after_long(stores: Stores) -> None:
    request = stores.tracker.request_training("default", "forced")
    assert request is not None
    stores.tracker.mark_enqueued(request)
    assert stores.tracker.read("default").training_enqueued_at is not None
    assert stores.tracker.unsent_requests(grace_seconds=-1, resend_seconds=600) == []
    assert stores.tracker.unsent_requests(grace_seconds=-1, resend_seconds=-1) == [request]


def test_an_abandoned_request_is_freed_and_says_so(stores: Stores) -> None:
    request = stores.tracker.request_training("default", "forced")
    assert request is not None
    stores.tracker.mark_enqueued(request)
    assert stores.tracker.free_abandoned(after_seconds=-1, resend_seconds=600) == []
    assert stores.tracker.free_abandoned(after_seconds=-1, resend_seconds=-1) == ["default"]
    row = stores.tracker.read("default")
    assert row.state is TrainingState.IDLE
    assert row.last_error is not None
    assert "abandoned" in row.last_error


def test_a_request_that_grew_old_while_nothing_ran_is_not_abandoned(stores: Stores) -> None:
    request = stores.tracker.request_training("default", "forced")
    assert request is not None
    assert stores.tracker.free_abandoned(after_seconds=0, resend_seconds=-1) == []
    stores.tracker.mark_enqueued(request)
    assert stores.tracker.free_abandoned(after_seconds=600, resend_seconds=-1) == []
    assert stores.tracker.unsent_requests(grace_seconds=-1, resend_seconds=-1) == [request]


def test_the_counter_is_set(stores: Stores) -> None:
    assert stores.tracker.set_counter("default", 4).n_samples_since_training == 4
    assert stores.tracker.read("default").n_samples_since_training == 4


@pytest.mark.slow
@pytest.mark.parametrize("policy", [TrainingPolicy(5, 10), TrainingPolicy(8, 4), TrainingPolicy(1, 1)])
def test_sql_and_python_agree_when_a_training_is_due(database_url: str, policy: TrainingPolicy) -> None:
    engine = connect(database_url, pool_size=1)
    counts = "generate_series(0, 12) AS counter, generate_series(0, 12) AS total"
    query = text(f"SELECT counter, total, {due_sql('counter', 'total')} FROM {counts}")
    rows = statement(engine, lambda connection: connection.execute(query, policy_values(policy)).all())
    assert len(rows) == 13 * 13
    assert [due for _, _, due in rows] == [policy.is_due(counter, total) for counter, total, _ in rows]
    engine.dispose()
