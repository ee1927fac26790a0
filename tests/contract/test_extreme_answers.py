"""Every aggregate in SQL survives extreme but legal values: PostgreSQL raises an error where a result underflows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from chalicelib.services import analytics
from chalicelib.storage.analytics_store import PostgresAnalyticsStore
from chalicelib.storage.database import connect
from chalicelib.storage.recommendation_store import PostgresRecommendationStore

pytestmark = pytest.mark.slow

ADD = text(
    """
    INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content,
        completed, is_correct, actual_time_seconds, answer_index, predicted_correct, predicted_time_seconds,
        predicted_time_low, predicted_time_high, prediction_source, completed_at, created_at)
    SELECT gen_random_uuid(), 'ada', 's', 's', :topic, :topic, 'easy', '?', true, :correct,
        CAST(:seconds AS double precision), n, CAST(:predicted AS double precision), :expected, 0, :expected, :source,
        CAST(:at AS timestamptz), CAST(:at AS timestamptz) - interval '1 hour'
    FROM generate_series(1, :n) n
    """
)
TIMES = st.sampled_from([None, 0.0, 5e-324, 1e-300, 0.001, 86_400.0])
PROBABILITIES = st.sampled_from([0.0, 5e-324, 1e-200, 0.5, 1 - 1e-16, 1.0])
ANSWERS = st.fixed_dictionaries(
    {
        "topic": st.sampled_from(["a", "b"]),
        "correct": st.booleans(),
        "seconds": TIMES,
        "predicted": PROBABILITIES,
        "expected": st.sampled_from([0, 1, 86_400, 2**31 - 1]),
        "source": st.sampled_from(["default", "lnirt", "embedding"]),
        "at": st.sampled_from(["1970-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "9999-12-30T00:00:00Z"]),
        "n": st.sampled_from([1, 2, 6_000]),
    }
)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO users (id) VALUES ('ada')"))
    yield engine
    engine.dispose()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(ANSWERS, min_size=1, max_size=4))
def test_no_figure_fails_whatever_the_answers(engine: Engine, answers: list[dict[str, object]]) -> None:
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM practice_tasks"))
        for answer in answers:
            connection.execute(ADD, answer)
    store = PostgresAnalyticsStore(engine, "default")
    store.totals("ada")
    store.days("ada", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)])
    store.topics("ada", analytics.MASTERY_DECAY_ANSWERS, 100)
    store.calibration("ada", 10)
    store.calibration(None, 10)
    store.latest_predicted("ada", 100)
    store.drift(1_000, 100, 10)
    PostgresRecommendationStore(engine, "default").topics("eve", None, 40, 50)


def test_a_time_that_was_not_measured_counts_in_no_statistic(engine: Engine) -> None:
    with engine.connect() as connection:
        for seconds in (0.0, 0.0, 0.0, 40.0, 40.0, None, 5e-324):
            connection.execute(
                ADD,
                {"topic": "a", "correct": True, "seconds": seconds, "predicted": 0.5, "expected": 40, "n": 1}
                | {"source": "lnirt", "at": "2026-01-01T00:00:00Z"},
            )
    store = PostgresAnalyticsStore(engine, "default")
    totals = store.totals("ada")
    assert (totals.mean_time_seconds, totals.median_time_seconds, totals.total_time_seconds) == (40.0, 40.0, 80.0)
    (topic,) = store.topics("ada", 8.0, 9)
    assert (topic.median_time_seconds, topic.mean_log_time_ratio) == (40.0, 0.0)
