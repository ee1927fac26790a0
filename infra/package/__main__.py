"""Build, check and describe the Lambda's zip, and render the template that deploys it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from infra.package import ARCHITECTURES, PYTHON, PackageError, build, check, install, template

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Build zip and template; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.package", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / build.ZIP, help="path of the zip (%(default)s)")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="checkout to package (%(default)s)")
    parser.add_argument(
        "--architecture", choices=ARCHITECTURES, default=ARCHITECTURES[0], help="processor of the Lambdas (%(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        _build(options.checkout, options.output, options.architecture)
    except PackageError as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    return 0


def _build(checkout: Path, output: Path, architecture: str) -> None:
    python = install.find_python()
    if python is None:
        _warn(
            f"WARNING: Python {PYTHON} was not found, so the zip holds no bytecode and every cold start compiles its"
            f" sources. Install Python {PYTHON} and run this again."
        )
    if python is None or not check.runs_here(architecture):
        _warn("the zip was not imported on trial, because this machine cannot run it")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="package-", dir=output.parent) as directory:
        work = Path(directory)
        shipped, left_out = build.build(checkout, output, work, python, architecture)
        rendered = template.render(checkout, work / "template", architecture)
    _describe(output, shipped, left_out)
    path = output.parent / Path(template.TEMPLATE).name
    path.write_text(json.dumps(rendered, indent=1) + "\n", encoding="utf-8")
    print(f"{path}\n{len(rendered['Resources'])} resources, {len(rendered['Parameters'])} parameters")


def _warn(text: str) -> None:
    print(f"package: {text}", file=sys.stderr)


def _describe(output: Path, shipped: Sequence[str], left_out: Sequence[str]) -> None:
    print(output)
    print(f"{len(shipped)} distributions; left out, for Chalice's command line or another platform: ", end="")
    print(", ".join(left_out))
    with zipfile.ZipFile(output) as written:
        print(f"zip {_mb(output.stat().st_size)}, unpacked {_mb(check.unpacked_bytes(written))}; largest entries:")
        for name, unpacked, packed in largest(written):
            print(f"  {name:<28} {_mb(unpacked):>9}  (packed {_mb(packed)})")


def largest(archive: zipfile.ZipFile, n: int = 10) -> list[tuple[str, int, int]]:
    """Return (name, unpacked bytes, packed bytes) of the ``n`` largest entries at the top of the zip."""
    unpacked: Counter[str] = Counter()
    packed: Counter[str] = Counter()
    for entry in archive.infolist():
        top, slash, _ = entry.filename.partition("/")
        unpacked[top + slash] += entry.file_size
        packed[top + slash] += entry.compress_size
    return [(name, size, packed[name]) for name, size in unpacked.most_common(n)]


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
