"""No request reads more of a student's history than it answers with, however long the history is.

Each statement is looked at twice: as PostgreSQL plans it for the values at hand, and as it plans it once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pg8000.native import literal
from sqlalchemy import Engine, event

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.features.items import ANSWERS_COUNTED
from chalicelib.ports import TaskFilter
from chalicelib.storage.analytics_store import PostgresAnalyticsStore
from chalicelib.storage.database import connect
from chalicelib.storage.prepared import _numbered
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import PostgresTracker

pytestmark = pytest.mark.slow

PAGE = 11
SMALL = ("embedding_model_tracker", "webhook_receivers")
"""Tables of a few rows."""
MODES = ("force_custom_plan", "force_generic_plan")
NOW = datetime.now(UTC)

_FILL = (
    "INSERT INTO users (id, n_answers) SELECT 'student-' || n, 10000 FROM generate_series(0, 5000) n",
    # student-0 completed 10,000 tasks, the others 10 each.
    """
    INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, item_key,
        completed, is_correct, answer_index, predicted_correct, predicted_time_seconds, prediction_source, created_at,
        completed_at)
    SELECT gen_random_uuid(), 'student-' || greatest(0, n / 10), 'Math', 'math', 'T', 'topic ' || abs(n) % 25, 'easy',
        '?', 17, true, true, abs(n), 0.5, 60, 'default', now() - abs(n) * interval '1 minute',
        now() - abs(n) * interval '1 minute' + interval '20 seconds'
    FROM generate_series(-9990, 2999) n
    """,
    """
    INSERT INTO practice_state (user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds,
        sum_sq_log_seconds, first_index, last_index, last_correct, decayed)
    SELECT 'student-' || n, 'topic ' || t, 1, 1, 1, 1, 0, 0, 0, 0, true, decode(repeat('00', 128), 'hex')
    FROM generate_series(0, 300) n, generate_series(0, 24) t
    """,
    "INSERT INTO tracker_shards SELECT 'cohort ' || n, s, 1 FROM generate_series(0, 300) n, generate_series(0, 31) s",
    "INSERT INTO student_usage SELECT 'student-' || n, 0, 0, 0 FROM generate_series(0, 5000) n",
    "ANALYZE",
)


@pytest.fixture(scope="module")
def engine(postgres_server: Any) -> Iterator[Engine]:
    from infra.local import postgres
    from tests.support.servers import TEMPLATE_DATABASE

    postgres.create_database(postgres_server, "plans", TEMPLATE_DATABASE)
    engine = connect(postgres_server.url("plans"), pool_size=2)
    with engine.connect() as connection:
        for query in _FILL:
            connection.exec_driver_sql(query)
    yield engine
    engine.dispose()
    postgres.drop_database(postgres_server, "plans")


@pytest.fixture
def sent(engine: Engine) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """The statements with parameters from now on."""
    statements: list[tuple[str, tuple[Any, ...]]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: tuple[Any, ...], *_: object) -> None:
        if parameters:
            statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def store(engine: Engine) -> PostgresTaskStore:
    return PostgresTaskStore(engine, "default")


def nodes(engine: Engine, statement: str, parameters: tuple[Any, ...], mode: str, options: str) -> list[dict[str, Any]]:
    """All steps of the plan of a statement."""
    values = ", ".join(f"'\\x{v.hex()}'" if isinstance(v, bytes) else literal(v) for v in parameters)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SET plan_cache_mode = {mode}")
        connection.exec_driver_sql(f"PREPARE looked_at AS {_numbered(statement)}")
        try:
            plan = connection.exec_driver_sql(
                f"EXPLAIN ({options}FORMAT JSON) EXECUTE looked_at({values})"
            ).scalar_one()
        finally:
            connection.exec_driver_sql("DEALLOCATE looked_at")
            connection.exec_driver_sql("RESET plan_cache_mode")
    found, left = [], [plan[0]["Plan"]]
    while left:
        node = left.pop()
        found.append(node)
        left += node.get("Plans", [])
    return found


def rows_read(found: list[dict[str, Any]]) -> float:
    scans = [node for node in found if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan"]
    assert scans
    return float(sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in scans))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", [None, (NOW, "00000000-0000-0000-0000-000000000000")])
@pytest.mark.parametrize(
    "requested",
    [
        TaskFilter(),
        TaskFilter(subject="math"),
        TaskFilter(subject="physics"),
        TaskFilter(topic="topic 3"),
        TaskFilter(topic="unknown"),
        TaskFilter(completed=True),
        TaskFilter(completed=False),
        TaskFilter(subject="math", completed=False),
        TaskFilter(topic="topic 3", completed=False),
        TaskFilter(subject="math", topic="topic 3", completed=True),
    ],
    ids=str,
)
def test_a_page_reads_what_it_shows(
    engine: Engine,
    store: PostgresTaskStore,
    sent: list[tuple[str, tuple[Any, ...]]],
    requested: TaskFilter,
    before: tuple[datetime, str] | None,
    mode: str,
) -> None:
    store.page("student-0", requested, PAGE, before, 1_000_000)
    ((statement, parameters),) = sent
    assert rows_read(nodes(engine, statement, parameters, mode, "ANALYZE, ")) <= PAGE


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "request_of",
    [lambda analytics: analytics.latest_predicted("student-0", PAGE), lambda analytics: analytics.drift(PAGE, 5, 10)],
    ids=["latest predicted", "drift"],
)
def test_figures_of_the_newest_answers_read_no_more_than_those(
    engine: Engine,
    sent: list[tuple[str, tuple[Any, ...]]],
    request_of: Callable[[PostgresAnalyticsStore], object],
    mode: str,
) -> None:
    request_of(PostgresAnalyticsStore(engine, "default"))
    ((statement, parameters),) = sent
    found = nodes(engine, statement, parameters, mode, "ANALYZE, ")
    assert [
        node["Node Type"] for node in found if "Scan" in node["Node Type"] and "Index" not in node["Node Type"]
    ] in (
        [],
        ["Subquery Scan"],
    )
    assert rows_read([node for node in found if "Index" in node["Node Type"]]) <= PAGE + 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("item", "n"), [(None, 0), (17, ANSWERS_COUNTED), (18, 0)])
def test_a_prediction_reads_the_newest_answers_on_its_item(
    engine: Engine,
    store: PostgresTaskStore,
    sent: list[tuple[str, tuple[Any, ...]]],
    item: int | None,
    n: int,
    mode: str,
) -> None:
    store.prediction_context("student-0", item)
    ((statement, parameters),) = sent
    found = nodes(engine, statement, parameters, mode, "ANALYZE, ")
    assert sum(node["Actual Rows"] for node in found if node.get("Relation Name") == "practice_tasks") == n
    assert sum(node.get("Rows Removed by Filter", 0) for node in found) == 0


def create(store: PostgresTaskStore) -> str:
    task = NewTask("Math", "topic 3", Difficulty.EASY, "?")
    return store.insert("student-0", task, DEFAULT_PREDICTION).id


def complete(store: PostgresTaskStore) -> object:
    return store.complete("student-0", create(store), Result(True, 20.0), None, TrainingPolicy(5, 10))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "request_of",
    [
        create,
        complete,
        lambda store: store.prediction_context("student-0"),
        lambda store: store.newest_of_subject("student-0", "math"),
    ],
    ids=["create", "complete", "prediction", "newest of a subject"],
)
def test_no_request_goes_through_a_whole_table(
    engine: Engine,
    store: PostgresTaskStore,
    sent: list[tuple[str, tuple[Any, ...]]],
    request_of: Callable[[PostgresTaskStore], object],
    mode: str,
) -> None:
    PostgresTracker(engine).read("default")
    sent.clear()
    request_of(store)
    whole = [
        node["Relation Name"]
        for statement, parameters in list(sent)
        for node in nodes(engine, statement, parameters, mode, "")
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] not in SMALL
    ]
    assert whole == []


@pytest.mark.parametrize("mode", MODES)
def test_newest_served_answers_are_found_by_indexes(
    engine: Engine, sent: list[tuple[str, tuple[Any, ...]]], mode: str
) -> None:
    PostgresAnalyticsStore(engine, "default").newest_served(PAGE)
    ((statement, parameters),) = sent
    found = nodes(engine, statement, parameters, mode, "ANALYZE, ")
    tasks = [node for node in found if node.get("Relation Name") == "practice_tasks"]
    assert tasks
    assert all("Index" in node["Node Type"] for node in tasks)
    assert rows_read(tasks) <= 2 * PAGE + 2
