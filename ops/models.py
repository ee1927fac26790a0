"""``studysmart models``: shows what was published and what serves, and changes it.

Exit status 0 done, 1 something was wrong: no such version, a version that cannot be served, or faults of ``verify``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from chalicelib.domain.errors import ConfigurationError, NotFoundError
from chalicelib.domain.training import Champion
from chalicelib.services import versions
from chalicelib.services.groups import served_by_version
from chalicelib.services.versions import CHAMPION, OTHER
from chalicelib.storage.aws import aws_client
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.wiring import Container
from ops import model_check, tables
from ops.arguments import Action, actions_of, whole_number
from ops.model_check import VersionFault

_UNCOMPARED = ("version", "cohort", "request_id")
"""Metadata that differ between any two versions."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command, each with its arguments."""
    add_action = actions_of(parser)

    def add(name: str, action: Action, text: str, *versions: str) -> argparse.ArgumentParser:
        sub = add_action(name, action, text)
        for version in versions:
            sub.add_argument(version.lower(), metavar=version, help="a version, as `models list` shows it")
        sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    add("list", _list, "list the versions, newest first")
    add("show", _show, "show the metadata and the files of a version", "V")
    add("diff", _diff, "show the differences between two versions", "V", "W")
    add("rollback", _rollback, "let an earlier version serve", "V")
    pin = add("pin", _pin, "keep trainings from replacing the champion")
    pin.add_argument("v", metavar="V", nargs="?", help="make this version the champion first")
    add("unpin", _unpin, "let trainings replace the champion again")
    add("verify", _verify, "check every file of every version, and that this program can serve the champions")
    sign = add("sign", _sign, "sign versions that were published without MODEL_SIGNING_KEY or with another key")
    sign.add_argument("versions", metavar="V", nargs="+", help="a version that you trust, as `models list` shows it")
    prune = add("prune", _prune, "delete old versions, except the champion and those that a rollback may need")
    prune.add_argument(
        "--keep", type=whole_number(1), metavar="N", help="keep the N newest (default: RETAINED_VERSIONS)"
    )
    prune.add_argument("--dry-run", action="store_true", help="only show what would be deleted")


def _list(container: Container, options: argparse.Namespace) -> int:
    served = served_by_version(container.analytics)
    found = versions.list_versions(container.registry, container.settings.cohort, served=served)
    rows = [
        [
            summary.version,
            _role(summary.role, found.pinned),
            tables.utc_time(summary.trained_at),
            tables.shown(summary.n_samples),
            tables.size(summary.size_bytes),
            "" if summary.served_log_loss is None else f"{summary.served_log_loss:.3f} ({summary.served_n})",
            summary.fault or summary.reason or "",
        ]
        for summary in found.versions
    ]
    header = ["VERSION", "ROLE", "TRAINED (UTC)", "SAMPLES", "SIZE", "SERVED LOG-LOSS", "VERDICT"]
    lines = tables.table(header, rows, right=("SAMPLES", "SIZE", "SERVED LOG-LOSS"))
    tables.show(options.json, msgspec.to_builtins(found), lines if rows else ["No version has been published yet."])
    if found.fault and not options.json:
        rollback = f"`studysmart --cohort {container.settings.cohort} models rollback V`"
        print(f"warning: {found.fault}; {rollback} repairs it", file=sys.stderr)
    return 0


def _role(role: str, pinned: bool) -> str:
    if role == OTHER:
        return ""
    return "champion, pinned" if role == CHAMPION and pinned else role


def _show(container: Container, options: argparse.Namespace) -> int:
    metadata = _metadata(container, options.v)
    if options.json:
        tables.print_json(metadata)  # also malformed metadata, which the tables below cannot show
        return 0
    members = tables.flat({name: value for name, value in metadata.items() if name != "files"})
    described = tables.pairs({name: tables.shown(value) for name, value in members.items()})
    rows = [[name, tables.size(entry["size"]), entry["sha256"]] for name, entry in metadata["files"].items()]
    files = tables.table(["FILE", "SIZE", "SHA-256"], rows, right=("SIZE",))
    tables.print_lines([*described, "", *files])
    return 0


def _metadata(container: Container, version: str) -> Mapping[str, Any]:
    cohort = container.settings.cohort
    try:
        return container.registry.read_metadata(cohort, version)
    except NotFoundError as error:
        raise NotFoundError(f"version {version} is not in the registry of the cohort {cohort}") from error


def _diff(container: Container, options: argparse.Namespace) -> int:
    versions = (options.v, options.w)
    first, second = (tables.flat(_metadata(container, version)) for version in versions)
    names = [name for name in {**first, **second} if name not in _UNCOMPARED and first.get(name) != second.get(name)]
    changes = {name: [first.get(name), second.get(name)] for name in names}
    rows = [_difference(name, *change) for name, change in changes.items()]
    header = ["", *versions, "CHANGE"]
    lines = tables.table(header, rows, right=header[1:]) if rows else ["The two versions are the same."]
    tables.show(options.json, changes, lines)
    return 0


def _difference(name: str, before: Any, after: Any) -> list[str]:
    if name.endswith(".sha256"):
        return [name, str(before)[:12], str(after)[:12], ""]
    numbers = [value for value in (before, after) if isinstance(value, int | float) and not isinstance(value, bool)]
    change = f"{after - before:+.5g}" if len(numbers) == 2 else ""
    return [name, tables.shown(before), tables.shown(after), change]


def _rollback(container: Container, options: argparse.Namespace) -> int:
    champion = versions.rollback(container.registry, container.tracker, container.settings.cohort, options.v)
    return _print_champion(champion, options)


def _pin(container: Container, options: argparse.Namespace) -> int:
    champion = versions.pin(container.registry, container.tracker, container.settings.cohort, options.v)
    return _print_champion(champion, options)


def _unpin(container: Container, options: argparse.Namespace) -> int:
    return _print_champion(versions.unpin(container.registry, container.tracker, container.settings.cohort), options)


def _sign(container: Container, options: argparse.Namespace) -> int:
    settings = container.settings
    if not settings.model_signing_key:
        raise ConfigurationError("MODEL_SIGNING_KEY is not set")
    client = aws_client("s3", settings.aws_region)
    registry = S3ModelRegistry(client, settings.registry_bucket, settings.model_signing_key)
    for version in options.versions:
        registry.sign_version(settings.cohort, version)
    tables.show(options.json, {"signed": options.versions}, [f"{version} is signed." for version in options.versions])
    return 0


def _print_champion(champion: Champion, options: argparse.Namespace) -> int:
    effect = "the next better training replaces it"
    if champion.pinned:
        effect = "pinned: trainings do not replace it"
    elif champion.rolled_back_at is not None:
        effect = "a training that is queued or running does not replace it, later ones may"
    tables.show(options.json, msgspec.to_builtins(champion), [f"Champion: {champion.version} ({effect})"])
    return 0


def _verify(container: Container, options: argparse.Namespace) -> int:
    found = model_check.verify(container.registry, container.settings.cohort)
    n = len(found.faults)
    lines = [
        *(f"FAULT  {_where(fault)}: {fault.text}" for fault in found.faults),
        *(f"note   {_where(it)} is complete, but this program cannot serve it: {it.text}" for it in found.unserved),
        f"{tables.count(len(found.checked), 'version')} read, {tables.count(n, 'fault')} found",
    ]
    tables.show(options.json, {"clean": n == 0, **asdict(found)}, lines)
    return 1 if found.faults else 0


def _where(fault: VersionFault) -> str:
    if fault.version is None:
        return "pointer"
    role = _role(fault.role, fault.pinned)
    return f"{fault.version} ({role})" if role else fault.version


def _prune(container: Container, options: argparse.Namespace) -> int:
    keep = options.keep or container.settings.retained_versions
    gone = versions.prune(container.registry, container.settings.cohort, keep, dry_run=options.dry_run)
    done = "would be deleted" if options.dry_run else "deleted"
    lines = [*(f"{version}  {done}" for version in gone), f"{tables.count(len(gone), 'version')} {done}"]
    value = {"deleted": [] if options.dry_run else gone, "would_delete": gone if options.dry_run else []}
    tables.show(options.json, value, lines)
    return 0
