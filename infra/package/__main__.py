"""``python -m infra.package``: build, check and describe the Lambda's zip, and render the template that deploys it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import zipfile
from pathlib import Path

from infra.package import archive, build, bytecode, template, trial
from infra.package.errors import PackageError
from infra.package.target import runs_here

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Build the zip; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.package", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / build.ZIP, help="where the zip goes (%(default)s)")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="what to package (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        _build(options.checkout, options.output)
    except PackageError as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    return 0


def _build(checkout: Path, output: Path) -> None:
    python = bytecode.find_python()
    if python is None:
        print(
            "package: WARNING: no Python 3.13 was found, so the zip holds sources without bytecode:"
            " every cold start compiles them anew. Install Python 3.13 and run this again.",
            file=sys.stderr,
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="package-", dir=output.parent) as directory:
        built = build.build(checkout, output, Path(directory), python)
        if python is not None and runs_here():
            trial.run(output, built.services, Path(directory) / "trial", python)
        else:
            print("package: not imported on trial, because this machine cannot run it", file=sys.stderr)
        rendered = template.render(checkout, Path(directory) / "template")
    _describe(output, built)
    path = output.parent / Path(template.TEMPLATE).name
    path.write_text(json.dumps(rendered, indent=1) + "\n", encoding="utf-8")
    print(f"{path}\n{len(rendered['Resources'])} resources, {len(rendered['Parameters'])} parameters")


def _describe(output: Path, built: build.Built) -> None:
    print(output)
    print(f"{len(built.shipped)} distributions; for Chalice's command line only, so left out: ", end="")
    print(", ".join(pin.name for pin in built.left_out))
    with zipfile.ZipFile(output) as written:
        print(f"zip {_mb(output.stat().st_size)}, unpacked {_mb(archive.unpacked_bytes(written))}, the largest in it:")
        for name, unpacked, packed in archive.largest(written):
            print(f"  {name:<28} {_mb(unpacked):>9}  (packed {_mb(packed)})")


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
