"""``studysmart backup`` of a stack in use, and ``restore`` into an empty one."""

from __future__ import annotations

import json
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.domain.errors import BackupError, ConflictError, RegistryUnavailableError
from chalicelib.domain.service_accounts import hint_of, key_digest, new_key
from chalicelib.services import versions
from chalicelib.storage.aws import aws_client
from chalicelib.storage.database import statement
from infra.local import postgres
from migrations import newest_revision
from ops import cli
from ops.backup.command import back_up
from ops.backup.files import Backup
from ops.backup.restore import restore, run
from ops.backup.store import TABLES
from tests.support.sites import V1, V2, V3, Site, another

pytestmark = pytest.mark.slow


@pytest.fixture
def source(environment: dict[str, str]) -> Iterator[Site]:
    site = Site({**environment, "TRAINING_THRESHOLD": "1000"})
    yield site
    site.container.engine.dispose()


@pytest.fixture
def target(source: Site, postgres_server: postgres.Postgres, aws_endpoint: str) -> Iterator[Site]:
    with another(postgres_server, aws_endpoint) as site:
        yield site


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def backed_up(site: Site, directory: Path) -> Backup:
    assert back_up(site.container, site.files, directory)[1] == []
    return Backup(directory)


def test_a_restored_stack_is_identical(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    restore(target.container, target.files, backed_up(source, directory))
    assert target.rows() == source.rows()
    assert target.objects() == source.objects()
    predictions = target.predictions()
    assert predictions == source.predictions()
    assert len(set(predictions)) > 5
    assert target.codes() == []
    target.practise("ada", 2)
    assert target.codes() == []


@pytest.mark.parametrize("kept", [False, True])
def test_a_restore_revokes_the_keys_of_service_accounts(
    source: Site, target: Site, directory: Path, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    key = new_key()
    values = {"digest": key_digest(key), "hint": hint_of(key)}
    account = "WITH a AS (INSERT INTO service_accounts (id, name, scopes) VALUES ('a', 'school', '{answers}'))"
    insert = text(f"{account} INSERT INTO service_keys (digest, service_id, hint) VALUES (:digest, 'a', :hint)")
    statement(source.container.engine, lambda c: c.execute(insert, values))
    backed_up(source, directory)
    run(target.container, Namespace(place=str(directory), keep_keys=kept, json=False, state_dir=str(directory)))
    assert (target.container.service_store.account(key_digest(key)) is not None) is kept
    assert ("service rotate" in capsys.readouterr().out) is not kept


def test_a_backup_of_an_empty_stack_can_be_restored(source: Site, target: Site, directory: Path) -> None:
    restore(target.container, target.files, backed_up(source, directory))
    assert target.rows() == source.rows()
    assert target.codes() == []


def test_only_the_owner_can_read_the_files(source: Site, directory: Path) -> None:
    source.in_use()
    backup = backed_up(source, directory)
    assert directory.stat().st_mode & 0o077 == 0
    assert backup.manifest.tables["users"].rows == 4
    assert backup.manifest.revision == newest_revision()
    assert {path.name for path in directory.iterdir()} == {
        "manifest.json",
        "models",
        *(f"{table}.tsv.gz" for table in TABLES),
    }


def test_backups_during_practice_are_consistent(
    source: Site, postgres_server: postgres.Postgres, aws_endpoint: str, tmp_path: Path
) -> None:
    source.publish(V1)
    stop = threading.Event()

    def student(name: str) -> int:
        done = 0
        while not stop.is_set():
            ids = source.practise(name, 2, f"topic {done % 3}")
            if done % 5 == 4:
                source.container.tasks.delete(name, ids[0])
            done += 1
        return done

    counts = []
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(student, f"student {i}") for i in range(3)]
        try:
            for i in range(3):
                backup = backed_up(source, tmp_path / str(i))
                counts.append(backup.manifest.tables["practice_tasks"].rows)
                with another(postgres_server, aws_endpoint) as target:
                    restore(target.container, target.files, backup)
                    assert target.codes() == []
        finally:
            stop.set()
        assert min(each.result() for each in running) > 3
    assert counts[0] < counts[1] < counts[2]


def test_backups_while_the_pointer_moves_are_consistent(
    source: Site, postgres_server: postgres.Postgres, aws_endpoint: str, tmp_path: Path
) -> None:
    for version in (V1, V2):
        source.publish(version)
    stop = threading.Event()

    def move() -> int:
        moves = 0
        while not stop.is_set():
            version = (V1, V2)[moves % 2]
            versions.rollback(source.container.registry, source.container.tracker, "default", version)
            moves += 1
        return moves

    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(move)
        try:
            for i in range(4):
                with another(postgres_server, aws_endpoint) as target:
                    restore(target.container, target.files, backed_up(source, tmp_path / str(i)))
                    assert target.codes() == []
        finally:
            stop.set()
        assert moving.result() > 4


def test_a_version_published_during_a_backup_is_not_in_it(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    before = source.rows()

    class Slow(type(source.files)):  # type: ignore[misc]
        """Between the tables and the registry's files a training publishes."""

        def objects(self, *arguments: Any) -> Any:
            if not published:
                published.append(V3)
                source.publish(V3)
            return super().objects(*arguments)

    published: list[str] = []
    s3 = aws_client("s3", source.environment["AWS_REGION"])
    assert back_up(source.container, Slow(s3, source.environment["REGISTRY_BUCKET"]), directory)[1] == []
    assert published == [V3]
    restore(target.container, target.files, Backup(directory))
    assert target.rows() == before
    found = target.container.registry.read_champion("default")
    assert found is not None
    assert found[0].version == V2
    assert target.codes() == []


def test_a_lasting_disagreement_is_backed_up_with_a_warning(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    source.container.tracker.set_model_version("default", V1)
    _, (warning,) = back_up(source.container, source.files, directory, agreement_seconds=0.0)
    assert warning.startswith(f"cohort default: the tracker names {V1}, the pointer {V2}; both are in the backup")
    restore(target.container, target.files, Backup(directory))
    assert target.objects() == source.objects()
    assert target.codes() == ["version-differs"]


def test_a_damaged_version_is_left_out_and_named(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    put(source, f"models/default/{V1}/lnirt.json", b"{}")
    put(source, "models/default/half/lnirt.json", b"{}")
    _, (warning,) = back_up(source.container, source.files, directory)
    assert warning == f"version {V1} of cohort default is not in the backup: its lnirt.json is damaged"
    restore(target.container, target.files, Backup(directory))
    assert target.rows() == source.rows()
    assert target.predictions() == source.predictions()
    assert target.codes() == ["past-champion-damaged"]


def put(site: Site, key: str, content: bytes) -> None:
    s3 = aws_client("s3", site.environment["AWS_REGION"])
    s3.put_object(Bucket=site.environment["REGISTRY_BUCKET"], Key=key, Body=content)


def test_a_queued_training_is_sent_in_the_restored_stack(source: Site, target: Site, directory: Path) -> None:
    source.practise("ada", 12)
    request = source.container.tracker.request_training("default", "forced")
    assert request is not None
    source.container.tracker.mark_enqueued(request)
    restore(target.container, target.files, backed_up(source, directory))
    assert target.container.tracker.unsent_requests(-1.0, 600.0) == [request]


def flip(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of a table": lambda d: rewrite(d / "practice_tasks.tsv.gz", flip),
    "a table cut off": lambda d: rewrite(d / "users.tsv.gz", lambda content: content[:-1]),
    "a table gone": lambda d: (d / "practice_state.tsv.gz").unlink(),
    "a model's file": lambda d: rewrite(d / f"models/default/{V1}/lnirt.json", flip),
    "a model's file gone": lambda d: (d / f"models/default/{V2}/metadata.json").unlink(),
    "the pointer": lambda d: rewrite(d / "models/default/champion.json", flip),
    "the manifest": lambda d: rewrite(d / "manifest.json", lambda content: content.replace(b'"rows": 1', b'"rows": 7')),
    "half a manifest": lambda d: rewrite(d / "manifest.json", lambda content: content[: len(content) // 2]),
    "no manifest": lambda d: (d / "manifest.json").unlink(),
    "two tables swapped": lambda d: swap(d / "users.tsv.gz", d / "practice_tasks.tsv.gz"),
}


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def test_a_damaged_backup_is_refused(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    backed_up(source, directory)
    empty = target.rows(), target.objects()
    whole = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    for what, damage in DAMAGES.items():
        damage(directory)
        with pytest.raises(BackupError, match=r"damaged|holds no finished backup"):
            restore(target.container, target.files, Backup(directory))
        assert (target.rows(), target.objects()) == empty, what
        for path, content in whole.items():
            path.write_bytes(content)
    restore(target.container, target.files, Backup(directory))
    assert target.rows() == source.rows()


def test_a_stack_that_is_not_empty_is_refused(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    backup = backed_up(source, directory)
    target.container.users.add("somebody", "somebody@example.com", None)
    before = target.rows()
    with pytest.raises(ConflictError, match="the database is not empty"):
        restore(target.container, target.files, backup)
    assert (target.rows(), target.objects()) == (before, {})


def test_a_registry_that_is_not_empty_is_refused(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    backup = backed_up(source, directory)
    put(target, f"models/default/{V1}/lnirt.json", b"{}")
    before = target.rows()
    with pytest.raises(ConflictError, match=f"the registry is not empty: it has models/default/{V1}/lnirt.json"):
        restore(target.container, target.files, backup)
    assert target.rows() == before


def test_an_interrupted_restore_can_be_repeated(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    backup = backed_up(source, directory)
    empty = target.rows()
    for stop_after in (0, 3, 1, 4):

        class Failing(type(target.files)):  # type: ignore[misc]
            left = stop_after

            def add(self, key: str, body: bytes) -> None:
                if self.left == 0:
                    raise RegistryUnavailableError("S3 went away")
                Failing.left -= 1
                super().add(key, body)

        files = Failing(aws_client("s3", target.environment["AWS_REGION"]), target.environment["REGISTRY_BUCKET"])
        with pytest.raises(RegistryUnavailableError):
            restore(target.container, files, backup)
        assert target.rows() == empty
        assert target.container.registry.read_champion("default") is None
        for version in target.container.registry.list_versions("default"):
            assert target.container.registry.read_version("default", version)
        assert len(target.objects()) >= stop_after
    restore(target.container, target.files, backup)
    assert (target.rows(), target.objects()) == (source.rows(), source.objects())


def test_a_backup_of_another_revision_is_refused(source: Site, target: Site, directory: Path) -> None:
    source.in_use()
    backup = backed_up(source, directory)
    with target.container.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(BackupError, match=r"of revision [0-9]{4}, the database is at 0001"):
        restore(target.container, target.files, backup)


@pytest.fixture
def studysmart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def run(site: Site, *arguments: str) -> tuple[int, str, str]:
        for name, value in site.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("STATE_DIR", str(tmp_path / "none"))
        status = cli.main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_the_commands_print_a_summary(
    source: Site, target: Site, directory: Path, studysmart: Callable[..., tuple[int, str, str]]
) -> None:
    source.in_use()
    status, out, err = studysmart(source, "backup", str(directory))
    assert (status, err) == (0, "")
    assert out.startswith(
        "4 users, 20 practice_tasks, 3 practice_state, 1 embedding_model_tracker, 0 tracker_shards,"
        " 0 service_accounts, 0 service_keys, 0 service_actions, 0 cohorts, 11 registry files "
    )
    status, out, err = studysmart(target, "restore", str(directory))
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert "11 registry files restored in " in lines[0]
    assert lines[1].startswith("4 students, 19 answers, 2 versions examined in ")
    assert lines[1].endswith(": nothing is wrong")
    status, _, err = studysmart(target, "restore", str(directory))
    assert status == 1
    assert "error: the database is not empty" in err


def test_an_unusable_directory_is_one_line(
    source: Site, tmp_path: Path, studysmart: Callable[..., tuple[int, str, str]]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").touch()
    assert studysmart(source, "backup", str(full)) == (
        1,
        "",
        f"error: {full} is not empty: a backup needs a directory of its own\n",
    )
    status, _, err = studysmart(source, "backup", str(full / "something"))
    assert status == 1
    assert err.startswith("error: ")
    status, _, err = studysmart(source, "restore", str(full))
    assert (status, err) == (1, f"error: {full} holds no finished backup: it has no manifest.json\n")


def test_a_full_disk_leaves_no_manifest(
    source: Site, tmp_path: Path, studysmart: Callable[..., tuple[int, str, str]]
) -> None:
    source.in_use()
    directory = tmp_path / "backup"
    directory.mkdir()
    with limited_files(200):
        status, _, err = studysmart(source, "backup", str(directory))
    assert status == 1
    assert "cannot be written" in err
    assert not (directory / "manifest.json").exists()
    assert source.codes() == []


@contextmanager
def limited_files(n_bytes: int) -> Iterator[None]:
    """Limit the size of every file that this process writes."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_manifest_lists_every_file_with_its_digest(source: Site, directory: Path) -> None:
    source.in_use()
    backed_up(source, directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    on_disk = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == on_disk - {"manifest.json"}
    assert manifest["left_out"] == []
