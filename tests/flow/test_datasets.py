"""The copy of a cohort's answers in S3, against the tables: after every kind of change, and when files are lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage import completion
from chalicelib.storage.aws import aws_client
from chalicelib.storage.cohort_store import PostgresCohorts
from chalicelib.storage.database import connect, transaction
from chalicelib.storage.dataset_store import ABANDONED_AFTER, UNUSED_AFTER, Manifest, S3DatasetStore
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.user_store import PostgresUserStore
from training_job import datasets
from training_job.history.answers import COLUMN_TYPES, AnswerTable
from training_job.history.snapshot import read_snapshot

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=1_000_000, minimum_samples=10)
N_STUDENTS, OF_EACH = 24, 5


@dataclass
class School:
    """A database with answers, and its dataset."""

    engine: Engine
    store: S3DatasetStore
    client: Any
    bucket: str

    @property
    def tasks(self) -> PostgresTaskStore:
        return PostgresTaskStore(self.engine, "default")

    def sql(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def practise(self, student: str, times: int = 1) -> str:
        task_id = ""
        for n in range(times):
            topic = f"t{(len(student) + n) % 3}"
            task_id = self.tasks.insert(
                student, NewTask("Maths", topic, Difficulty.EASY, f"{n}?"), DEFAULT_PREDICTION
            ).id
            assert self.tasks.complete(student, task_id, Result(n % 2 == 0, 5.0 + n), None, POLICY) is not None
        return task_id

    def read(self) -> tuple[AnswerTable, int]:
        """Read with the dataset; return the number of answers that came from the tables."""
        found = read_snapshot(self.engine, "default", self.store, min_answers=20)
        return found.table, found.rows_read

    def objects(self) -> set[str]:
        listed = self.client.list_object_versions(Bucket=self.bucket, Prefix="datasets/default/")
        assert not listed.get("DeleteMarkers"), "versions of deleted files are left"
        return {entry["Key"].rpartition("/")[2] for entry in listed.get("Versions", [])}

    def manifest(self) -> Manifest:
        manifest, _ = self.store.read_manifest("default")
        assert manifest is not None
        return manifest

    def partitions(self) -> set[str]:
        return self.manifest().objects


@pytest.fixture
def school(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[School]:
    monkeypatch.setattr(datasets, "ANSWERS_OF_PARTITION", 15)
    monkeypatch.setattr(datasets, "STUDENTS_AT_ONCE", 2)
    engine = connect(environment["DATABASE_URL"], pool_size=2)
    client, bucket = aws_client("s3", environment["AWS_REGION"]), environment["REGISTRY_BUCKET"]
    school = School(engine, S3DatasetStore(client, bucket), client, bucket)
    school.sql("INSERT INTO cohorts (name) VALUES ('physics')")
    for n in range(N_STUDENTS):
        school.practise(f"student-{'é' if n % 2 else 'Z'}{n}", OF_EACH)
    yield school
    engine.dispose()


def assert_same(found: AnswerTable, expected: AnswerTable) -> None:
    assert (found.user_ids, found.topics) == (expected.user_ids, expected.topics)
    for name in COLUMN_TYPES:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert {field.name for field in fields(AnswerTable)} == COLUMN_TYPES.keys() | {"user_ids", "topics"}


def answers_of(table: AnswerTable, student: str) -> int:
    return sum(table.user_ids[code] == student for code in table.user)


def excluded(school: School) -> int:
    school.sql("UPDATE users SET excluded_at = now() WHERE id = 'student-Z0'")
    return 0


def included(school: School) -> int:
    school.sql("UPDATE users SET excluded_at = now() WHERE id = 'student-Z0'")
    school.read()
    school.sql("UPDATE users SET excluded_at = NULL WHERE id = 'student-Z0'")
    return OF_EACH


def answered(school: School) -> int:
    school.practise("student-Z0")
    return OF_EACH + 1


def joined_in(school: School) -> int:
    school.practise("a new student", 2)
    return 2


def corrected(school: School) -> int:
    task_id = school.practise("student-Z0")
    school.read()
    school.tasks.complete("student-Z0", task_id, Result(False, 77.0), None, POLICY)
    return OF_EACH + 1


def moved_in_time(school: School) -> int:
    task_id = school.practise("student-Z0")
    school.read()
    result = Result(True, 5.0, datetime(2020, 1, 1, tzinfo=UTC))
    school.tasks.complete("student-Z0", task_id, result, None, POLICY)
    return OF_EACH + 1


def undone(school: School) -> int:
    task_id = school.practise("student-Z0")
    school.read()
    school.tasks.delete("student-Z0", task_id)
    return OF_EACH


def renamed_item(school: School) -> int:
    task_id = school.practise("student-Z0")
    school.read()
    school.tasks.edit("student-Z0", task_id, {"task_content": "another text"}, None)
    return OF_EACH + 1


def erased(school: School) -> int:
    PostgresUserStore(school.engine, "default").erase("student-Z0")
    return 0


def removed_with_its_row(school: School) -> int:
    """As the undo of an import does."""
    school.sql("DELETE FROM practice_tasks WHERE user_id = 'student-Z0'")
    school.sql("DELETE FROM practice_state WHERE user_id = 'student-Z0'")
    school.sql("DELETE FROM student_usage WHERE user_id = 'student-Z0'")
    school.sql("DELETE FROM users WHERE id = 'student-Z0'")
    return 0


def left_the_cohort(school: School) -> int:
    assert PostgresCohorts(school.engine, "default").move(["student-Z0"], "physics") == 1
    return 0


def came_back(school: School) -> int:
    left_the_cohort(school)
    school.read()
    assert PostgresCohorts(school.engine, "default").move(["student-Z0"], "default") == 1
    return OF_EACH


CHANGES: list[Callable[[School], int]] = [
    excluded, included, answered, joined_in, corrected, moved_in_time, undone, renamed_item, erased,
    removed_with_its_row, left_the_cohort, came_back,
]  # fmt: skip


def test_the_answers_are_those_of_the_tables(school: School) -> None:
    direct = read_snapshot(school.engine, "default").table
    first, n_first = school.read()
    again, n_again = school.read()
    assert (n_first, n_again) == (N_STUDENTS * OF_EACH, 0)
    assert len(school.partitions()) == 8
    for table in (first, again):
        assert_same(table, direct)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_reaches_the_dataset(school: School, change: Callable[[School], int]) -> None:
    school.read()
    expected = change(school)
    table, n_read = school.read()
    # Only the answers of the student who changed are read.
    assert n_read == expected
    assert_same(table, read_snapshot(school.engine, "default").table)
    assert school.read()[1] == 0


def test_files_of_an_erased_student_leave_s3(school: School) -> None:
    school.read()
    before = school.partitions()
    PostgresUserStore(school.engine, "default").erase("student-Z0")
    school.read()
    assert len(before - school.partitions()) == 1
    assert school.objects() == school.partitions() | {"manifest.json"}
    for name in school.partitions():
        body = school.client.get_object(Bucket=school.bucket, Key=f"datasets/default/{name}")["Body"].read()
        assert "student-Z0" not in datasets.decoded(body).part.user_ids


@pytest.mark.parametrize("damage", ["lost", "damaged", "manifest"])
def test_a_lost_file_is_made_again(school: School, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    before, _ = school.read()
    name = "manifest.json" if damage == "manifest" else min(school.partitions())
    key = {"Bucket": school.bucket, "Key": f"datasets/default/{name}"}
    if damage == "lost":
        school.client.delete_object(**key)
    else:
        school.client.put_object(**key, Body=b"nonsense")
    with caplog.at_level(logging.WARNING, "studysmart.datasets"):
        table, n_read = school.read()
    assert_same(table, before)
    assert {"lost": "is lost", "damaged": "is damaged", "manifest": "is malformed"}[damage] in caplog.text
    assert 0 < n_read < len(before) if damage != "manifest" else n_read == len(before)
    assert school.read()[1] == 0


def test_the_loser_of_a_race_goes_on(school: School, caplog: pytest.LogCaptureFixture) -> None:
    school.read()
    school.practise("student-Z0")

    class Racing(S3DatasetStore):
        def write(self, *arguments: Any, **values: Any) -> Any:
            """The other training is done while this one writes."""
            if not won:
                won.append(True)
                school.read()
                school.practise("student-é1")
            return super().write(*arguments, **values)

    won: list[bool] = []
    with caplog.at_level(logging.WARNING, "studysmart.datasets"):
        found = read_snapshot(school.engine, "default", Racing(school.client, school.bucket), min_answers=20)
    assert "another training renewed dataset default" in caplog.text
    assert answers_of(found.table, "student-Z0") == OF_EACH + 1
    assert answers_of(found.table, "student-é1") == OF_EACH
    assert school.objects() == school.partitions() | {"manifest.json"}
    table, n_read = school.read()
    assert n_read == OF_EACH + 1
    assert_same(table, read_snapshot(school.engine, "default").table)


def test_a_change_that_commits_late_is_not_missed(school: School) -> None:
    school.read()

    def late(connection: Connection) -> None:
        completion.take_user(connection, "student-Z0")
        connection.execute(text("UPDATE practice_tasks SET item_key = 7 WHERE user_id = 'student-Z0'"))
        school.practise("student-é1")
        # A training sees and keeps the later change first.
        assert school.read()[1] == OF_EACH + 1

    transaction(school.engine, late)
    table, n_read = school.read()
    assert n_read == OF_EACH
    assert_same(table, read_snapshot(school.engine, "default").table)


def test_more_partitions_as_the_cohort_grows(school: School) -> None:
    school.read()
    for n in range(30):
        school.practise(f"later-{n}", 6)
    table, _ = school.read()
    assert len(school.manifest().partitions) == 32
    assert school.objects() == school.partitions() | {"manifest.json"}
    assert_same(table, read_snapshot(school.engine, "default").table)


def test_a_very_large_cohort_is_a_sample_of_its_students(school: School) -> None:
    def sample() -> tuple[AnswerTable, int]:
        found = read_snapshot(school.engine, "default", school.store, min_answers=20, max_answers=60)
        return found.table, found.rows_read

    whole, _ = school.read()
    assert len(whole) == 120
    table, n_read = sample()
    assert n_read == 0, "the answers were in the copy already"
    assert 30 <= len(table) <= 60
    inside = set(table.user_ids)
    assert all(answers_of(table, student) == OF_EACH for student in inside), "histories are whole"
    assert school.objects() == school.partitions() | {"manifest.json"}, "only the sample is kept"
    assert sum(partition.rows for partition in school.manifest().partitions) == len(table)
    outside = next(student for student in whole.user_ids if student not in inside)
    school.practise(outside)
    assert_same(sample()[0], table)
    school.practise(min(inside))
    later, n_read = sample()
    assert (n_read, len(later)) == (OF_EACH + 1, len(table) + 1)
    assert set(later.user_ids) == inside
    # With room for all, all are read again.
    assert_same(school.read()[0], read_snapshot(school.engine, "default").table)


def test_a_partition_is_read_even_if_it_is_too_large(school: School) -> None:
    found = read_snapshot(school.engine, "default", school.store, min_answers=20, max_answers=1)
    assert len(found.table) > 1
    assert len(school.partitions()) == 1


def test_a_cohort_that_shrank_has_no_dataset(school: School) -> None:
    school.read()
    read_snapshot(school.engine, "default", school.store)
    assert school.objects() == set()


def test_what_nobody_renews_is_deleted(school: School) -> None:
    school.read()
    school.client.put_object(Bucket=school.bucket, Key="datasets/default/abandoned.parquet", Body=b"x")
    now = datetime.now(UTC)
    assert school.store.prune("default", now) == 0
    assert school.store.prune("default", now + ABANDONED_AFTER + timedelta(hours=1)) == 1
    assert school.objects() == school.partitions() | {"manifest.json"}
    assert school.store.prune("default", now + UNUSED_AFTER + timedelta(hours=1)) > 1
    assert school.objects() == set()
    assert school.read()[1] == N_STUDENTS * OF_EACH


def test_other_tables_make_the_dataset_again(school: School) -> None:
    """A restored database, or one of an earlier moment, has other times of change."""
    school.read()
    school.sql("UPDATE users SET changed_at = changed_at - interval '1 hour'")
    table, n_read = school.read()
    assert n_read == N_STUDENTS * OF_EACH
    assert_same(table, read_snapshot(school.engine, "default").table)
