"""Builds, without docker, the tree that a Dockerfile's COPY and RUN lines describe.

What pip would install is linked from the packages of these tests: the very versions of the lock, and no other package.
That pip gets them is seen whenever the tests' own environment is made, from the same hashes.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

from infra.package.pins import read_pins

_PATH = re.compile(r"(?<![\w./])/(?=opt|app|tmp|usr)")


@dataclass
class Image:
    """A tree below ``root``, and what runs in it. All stages share the tree: what is copied between them is there."""

    root: Path
    context: Path
    directory: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    command: str = ""

    def path(self, inside: str) -> Path:
        """A path of the image, on this machine."""
        return self.root / os.path.normpath(os.path.join("/", self.directory, inside)).lstrip("/")  # noqa: PTH118

    def moved(self, text: str) -> str:
        """The text with each path of the image as one of this machine."""
        return _PATH.sub(f"{self.root}/", text)

    def build(self, dockerfile: str) -> None:
        """Carry out the instructions; fails on one that is not known here."""
        for word, rest in instructions(dockerfile):
            getattr(self, f"_{word.lower()}")(rest)

    def run(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the image, with its environment and the given variables only."""
        return subprocess.run(
            [shutil.which(command[0], path=self.variables["PATH"]) or command[0], *command[1:]],
            cwd=self.path("."),
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @property
    def variables(self) -> dict[str, str]:
        return {"HOME": str(self.root / "nonexistent"), **self.environment}

    def _from(self, _: str) -> None:
        """The base image has Python and a place for temporary files."""
        self.directory = "/"
        self.environment = {"PATH": f"{self.moved('/usr/local/bin')}:{os.defpath}"}
        self.path("/tmp").mkdir(parents=True, exist_ok=True)
        python = self.path("/usr/local/bin/python")
        python.parent.mkdir(parents=True, exist_ok=True)
        if not python.exists():
            python.symlink_to(Path(sys.base_prefix) / "bin" / "python3")

    def _arg(self, _: str) -> None:
        raise AssertionError("an ARG makes an image depend on who builds it")

    def _env(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            self.environment[name] = self.moved(value).replace("$PATH", self.environment["PATH"])

    def _workdir(self, rest: str) -> None:
        self.directory = rest
        self.path(".").mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        if sources[0].startswith("--from="):
            assert self.path(target).exists(), rest
            return
        (source,) = sources
        files = [file for file in allowed(self.context) if file == Path(source) or Path(source) in file.parents]
        assert files, f"the context has no {source}"
        for file in files:
            inside = self.path(target) / file.relative_to(source)
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.context / file, inside)

    def _run(self, rest: str) -> None:
        if rest.startswith("useradd "):
            return
        pip, _, then = rest.partition(" && ")
        if " pip install " in pip:
            self._install(pip)
            rest = then
        done = subprocess.run(
            ["sh", "-ec", self.moved(rest)],
            cwd=self.path("."),
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"

    def _install(self, line: str) -> None:
        """Link the files of every distribution of the lock that the line names, at the lock's version."""
        found = re.fullmatch(r"(\S+)/bin/python -m pip install --require-hashes --only-binary :all: -r (\S+)", line)
        assert found, line
        (packages,) = self.path(found[1]).glob("lib/python3.*/site-packages")
        for pin in read_pins(self.path(found[2]).read_text()):
            installed = distribution(pin.name)
            assert installed.version == pin.version, pin.name
            for file in installed.files or ():
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(Path(str(installed.locate_file(file))), target)

    def _user(self, rest: str) -> None:
        self.user = rest

    def _cmd(self, rest: str) -> None:
        self.command = rest

    def _healthcheck(self, rest: str) -> None:
        assert "CMD" in rest

    def _stopsignal(self, rest: str) -> None:
        assert rest == "SIGTERM"


def _link(source: Path, target: Path) -> None:
    if target.exists() or not source.exists():  # two distributions may hold one file, and RECORD names removed bytecode
        return
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copy(source, target)


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(word, rest) of each instruction, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def allowed(context: Path) -> list[Path]:
    """The files that .dockerignore lets into the build, relative to the context."""
    rules = [line for line in (context / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    names = {rule.removeprefix("!").split("/")[0] for rule in rules if rule.startswith("!")}
    files = [file.relative_to(context) for name in sorted(names) for file in (context / name).rglob("*")]
    return [file for file in files if (context / file).is_file() and not _ignored(file, rules)]


def _ignored(file: Path, rules: list[str]) -> bool:
    """The last rule that names the file or a folder above it decides."""
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        anywhere = rule.startswith("**/")
        places = [file, *file.parents]
        named = any(
            fnmatch.fnmatch(place.name if anywhere else place.as_posix(), pattern)
            for place in places
            if place != Path()
        )
        if named:
            ignored = not rule.startswith("!")
    return ignored
