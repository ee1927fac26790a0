"""``studysmart webhooks``: the servers that are told about events, and events that did not arrive."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import msgspec

from chalicelib.domain.errors import BadRequestError
from chalicelib.domain.webhooks import EventType, new_secret
from chalicelib.storage.webhook_store import PostgresWebhooks
from chalicelib.wiring import Container
from ops import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = commands.add_parser("add", help="add a receiver, and print its secret, which is not shown again")
    add.add_argument("url", metavar="URL", help="address that gets the events by POST")
    names = ",".join(EventType)
    add.add_argument("--events", metavar="EVENT,...", default=names, help=f"events to send (default: {names})")
    add.add_argument(
        "--service",
        metavar="NAME",
        help="tell only of the learners of this service account, with its own ids of them (default: tell of all"
        " learners, without these ids)",
    )
    listing = commands.add_parser("list", help="list the receivers")
    listing.add_argument("--json", action="store_true", help="print JSON")
    for action, text in (
        ("remove", "remove a receiver with its events"),
        ("skip", "give up the event that the receiver waits for"),
        ("replay", "send dead events again, and let a disabled receiver have events"),
    ):
        sub = commands.add_parser(action, help=text)
        sub.add_argument("id", type=int, metavar="ID", help="number of the receiver")
        if action == "replay":
            sub.add_argument("--since", metavar="TIME", help="send all events since this time (ISO 8601) again")


def run(container: Container, options: argparse.Namespace) -> int:
    """Change or list the receivers of the container's cohort."""
    webhooks = PostgresWebhooks(container.engine, container.settings.cohort)
    if options.action == "add":
        return _add(container, webhooks, options)
    if options.action == "list":
        return _list(webhooks, as_json=options.json)
    if options.action == "remove":
        webhooks.remove(options.id)
        print(f"Receiver {options.id} was removed.")
    elif options.action == "skip":
        webhooks.skip(options.id)
        print(f"The next event of receiver {options.id} was given up. `studysmart webhooks replay` sends it again.")
    else:
        n = webhooks.replay(options.id, _time(options.since))
        print(f"{tables.count(n, 'event')} will be sent again to receiver {options.id}.")
    return 0


def _add(container: Container, webhooks: PostgresWebhooks, options: argparse.Namespace) -> int:
    container.sender.check(options.url)
    names = [name.strip() for name in options.events.split(",")]
    unknown = [name for name in names if name not in list(EventType)]
    if unknown:
        raise BadRequestError(f"unknown event {', '.join(unknown)}; the events are {', '.join(EventType)}")
    secret = new_secret()
    events = [EventType(name) for name in dict.fromkeys(names)]
    receiver_id = webhooks.add(options.url, secret, events, options.service)
    print(f"Receiver {receiver_id} gets events from now on. Its secret, which is not shown again:")
    print(secret)
    return 0


def _list(webhooks: PostgresWebhooks, *, as_json: bool) -> int:
    found = webhooks.receivers()
    rows = [
        [
            str(one.id),
            one.service or "",
            one.url,
            one.events,
            "disabled" if one.disabled_at else "failing" if one.failures else "on",
            f"{one.waiting:,}",
            f"{one.dead:,}",
            "never" if one.delivered_at is None else f"{one.delivered_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            one.last_error or "",
        ]
        for one in found
    ]
    heads = ["id", "service", "url", "events", "state", "waiting", "dead", "last delivery (UTC)", "last error"]
    lines = tables.table(heads, rows, ["id", "waiting", "dead"]) if rows else ["There is no receiver yet."]
    tables.show(as_json, [msgspec.structs.asdict(one) for one in found], lines)
    return 0


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequestError(f"--since {text!r} is not a time in ISO 8601") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
