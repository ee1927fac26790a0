"""``studysmart doctor`` on real PostgreSQL, S3 and SQS: it finds faults, and raises no false alarm."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.config import settings_from
from chalicelib.domain.items import item_key, item_of
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingRequest
from chalicelib.services import versions
from chalicelib.storage import completion
from chalicelib.storage.aws import aws_client
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.wiring import Container, build
from evaluation import simulator
from ops import cli
from ops.doctor import item_keys
from ops.doctor.checks import Doctor
from ops.doctor.findings import Finding
from ops.doctor.repair import repair
from ops.doctor.store import PostgresDoctorStore
from ops.doctor.students import examine
from tests.support.archives import version_files
from tests.support.waiting import wait_for
from training_job.history.snapshot import read_snapshot

pytestmark = pytest.mark.slow

V1, V2, V3 = "20260101T000000Z-00000001", "20260102T000000Z-00000002", "20260103T000000Z-00000003"
LEVELS = list(Difficulty)


class Clinic:
    """A deployment and its doctor, with methods to use and to break it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.container: Container = build(settings_from(environment))
        self.doctor = Doctor(self.container, second_look_seconds=0.0)

    def sql(self, query: str, **values: Any) -> None:
        with self.container.engine.connect() as connection:
            connection.execute(text(query), values)

    def practise(self, user: str, n: int, *, topics: int = 3) -> list[str]:
        """Create and complete ``n`` tasks; returns their ids."""
        ids = []
        for i in range(n):
            new = NewTask("Math", f"topic {i % topics}", LEVELS[i % 2], "?")
            task = self.container.tasks.insert(user, new, DEFAULT_PREDICTION)
            result = Result(i % 3 != 0, float(10 * (i % 4)))
            self.container.tasks.complete(user, task.id, result, None, self.container.policy)
            ids.append(task.id)
        return ids

    def publish(self, version: str, *, champion: bool = True) -> None:
        files = version_files(version=version)
        del files["metadata.json"]
        registry = self.container.registry
        registry.write_version("default", version, files, {"request_id": str(uuid.uuid4())})
        if champion:
            found = registry.read_champion("default")
            before, etag = found or (None, None)
            registry.write_champion("default", versions.successor(before, version, None), etag)
            self.container.tracker.set_model_version("default", version)

    def put(self, name: str, content: bytes, folder: str = "models/default") -> None:
        """Overwrite an object."""
        s3 = aws_client("s3", self.environment["AWS_REGION"])
        s3.put_object(Bucket=self.environment["REGISTRY_BUCKET"], Key=f"{folder}/{name}", Body=content)

    def waiting(self) -> int:
        """Transactions that wait for a lock."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with self.container.engine.connect() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())

    def findings(self, now: datetime | None = None) -> list[Finding]:
        return self.doctor.examine(now).findings

    def codes(self, now: datetime | None = None) -> list[str]:
        return sorted(finding.kind.code for finding in self.findings(now))

    def repair(self, now: datetime | None = None) -> list[str]:
        now = now or datetime.now(UTC)
        return list(repair(self.doctor, self.findings(now), now))


@pytest.fixture
def clinic(environment: dict[str, str]) -> Iterator[Clinic]:
    clinic = Clinic({**environment, "TRAINING_THRESHOLD": "1000"})
    yield clinic
    clinic.container.engine.dispose()


def test_nothing_is_wrong_with_an_empty_stack(clinic: Clinic) -> None:
    assert clinic.codes() == []


def test_tasks_of_an_earlier_release_get_the_keys_of_their_items(clinic: Clinic) -> None:
    clinic.practise("ada", item_keys.TASKS_AT_ONCE + 1)
    store = clinic.container.tasks
    store.insert("bob", NewTask("Math", "t", Difficulty.EASY, " \u200b"), DEFAULT_PREDICTION)
    store.insert("bob", NewTask("Math", "t", Difficulty.EASY, "Imported answer"), DEFAULT_PREDICTION)
    store.insert("eve", NewTask("Math", "t", Difficulty.EASY, "", item_id="q-1"), DEFAULT_PREDICTION)
    clinic.sql("UPDATE practice_tasks SET item_key = NULL")
    clinic.sql("UPDATE practice_tasks SET item_key = 17 WHERE topic = 'topic 1' OR task_content = 'Imported answer'")
    assert clinic.codes() == ["items-differ"]
    assert clinic.repair() == [f"{item_keys.TASKS_AT_ONCE + 3} tasks: key of the item stored"]
    assert clinic.codes() == []
    key = item_key("Math", "topic 0", Difficulty.EASY, "?", None)
    assert store.prediction_context("ada", key).item.attempts == 84
    assert item_keys.compute(clinic.container.engine) == 0


def test_an_edit_during_the_repair_keeps_its_key(clinic: Clinic) -> None:
    (task_id,) = clinic.practise("ada", 1)
    clinic.sql("UPDATE practice_tasks SET item_key = NULL")
    engine = clinic.container.engine
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("UPDATE users SET n_answers = n_answers WHERE id = 'ada'")
        with ThreadPoolExecutor(2) as pool:
            # The edit comes first, and the repair has read the task before it.
            edit = pool.submit(clinic.container.tasks.edit, "ada", task_id, {"task_content": "!"}, None)
            wait_for(lambda: clinic.waiting() == 1)
            repair = pool.submit(item_keys.compute, engine)
            wait_for(lambda: clinic.waiting() == 2)
            connection.exec_driver_sql("COMMIT")
            repair.result()
    assert clinic.container.tasks.prediction_context("ada", item_of(edit.result())).item.attempts == 1


def test_a_copy_of_answers_is_compared_with_the_tables(clinic: Clinic) -> None:
    clinic.practise("ada", 20)
    engine, store = clinic.container.engine, clinic.container.datasets
    read_snapshot(engine, "default", store, min_answers=1)
    clinic.practise("bob", 1)
    # It is out of date, which the next training changes.
    assert clinic.codes() == []
    read_snapshot(engine, "default", store, min_answers=1)
    clinic.sql("UPDATE practice_tasks SET item_key = item_key")
    assert clinic.codes() == []
    clinic.sql("UPDATE practice_tasks SET completed_at = completed_at - interval '1 second' WHERE answer_index = 19")
    assert "dataset-differs" in clinic.codes()
    assert "cohort default: 2 files of the copy of answers deleted" in clinic.repair()
    read_snapshot(engine, "default", store, min_answers=1)
    assert "dataset-differs" not in clinic.codes()


def test_a_lost_file_of_a_copy_is_found(clinic: Clinic) -> None:
    clinic.practise("ada", 20)
    read_snapshot(clinic.container.engine, "default", clinic.container.datasets, min_answers=1)
    manifest, _ = clinic.container.datasets.read_manifest("default")
    assert manifest is not None
    (name,) = manifest.objects
    clinic.put(name, b"nonsense", "datasets/default")
    (finding,) = clinic.findings()
    assert finding.what == f"the copy of the answers of cohort default: {name} of dataset default is damaged"
    clinic.put("manifest.json", b"nonsense", "datasets/default")
    assert clinic.codes() == ["dataset-damaged"]
    assert clinic.repair()
    assert clinic.codes() == []


def test_nothing_is_wrong_after_ordinary_use(clinic: Clinic, tmp_path: Path) -> None:
    store = clinic.container.tasks
    ids = clinic.practise("ada", 30) + clinic.practise("Änne", 3)
    clinic.practise("ada", 2)
    store.complete("ada", ids[4], Result(False, 77.5), None, clinic.container.policy)
    store.delete("ada", ids[7])
    store.insert("bob", NewTask("Math", "t", Difficulty.EASY, "?"), DEFAULT_PREDICTION)
    clinic.practise("eve", 4)
    clinic.container.users.erase("eve")
    path = tmp_path / "history.csv"
    simulator.write_csv(simulator.history(200), path)
    from ops.imports.importer import import_file

    import_file(clinic.container.engine, "default", path, datetime.now(UTC), lambda _: None)
    for version in (V1, V2, V3):
        clinic.publish(version)
    versions.rollback(clinic.container.registry, clinic.container.tracker, "default", V1)
    examined = clinic.doctor.examine()
    assert examined.findings == []
    assert (examined.answers, examined.versions) == (34 + 200, 3)


DAMAGES = {
    "a count": ("UPDATE practice_state SET attempts = attempts + 1 WHERE topic LIKE '%topic 1'", ["state-differs"]),
    "a sum": (
        "UPDATE practice_state SET sum_log_seconds = sum_log_seconds * 1.0000001 WHERE topic LIKE '%topic 1'",
        ["state-differs"],
    ),
    "decayed sums": (
        "UPDATE practice_state SET decayed = set_byte(decayed, 6, get_byte(decayed, 6) # 1)",
        ["state-differs"],
    ),
    "decayed sums cut off": ("UPDATE practice_state SET decayed = ''", ["state-differs"]),
    "not a number": ("UPDATE practice_state SET sum_sq_log_seconds = 'NaN'", ["state-differs"]),
    "the last time": ("UPDATE practice_state SET last_at = NULL WHERE topic LIKE '%topic 0'", ["state-differs"]),
    "a row that is gone": ("DELETE FROM practice_state WHERE topic LIKE '%topic 2'", ["state-differs"]),
    "keys of the release before": (
        "UPDATE practice_state SET topic = split_part(topic, chr(31), 2)",
        ["state-differs"],
    ),
    "a row too many": (
        "UPDATE practice_state SET topic = 'nobody asked' WHERE topic LIKE '%topic 2'",
        ["state-differs"],
    ),
    "a result changed by hand": (
        "UPDATE practice_tasks SET is_correct = NOT is_correct WHERE answer_index = 7",
        ["state-differs"],
    ),
    "the number of answers": ("UPDATE users SET n_answers = n_answers + 1", ["answers-miscounted"]),
    "a gap": (
        "UPDATE practice_tasks SET answer_index = answer_index + 5 WHERE answer_index > 17",
        ["answers-misnumbered"],
    ),
    "two of one index": (
        "UPDATE practice_tasks SET answer_index = 8 WHERE answer_index = 9",
        ["answers-misnumbered"],
    ),
    "an answer deleted by hand": (
        "DELETE FROM practice_tasks WHERE answer_index = 9",
        ["answers-miscounted", "answers-misnumbered", "state-differs", "total-differs"],
    ),
    "the total": ("UPDATE embedding_model_tracker SET n_samples_total = 19", ["total-differs"]),
}


@pytest.mark.parametrize(("damage", "codes"), DAMAGES.values(), ids=DAMAGES)
def test_damage_in_the_database_is_found_and_repaired(clinic: Clinic, damage: str, codes: list[str]) -> None:
    clinic.practise("ada", 20)
    clinic.practise("bob", 2, topics=1)
    clinic.sql("UPDATE users SET full_name = 'whole' WHERE id = 'bob'")
    clinic.sql(f"{damage} {'AND' if 'WHERE' in damage else 'WHERE'} {_of_ada(damage)}")
    assert set(codes) <= set(clinic.codes()) <= {*codes, "state-differs"}
    assert all(finding.about.get("user_id", "ada") == "ada" for finding in clinic.findings())
    assert clinic.repair()
    assert clinic.codes() == []
    clinic.practise("ada", 1)
    assert clinic.codes() == []


def _of_ada(damage: str) -> str:
    if "users" in damage:
        return "id = 'ada'"
    return "true" if "tracker" in damage else "user_id = 'ada'"


def test_a_finding_names_the_student_and_the_difference(clinic: Clinic) -> None:
    clinic.practise("ada", 12)
    clinic.sql("UPDATE practice_state SET attempts = 99 WHERE topic LIKE '%topic 1' AND difficulty = 1")
    (finding,) = clinic.findings()
    assert finding.what == "student ada: 'topic 1' of 'math' at difficulty 1: attempts is 99, but the replay gives 2"
    assert (finding.about["user_id"], finding.about["n_rows"]) == ("ada", 1)


def test_batches_of_any_size_see_every_student(clinic: Clinic) -> None:
    random = Random(5)
    for i in range(7):
        clinic.practise(f"student {random.randrange(10**6)} {i}", random.randrange(9))
    clinic.practise("ada", 1)
    clinic.sql("UPDATE users SET n_answers = n_answers + 1 WHERE id = 'ada'")
    clinic.sql("INSERT INTO users (id, n_answers) VALUES ('aaa without answers', 1)")
    seen = []
    for students, rows in ((1, 1), (2, 3), (3, 2), (100, 1000)):
        findings: list[Finding] = []
        read = PostgresDoctorStore(clinic.container.engine, students, rows).inspect(examine, findings.extend)
        assert [finding.kind.code for finding in findings] == ["answers-miscounted"] * 2
        seen.append(read)
    assert len(set(seen)) == 1


def test_nothing_is_found_while_students_practise(clinic: Clinic) -> None:
    stop = threading.Event()

    def student(name: str) -> int:
        random, done, ids = Random(name), 0, list[str]()
        while not stop.is_set():
            ids += clinic.practise(name, 1)
            done += 1
            if random.random() < 0.2:
                clinic.container.tasks.delete(name, ids.pop(random.randrange(len(ids))))
            elif random.random() < 0.2:
                result = Result(random.random() < 0.5, 5.0)
                clinic.container.tasks.complete(name, random.choice(ids), result, None, clinic.container.policy)
        return done

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(student, f"student {i}") for i in range(4)]
        try:
            found = [finding for _ in range(15) for finding in clinic.findings()]
        finally:
            stop.set()
    assert found == []
    assert min(each.result() for each in running) > 3
    assert clinic.codes() == []


def test_a_total_that_waits_for_a_completion_counts_it_once(clinic: Clinic) -> None:
    clinic.practise("ada", 12)
    clinic.sql("UPDATE embedding_model_tracker SET n_samples_total = 3")
    task = clinic.container.tasks.insert("bob", NewTask("Math", "t", Difficulty.EASY, "?"), DEFAULT_PREDICTION)
    with clinic.container.engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.exec_driver_sql("BEGIN")
        completion.complete_or_correct(connection, "bob", task.id, Result(True, 9.0), None, clinic.container.policy)
        setting = pool.submit(clinic.doctor.store.set_total, "default")
        wait_for(lambda: clinic.waiting() or setting.done(), what="a transaction that waits")
        connection.exec_driver_sql("COMMIT")
        assert setting.result() == 13
    assert clinic.codes() == []


def test_a_repair_during_practice_loses_no_answer(clinic: Clinic) -> None:
    clinic.practise("ada", 5)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(clinic.practise, "ada", 40)
        while not running.done():
            clinic.doctor.store.rebuild("ada")
        running.result()
    assert clinic.codes() == []
    assert clinic.container.tasks.prediction_context("ada").state.n_answers == 45


def test_a_counter_above_the_total_is_only_a_remark(clinic: Clinic) -> None:
    ids = clinic.practise("ada", 3)
    clinic.container.tasks.delete("ada", ids[0])
    examined = clinic.doctor.examine()
    assert examined.findings == []
    assert [remark.what for remark in examined.remarks] == ["cohort default: the counter is 3, above the total of 2"]


def test_remains_of_deleted_accounts_are_deleted(clinic: Clinic) -> None:
    clinic.sql(
        "INSERT INTO webhook_receivers (cohort, url, secret, events) VALUES ('default', 'x', 'x', '{completion}')"
    )
    for user in ("ada", "eve"):
        clinic.sql("INSERT INTO users (id, issuer, subject) VALUES (:user, 'service:a', :user)", user=user)
        event = "SELECT id, 'completion', '{}', :user FROM webhook_receivers"
        clinic.sql(f"INSERT INTO webhook_deliveries (receiver_id, type, data, user_id) {event}", user=user)
    assert clinic.codes() == []
    clinic.sql("UPDATE users SET deleted_at = now() WHERE id = 'ada'")
    assert clinic.codes() == ["deleted-account-has-remains"]
    assert clinic.repair() == ["2 rows of deleted accounts cleared"]
    assert clinic.codes() == []
    with clinic.container.engine.connect() as connection:
        assert connection.execute(text("SELECT user_id FROM webhook_deliveries")).scalars().all() == ["eve"]


def test_tasks_of_a_deleted_account_are_found_and_left(clinic: Clinic) -> None:
    clinic.practise("ada", 12)
    clinic.sql("UPDATE users SET deleted_at = now() WHERE id = 'ada'")
    assert clinic.codes() == ["deleted-account-has-tasks"]
    assert clinic.repair() == []
    assert clinic.codes() == ["deleted-account-has-tasks"]


REQUEST = "UPDATE embedding_model_tracker SET training_request_id = gen_random_uuid(), training_reason = 'forced', "
TRACKERS = {
    "due": ("UPDATE embedding_model_tracker SET n_samples_since_training = 10", ["training-due"]),
    "not sent": (REQUEST + "training_requested_at = now() - interval '2 minutes'", ["request-unsent"]),
    "being sent": (REQUEST + "training_requested_at = now() - interval '10 seconds'", []),
    "nobody took it up": (
        REQUEST
        + "training_requested_at = now() - interval '20 minutes', training_enqueued_at = now() - interval '19 minutes'",
        ["request-not-taken-up"],
    ),
    "waits": (
        REQUEST
        + "training_requested_at = now() - interval '9 minutes', training_enqueued_at = now() - interval '9 minutes'",
        [],
    ),
    "lease over": (
        REQUEST + "training_requested_at = now(), training_enqueued_at = now(), "
        "lease_expires_at = now() - interval '5 minutes'",
        ["lease-expired"],
    ),
    "being trained": (
        REQUEST + "training_requested_at = now() - interval '1 day', training_enqueued_at = now() - interval '1 day', "
        "lease_expires_at = now() + interval '30 seconds', last_error = 'the first try'",
        [],
    ),
    "failed": ("UPDATE embedding_model_tracker SET last_error = 'ModelError: no'", ["training-failed"]),
    "skipped": (
        "UPDATE embedding_model_tracker SET n_samples_since_training = 10, "
        """progress = '{"phase": "skipped", "reason": "one class"}'""",
        [],
    ),
}


@pytest.mark.parametrize(("change", "codes"), TRACKERS.values(), ids=TRACKERS)
def test_the_state_of_the_training_is_judged(
    environment: dict[str, str], clinic: Clinic, change: str, codes: list[str]
) -> None:
    clinic.practise("ada", 12)
    clinic.sql("UPDATE embedding_model_tracker SET n_samples_since_training = 0")
    clinic.sql(change)
    assert Clinic(environment).codes() == codes


def test_an_unsent_request_is_sent_by_the_repair(clinic: Clinic) -> None:
    clinic.practise("ada", 12)
    clinic.sql(TRACKERS["not sent"][0])
    assert clinic.repair() == ["1 training request sent again"]
    assert clinic.codes() == []
    delivery = clinic.doctor.queue.receive(1)
    assert delivery is not None
    assert delivery.request is not None
    assert delivery.request.request_id == clinic.container.tracker.read("default").training_request_id


def test_a_tracker_that_disagrees_with_the_pointer_is_repaired(clinic: Clinic) -> None:
    clinic.publish(V1)
    clinic.publish(V2)
    clinic.container.tracker.set_model_version("default", V1)
    (finding,) = clinic.findings()
    assert finding.kind.code == "version-differs"
    assert finding.what == f"cohort default: the tracker names {V1}, the pointer {V2}"
    assert clinic.repair() == [f"cohort default: the tracker names {V2} now"]
    assert clinic.codes() == []


def test_a_training_about_to_finish_is_not_a_finding(clinic: Clinic) -> None:
    clinic.publish(V1)
    request = clinic.container.tracker.request_training("default", "forced")
    assert request is not None
    files = version_files(version=V2)
    del files["metadata.json"]
    registry = clinic.container.registry
    registry.write_version("default", V2, files, {})
    found = registry.read_champion("default")
    assert found is not None
    registry.write_champion("default", versions.successor(found[0], V2, request.request_id), found[1])
    assert clinic.codes() == []


def test_a_rollback_repairs_a_malformed_pointer(clinic: Clinic) -> None:
    clinic.publish(V1)
    clinic.put("champion.json", b"]")
    assert clinic.codes() == ["pointer-malformed"]
    versions.rollback(clinic.container.registry, clinic.container.tracker, "default", V1)
    assert clinic.codes() == []


def test_a_missing_pointer_is_found(clinic: Clinic) -> None:
    clinic.publish(V1)
    aws_client("s3", clinic.environment["AWS_REGION"]).delete_object(
        Bucket=clinic.environment["REGISTRY_BUCKET"], Key="models/default/champion.json"
    )
    assert clinic.codes() == ["version-differs"]


def test_damaged_versions_are_named_with_their_role(clinic: Clinic) -> None:
    for version in (V1, V2):
        clinic.publish(version)
    clinic.publish(V3, champion=False)
    versions.pin(clinic.container.registry, clinic.container.tracker, "default")
    for version in (V1, V2, V3):
        clinic.put(f"{version}/lnirt.json", b"{}")
    found = {finding.kind.code: finding for finding in clinic.findings()}
    assert sorted(found) == ["champion-damaged", "past-champion-damaged", "version-damaged"]
    assert found["champion-damaged"].what.startswith(f"cohort default, champion {V2}: lnirt.json of version {V2} is")
    assert found["champion-damaged"].what.endswith("(the next training removes its pin)")
    assert clinic.repair() == []
    assert clinic.container.registry.list_versions("default") == [V3, V2, V1]


def test_old_files_of_a_dead_publication_are_deleted(clinic: Clinic) -> None:
    clinic.publish(V1)
    clinic.put(f"{V2}/lnirt.json", b"{}")
    clinic.put(f"{V2}/time_model.keras", b"...")
    assert clinic.codes() == []
    later = datetime.now(UTC) + timedelta(minutes=61)
    (finding,) = clinic.findings(later)
    assert finding.kind.code == "version-incomplete"
    assert finding.about == {"cohort": "default", "version": V2, "n_files": 2}
    assert clinic.repair(later) == [f"version {V2} of cohort default: 2 files deleted"]
    assert clinic.codes(later) == []
    assert clinic.container.registry.list_versions("default") == [V1]
    assert clinic.container.registry.read_version("default", V1)


def test_files_of_a_live_training_are_never_deleted(clinic: Clinic) -> None:
    request = clinic.container.tracker.request_training("default", "forced")
    assert request is not None
    clinic.container.tracker.mark_enqueued(request)
    clinic.put(f"{request.version}/lnirt.json", b"{}")
    assert clinic.codes(datetime.now(UTC) + timedelta(days=1)) == []


def a_request() -> TrainingRequest:
    return TrainingRequest(str(uuid.uuid4()), "default", datetime.now(UTC), "threshold")


def test_messages_without_a_worker_are_found(clinic: Clinic) -> None:
    clinic.doctor.queue.send(a_request())
    assert clinic.codes() == []
    clinic.doctor.queue.send(a_request())
    (finding,) = clinic.findings()
    assert (finding.kind.code, finding.about["waiting"]) == ("queue-backlog", 2)


def test_dead_letters_of_finished_requests_are_deleted(clinic: Clinic) -> None:
    dead = clinic.doctor.queue.dead_letters()
    assert isinstance(dead, SqsTrainingQueue)
    live = clinic.container.tracker.request_training("default", "forced")
    assert live is not None
    clinic.container.tracker.mark_enqueued(live)
    over = a_request()
    dead.send(over)
    dead.send(TrainingRequest(live.request_id, "another group", live.requested_at, live.reason))
    (finding,) = clinic.findings()
    assert (finding.kind.code, finding.about) == ("dead-letters", {"n_messages": 2})
    (line,) = clinic.repair()
    assert line.startswith(f"dead letter of request {over.request_id} ")
    (finding,) = clinic.findings()
    assert finding.about == {"n_messages": 1}


def test_another_revision_does_not_stop_the_other_checks(clinic: Clinic) -> None:
    clinic.publish(V1)
    clinic.put(f"{V1}/lnirt.json", b"{}")
    clinic.sql("UPDATE alembic_version SET version_num = '0001'")
    found = clinic.findings()
    assert [finding.kind.code for finding in found] == ["database-revision", "champion-damaged"]
    assert found[0].what.startswith("the database is at revision 0001, this program needs ")


def test_a_database_without_tables_is_found(clinic: Clinic) -> None:
    clinic.sql("DROP TABLE practice_state, practice_tasks, users, embedding_model_tracker, alembic_version CASCADE")
    assert clinic.findings()[0].what.startswith("the database is at revision none")


def test_missing_columns_and_indexes_are_named(clinic: Clinic) -> None:
    clinic.sql("DROP INDEX ix_practice_tasks_newest")
    clinic.sql("ALTER TABLE users DROP COLUMN full_name")
    clinic.sql("CREATE TABLE of_somebody_else (id int)")
    clinic.sql("CREATE INDEX for_a_report ON users (email)")
    assert {finding.what for finding in clinic.findings()} == {
        "index ix_practice_tasks_newest is missing",
        "column users.full_name is missing",
    }


def test_an_unreachable_service_hides_no_other_finding(clinic: Clinic) -> None:
    clinic.practise("ada", 12)
    clinic.sql("UPDATE users SET n_answers = 7")
    away = Clinic({**clinic.environment, "REGISTRY_BUCKET": "no-such-bucket", "TRAINING_QUEUE_URL": "http://x/none"})
    found = away.findings()
    assert sorted(finding.kind.code for finding in found) == ["answers-miscounted", "unreachable", "unreachable"]
    assert {finding.about["service"] for finding in found if finding.kind.code == "unreachable"} == {
        "registry",
        "queue",
    }
    lost = Clinic({**clinic.environment, "DATABASE_URL": "postgresql+pg8000://nobody@127.0.0.1:1/none"})
    assert lost.codes() == ["unreachable"]


@pytest.fixture
def studysmart(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    for name, value in clinic.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "none"))

    def run(*arguments: str) -> tuple[int, str]:
        return cli.main(["doctor", *arguments]), capsys.readouterr().out

    return run


def test_the_command_prints_findings_and_repairs_them(
    clinic: Clinic, studysmart: Callable[..., tuple[int, str]]
) -> None:
    clinic.practise("ada", 12)
    status, out = studysmart()
    assert status == 0
    assert out.startswith("1 student, 12 answers, 0 versions examined in ")
    assert out.endswith(" s: nothing is wrong\n")
    clinic.sql("UPDATE users SET n_answers = 11")
    status, out = studysmart()
    lines = out.splitlines()
    assert status == 1
    assert lines[0] == "answers-miscounted  student ada: n_answers is 11, but 12 tasks are completed"
    assert lines[1] == "    fix: studysmart doctor --repair counts the student's answers"
    assert lines[2].endswith(": 1 finding")
    status, out = studysmart("--repair")
    assert status == 0
    assert out.startswith("repaired  student ada: state rebuilt from the completed tasks\n")
    assert studysmart()[0] == 0


def test_the_command_prints_json(clinic: Clinic, studysmart: Callable[..., tuple[int, str]]) -> None:
    clinic.practise("ada", 12)
    clinic.sql("UPDATE users SET n_answers = 11")
    status, out = studysmart("--json")
    report = json.loads(out)
    assert status == 1
    assert (report["clean"], report["students"], report["answers"]) == (False, 1, 12)
    assert report["findings"] == [
        {
            "code": "answers-miscounted",
            "what": "student ada: n_answers is 11, but 12 tasks are completed",
            "fix": "studysmart doctor --repair counts the student's answers",
            "repairable": True,
            "user_id": "ada",
            "n_answers": 11,
            "completed": 12,
        }
    ]
    status, out = studysmart("--json", "--repair")
    assert status == 0
    assert json.loads(out)["repaired"] == ["student ada: state rebuilt from the completed tasks"]


def test_only_the_first_findings_of_a_kind_are_printed(
    clinic: Clinic, studysmart: Callable[..., tuple[int, str]]
) -> None:
    for i in range(23):
        clinic.practise(f"student {i:02}", 1)
    clinic.sql("UPDATE users SET n_answers = 4")
    lines = studysmart()[1].splitlines()
    assert len(lines) == 20 + 3
    assert lines[20] == "answers-miscounted  and 3 more (--json lists them)"
