"""Compiles sources, run by a Python of the Lambda's version with a target directory and Lambda's home as arguments.

Takes ``source path, path in the zip, bytecode's path in the zip`` on each line of standard input, with tabs between.
Prints a JSON list of [path in the zip, fault] of what does not compile. The bytecode has an unchecked hash (PEP 552):
it is trusted without a look at its source's time, which no zip keeps right.
"""

import json
import py_compile
import sys
from pathlib import Path


def main() -> int:
    """Compile one after the other in the given order, so that the same sources give the same bytes."""
    target, home = sys.argv[1:]
    faults = []
    for line in sys.stdin.read().splitlines():
        source, path, compiled = line.split("\t")
        try:
            py_compile.compile(
                source,
                cfile=str(Path(target, compiled)),
                dfile=f"{home}/{path}",
                doraise=True,
                optimize=0,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except py_compile.PyCompileError as error:
            faults.append([path, error.msg.strip()])
    json.dump(faults, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
