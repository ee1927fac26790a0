"""``studysmart backup``, ``restore`` and ``import`` with files in a bucket."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from sqlalchemy import text

from chalicelib.domain.errors import BackupError, DatabaseUnavailableError
from chalicelib.storage.database import statement
from evaluation import simulator
from infra.local import postgres
from ops import cli
from ops.backup import store
from ops.backup.command import back_up
from ops.backup.files import Backup
from ops.places import Place, place_of
from tests.support.sites import Site, another

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(aws: Mapping[str, str]) -> str:
    """The name of an empty bucket."""
    name = f"files-{uuid4().hex}"
    boto3.client("s3", region_name=aws["AWS_REGION"]).create_bucket(Bucket=name)
    return name


@pytest.fixture
def place(bucket: str, aws: Mapping[str, str]) -> Place:
    return place_of(f"s3://{bucket}/weekly/1/", aws["AWS_REGION"])


@pytest.fixture
def source(environment: dict[str, str]) -> Iterator[Site]:
    site = Site({**environment, "TRAINING_THRESHOLD": "1000"})
    yield site
    site.container.engine.dispose()


@pytest.fixture
def studysmart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def run(site: Site, *arguments: str) -> tuple[int, str, str]:
        for name, value in {**site.environment, "STATE_DIR": str(tmp_path / "none")}.items():
            monkeypatch.setenv(name, value)
        status = cli.main(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


Studysmart = Callable[..., tuple[int, str, str]]


def names_in(bucket: str) -> list[str]:
    objects = boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    return sorted(entry["Key"] for entry in objects)


def fill(site: Site, megabytes: int) -> None:
    """Add accounts whose names cannot be compressed, so that their table has several parts."""
    noise = random.Random(1)
    for _ in range(megabytes):
        rows = [{"id": str(uuid4()), "name": noise.randbytes(5_000).hex()} for _ in range(200)]
        insert = text("INSERT INTO users (id, full_name) VALUES (:id, :name)")
        with site.container.engine.begin() as connection:
            connection.execute(insert, rows)


def test_a_stack_is_restored_from_a_bucket(
    source: Site,
    postgres_server: postgres.Postgres,
    aws_endpoint: str,
    bucket: str,
    studysmart: Studysmart,
) -> None:
    source.in_use()
    fill(source, 10)
    address = f"s3://{bucket}/weekly/1/"
    status, out, err = studysmart(source, "backup", address)
    assert (status, err) == (0, "")
    assert "11 registry files backed up in " in out
    names = names_in(bucket)
    # The tables, 11 files of the registry, and the list of all files.
    assert len(names) == len(store.TABLES) + 11 + 1
    assert all(name.startswith("weekly/1/") for name in names)
    large = boto3.client("s3").head_object(Bucket=bucket, Key="weekly/1/users.tsv.gz")
    assert large["ETag"].strip('"').endswith("-2")  # two parts
    with another(postgres_server, aws_endpoint) as target:
        status, out, err = studysmart(target, "restore", address)
        assert (status, err) == (0, "")
        assert "nothing is wrong" in out
        assert target.rows() == source.rows()
        assert target.objects() == source.objects()
    assert studysmart(source, "backup", address) == (
        1,
        "",
        f"error: s3://{bucket}/weekly/1 is not empty: a backup needs a prefix of its own\n",
    )


@pytest.mark.parametrize("megabytes", [0, 10])
def test_an_interrupted_backup_is_no_backup(
    source: Site, place: Place, bucket: str, megabytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.in_use()
    fill(source, megabytes)
    copied = store.copy

    def copy(connection: object, table: str, stream: object) -> int:
        rows = copied(connection, table, stream)  # type: ignore[arg-type]
        if table == "users":
            raise OSError("the connection is gone after the last row")
        return rows

    monkeypatch.setattr(store, "copy", copy)
    with pytest.raises(DatabaseUnavailableError):
        back_up(source.container, source.files, place)
    assert names_in(bucket) == []
    assert "Uploads" not in boto3.client("s3").list_multipart_uploads(Bucket=bucket)
    with pytest.raises(BackupError, match=f"s3://{bucket}/weekly/1 holds no finished backup: it has no manifest.json"):
        Backup(place)


def test_damaged_and_missing_objects_are_all_named(source: Site, place: Place, bucket: str) -> None:
    source.in_use()
    back_up(source.container, source.files, place)
    s3 = boto3.client("s3")
    s3.put_object(Bucket=bucket, Key="weekly/1/users.tsv.gz", Body=b"damaged")
    s3.delete_object(Bucket=bucket, Key="weekly/1/practice_state.tsv.gz")
    with pytest.raises(BackupError, match=r"users\.tsv\.gz has 7 bytes.*practice_state\.tsv\.gz") as caught:
        Backup(place).check()
    assert f"there is no object weekly/1/practice_state.tsv.gz in the bucket {bucket}" in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_history_is_imported_from_a_bucket(
    source: Site, bucket: str, studysmart: Studysmart, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / "history.csv"
    simulator.write_csv(simulator.history(40), file)
    content = file.read_bytes()
    body = gzip.compress(content) if suffix.endswith(".gz") else content
    boto3.client("s3").put_object(Bucket=bucket, Key=f"in/history{suffix}", Body=body)
    address = f"s3://{bucket}/in/history{suffix}"
    status, out, err = studysmart(source, "import", address)
    assert (status, err) == (0, "")
    answers = len(content.splitlines()) - 1
    stored = statement(
        source.container.engine, lambda c: c.execute(text("SELECT count(*) FROM practice_tasks")).scalar()
    )
    assert stored == answers
    assert f"history{suffix}, separated by comma," in out
    again = studysmart(source, "import", address, "--dry-run")
    assert again[0] == 0
    assert f"history{suffix}" in studysmart(source, "import", "list")[1]


def test_the_files_of_a_data_set_are_found_in_the_bucket(source: Site, bucket: str, studysmart: Studysmart) -> None:
    s3 = boto3.client("s3")
    answers = "timestamp,solving_id,question_id,user_answer,elapsed_time\n1565096190868,1,q1,b,20000\n"
    s3.put_object(Bucket=bucket, Key="ednet/u1.csv", Body=answers.encode())
    missing = studysmart(source, "import", f"s3://{bucket}/ednet/u1.csv")
    assert missing[0] == 2
    assert "EdNet's answers are correct or not by its questions file" in missing[2]
    questions = "question_id,bundle_id,explanation_id,correct_answer,part,tags,deployed_at\nq1,b1,e1,b,1,7,0\n"
    s3.put_object(Bucket=bucket, Key="ednet/questions.csv", Body=questions.encode())
    status, out, err = studysmart(source, "import", f"s3://{bucket}/ednet/u1.csv")
    assert (status, err) == (0, ""), out


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (["backup", "s3://no-such-bucket/x"], 1, "s3://no-such-bucket/x/: there is no bucket no-such-bucket"),
        (["backup", "s3:///x"], 1, "s3:///x names no bucket, as s3://bucket/name does"),
        (["restore", "s3://{bucket}/x"], 1, "s3://{bucket}/x holds no finished backup: it has no manifest.json"),
        (["restore", "s3://no-such-bucket/x"], 1, "there is no bucket no-such-bucket"),
        (["import", "s3://{bucket}/a.csv"], 2, "s3://{bucket}/a.csv: there is no object a.csv in the bucket {bucket}"),
        (["import", "s3://no-such-bucket/a.csv"], 2, "s3://no-such-bucket/a.csv: there is no bucket no-such-bucket"),
        (["import", "s3://"], 1, "s3:// names no bucket"),
        (["import", "s3://{bucket}"], 2, "s3://{bucket} names no object"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(
    source: Site, bucket: str, studysmart: Studysmart, arguments: list[str], status: int, problem: str
) -> None:
    found, out, err = studysmart(source, *(argument.format(bucket=bucket) for argument in arguments))
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert err.startswith("error: ")
    assert problem.format(bucket=bucket) in err
