"""Packaging for the Lambda on small made-up trees: the files that are chosen, and the faults that a check finds."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from infra.package import PackageError, build, check, install, trim
from infra.package.__main__ import largest

ROOT = Path(install.__file__).parents[2]
ELF = b"\x7fELF" + bytes(14) + check.ELF_MACHINES["x86_64"] + bytes(8)
NATIVE = "numpy/core.cpython-313-x86_64-linux-gnu.so"


def files(root: Path, **contents: bytes) -> Path:
    """Make files below ``root``, by their paths."""
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


SHIPPED = [
    "numpy/__init__.py",
    NATIVE,
    "numpy.libs/libscipy_openblas64_-ff651d7f.so",
    "numpy/testing/__init__.py",
    "numpy/tests/LICENSE.txt",
    "numpy-2.5.5.dist-info/METADATA",
    "numpy-2.5.5.dist-info/licenses/LICENSE.txt",
    "botocore/docs/docstring.py",
    "botocore/data/endpoints.json",
    "botocore/data/s3/2006-03-01/service-2.json.gz",
    "botocore/data/s3/2006-03-01/endpoint-rule-set-1.json.gz",
    "botocore/cacert.pem",
]
LEFT_OUT = [
    "bin/chalice",
    "numpy/tests/test_version.py",
    "numpy/__init__.pyi",
    "numpy/_core/include/numpy/ndarraytypes.h",
    "numpy/_core/lib/libnpymath.a",
    "numpy/__pycache__/__init__.cpython-311.pyc",
    "numpy-2.5.5.dist-info/RECORD",
    "numpy/__init__.pxd",
    "README.md",
    "botocore/data/ec2/2016-11-15/service-2.json.gz",
    "botocore/data/s3/2006-03-01/examples-1.json",
    "distutils-precedence.pth",
]


@pytest.mark.parametrize("path", SHIPPED)
def test_the_zip_has(path: str) -> None:
    assert trim.is_shipped(path, {"s3"})


@pytest.mark.parametrize("path", LEFT_OUT)
def test_the_zip_does_not_have(path: str) -> None:
    assert not trim.is_shipped(path, {"s3"})


def test_services_are_those_for_which_clients_are_made(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('x = aws_client("s3", region)\ny = lambda: aws.aws_client(\n    "cognito-idp", z)')
    (tmp_path / "b.py").write_text("def aws_client(service): ...")
    assert trim.services_used(tmp_path) == {"s3", "cognito-idp"}
    assert trim.services_used(ROOT / "chalicelib") == {"s3", "sqs", "cognito-idp", "events"}


def test_a_client_without_a_literal_service_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("aws_client(service, region)")
    with pytest.raises(PackageError, match=r"a\.py: .* literal"):
        trim.services_used(tmp_path)


def test_a_service_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="botocore knows no service s4"):
        trim.trim(tmp_path, {"s4"})


def test_the_program_has_no_caches_or_hidden_files(tmp_path: Path) -> None:
    kept = ["app.py", "chalicelib/__init__.py", "chalicelib/web/page.html", "chalicelib/web/vendor/LICENSE"]
    others = ["chalicelib/.swp", "chalicelib/__pycache__/x.pyc", "chalicelib/.git/config", "chalicelib/x.pyc", "x.py"]
    root = files(tmp_path / "root", **dict.fromkeys([*kept, *others], b""))
    trim.copy_program(root, tmp_path / "copy")
    copied = [path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*.*")]
    assert sorted({*copied, "chalicelib/web/vendor/LICENSE"}) == kept


def test_a_model_loses_its_texts_and_no_member_of_that_name() -> None:
    member = {"shape": "Text", "documentation": "What it is"}
    model = {"documentation": "<p>", "shapes": [{"members": {"documentation": member, "other": member}}]}
    empty = {"shape": "Text", "documentation": ""}
    assert trim.undocumented(model) == {
        "documentation": "",
        "shapes": [{"members": {"documentation": empty, "other": empty}}],
    }


def test_endpoints_are_those_of_the_services() -> None:
    partition = {"partition": "aws", "regions": {"x": {}}, "services": {"s3": {"endpoints": {}}, "ec2": {}}}
    cut = trim.endpoints_of({"partitions": [partition], "version": 3}, {"s3", "sqs"})
    assert cut == {"partitions": [{**partition, "services": {"s3": {"endpoints": {}}}}], "version": 3}


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    """Times, modes and the order of creation do not matter."""
    one = files(tmp_path / "one", a=b"same", b=b"same")
    two = files(tmp_path / "two", b=b"same", a=b"same")
    os.utime(two / "a", (1, 1))
    (two / "a").chmod(0o700)
    build.write_zip(one, tmp_path / "1.zip")
    build.write_zip(two, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_the_largest_entries_are_folders_and_files_at_the_top(tmp_path: Path) -> None:
    tree = files(tmp_path / "tree", **{"a/x": bytes(1_000), "a/y/z": bytes(10), "b.py": bytes(10)})
    build.write_zip(tree, tmp_path / "zip")
    with zipfile.ZipFile(tmp_path / "zip") as written:
        assert [(name, size) for name, size, _ in largest(written)] == [("a/", 1_010), ("b.py", 10)]
        assert check.unpacked_bytes(written) == 1_020


def faults(tmp_path: Path, **contents: bytes) -> list[str]:
    good = {"app.py": b"", NATIVE: ELF}
    build.write_zip(files(tmp_path / "tree", **{**good, **contents}), tmp_path / "zip")
    with zipfile.ZipFile(tmp_path / "zip") as written:
        return check.faults(written)


def test_a_good_zip_has_no_faults(tmp_path: Path) -> None:
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("tensorflow/python/x.txt", b"", "tensorflow must not be in it"),
        ("tensorflow_cpu-2.21.0.dist-info/LICENSE", b"", "tensorflow_cpu-2.21.0.dist-info must not be in it"),
        ("training_job/train.txt", b"", "training_job must not be in it"),
        ("msgspec/_core.cpython-311-x86_64-linux-gnu.so", ELF, "is for another Python"),
        (NATIVE, ELF.replace(check.ELF_MACHINES["x86_64"], check.ELF_MACHINES["arm64"]), "is for another machine"),
        (NATIVE, b"\xcf\xfa\xed\xfe" + bytes(16), "is for another machine"),
    ],
)
def test_a_fault_is_found(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    (found,) = faults(tmp_path, **{name: content})
    assert fault in found


def test_a_zip_that_lambda_refuses_for_its_size_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LIMIT_BYTES", 1_000)
    assert faults(tmp_path, large=bytes(2_000)) == ["0 MB unpacked are more than Lambda takes"]


def test_a_source_that_does_not_compile_is_refused(tmp_path: Path) -> None:
    python = install.find_python()
    if python is None:
        pytest.skip("needs Python 3.13")
    tree = files(tmp_path, **{"good.py": b"x = 1\n", "bad.py": b"x = = 1\n"})
    with pytest.raises(PackageError, match=r"bad\.py"):
        install.compile_sources(tree, python)
