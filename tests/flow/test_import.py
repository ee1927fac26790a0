"""The import of history into PostgreSQL: its result, repetition, interruption and concurrency."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, text

from chalicelib.domain.items import item_of, key_of_id
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.topics import joined_key
from chalicelib.domain.training import TrainingPolicy
from chalicelib.features.state import Answer, replay
from chalicelib.storage.database import connect
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.user_store import PostgresUserStore
from evaluation import simulator
from evaluation.simulator import SimulatedAnswer
from ops.imports import importer
from ops.imports.importer import import_file
from ops.imports.report import ImportReport
from ops.imports.source import UnusableFileError
from ops.imports.store import UnknownImportError, history_store
from tests.support.histories import rows_by_key
from training_job.history.snapshot import read_snapshot

pytestmark = pytest.mark.slow

NOW = datetime(2026, 6, 1, tzinfo=UTC)
POLICY = TrainingPolicy(threshold=5, minimum_samples=10)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


def load(engine: Engine, path: Path) -> ImportReport:
    return import_file(engine, "default", path, NOW, lambda _: None)


def load_text(engine: Engine, tmp_path: Path, content: str, now: datetime = NOW) -> ImportReport:
    path = tmp_path / "text.csv"
    path.write_text(content)
    return import_file(engine, "default", path, now, lambda _: None)


def load_answers(engine: Engine, tmp_path: Path, answers: Iterable[SimulatedAnswer]) -> ImportReport:
    path = tmp_path / "answers.csv"
    simulator.write_csv(answers, path)
    return load(engine, path)


def query(engine: Engine, sql: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def contents(engine: Engine) -> list[list[tuple[object, ...]]]:
    """Everything that an import stores, except what depends on the time of the import."""
    return [
        query(engine, "SELECT id, n_answers, email FROM users ORDER BY id"),
        query(engine, "SELECT id::text, user_id, answer_index, completed_at FROM practice_tasks ORDER BY 1"),
        query(engine, "SELECT * FROM practice_state ORDER BY 1, 2, 3"),
        query(engine, "SELECT n_samples_total, n_samples_since_training FROM embedding_model_tracker"),
    ]


def assert_state_is_replayed_history(engine: Engine, user: str) -> None:
    history = query(
        engine,
        "SELECT subject_key, topic_key, difficulty_numeric, is_correct, actual_time_seconds, completed_at "
        "FROM practice_tasks "
        f"WHERE user_id = '{user}' AND completed ORDER BY answer_index",
    )
    expected = replay(user, (Answer(joined_key(*values[:2]), *values[2:]) for values in history))  # type: ignore[arg-type]
    found = PostgresTaskStore(engine, "default").prediction_context(user).state
    assert found.n_answers == expected.n_answers == len(history)
    assert rows_by_key(found).keys() == rows_by_key(expected).keys()
    for key, row in rows_by_key(found).items():
        replayed = rows_by_key(expected)[key]
        sums = ("sum_log_seconds", "sum_sq_log_seconds", "decayed")
        assert replace(row, **{name: getattr(replayed, name) for name in sums}) == replayed
        for name in sums:
            np.testing.assert_allclose(getattr(row, name), getattr(replayed, name), rtol=1e-12, atol=1e-12)


def test_answers_become_completed_tasks_users_and_samples(engine: Engine, tmp_path: Path) -> None:
    report = load_text(
        engine,
        tmp_path,
        "user_id,topic,is_correct,subject,difficulty,actual_time_seconds,completed_at\n"
        "ada, Algebra ,1,Maths,hard,30,2026-01-02T03:04:05.000006Z\n",
    )
    assert (report.added, report.bad, report.new_users) == (1, 0, 1)
    assert query(engine, "SELECT id, email, n_answers FROM users") == [("ada", None, 1)]
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert query(
        engine,
        "SELECT subject, subject_key, topic, topic_key, difficulty, difficulty_numeric, completed, is_correct, "
        "actual_time_seconds, completed_at, created_at, updated_at, answer_index FROM practice_tasks",
    ) == [("Maths", "maths", " Algebra ", "algebra", "hard", 3, True, True, 30.0, at, at, at, 0)]
    assert query(
        engine,
        "SELECT predicted_correct, predicted_time_seconds, prediction_source, model_version, lnirt_model_version "
        "FROM practice_tasks",
    ) == [(0.5, 60, "default", None, "fallback_default")]


def test_an_answer_is_on_the_item_of_its_file(engine: Engine, tmp_path: Path) -> None:
    load_text(engine, tmp_path, "user_id,topic,is_correct,problem_id\nada,t,1,q\\1\nada,t,0,Q\\1\nada,t,1,\n")
    assert query(engine, "SELECT item_id, item_key FROM practice_tasks ORDER BY answer_index") == [
        ("q\\1", key_of_id("q\\1")),
        ("Q\\1", key_of_id("q\\1")),
        (None, None),
    ]
    found = PostgresTaskStore(engine, "default").prediction_context("ada", key_of_id("q\\1")).item
    assert (found.attempts, found.correct, found.last_index) == (2, 1, 1)


def test_a_file_without_items_can_be_imported_again_with_them(engine: Engine, tmp_path: Path) -> None:
    rows = ["user_id,topic,is_correct,item", "ada,t,1,a", "ada,t,1,b"]
    load_text(engine, tmp_path, "\n".join(row.rpartition(",")[0] for row in rows))
    assert load_text(engine, tmp_path, "\n".join(rows)).already_there == 2


def test_the_same_topic_of_two_subjects_has_two_states(engine: Engine, tmp_path: Path) -> None:
    rows = "ada,Chapter 1,1,History\nada,Chapter 1,0,Biology\nada,chapter 1,1,HISTORY\nada,Chapter 1,1,\n"
    load_text(engine, tmp_path, f"user_id,topic,is_correct,subject\n{rows}")
    assert query(engine, "SELECT topic, attempts, correct FROM practice_state ORDER BY topic") == [
        ("biology\x1fchapter 1", 1, 0),
        ("general\x1fchapter 1", 1, 1),
        ("history\x1fchapter 1", 2, 2),
    ]
    assert_state_is_replayed_history(engine, "ada")
    learnt = read_snapshot(engine, "default").table
    answers = [(learnt.topics[code], bool(right)) for code, right in zip(learnt.topic, learnt.is_correct, strict=True)]
    assert answers == [
        ("history\x1fchapter 1", True),
        ("biology\x1fchapter 1", False),
        ("history\x1fchapter 1", True),
        ("general\x1fchapter 1", True),
    ]


def test_imported_answers_do_not_count_towards_a_training(engine: Engine, tmp_path: Path) -> None:
    load_answers(engine, tmp_path, simulator.history(40))
    tracker = PostgresTracker(engine).read("default")
    assert (tracker.n_samples_total, tracker.n_samples_since_training) == (40, 0)
    assert tracker.training_request_id is None


def test_the_state_equals_a_replay_of_the_answers(engine: Engine, tmp_path: Path) -> None:
    load_answers(engine, tmp_path, simulator.history(300, n_users=3))
    for (user,) in query(engine, "SELECT id FROM users"):
        assert_state_is_replayed_history(engine, str(user))


def test_a_repeated_import_adds_nothing(engine: Engine, tmp_path: Path) -> None:
    answers = simulator.history(200)
    load_answers(engine, tmp_path, answers)
    before = contents(engine)
    again = load_answers(engine, tmp_path, answers)
    assert (again.added, again.already_there, again.new_users) == (0, 200, 0)
    assert contents(engine) == before


def test_positions_order_the_rows_of_a_user(engine: Engine, tmp_path: Path) -> None:
    answers = simulator.history(120)
    random.Random(1).shuffle(answers)
    load_answers(engine, tmp_path, answers)
    assert query(
        engine,
        "SELECT count(*) FROM (SELECT completed_at < lag(completed_at) OVER "
        "(PARTITION BY user_id ORDER BY answer_index) AS back FROM practice_tasks) t WHERE back",
    ) == [(0,)]


def test_time_orders_rows_without_positions(engine: Engine, tmp_path: Path) -> None:
    load_text(
        engine,
        tmp_path,
        "user_id,topic,is_correct,completed_at\nu,third,1,2026-01-03\nu,first,1,2026-01-01\nv,one,1,\nv,two,1,\n",
    )
    assert query(engine, "SELECT user_id, topic FROM practice_tasks ORDER BY user_id, answer_index") == [
        ("u", "first"),
        ("u", "third"),
        ("v", "one"),
        ("v", "two"),
    ]


def test_an_unknown_time_stays_unknown(engine: Engine, tmp_path: Path) -> None:
    load_text(engine, tmp_path, "user_id,topic,is_correct\n" + "".join(f"u,t{n},1\n" for n in range(9)))
    assert query(engine, "SELECT DISTINCT completed_at FROM practice_tasks") == [(None,)]
    assert query(engine, "SELECT DISTINCT last_at FROM practice_state") == [(None,)]
    assert query(engine, "SELECT topic FROM practice_tasks ORDER BY created_at") == [(f"t{n}",) for n in range(9)]


def test_a_longer_version_of_a_file_adds_only_new_answers(engine: Engine, tmp_path: Path) -> None:
    answers = simulator.history(150)
    load_answers(engine, tmp_path, answers[:100])
    report = load_answers(engine, tmp_path, answers)
    assert (report.added, report.already_there) == (50, 100)
    for (user,) in query(engine, "SELECT id FROM users"):
        assert_state_is_replayed_history(engine, str(user))


def test_identical_rows_are_separate_answers(engine: Engine, tmp_path: Path) -> None:
    content = "user_id,topic,is_correct\n" + "u,t,1\n" * 3
    assert load_text(engine, tmp_path, content).added == 3
    assert load_text(engine, tmp_path, content + "u,t,1\n").added == 1


def test_names_are_stored_as_written(engine: Engine, tmp_path: Path) -> None:
    names = ["back\\slash", "x\\N", "\\.", "sharp \u00df", "e\u0301", "100%", "it's"]
    load_text(engine, tmp_path, "user_id,topic,is_correct\n" + "".join(f"{n},{n},1\n" for n in names))
    assert {row[0] for row in query(engine, "SELECT topic FROM practice_tasks")} == set(names)
    assert {row[0] for row in query(engine, "SELECT id FROM users")} == set(names)
    load_text(engine, tmp_path, "user_id,topic,is_correct\n" + "".join(f"{n},{n},0\n" for n in names))
    for name in (names[0], names[1], names[4]):
        assert_state_is_replayed_history(engine, name)


def test_an_account_keeps_its_earlier_answers(engine: Engine, tmp_path: Path) -> None:
    PostgresUserStore(engine, "default").add("ada", "ada@example.com", "Ada")
    store = PostgresTaskStore(engine, "default")
    task = store.insert("ada", NewTask("Maths", "algebra", Difficulty.MEDIUM, "?"), DEFAULT_PREDICTION)
    store.complete("ada", task.id, Result(True, 20), None, POLICY)
    report = load_text(engine, tmp_path, "user_id,topic,is_correct\nada,Algebra,0\nada,Geometry,1\n")
    assert (report.added, report.new_users) == (2, 0)
    assert query(engine, "SELECT email, n_answers FROM users") == [("ada@example.com", 3)]
    assert_state_is_replayed_history(engine, "ada")


def test_an_import_keeps_the_first_index_of_a_topic(engine: Engine, tmp_path: Path) -> None:
    content = "user_id,topic,is_correct\nada,algebra,1\nada,geometry,1\nada,algebra,0\n"
    load_text(engine, tmp_path, content)
    load_text(engine, tmp_path, content + "ada,geometry,0\nada,statistics,1\nada,algebra,1\n")
    assert query(engine, "SELECT topic, first_index, last_index FROM practice_state ORDER BY topic") == [
        ("general\x1falgebra", 0, 5),
        ("general\x1fgeometry", 1, 3),
        ("general\x1fstatistics", 4, 4),
    ]
    assert_state_is_replayed_history(engine, "ada")


def test_an_import_stores_the_last_outcome_of_a_topic(engine: Engine, tmp_path: Path) -> None:
    content = "user_id,topic,is_correct\nada,algebra,1\nada,geometry,0\nada,statistics,1\n"
    load_text(engine, tmp_path, content)
    load_text(engine, tmp_path, content + "ada,algebra,0\nada,geometry,1\n")
    assert query(engine, "SELECT topic, last_correct FROM practice_state ORDER BY topic") == [
        ("general\x1falgebra", False),
        ("general\x1fgeometry", True),
        ("general\x1fstatistics", True),
    ]
    assert_state_is_replayed_history(engine, "ada")


def test_rows_of_a_deleted_account_are_refused(engine: Engine, tmp_path: Path) -> None:
    PostgresUserStore(engine, "default").add("gone", "gone@example.com", None)
    PostgresUserStore(engine, "default").erase("gone")
    report = load_text(engine, tmp_path, "user_id,topic,is_correct\ngone,t,1\nhere,t,1\n")
    (reason, rows) = next(iter(report.refused.items()))
    assert (reason, str(rows)) == ("user_id is an account that was deleted", "line 2 'gone'")
    assert (report.bad, report.added) == (1, 1)
    assert query(engine, "SELECT count(*) FROM practice_tasks WHERE user_id = 'gone'") == [(0,)]


def test_small_batches_store_the_same_as_a_large_one(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "BATCH_ROWS", 30)
    assert load_answers(engine, tmp_path, simulator.history(200, n_users=9)).added == 200
    for (user,) in query(engine, "SELECT id FROM users"):
        assert_state_is_replayed_history(engine, str(user))


def test_an_interrupted_import_can_be_repeated(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = simulator.history(200, n_users=9)
    monkeypatch.setattr(importer, "BATCH_ROWS", 30)

    def interrupt(report: ImportReport) -> None:
        if report.processed > 60:
            raise KeyboardInterrupt

    simulator.write_csv(answers, tmp_path / "answers.csv")
    with pytest.raises(KeyboardInterrupt):
        import_file(engine, "default", tmp_path / "answers.csv", NOW, interrupt)
    half = query(engine, "SELECT n_samples_total FROM embedding_model_tracker")[0][0]
    report = load_answers(engine, tmp_path, answers)
    assert report.already_there == half
    assert 0 < report.added < 200
    assert query(engine, "SELECT n_samples_total FROM embedding_model_tracker") == [(200,)]
    for (user,) in query(engine, "SELECT id FROM users"):
        assert_state_is_replayed_history(engine, str(user))


def test_concurrent_imports_of_a_file_add_it_once(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    simulator.write_csv(simulator.history(2_000, n_users=40), path)
    reports: list[ImportReport] = []
    _side_by_side([lambda: reports.append(load(engine, path))] * 2)
    assert sum(report.added for report in reports) == 2_000
    assert query(engine, "SELECT count(*) FROM practice_tasks") == [(2_000,)]
    assert query(engine, "SELECT n_samples_total FROM embedding_model_tracker") == [(2_000,)]


def test_completions_during_an_import_are_not_lost(engine: Engine, tmp_path: Path) -> None:
    answers = simulator.history(3_000, n_users=2)
    user = answers[0].user_id
    load_answers(engine, tmp_path, answers[:2])
    path = tmp_path / "rest.csv"
    simulator.write_csv(answers[2:], path)
    store = PostgresTaskStore(engine, "default")
    task = NewTask("Mathematics", "Algebra", Difficulty.HARD, "?")

    def practise() -> None:
        for n in range(30):
            made = store.insert(user, task, DEFAULT_PREDICTION)
            store.complete(user, made.id, Result(n % 3 > 0, n), None, POLICY)

    _side_by_side([practise, practise, lambda: load(engine, path)])
    tracker = PostgresTracker(engine).read("default")
    assert (tracker.n_samples_total, tracker.n_samples_since_training) == (3_060, 60)
    assert_state_is_replayed_history(engine, user)


def test_older_answers_are_placed_before_newer_ones(engine: Engine, tmp_path: Path) -> None:
    header = "user_id,topic,is_correct,completed_at\n"
    load_text(engine, tmp_path, header + "u,new,0,2026-02-01\nu,new,0,2026-02-02\n")
    load_text(engine, tmp_path, header + "u,old,1,2024-03-01\nu,between,1,2026-02-01T12:00:00Z\nu,new,1,2024-03-02\n")
    assert query(engine, "SELECT topic, answer_index FROM practice_tasks ORDER BY answer_index") == [
        ("old", 0),
        ("new", 1),
        ("new", 2),
        ("between", 3),
        ("new", 4),
    ]
    assert_state_is_replayed_history(engine, "u")


def test_a_dry_run_reports_and_stores_nothing(engine: Engine, tmp_path: Path) -> None:
    load_text(engine, tmp_path, "user_id,topic,is_correct\nu,t,1\n")
    before = contents(engine)
    path = tmp_path / "more.csv"
    path.write_text("user_id,topic,is_correct\nu,t,1\nv,t,0\n")
    report = import_file(engine, "default", path, NOW, lambda _: None, dry_run=True)
    assert (report.added, report.already_there, report.new_users, report.import_id) == (1, 1, 1, None)
    assert "1 answer would be added" in report.summary()
    assert contents(engine) == before
    assert query(engine, "SELECT count(*) FROM imports") == [(1,)]


def test_an_import_can_be_taken_back(engine: Engine, tmp_path: Path) -> None:
    PostgresUserStore(engine, "default").add("ada", "ada@example.com", "Ada")
    first = load_text(engine, tmp_path, "user_id,topic,is_correct\nada,t,1\nu,t,1\n")
    second = load_text(engine, tmp_path, "user_id,topic,is_correct\nada,t,0\nada,s,0\nv,t,1\n")
    assert first.import_id is not None
    with history_store(engine, "default") as store:
        assert store.undo(first.import_id) == 2
        with pytest.raises(UnknownImportError, match="no import"):
            store.undo(first.import_id)
        assert [(record.added, record.undone_at is None) for record in store.imports()] == [(2, False), (3, True)]
    assert query(engine, "SELECT id, n_answers FROM users ORDER BY id") == [("ada", 2), ("v", 1)]
    assert query(engine, "SELECT n_samples_total FROM embedding_model_tracker") == [(3,)]
    assert_state_is_replayed_history(engine, "ada")
    assert second.added == 3


def test_a_file_replaces_an_import_only_if_it_can_be_read(engine: Engine, tmp_path: Path) -> None:
    first = load_text(engine, tmp_path, "user_id,topic,is_correct\nu,t,1\nu,t,1\n")
    path = tmp_path / "corrected.csv"
    for content, n_answers in (("user_id,topic\nu,t\n", 2), ("user_id,topic,is_correct\nu,t,0\n", 1)):
        path.write_text(content)
        with suppress(UnusableFileError):
            import_file(engine, "default", path, NOW, lambda _: None, replaced=first.import_id)
        assert query(engine, "SELECT n_answers FROM users") == [(n_answers,)]


def test_an_address_means_the_account_with_it(engine: Engine, tmp_path: Path) -> None:
    PostgresUserStore(engine, "default").add("id-1", "Ada@Example.com", "Ada")
    report = load_text(
        engine, tmp_path, "user_id,topic,is_correct\nada@example.COM,t,1\nbob@example.com,t,1\n@ada,t,1\n"
    )
    assert (report.added, report.bad) == (2, 1)
    assert query(engine, "SELECT id, n_answers FROM users ORDER BY id") == [("@ada", 1), ("id-1", 1)]
    assert "e-mail address without an account" in next(iter(report.refused))


OWN = "id,user_id,subject,topic,difficulty,task_content,completed,completed_at,is_correct,created_at\n"


def test_a_list_of_own_tasks_adds_nothing_where_it_came_from(engine: Engine, tmp_path: Path) -> None:
    PostgresUserStore(engine, "default").add("ada", "ada@example.com", "Ada")
    store = PostgresTaskStore(engine, "default")
    new = NewTask("None", "two\nlines", Difficulty.HARD, '"quoted", \\N')
    task = store.insert("ada", new, DEFAULT_PREDICTION)
    store.complete("ada", task.id, Result(True, 0), None, POLICY)
    assert store.prediction_context("ada", item_of(new)).item.attempts == 1
    row = query(engine, "SELECT completed_at, created_at FROM practice_tasks")[0]
    line = f'{task.id},%s,None,"two\nlines",hard,"""quoted"", \\N",True,{row[0]},True,{row[1]}\n'
    now = datetime.now(UTC)
    mine = load_text(engine, tmp_path, OWN + line % "ada", now)
    assert (mine.added, mine.already_there, mine.bad) == (0, 1, 0)
    assert load_text(engine, tmp_path, OWN + line % "bob", now).added == 1
    assert load_text(engine, tmp_path, OWN + line % "bob", now).already_there == 1
    assert query(engine, "SELECT DISTINCT subject, topic, task_content, completed_at FROM practice_tasks") == [
        ("None", "two\nlines", '"quoted", \\N', row[0])
    ]
    assert store.prediction_context("bob", item_of(new)).item.attempts == 1


def _side_by_side(works: Sequence[object]) -> None:
    """Run functions in threads, and raise the first exception of one."""
    errors: list[BaseException] = []

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
