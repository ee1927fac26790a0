"""What must be true of the zip before anybody deploys it. Each check gives a list of faults in words."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from email.parser import BytesHeaderParser
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name

from infra.package import records
from infra.package.bytecode import bytecode_path
from infra.package.pins import Pin
from infra.package.target import BYTECODE_MAGIC, BYTECODE_TAG, ELF_MACHINE

REQUIRED = ("numpy", "h5py")
"""What answers predictions: the lock itself must have it."""

FORBIDDEN = frozenset(
    {
        *("tensorflow", "tensorflow_cpu", "tensorflow_intel", "keras"),
        *("training_job", "ops", "infra", "tests", "benchmarks"),
        *("alembic", "moto", "pytest"),
    }
)
"""Folders, modules and distributions that have no place in a Lambda."""

_UNCHECKED_HASH = (1).to_bytes(4, "little")
_MODULE = (".py", ".so")
_EXTENSION_TAG = re.compile(r"\.(cpython-\d+|cp\d+)[^.]*\.so$")


def faults(
    archive: zipfile.ZipFile,
    pins: Sequence[Pin],
    program: Mapping[str, bytes],
    services: Collection[str],
    *,
    compiled: bool = True,
) -> list[str]:
    """All faults of a zip; empty for a good one.

    ``program`` holds the checkout's files by their path in the zip, ``services`` the AWS services that must be known;
    ``compiled`` says whether bytecode is expected.
    """
    names = set(archive.namelist())
    return [
        *_repeated(archive),
        *_program(archive, names, program),
        *_distributions(archive, names, pins),
        *_foreign(names),
        *_services(names, services),
        *_extensions(archive, names),
        *(_bytecode(archive, names) if compiled else ()),
    ]


def _repeated(archive: zipfile.ZipFile) -> list[str]:
    times = Counter(archive.namelist())
    return [f"{name} is in the zip {n} times" for name, n in sorted(times.items()) if n > 1]


def _program(archive: zipfile.ZipFile, names: Collection[str], program: Mapping[str, bytes]) -> list[str]:
    found = [f"{path} is missing" for path in sorted(program) if path not in names]
    same = (path for path in sorted(program) if path in names)
    return found + [f"{path} differs from the checkout" for path in same if archive.read(path) != program[path]]


def _distributions(archive: zipfile.ZipFile, names: Collection[str], pins: Sequence[Pin]) -> list[str]:
    pinned = {pin.name for pin in pins}
    found = [f"the lock pins no {name}" for name in REQUIRED if name not in pinned]
    present = _present(archive, names)
    for pin in pins:
        version, folder = present.get(pin.name, ("", ""))
        if not version:
            found.append(f"{pin.name} {pin.version} is missing")
        elif version != pin.version:
            found.append(f"{pin.name} is there at {version}, and the lock pins {pin.version}")
        else:
            found += _incomplete(archive, names, pin, folder)
    return found + [f"{name} is there, and should not be" for name in sorted(present) if name not in pinned]


def _present(archive: zipfile.ZipFile, names: Collection[str]) -> dict[str, tuple[str, str]]:
    """(version, name of the .dist-info) of the distributions in the zip, by name."""
    found = {}
    for path in sorted(name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)):
        metadata = BytesHeaderParser().parsebytes(archive.read(path))
        name: str = canonicalize_name(str(metadata["Name"]))
        found[name] = (str(metadata["Version"]), path.partition("/")[0])
    return found


def _incomplete(archive: zipfile.ZipFile, names: Collection[str], pin: Pin, folder: str) -> list[str]:
    record = f"{folder}/{records.NAME}"
    if record not in names:
        return [f"{pin.name} {pin.version} has no {records.NAME}"]
    recorded = records.paths(archive.read(record).decode())
    missing = [path for path in recorded if path not in names]
    found = [f"{pin.name} {pin.version} lacks {path}" for path in missing[:3]]
    if not any(path.endswith(_MODULE) for path in recorded):
        found.append(f"{pin.name} {pin.version} has no module")
    return found


def _foreign(names: Collection[str]) -> list[str]:
    tops = sorted({name.partition("/")[0] for name in names})
    return [f"{top} must not be in it" for top in tops if re.split(r"[-.]", top.lower())[0] in FORBIDDEN]


def _services(names: Collection[str], services: Collection[str]) -> list[str]:
    def known(service: str) -> bool:
        prefix = f"botocore/data/{service}/"
        return any(name.startswith(prefix) and "/service-2.json" in name for name in names)

    needed = [
        f"botocore/data/{name}.json" for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration")
    ]
    absent = [f"{path} is missing" for path in needed if path not in names]
    return absent + [f"the AWS service {name} is missing" for name in sorted(services) if not known(name)]


def _extensions(archive: zipfile.ZipFile, names: Collection[str]) -> list[str]:
    """Extension modules of another Python or another machine would fail at the first import, in production."""
    found = []
    for name in sorted(name for name in names if name.endswith(".so") or ".so." in PurePosixPath(name).name):
        tag = _EXTENSION_TAG.search(name)
        if tag is not None and tag[1] != BYTECODE_TAG:
            found.append(f"{name} is for another Python")
        with archive.open(name) as file:
            head = file.read(20)
        if head[:4] != b"\x7fELF" or head[18:20] != ELF_MACHINE:
            found.append(f"{name} is for another machine")
    return found


def _bytecode(archive: zipfile.ZipFile, names: Collection[str]) -> list[str]:
    found = []
    for source in sorted(name for name in names if name.endswith(".py")):
        compiled = bytecode_path(source)
        if compiled not in names:
            found.append(f"{source} is not compiled")
            continue
        with archive.open(compiled) as file:
            head = file.read(8)
        if head != BYTECODE_MAGIC + _UNCHECKED_HASH:
            found.append(f"{compiled} is not bytecode of {BYTECODE_TAG} with an unchecked hash")
    return found
