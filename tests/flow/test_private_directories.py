"""PostgreSQL below a directory that only its owner may enter, as `mktemp -d` makes one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.local import postgres

SCRIPT = """
import os, sys
from pathlib import Path
from infra.local import postgres

os.umask(0o077)
home = Path(sys.argv[1])
assert home in postgres.binary("initdb").parents
server = postgres.prepare(home / "state")
postgres.start(server)
try:
    postgres.wait_until_ready(server)
    postgres.create_database(server, "made")
finally:
    postgres.stop(server)
"""


def test_programs_and_data_may_be_private(tmp_path: Path) -> None:
    """Root starts PostgreSQL as another user, who could enter neither directory."""
    home = tmp_path / "private"
    home.mkdir(mode=0o700)
    package = postgres.binary("initdb").parents[2]
    for copied in package.parent.glob(f"{package.name}*"):
        shutil.copytree(copied, home / copied.name, ignore=shutil.ignore_patterns("pginstall"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(home)],
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
