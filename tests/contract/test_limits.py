"""The counts of limits, and what a student has stored, in memory and in PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib.domain.limits import NO_GROWTH, Limit, Usage
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import TrainingPolicy
from tests.support.waiting import wait_for

from .conftest import Stores

HOUR, MOMENT = Limit("hour", 3_600, "{}"), Limit("moment", 1, "{}")
ANOTHER_PROCESS = """
import sys
from chalicelib.domain.errors import LimitError
from chalicelib.domain.limits import Limit
from chalicelib.services.limits import Limiter
from chalicelib.storage.database import connect
from chalicelib.storage.limit_store import PostgresLimitCounts

limiter = Limiter(PostgresLimitCounts(connect(sys.argv[1])), {"hour": 10})
n = 0
try:
    while n < 100:
        limiter.count((Limit("hour", 3_600, "{}"), "ada"))
        n += 1
except LimitError:
    pass
print(n)
"""


def create(stores: Stores, topic: str, text: str = "?", growth: Usage = NO_GROWTH) -> str:
    new = NewTask("Math", topic, Difficulty.EASY, text)
    return stores.tasks.insert("ada", new, DEFAULT_PREDICTION, growth=growth).id


def test_a_count_belongs_to_its_limit_and_its_account(stores: Stores) -> None:
    assert stores.counts.read(HOUR, "ada") == (0, 0.0)
    assert stores.counts.add(HOUR, "ada", 1)[0] == 1
    n, seconds = stores.counts.add(HOUR, "ada", 20)
    assert n == 21
    assert 3_590 < seconds <= 3_600
    assert stores.counts.add(MOMENT, "ada", 1)[0] == 1
    assert stores.counts.add(HOUR, "eve", 1)[0] == 1
    assert stores.counts.read(HOUR, "ada")[0] == 21


def test_a_count_begins_again_after_its_time(stores: Stores) -> None:
    stores.counts.add(MOMENT, "ada", 5)
    wait_for(lambda: stores.counts.read(MOMENT, "ada") == (0, 0.0), what="the end of a second")
    n, seconds = stores.counts.add(MOMENT, "ada", 1)
    assert n == 1
    assert 0 < seconds <= 1


def test_pruning_keeps_what_still_counts(stores: Stores) -> None:
    stores.counts.add(HOUR, "ada", 5)
    stores.counts.prune()
    assert stores.counts.read(HOUR, "ada")[0] == 5


@pytest.mark.slow
def test_processes_count_together(database_url: str) -> None:
    command = [sys.executable, "-c", ANOTHER_PROCESS, database_url]
    root = Path(__file__).resolve().parents[2]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    assert sum(int(process.communicate(timeout=60)[0]) for process in running) == 10


def test_what_is_stored_is_an_upper_bound_until_it_is_counted(stores: Stores) -> None:
    first = create(stores, "Algebra", "é")
    assert stores.tasks.prediction_context("ada").usage is None
    assert stores.tasks.count_usage("ada", topic_key("Math", "Algebra")) == Usage(1, 1, 2, knows_topic=True)
    assert stores.tasks.count_usage("ada", topic_key("Physics", "Algebra")) == Usage(1, 1, 2)
    create(stores, "Algebra", "12345", Usage(1, 0, 5))
    create(stores, "Geometry", "1", Usage(1, 1, 1))
    assert stores.tasks.prediction_context("ada").usage == Usage(3, 2, 8)
    stores.tasks.complete("ada", first, Result(True, 3.0), None, TrainingPolicy(5, 10))
    stores.tasks.edit("ada", first, {"task_content": "123", "answer_content": "45"}, None, growth=Usage(0, 0, 5))
    assert stores.tasks.prediction_context("ada").usage == Usage(3, 2, 13)
    create(stores, "Geometry", "1")
    assert stores.tasks.prediction_context("ada").usage == Usage(3, 2, 13)
    assert stores.tasks.count_usage("ada", None) == Usage(3, 2, 12)
    assert stores.tasks.prediction_context("ada").usage == Usage(3, 2, 12)


def test_a_new_topic_of_an_open_task_counts(stores: Stores) -> None:
    task_id = create(stores, "Algebra")
    stores.tasks.count_usage("ada", None)
    stores.tasks.edit("ada", task_id, {"topic": "Geometry"}, DEFAULT_PREDICTION, growth=Usage(0, 1, 0))
    assert stores.tasks.prediction_context("ada").usage == Usage(1, 2, 1)


def test_an_erased_student_has_stored_nothing(stores: Stores) -> None:
    stores.users.add("ada", "ada@example.org", None)
    create(stores, "Algebra")
    stores.tasks.count_usage("ada", None)
    stores.users.erase("ada")
    assert stores.tasks.count_usage("ada", None) == Usage(0, 0, 0)
