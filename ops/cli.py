"""The operator's command: ``studysmart status``, ``monitor``, ``train``, ``import``, ``sql`` and others.

It works on a stack that runs on this machine (``--state-dir``, ``STATE_DIR``, or ``.local``), else on the deployment
that the environment names. Exit status: 0 done, 1 something was wrong, 2 wrong usage or an unusable file.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import chalicelib
from chalicelib.domain.accounts import ADMIN_GROUP, COHORT_ADMIN_GROUP
from chalicelib.domain.errors import ConflictError, QueueUnavailableError, StudySmartError
from chalicelib.services import training
from chalicelib.storage.webhook_store import PostgresWebhooks
from chalicelib.wiring import Container
from ops import (
    accounts,
    anomalies,
    cohorts,
    completion,
    database,
    env,
    logs,
    models,
    monitor,
    outbox,
    service_accounts,
    sql,
    status,
    stop,
    tables,
    webhooks,
)
from ops.arguments import number, run_action, whole_number
from ops.backup import command as backup
from ops.backup import restore
from ops.doctor import command as doctor
from ops.imports import command as import_command
from ops.stack import connect

Command = Callable[[argparse.Namespace], int]
ContainerCommand = Callable[[Container, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    try:
        command: Command = options.command
        return command(options)
    except StudySmartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        # Plain `pip install .` leaves them out, because the Lambda does not need them.
        if error.name not in ("alembic", "boto3", "duckdb", "scramp"):
            raise
        print(f"error: this command needs {error.name}; install it with: pip install '.[ops]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output is gone. The interpreter must not fail when it flushes the output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _root() -> argparse.ArgumentParser:
    return parser()


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="studysmart", description="Operate a StudySmart backend.")
    parser.add_argument("--version", action="version", version=f"StudySmart {chalicelib.VERSION}")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="state directory of a stack on this machine (default: STATE_DIR, or .local)"
    )
    parser.add_argument(
        "--cohort", metavar="NAME", help="cohort that the command is about (default: the deployment's own, COHORT)"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(command=command)
        return sub

    def add_with(name: str, command: ContainerCommand, text: str) -> argparse.ArgumentParser:
        """Add a command that needs a running stack or a deployment."""
        return add(name, lambda options: command(connect(options.state_dir, options.cohort), options), text)

    add_with("status", _status, "show counter, samples, training and model").add_argument(
        "--json", action="store_true", help="print JSON"
    )
    follow = add_with("monitor", _monitor, "follow counter, training and epochs until Ctrl-C")
    follow.add_argument("--json", action="store_true", help="print one JSON object per line")
    follow.add_argument(
        "--interval", type=number(0.05, 3600), default=0.5, metavar="SECONDS", help="polling interval (default: 0.5)"
    )
    follow.add_argument("--until", choices=["idle"], help="end when no training is queued or running")
    add_with("train", _train, "request a training now, without waiting for more answers").add_argument(
        "--json", action="store_true", help="print JSON"
    )
    reset = add_with("reset-counter", _reset_counter, "set the number of completions since the last training")
    reset.add_argument("value", type=whole_number(0), metavar="N", help="new value, 0 or more")
    import_command.add_arguments(add_with("import", import_command.run, "import a history of answers from CSV"))
    models.add_arguments(add_with("models", run_action, "list, check, roll back, pin, sign and prune the models"))
    doctor.add_arguments(add_with("doctor", doctor.run, "check the data, and repair what can be repaired"))
    backup.add_arguments(add_with("backup", backup.run, "back up tables and models while the API is running"))
    restore.add_arguments(add_with("restore", restore.run, "restore a backup into an empty stack"))
    logs.add_arguments(add("logs", logs.run, "answer questions from the log"))
    sql.add_arguments(add("sql", sql.run, "run SQL statements on the database"))
    env.add_arguments(add("env", env.run, "print the environment variables of the running stack for a shell"))
    stop.add_arguments(add("stop", stop.run, "end the stack that runs on this machine, as Ctrl-C does"))
    completion.add_arguments(
        add("completion", completion.run, "print a script that completes commands in bash or zsh"), _root
    )
    admin = add_with("make-admin", _make_admin, "add an account to the group admins")
    admin.add_argument("email", metavar="EMAIL")
    admin.add_argument(
        "--of-cohort", action="store_true", help="add it to cohort-admins: the admins of the cohort that they are in"
    )
    cohorts.add_arguments(add_with("cohort", run_action, "create, list and remove cohorts, and put students into them"))
    accounts.add_arguments(
        add_with("account", run_action, "list, disable, exclude, export and erase accounts, and set passwords")
    )
    service_accounts.add_arguments(
        add_with("service", run_action, "create, list, rotate and revoke service accounts of other apps")
    )
    anomalies.add_arguments(
        add_with("anomalies", anomalies.run, "list accounts whose answers look like those of a bot")
    )
    outbox.add_arguments(add("outbox", outbox.run, "show the messages that AWS would have sent by e-mail"))
    webhooks.add_arguments(
        add_with("webhooks", webhooks.run, "tell other servers about completions, trainings and versions")
    )
    database.add_arguments(add_with("database", database.run, "create the database roles of the programs"))
    add_with("migrate", _migrate, "bring the tables of the database up to date")
    return parser


def _status(container: Container, options: argparse.Namespace) -> int:
    report = status.read(container)
    named = [] if report.cohort == container.cohorts.own else [f"Cohort: {report.cohort}"]
    tables.show(options.json, status.as_json(report), [*named, *status.as_lines(report)])
    return 0


def _monitor(container: Container, options: argparse.Namespace) -> int:
    def read() -> training.ModelStatus:
        return training.status(container.tracker, container.policy, container.settings.cohort)

    # A shell starts background jobs with this signal ignored; here it is the way to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):  # the ordinary way to end it
        for line in monitor.follow(read, options.interval, options.until == "idle", options.json):
            print(line, flush=True)
    return 0


def _train(container: Container, options: argparse.Namespace) -> int:
    try:
        request = training.force_training(container.tracker, container.queue, container.settings.cohort)
    except QueueUnavailableError as error:
        print(f"warning: {error}; the sweeper will send the request", file=sys.stderr)
        return 1
    if request is None:
        print("error: a training is already queued or running", file=sys.stderr)
        return 1
    found, needed = container.tracker.read(container.settings.cohort).n_samples_total, container.policy.minimum_samples
    as_json = {"request_id": str(request.request_id), "n_samples": found, "minimum_samples": needed}
    tables.show(options.json, as_json, [f"Training requested: {request.request_id}"])
    if found < needed:
        print(f"warning: it will be skipped: a training needs {needed} answers, and there are {found}", file=sys.stderr)
    return 0


def _reset_counter(container: Container, options: argparse.Namespace) -> int:
    model = training.set_counter(container.tracker, container.policy, container.settings.cohort, options.value)
    print(status.counter_line(model))
    return 0


def _make_admin(container: Container, options: argparse.Namespace) -> int:
    whose = ""
    if options.of_cohort:
        rule = container.users.token_rule(container.identity.id_of(options.email))
        cohort = container.cohorts.own if rule is None or rule.cohort is None else rule.cohort
        if options.cohort not in (None, cohort):
            raise ConflictError(f"{options.email} belongs to the cohort {cohort}; `studysmart cohort assign` moves it")
        whose = f" of the cohort {cohort}"
    container.identity.add_to_admins(options.email, COHORT_ADMIN_GROUP if options.of_cohort else ADMIN_GROUP)
    print(f"{options.email} will be an administrator{whose} from the next login on.")
    return 0


def _migrate(container: Container, _: argparse.Namespace) -> int:
    from migrations import upgrade

    upgrade(container.settings.database_url)
    print("The tables are up to date.")
    bus = container.settings.event_bus_name
    PostgresWebhooks(container.engine, container.settings.cohort).use_bus(bus)
    if bus:
        print(f"Events go to the bus {bus}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
