"""Packaging for the Lambda, on small made-up distributions: what is chosen, and what a check finds wrong."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.package import archive, check, contents, needed, records, service_data
from infra.package.bytecode import bytecode_path
from infra.package.errors import PackageError
from infra.package.pins import Pin, read_pins
from infra.package.target import BYTECODE_MAGIC, ELF_MACHINE, MARKERS

DIGEST = "sha256:" + "0" * 64
LOCK = f"""
# A comment
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash={DIGEST}
    # via h5py
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash={DIGEST} \\
    --hash={DIGEST}
ansicon==1.89.0 ; sys_platform == 'win32' \\
    --hash={DIGEST}
Typing_Extensions==4.16.0 \\
    --hash={DIGEST}
"""


def test_the_markers_of_a_lock_are_those_of_the_lambda_wherever_it_is_read() -> None:
    assert read_pins(LOCK) == (Pin("numpy", "2.5.5", (DIGEST, DIGEST)), Pin("typing-extensions", "4.16.0", (DIGEST,)))
    old = read_pins(LOCK, {**MARKERS, "python_full_version": "3.11.9"})
    assert [pin.version for pin in old] == ["2.4.6", "4.16.0"]


@pytest.mark.parametrize("line", ["numpy>=2", f"numpy>=2 --hash={DIGEST}", "numpy==2.5.5", "./numpy"])
def test_a_line_that_pins_nothing_is_refused(line: str) -> None:
    with pytest.raises(PackageError, match="numpy"):
        read_pins(line)


def test_a_requirement_for_pip_names_the_digests_and_no_marker() -> None:
    assert read_pins(LOCK)[0].requirement == f"numpy==2.5.5 --hash={DIGEST} --hash={DIGEST}"


def pins(*names: str) -> list[Pin]:
    return [Pin(name, "1", (DIGEST,)) for name in names]


DEPENDENCIES = {
    "chalice": frozenset({"pip", "click", "botocore"}),
    "botocore": frozenset({"six"}),
    "click": frozenset({"colours"}),
}


def test_what_only_chalice_depends_on_is_left_out() -> None:
    locked = pins("botocore", "chalice", "click", "colours", "pip", "six")
    shipped, left_out = needed.split(locked, ["chalice", "botocore"], DEPENDENCIES)
    assert [pin.name for pin in shipped] == ["botocore", "chalice", "six"]
    assert [pin.name for pin in left_out] == ["click", "colours", "pip"]


def test_what_the_program_asks_for_itself_is_shipped_also_where_chalice_depends_on_it() -> None:
    shipped, _ = needed.split(pins("chalice", "click", "colours", "pip"), ["chalice", "click"], DEPENDENCIES)
    assert [pin.name for pin in shipped] == ["chalice", "click", "colours"]


def test_what_nothing_depends_on_is_shipped() -> None:
    shipped, left_out = needed.split(pins("chalice", "stray"), ["chalice"], DEPENDENCIES)
    assert ([pin.name for pin in shipped], left_out) == (["chalice", "stray"], [])


def test_chalice_itself_is_shipped_even_if_it_is_locked_for_another_reason() -> None:
    assert needed.split(pins("chalice", "click"), [], DEPENDENCIES)[0] == pins("chalice")


def test_the_project_names_its_dependencies_with_extras() -> None:
    project = '[project]\ndependencies = ["SQLAlchemy>=2.1", "pyjwt[crypto]"]\n'
    assert needed.read_roots(project) == ["sqlalchemy", "pyjwt"]


WANTED = [
    "numpy/__init__.py",
    "numpy/_core/_multiarray_umath.cpython-313-x86_64-linux-gnu.so",
    "numpy.libs/libscipy_openblas64_-ff651d7f.so",
    "numpy/testing/__init__.py",
    "numpy/tests/LICENSE.txt",
    "numpy-2.5.5.dist-info/METADATA",
    "numpy-2.5.5.dist-info/RECORD",
    "numpy-2.5.5.dist-info/licenses/LICENSE.txt",
    "botocore/docs/docstring.py",
    "botocore/data/endpoints.json",
    "botocore/data/s3/2006-03-01/service-2.json.gz",
    "botocore/data/s3/2006-03-01/endpoint-rule-set-1.json.gz",
    "botocore/cacert.pem",
]
UNWANTED = [
    "bin/chalice",
    "numpy/tests/test_version.py",
    "numpy/__init__.pyi",
    "numpy/_core/include/numpy/ndarraytypes.h",
    "numpy/_core/lib/libnpymath.a",
    "numpy/__pycache__/__init__.cpython-311.pyc",
    "numpy-2.5.5.dist-info/INSTALLER",
    "h5py/h5.pxd",
    "README.md",
    "botocore/data/ec2/2016-11-15/service-2.json.gz",
    "botocore/data/s3/2006-03-01/examples-1.json",
    "distutils-precedence.pth",
]


@pytest.mark.parametrize("path", WANTED)
def test_shipped_is(path: str) -> None:
    assert contents.is_wanted(path, {"s3"})


@pytest.mark.parametrize("path", UNWANTED)
def test_not_shipped_is(path: str) -> None:
    assert not contents.is_wanted(path, {"s3"})


def test_the_services_are_those_that_clients_are_made_of(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('x = aws_client("s3", region)\ny = lambda: aws.aws_client("cognito-idp", region)')
    (tmp_path / "b.py").write_text("def aws_client(service): ...")
    assert contents.services_used(tmp_path) == {"s3", "cognito-idp"}


def test_a_client_of_a_service_that_cannot_be_read_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("aws_client(service, region)")
    with pytest.raises(PackageError, match=r"a\.py:1: .* literal"):
        contents.services_used(tmp_path)


def test_the_services_of_this_program_are_known() -> None:
    program = Path(contents.__file__).parents[2] / "chalicelib"
    assert contents.services_used(program) == {"s3", "sqs", "cognito-idp"}


def test_a_service_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "botocore").mkdir()
    with pytest.raises(PackageError, match="botocore knows no service s4"):
        contents.dependency_files(tmp_path, {"s4"})


def test_the_program_is_shipped_without_caches_and_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "app.py").touch()
    for name in (
        "__init__.py",
        "web/page.html",
        "web/vendor/LICENSE",
        ".swp",
        "__pycache__/x.pyc",
        ".git/config",
        "x.pyc",
    ):
        path = tmp_path / "chalicelib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shipped = contents.program_files(tmp_path)
    assert sorted(shipped) == [
        "app.py",
        "chalicelib/__init__.py",
        "chalicelib/web/page.html",
        "chalicelib/web/vendor/LICENSE",
    ]


def test_a_record_names_what_is_shipped(tmp_path: Path) -> None:
    record = tmp_path / "one-1.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text('one/b.py,sha256=x,1\n"one/a,b.py",,\none/gone.pyi,,\none-1.dist-info/RECORD,,\n')
    files = dict.fromkeys(("one/b.py", "one/a,b.py"), tmp_path) | {"one-1.dist-info/RECORD": record}
    written = records.shipped(files, tmp_path / "new")["one-1.dist-info/RECORD"].read_text()
    assert written == 'one-1.dist-info/RECORD,,\n"one/a,b.py",,\none/b.py,sha256=x,1\n'


def test_a_record_vouches_for_nothing_that_was_changed(tmp_path: Path) -> None:
    record = tmp_path / "RECORD"
    record.write_text("one/a.json,sha256=x,1\none/b.py,sha256=y,2\n")
    files = {"one/a.json": tmp_path, "one/b.py": tmp_path, "one-1.dist-info/RECORD": record}
    written = records.shipped(files, tmp_path / "new", {"one/a.json"})["one-1.dist-info/RECORD"].read_text()
    assert written == "one/a.json,,\none/b.py,sha256=y,2\n"


def test_a_model_loses_its_texts_and_no_member_of_that_name() -> None:
    member = {"shape": "Text", "documentation": "What it is"}
    model = {"documentation": "All", "shapes": [{"members": {"documentation": member, "other": member}}]}
    silent = {"shape": "Text", "documentation": ""}
    assert service_data.undocumented(model) == {
        "documentation": "",
        "shapes": [{"members": {"documentation": silent, "other": silent}}],
    }


def test_the_table_of_endpoints_keeps_partitions_and_the_services_that_are_used() -> None:
    partition = {"partition": "aws", "regions": {"x": {}}, "services": {"s3": {"endpoints": {}}, "ec2": {}}}
    cut = service_data.endpoints_of({"partitions": [partition], "version": 3}, {"s3", "sqs"})
    assert cut == {"partitions": [{**partition, "services": {"s3": {"endpoints": {}}}}], "version": 3}


def test_the_same_files_give_the_same_bytes_whatever_their_times_and_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_bytes(b"same")
    os.utime(two, (1, 1))
    two.chmod(0o700)
    archive.write({"a": one, "b": one}, tmp_path / "1.zip")
    archive.write({"b": two, "a": two}, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_the_largest_are_folders_and_files_at_the_top(tmp_path: Path) -> None:
    for name, size in (("small", 10), ("large", 1_000)):
        (tmp_path / name).write_bytes(b"x" * size)
    archive.write(
        {"a/x": tmp_path / "large", "a/y/z": tmp_path / "small", "b.py": tmp_path / "small"}, tmp_path / "zip"
    )
    with zipfile.ZipFile(tmp_path / "zip") as written:
        assert [(name, size) for name, size, _ in archive.largest(written)] == [("a/", 1_010), ("b.py", 10)]
        assert archive.unpacked_bytes(written) == 1_020


# A zip that is right, as small as one can be, and what makes it wrong.

PINS = pins("h5py", "numpy")
PROGRAM = {"app.py": b"app", "chalicelib/web/page.html": b"<p>"}
NATIVE = "numpy/core.cpython-313-x86_64-linux-gnu.so"
ELF = b"\x7fELF" + bytes(14) + ELF_MACHINE + bytes(8)
GENERAL = [f"botocore/data/{name}.json" for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration")]


def good() -> dict[str, bytes]:
    files = {**PROGRAM, **dict.fromkeys(GENERAL, b"{}"), "botocore/data/s3/2006-03-01/service-2.json.gz": b""}
    for pin, module in ((PINS[0], "h5py/__init__.py"), (PINS[1], NATIVE)):
        files[f"{pin.dist_info}/METADATA"] = f"Name: {pin.name}\nVersion: {pin.version}\n".encode()
        files[f"{pin.dist_info}/RECORD"] = f"{module},,\n{pin.dist_info}/RECORD,,\n".encode()
    files |= {"h5py/__init__.py": b"", NATIVE: ELF}
    compiled = BYTECODE_MAGIC + (1).to_bytes(4, "little") + bytes(8)
    return files | {bytecode_path(name): compiled for name in files if name.endswith(".py")}


def faults(path: Path, files: dict[str, bytes], compiled: bool = True) -> list[str]:
    with zipfile.ZipFile(path, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    with zipfile.ZipFile(path) as read:
        return check.faults(read, PINS, PROGRAM, {"s3"}, compiled=compiled)


def without(*names: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda files: {path: body for path, body in files.items() if path not in names}


def having(name: str, body: bytes = b"") -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda files: {**files, name: body}


WRONG = [
    (without("chalicelib/web/page.html"), "chalicelib/web/page.html is missing"),
    (without("app.py"), "app.py is missing"),
    (having("app.py", b"old"), "app.py differs from the checkout"),
    (without("numpy-1.dist-info/METADATA"), "numpy 1 is missing"),
    (without("h5py-1.dist-info/METADATA"), "h5py 1 is missing"),
    (without("h5py-1.dist-info/RECORD"), "h5py 1 has no RECORD"),
    (having("h5py-1.dist-info/RECORD", b"chalicelib/web/page.html,,\n"), "h5py 1 has no module"),
    (without(NATIVE), f"numpy 1 lacks {NATIVE}"),
    (
        having("numpy-1.dist-info/METADATA", b"Name: numpy\nVersion: 2\n"),
        "numpy is there at 2, and the lock pins 1",
    ),
    (having("x-1.dist-info/METADATA", b"Name: X\nVersion: 1\n"), "x is there, and should not be"),
    (having("tensorflow/python/x.txt"), "tensorflow must not be in it"),
    (having("tensorflow_cpu-2.21.0.dist-info/LICENSE"), "tensorflow_cpu-2.21.0.dist-info must not be in it"),
    (having("keras/x.txt"), "keras must not be in it"),
    (having("training_job/train.txt"), "training_job must not be in it"),
    (without("botocore/data/s3/2006-03-01/service-2.json.gz"), "the AWS service s3 is missing"),
    (without("botocore/data/endpoints.json"), "botocore/data/endpoints.json is missing"),
    (having("h5py/defs.cpython-311-x86_64-linux-gnu.so", ELF), "is for another Python"),
    (having(NATIVE, ELF.replace(ELF_MACHINE, b"\xb7\x00")), "is for another machine"),
    (having(NATIVE, b"\xcf\xfa\xed\xfe" + bytes(16)), "is for another machine"),
    (without(bytecode_path("app.py")), "app.py is not compiled"),
    (having(bytecode_path("app.py"), BYTECODE_MAGIC + bytes(12)), "is not bytecode of cpython-313 with an unchecked"),
    (having(bytecode_path("app.py"), b"\xa7\r\r\n" + bytes(12)), "is not bytecode of cpython-313 with an unchecked"),
]


def test_a_good_zip_has_no_faults(tmp_path: Path) -> None:
    assert faults(tmp_path / "zip", good()) == []


@pytest.mark.parametrize(("change", "fault"), WRONG, ids=[fault for _, fault in WRONG])
def test_a_fault_is_found(tmp_path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], fault: str) -> None:
    found = faults(tmp_path / "zip", change(good()))
    assert len(found) == 1
    assert fault in found[0]


def test_sources_alone_are_right_where_nothing_could_compile_them(tmp_path: Path) -> None:
    sources = {name: body for name, body in good().items() if not name.endswith(".pyc")}
    assert faults(tmp_path / "zip", sources, compiled=False) == []


def test_a_lock_without_numpy_and_h5py_is_a_fault(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip", "w"):
        pass
    with zipfile.ZipFile(tmp_path / "zip") as empty:
        found = check.faults(empty, [], {}, [])
    assert found[:2] == ["the lock pins no numpy", "the lock pins no h5py"]
