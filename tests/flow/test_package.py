"""The Lambda's zip, built from the pinned wheels: its contents, and that it runs without other packages."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.package import BYTECODE_TAG, PackageError, build, check, install
from infra.package.__main__ import ROOT, main
from infra.package.template import PARTS

pytestmark = pytest.mark.slow

PYTHON = install.find_python()
needs_lambdas_python = pytest.mark.skipif(
    PYTHON is None or not check.runs_here(), reason="needs Python 3.13 on x86-64 Linux, as on the Lambda"
)

COMMAND_LINE = {"pip", "setuptools", "wheel", "click", "inquirer"}
"""Some of the distributions that only Chalice's command line needs."""

BYTECODE_HEADER = (3571).to_bytes(2, "little") + b"\r\n" + (1).to_bytes(4, "little")
"""First bytes of a ``.pyc`` of CPython 3.13 with an unchecked hash (PEP 552)."""

WELCOME = """
import json, sys
sys.path.insert(0, sys.argv[1])
import app
event = {
    "resource": "/", "path": "/", "httpMethod": "GET", "headers": None, "multiValueHeaders": None,
    "queryStringParameters": None, "multiValueQueryStringParameters": None, "pathParameters": None,
    "stageVariables": None, "body": None, "isBase64Encoded": False,
    "requestContext": {"resourcePath": "/", "httpMethod": "GET", "path": "/", "stage": "v1"},
}
page = {**event, "resource": "/login", "path": "/login"}
page["requestContext"] = {**event["requestContext"], "resourcePath": "/login", "path": "/login"}
print(json.dumps([app.app(one, None) for one in (event, page)]))
"""

CLIENTS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from chalicelib.storage.aws import aws_client

class Caught(Exception):
    pass

def catch(request, **_):
    body = request.body if isinstance(request.body, bytes | str | None) else b"a stream"
    raise Caught(request.method, request.url, str(body), sorted(request.headers))

CALLS = {
    "s3": [
        ("get_object", {"Bucket": "models", "Key": "models/default/champion.json", "IfNoneMatch": "etag"}),
        ("put_object", {"Bucket": "models", "Key": "a", "Body": b"x", "IfMatch": "etag"}),
        ("list_objects_v2", {"Bucket": "models", "Prefix": "models/"}),
    ],
    "sqs": [
        ("send_message", {"QueueUrl": "https://example.com/1/q.fifo", "MessageBody": "{}", "MessageGroupId": "g"}),
        ("get_queue_attributes", {"QueueUrl": "https://example.com/1/q.fifo", "AttributeNames": ["QueueArn"]}),
    ],
    "events": [
        ("put_events", {"Entries": [{"Source": "studysmart", "DetailType": "completion", "Detail": "{}"}]}),
        ("describe_event_bus", {"Name": "learning"}),
    ],
    "cognito-idp": [
        ("sign_up", {"ClientId": "c", "Username": "u", "Password": "p"}),
        ("admin_get_user", {"UserPoolId": "eu-central-1_x", "Username": "u"}),
    ],
}
found = []
for service, calls in CALLS.items():
    for region in ("us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1"):
        client = aws_client(service, region)
        client.meta.events.register("before-send", catch)
        model = client.meta.service_model
        shapes = {name: sorted(getattr(model.shape_for(name), "members", ())) for name in model.shape_names}
        found.append([client.meta.endpoint_url, client.meta.partition, model.operation_names, shapes])
        for operation, parameters in calls:
            try:
                getattr(client, operation)(**parameters)
            except Caught as caught:
                found.append(caught.args)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packaged files, so that an edit during the test does not matter."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


def copy_checkout(root: Path) -> Path:
    without_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "chalicelib", root / "chalicelib", ignore=without_caches)
    for name in ("app.py", "pyproject.toml", "uv.lock", "requirements.txt", ".chalice/config.json", *PARTS):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    return root


@pytest.fixture(scope="module")
def zip_file(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("package") / "lambda.zip"
    assert main(["--checkout", str(checkout), "--output", str(output)]) == 0
    assert sorted(path.name for path in output.parent.iterdir()) == ["lambda.zip", "template.json"]
    return output


@pytest.fixture
def archive(zip_file: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(zip_file) as opened:
        yield opened


@pytest.fixture(scope="module")
def unpacked(zip_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(zip_file) as opened:
        opened.extractall(directory)
    return directory


def distributions(archive: zipfile.ZipFile) -> dict[str, str]:
    found = {}
    for name in archive.namelist():
        if part := re.fullmatch(r"([^/]+)-([^/-]+)\.dist-info/METADATA", name):
            found[re.sub(r"[-_.]+", "-", part[1]).lower()] = part[2]
    return found


def test_every_pin_is_shipped_but_those_of_chalices_command_line(archive: zipfile.ZipFile) -> None:
    pins = re.findall(r"(?m)^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text())
    shipped = distributions(archive)
    assert shipped.items() <= set(pins)
    assert {name for name, _ in pins} - shipped.keys() >= COMMAND_LINE
    assert shipped.keys() >= {"numpy", "sqlalchemy", "pg8000", "botocore", "msgspec", "pyjwt", "chalice"}


@needs_lambdas_python
def test_every_source_is_compiled_and_trusted_unchecked(archive: zipfile.ZipFile) -> None:
    sources = [Path(name) for name in archive.namelist() if name.endswith(".py")]
    assert len(sources) > 1_000
    for source in sources:
        with archive.open(f"{source.parent / '__pycache__' / source.stem}.{BYTECODE_TAG}.pyc") as file:
            assert file.read(8) == BYTECODE_HEADER, source


def test_every_page_is_shipped_unchanged(checkout: Path, archive: zipfile.ZipFile) -> None:
    pages = [path for path in (checkout / "chalicelib" / "web").rglob("*") if path.is_file()]
    assert len(pages) > 20
    for page in pages:
        assert archive.read(page.relative_to(checkout).as_posix()) == page.read_bytes()


def test_licences_are_kept(archive: zipfile.ZipFile) -> None:
    licensed = {name.partition(".dist-info/")[0] for name in archive.namelist() if "LICEN" in name.upper()}
    for name in ("numpy", "cryptography", "sqlalchemy", "botocore", "msgspec"):
        assert any(folder.lower().startswith(f"{name}-") for folder in licensed), name


def test_the_zip_is_small_enough_for_a_quick_cold_start(zip_file: Path, archive: zipfile.ZipFile) -> None:
    assert zip_file.stat().st_size <= 45e6
    assert sum(entry.file_size for entry in archive.infolist()) <= 150e6


def test_only_used_service_models_are_shipped(archive: zipfile.ZipFile) -> None:
    services = {name.split("/")[2] for name in archive.namelist() if re.match(r"botocore/data/[^/]+/", name)}
    assert services == {"s3", "sqs", "cognito-idp", "events"}


def test_equal_sources_give_equal_bytes(checkout: Path, zip_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied later and elsewhere"
    shutil.copytree(checkout, copy, copy_function=shutil.copyfile)
    (tmp_path / "work").mkdir()
    build.build(copy, tmp_path / "again.zip", tmp_path / "work", PYTHON)
    with zipfile.ZipFile(zip_file) as one, zipfile.ZipFile(tmp_path / "again.zip") as two:
        first, second = ({entry.filename: entry.CRC for entry in opened.infolist()} for opened in (one, two))
    assert dict(first.items() ^ second.items()) == {}
    assert filecmp.cmp(zip_file, tmp_path / "again.zip", shallow=False)


@needs_lambdas_python
def test_the_handler_answers_from_the_zip_alone(unpacked: Path) -> None:
    assert PYTHON is not None
    command = [PYTHON, "-I", "-S", "-c", WELCOME, str(unpacked)]
    done = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    welcome, page = json.loads(done.stdout)
    assert json.loads(welcome["body"])["message"] == "Welcome to StudySmart AI API"
    assert (page["statusCode"], "Sign in" in page["body"]) == (200, True)


@needs_lambdas_python
def test_clients_send_the_same_as_with_the_whole_botocore(unpacked: Path) -> None:
    assert PYTHON is not None
    keys = {"AWS_ACCESS_KEY_ID": "no-secret", "AWS_SECRET_ACCESS_KEY": "no-secret"}
    packaged, whole = (
        subprocess.run([*command, place], cwd="/", env=keys, capture_output=True, text=True, check=True).stdout
        for command, place in (
            ([PYTHON, "-I", "-S", "-c", CLIENTS], str(unpacked)),
            ([sys.executable, "-c", CLIENTS], str(ROOT)),
        )
    )
    assert len(json.loads(packaged)) == 16 + 4 * 9
    assert packaged == whole


@needs_lambdas_python
@pytest.mark.parametrize("missing", ["msgspec/json.py", "scramp/core.py"])
def test_the_trial_import_notices_a_missing_module(zip_file: Path, tmp_path: Path, missing: str) -> None:
    assert PYTHON is not None
    with zipfile.ZipFile(zip_file) as whole, zipfile.ZipFile(tmp_path / "part.zip", "w") as part:
        for name in whole.namelist():
            if not name.startswith((missing, f"{Path(missing).parent}/__pycache__/{Path(missing).stem}.")):
                part.writestr(name, whole.read(name))
    with pytest.raises(PackageError, match="cannot be imported"):
        check.try_imports(tmp_path / "part.zip", {"s3"}, tmp_path / "trial", PYTHON)


def test_a_wheel_that_does_not_exist_fails_and_leaves_no_zip(tmp_path: Path) -> None:
    root = copy_checkout(tmp_path / "checkout")
    lock = (ROOT / "requirements.txt").read_text()
    (root / "requirements.txt").write_text(re.sub(r"(?m)^msgspec==\S+", "msgspec==0.0.1", lock))
    (tmp_path / "work").mkdir()
    with pytest.raises(PackageError, match=r"msgspec"):
        build.build(root, tmp_path / "lambda.zip", tmp_path / "work", sys.executable)
    assert not (tmp_path / "lambda.zip").exists()


def test_a_zip_for_arm_has_only_extension_modules_for_arm(tmp_path: Path) -> None:
    zip_path = tmp_path / "lambda.zip"
    (tmp_path / "work").mkdir()
    build.build(ROOT, zip_path, tmp_path / "work", PYTHON, "arm64")
    with zipfile.ZipFile(zip_path) as written:
        assert check.faults(written, "arm64") == []
        assert {fault.rpartition(" is ")[2] for fault in check.faults(written, "x86_64")} == {"for another machine"}
