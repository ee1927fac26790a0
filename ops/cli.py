"""The operator's command: ``studysmart status``, ``monitor``, ``train``, ``reset-counter``, ``import`` ...

It works on a stack that runs on this machine (``--state-dir``, ``STATE_DIR``, or ``.local``), else on the deployment
that the environment names. Exit status: 0 done, 1 something was wrong, 2 wrong usage or an unusable file.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from chalicelib.domain.errors import QueueUnavailableError, StudySmartError
from chalicelib.services import training
from chalicelib.wiring import Container
from ops import logs, models, monitor, status
from ops.backup import command as backup
from ops.backup import restore
from ops.doctor import command as doctor
from ops.imports import command as import_command
from ops.stack import NoStackError, connect

Command = Callable[[Container, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    try:
        if options.command is None:
            return logs.run(options)
        command: Command = options.command
        return command(connect(options.state_dir), options)
    except (NoStackError, StudySmartError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone; nothing more can be said, also not by the interpreter at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="studysmart", description="Operate a StudySmart backend.")
    parser.add_argument("--state-dir", help="of a stack on this machine (default: STATE_DIR, else .local)")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    # ``logs`` has no command on a container: it is of use when nothing runs, and without the programs' environment.
    def add(name: str, command: Command | None, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(command=command)
        return sub

    add("status", _status, "show counter, samples, training and model").add_argument("--json", action="store_true")
    follow = add("monitor", _monitor, "follow counter, training and epochs until Ctrl-C")
    follow.add_argument("--json", action="store_true", help="one JSON object a line")
    follow.add_argument("--interval", type=_seconds, default=0.5, metavar="SECONDS", help="between looks (default 0.5)")
    follow.add_argument("--until", choices=["idle"], help="end when no training is queued or running")
    add("train", _train, "ask for a training now, whatever the counter says")
    reset = add("reset-counter", _reset_counter, "set the number of completions since the last training")
    reset.add_argument("value", type=_count, metavar="N", help="0 or more")
    import_command.add_arguments(add("import", import_command.run, "import a history of answers from CSV"))
    models.add_arguments(add("models", models.run, "list, compare, check, roll back, pin and prune the models"))
    doctor.add_arguments(add("doctor", doctor.run, "check everything that must hold, and mend what can be mended"))
    backup.add_arguments(add("backup", backup.run, "back up tables and models, while the API is running"))
    restore.add_arguments(add("restore", restore.run, "restore a backup into an empty stack"))
    logs.add_arguments(add("logs", None, "answer questions by the log"))
    admin = add("make-admin", _make_admin, "give an account the rights of an administrator")
    admin.add_argument("email", metavar="EMAIL")
    add("migrate", _migrate, "bring the database's tables up to date")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 3600:
        raise argparse.ArgumentTypeError("must be 0.05 to 3600")
    return value


def _status(container: Container, options: argparse.Namespace) -> int:
    report = status.read(container)
    text = json.dumps(status.as_json(report), indent=2) if options.json else "\n".join(status.as_lines(report))
    print(text)
    return 0


def _monitor(container: Container, options: argparse.Namespace) -> int:
    def read() -> training.ModelStatus:
        return training.status(container.tracker, container.policy, container.settings.cohort)

    # A shell starts background jobs with this signal ignored; here it is the way to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for line in monitor.follow(read, options.interval, options.until == "idle", options.json):
            print(line, flush=True)
    except KeyboardInterrupt:
        return 0  # the ordinary way to end it
    return 0


def _train(container: Container, _: argparse.Namespace) -> int:
    try:
        request = training.force_training(container.tracker, container.queue, container.settings.cohort)
    except QueueUnavailableError as error:
        print(f"warning: {error}; the sweeper will send the request", file=sys.stderr)
        return 1
    if request is None:
        print("error: a training is queued or running already", file=sys.stderr)
        return 1
    print(f"Training requested: {request.request_id}")
    return 0


def _reset_counter(container: Container, options: argparse.Namespace) -> int:
    model = training.set_counter(container.tracker, container.policy, container.settings.cohort, options.value)
    print(status.counter_line(model))
    return 0


def _make_admin(container: Container, options: argparse.Namespace) -> int:
    container.identity.add_to_admins(options.email)
    print(f"{options.email} is an administrator from the next login on.")
    return 0


def _migrate(container: Container, _: argparse.Namespace) -> int:
    from migrations import upgrade

    upgrade(container.settings.database_url)
    print("The tables are up to date.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
