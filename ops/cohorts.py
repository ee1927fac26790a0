"""``studysmart cohort``: creates, lists and removes cohorts, and puts students into them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from chalicelib.domain.accounts import COHORT_ADMIN_GROUP
from chalicelib.domain.cohorts import CohortName, invitation_digest, new_invitation
from chalicelib.domain.errors import BadRequestError, ConflictError, NotFoundError
from chalicelib.domain.training import TrackerRow
from chalicelib.domain.webhooks import BUS
from chalicelib.storage import cohort_store
from chalicelib.storage.database import statement, transaction
from chalicelib.storage.webhook_store import PostgresWebhooks
from chalicelib.wiring import Container
from ops import tables
from ops.accounts import id_of
from ops.arguments import actions_of
from ops.registry_files import ROOT, registry_files

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})+")

STUDENTS_AT_ONCE = 1_000
"""Number of students whom one transaction moves."""

_LIST = text(
    """
    SELECT n.name, coalesce(c.email_domains, '{}') AS email_domains, c.invitation IS NOT NULL AS has_invitation,
           (SELECT count(*) FROM users u WHERE u.cohort = n.name AND u.deleted_at IS NULL) AS students
    FROM unnest(CAST(:names AS text[])) AS n (name) LEFT JOIN cohorts c ON c.name = n.name ORDER BY n.name
    """
)
_IN_TASKS = text(
    "SELECT EXISTS (SELECT FROM practice_tasks WHERE cohort = :name AND completed AND completed_at > created_at)"
)
"""Whether models of a cohort predicted tasks that were completed. Imported answers were not predicted."""
_CREATE = text("INSERT INTO cohorts (name, email_domains, invitation) VALUES (:name, :domains, :digest)")
_DOMAIN_TAKEN = text(
    "SELECT name FROM cohorts WHERE name <> :name AND email_domains && CAST(:domains AS text[]) LIMIT 1"
)
_SET_DOMAINS = text("UPDATE cohorts SET email_domains = CAST(:domains AS text[]) WHERE name = :name RETURNING 1")
_INVITE = text("UPDATE cohorts SET invitation = :digest WHERE name = :name RETURNING 1")
_OTHERS = text("SELECT id FROM users WHERE cohort = :name ORDER BY id LIMIT :limit")
_LEARNERS = text(
    "SELECT id FROM users WHERE issuer = 'service:' || CAST(:id AS text) AND cohort <> :cohort ORDER BY id LIMIT :limit"
)
_SERVICE = text("SELECT id FROM service_accounts WHERE name = :name")
_MOVE_SERVICE = (
    text("UPDATE service_accounts SET cohort = :cohort WHERE id = :id"),
    text("UPDATE webhook_receivers SET cohort = :cohort WHERE service_id = :id"),
)
_LEARNER_OF = text(
    "SELECT id, issuer FROM users WHERE id = ANY(CAST(:ids AS text[])) AND issuer LIKE 'service:%' LIMIT 1"
)
_MOVE_REST = (
    text("UPDATE service_accounts SET cohort = :cohort WHERE cohort = :name"),
    text("UPDATE webhook_receivers SET cohort = :cohort WHERE cohort = :name AND service_id IS NOT NULL"),
    text("UPDATE imports SET cohort = :cohort WHERE cohort = :name"),
)
_RECEIVERS = text(
    "SELECT count(*) FROM webhook_receivers WHERE cohort = :name AND disabled_at IS NULL AND url NOT LIKE :bus"
)
_LEFT = text(
    """
    SELECT (SELECT count(*) FROM users WHERE cohort = :name AND deleted_at IS NULL),
           (SELECT count(*) FROM service_accounts WHERE cohort = :name),
           (SELECT count(*) FROM embedding_model_tracker WHERE cohort = :name AND training_request_id IS NOT NULL)
    """
)
_FORGET = (
    text("UPDATE users SET cohort = :own WHERE cohort = :name"),  # those of deleted accounts
    text("UPDATE imports SET cohort = :own WHERE cohort = :name"),
    text("DELETE FROM cohorts WHERE name = :name"),
    *(
        text(f"DELETE FROM {table} WHERE cohort = :name")  # noqa: S608 - constants
        for table in ("webhook_receivers", "tracker_shards", "embedding_model_tracker")
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command, each with its arguments."""
    add = actions_of(parser)

    add("list", _list, "list the cohorts with their students, counters and models").add_argument(
        "--json", action="store_true", help="print JSON"
    )
    create = add("create", _create, "create a cohort, whose students share a model of their own")
    create.add_argument("name", metavar="COHORT", help="letters, digits, dots, dashes and underscores")
    create.add_argument(
        "--email-domain",
        action="append",
        default=[],
        metavar="DOMAIN",
        help="students join when they verify an address of this domain (can be repeated)",
    )
    create.add_argument("--invitation", action="store_true", help="print a code with which students can register in it")
    invite = add("invite", _invite, "print a new code with which students can register; the old one ends")
    invite.add_argument("name", metavar="COHORT")
    invite.add_argument("--end", action="store_true", help="only end the old code")
    domains = add("domains", _set_domains, "replace the e-mail domains of a cohort; without a domain it has none")
    domains.add_argument("name", metavar="COHORT")
    domains.add_argument("domains", metavar="DOMAIN", nargs="*")
    assign = add("assign", _assign, "put students into a cohort, with their answers")
    assign.add_argument("name", metavar="COHORT")
    assign.add_argument("accounts", metavar="ACCOUNT", nargs="*", help="an e-mail address, or the id of a student")
    assign.add_argument("--service", metavar="NAME", help="this service account with all of its learners")
    move = add("move", _move, "put everybody of one cohort into another")
    move.add_argument("name", metavar="FROM")
    move.add_argument("target", metavar="TO")
    remove = add("remove", _remove, "delete a cohort without students, and its models")
    remove.add_argument("name", metavar="COHORT")
    remove.add_argument("--yes", action="store_true", help="delete; without this, only say what would be deleted")


def _list(container: Container, options: argparse.Namespace) -> int:
    trackers = {row.cohort: row for row in container.tracker.rows()}
    names = container.cohorts.names()
    rows = statement(container.engine, lambda c: c.execute(_LIST, {"names": names}).mappings().all())
    found = [_described(container, dict(row), trackers.get(row["name"])) for row in rows]
    header = ["COHORT", "STUDENTS", "ANSWERS", "COUNTER", "TRAINING", "MODEL", "JOINED BY"]
    cells = [
        [
            one["name"],
            f"{one['students']:,}",
            f"{one['n_samples_total']:,}",
            f"{one['counter']}/{one['threshold']}",
            one["training"],
            one["model_version"] or "none yet",
            ", ".join([*one["email_domains"], *(["invitation"] if one["has_invitation"] else [])]),
        ]
        for one in found
    ]
    tables.show(options.json, found, tables.table(header, cells, right=("STUDENTS", "ANSWERS", "COUNTER")))
    return 0


def _described(container: Container, known: dict[str, Any], row: TrackerRow | None) -> dict[str, Any]:
    return {
        **known,
        "email_domains": list(known["email_domains"]),
        "n_samples_total": 0 if row is None else row.n_samples_total,
        "counter": 0 if row is None else row.n_samples_since_training,
        "threshold": container.policy.threshold,
        "training": "idle" if row is None else row.state.value,
        "model_version": None if row is None else row.model_version,
    }


def _create(container: Container, options: argparse.Namespace) -> int:
    try:
        name = msgspec.convert(options.name, CohortName)
    except msgspec.ValidationError as error:
        raise BadRequestError(
            f"COHORT {options.name!r}: 1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first"
        ) from error
    domains = _domains(options.email_domain)
    code = new_invitation() if options.invitation else None

    def work(connection: Connection) -> None:
        _check_free(connection, name, domains)
        if connection.execute(_IN_TASKS, {"name": name}).scalar_one():
            raise ConflictError(
                f"tasks were predicted by the models of a former cohort {name}; take another name, or the statistics of"
                " both would be one"
            )
        digest = None if code is None else invitation_digest(code)
        connection.execute(_CREATE, {"name": name, "domains": domains, "digest": digest})

    if name in container.cohorts.names():
        raise ConflictError(f"the cohort {name} exists already")
    # The models of a removed cohort must not predict for another one.
    if next(registry_files(container).objects(_prefix(name)), None) is not None:
        raise ConflictError(
            f"the registry has models of a former cohort {name}; `studysmart cohort remove {name} --yes` deletes them"
        )
    transaction(container.engine, work)
    if bus := container.settings.event_bus_name:
        PostgresWebhooks(container.engine, name).use_bus(bus)
    print(f"The cohort {name} was created.")
    if code is not None:
        print("Its invitation code, which is not shown again:")
        print(code)
    return 0


def _check_free(connection: Connection, name: str, domains: Sequence[str]) -> None:
    taken = connection.execute(_DOMAIN_TAKEN, {"name": name, "domains": domains}).scalar_one_or_none()
    if taken is not None:
        raise ConflictError(f"domain {', '.join(domains)}: the cohort {taken} has such a domain already")


def _set_domains(container: Container, options: argparse.Namespace) -> int:
    values = {"name": options.name, "domains": _domains(options.domains)}

    def work(connection: Connection) -> None:
        _check_free(connection, options.name, values["domains"])
        if connection.execute(_SET_DOMAINS, values).scalar_one_or_none() is None:
            raise _not_created(container, options.name)

    transaction(container.engine, work)
    shown = ", ".join(values["domains"]) or "none"
    print(f"Domains of the cohort {options.name}: {shown}. Students who are in it stay.")
    return 0


def _not_created(container: Container, name: str) -> Exception:
    if name == container.cohorts.own:
        return ConflictError(f"{name} is the deployment's own cohort (COHORT), which has neither domains nor a code")
    return NotFoundError(f"there is no cohort {name} that was created by `studysmart cohort create`")


def _domains(given: Sequence[str]) -> list[str]:
    return sorted({_domain(one) for one in given})


def _domain(given: str) -> str:
    domain = given.strip().lower().removeprefix("@").rstrip(".")
    if _DOMAIN.fullmatch(domain) is None:
        raise BadRequestError(f"domain {given!r} is not one such as school.example (xn--… for other letters)")
    return domain


def _invite(container: Container, options: argparse.Namespace) -> int:
    code = new_invitation()
    values = {"name": options.name, "digest": None if options.end else invitation_digest(code)}
    if statement(container.engine, lambda c: c.execute(_INVITE, values).scalar_one_or_none()) is None:
        raise _not_created(container, options.name)
    print(f"The code of the cohort {options.name} has ended." if options.end else code)
    return 0


def _known(container: Container, name: str) -> str:
    if not container.cohorts.exists(name):
        raise NotFoundError(f"there is no cohort {name} (`studysmart cohort create {name}` makes it)")
    return name


def _assign(container: Container, options: argparse.Namespace) -> int:
    cohort = _known(container, options.name)
    if bool(options.accounts) == bool(options.service):
        raise BadRequestError("name either accounts, or a service account with --service")
    if options.service:
        return _assign_service(container, cohort, options.service)
    found = {name: id_of(container, name, None) for name in options.accounts}
    unknown = [name for name, user_id in found.items() if user_id is None]
    if unknown:
        raise NotFoundError(f"no account has the e-mail or the id {', '.join(unknown)}; nobody was moved")
    ids = [str(user_id) for user_id in found.values()]
    learner = statement(container.engine, lambda c: c.execute(_LEARNER_OF, {"ids": ids}).one_or_none())
    if learner is not None:
        raise ConflictError(
            f"{learner.id} is a learner of a service account, and moves with it (--service); nobody was moved"
        )
    _report(_move_all(container, ids, cohort), cohort)
    for name, user_id in zip(found, ids, strict=True):
        if container.identity.is_admin(user_id, COHORT_ADMIN_GROUP):
            print(f"{name} is in the group {COHORT_ADMIN_GROUP}, and is an admin of {cohort} now.")
    return 0


def _assign_service(container: Container, cohort: str, service: str) -> int:
    service_id = statement(container.engine, lambda c: c.execute(_SERVICE, {"name": service}).scalar_one_or_none())
    if service_id is None:
        raise NotFoundError(f"there is no service account {service}")
    values = {"id": service_id, "cohort": cohort, "limit": STUDENTS_AT_ONCE}

    def move_account(connection: Connection) -> None:
        for query in _MOVE_SERVICE:
            connection.execute(query, values)

    # The account first, so that new learners are in the new cohort.
    transaction(container.engine, move_account)
    moved = 0
    while ids := statement(container.engine, lambda c: c.execute(_LEARNERS, values).scalars().all()):
        moved += container.cohorts.move(list(ids), cohort)
    print(f"The service account {service} and {tables.count(moved, 'learner')} moved to the cohort {cohort}.")
    return 0


def _move_all(container: Container, ids: Sequence[str], cohort: str) -> int:
    batches = [ids[at : at + STUDENTS_AT_ONCE] for at in range(0, len(ids), STUDENTS_AT_ONCE)]
    return sum(container.cohorts.move(batch, cohort) for batch in batches)


def _report(moved: int, cohort: str) -> None:
    if not moved:
        print(f"Nobody had to be moved to the cohort {cohort}.")
        return
    print(f"{tables.count(moved, 'student')} moved to the cohort {cohort}. A training learns from their answers:")
    print(f"studysmart --cohort {cohort} train")


def _move(container: Container, options: argparse.Namespace) -> int:
    source, target = options.name, _known(container, options.target)
    if not container.cohorts.exists(source):
        raise NotFoundError(f"there is no cohort {source}")
    if source == target:
        raise BadRequestError(f"{source} and {target} are the same cohort")

    def move_rest(connection: Connection) -> None:
        for query in _MOVE_REST:
            connection.execute(query, {"name": source, "cohort": target})

    values, moved = {"name": source, "limit": STUDENTS_AT_ONCE}, 0
    while ids := statement(container.engine, lambda c: c.execute(_OTHERS, values).scalars().all()):
        moved += container.cohorts.move(list(ids), target)
    transaction(container.engine, move_rest)
    _report(moved, target)
    if moved:
        print(f"Those of them who are in the group {COHORT_ADMIN_GROUP} are admins of {target} now.")
        print(f"An issuer's claim that still names {source} moves its users back.")
    receivers = {"name": source, "bus": f"{BUS}%"}
    if n := statement(container.engine, lambda c: c.execute(_RECEIVERS, receivers).scalar_one()):
        print(
            f"{tables.count(n, 'webhook')} stayed in {source}: in {target}, each would get the answers of all students."
        )
    return 0


def _remove(container: Container, options: argparse.Namespace) -> int:
    """Delete the rows, so that nobody can join the cohort any more, and then the files. It can be run again."""
    name, own = options.name, container.cohorts.own
    files = registry_files(container)
    found = [one.key for one in files.objects(_prefix(name))]
    if not found and not container.cohorts.exists(name):
        raise NotFoundError(f"there is no cohort {name}")
    if name == own:
        raise ConflictError(f"{name} is the deployment's own cohort (COHORT), which cannot be removed")

    def check(connection: Connection) -> None:
        connection.execute(cohort_store.LOCK_COHORTS)
        students, services, trainings = connection.execute(_LEFT, {"name": name}).one()
        if trainings:
            raise ConflictError(f"a training of the cohort {name} is queued or running; try again when it has ended")
        if students or services:
            whom = f"{tables.count(students, 'student')} and {tables.count(services, 'service account')}"
            raise ConflictError(f"the cohort {name} has {whom}; `studysmart cohort move {name} {own}` moves them")

    def delete(connection: Connection) -> None:
        check(connection)
        for query in _FORGET:
            connection.execute(query, {"name": name, "own": own})

    if not options.yes:
        transaction(container.engine, check)
        n_files = tables.count(len(found), "file")
        print(f"This would delete the cohort {name} with {n_files} of models. Repeat with --yes to do it.")
        return 1
    transaction(container.engine, delete)
    found = [one.key for one in files.objects(_prefix(name))]
    files.delete(found)
    container.datasets.delete(name)
    print(f"The cohort {name} was removed, with {tables.count(len(found), 'file')} of its models.")
    return 0


def _prefix(cohort: str) -> str:
    return f"{ROOT}{cohort}/"
