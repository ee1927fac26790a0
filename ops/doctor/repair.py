"""The repairs of ``studysmart doctor --repair``. They lose nothing: no task and no complete model is ever deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from chalicelib.services import training, versions
from ops import tables
from ops.doctor import findings as kinds
from ops.doctor import item_keys
from ops.doctor.checks import Doctor
from ops.doctor.findings import Finding

_OF_STUDENTS = (kinds.STATE_DIFFERS, kinds.ANSWERS_MISCOUNTED, kinds.ANSWERS_MISNUMBERED)
_OF_DATASETS = (kinds.DATASET_DAMAGED, kinds.DATASET_DIFFERS)
_OF_REQUESTS = (kinds.REQUEST_UNSENT, kinds.REQUEST_IDLE, kinds.LEASE_EXPIRED)


def repair(doctor: Doctor, findings: Iterable[Finding], now: datetime) -> Iterator[str]:
    """Repair what can be repaired, and yield a line for each thing done. Every step may be repeated."""
    found = list(findings)
    for user_id in dict.fromkeys(finding.about["user_id"] for finding in found if finding.kind in _OF_STUDENTS):
        doctor.store.rebuild(user_id)
        yield f"student {user_id}: state rebuilt from the completed tasks"
    if any(finding.kind == kinds.ITEMS_DIFFER for finding in found):
        yield f"{tables.count(item_keys.compute(doctor.container.engine), 'task')}: key of the item stored"
    if any(finding.kind == kinds.DELETED_HAS_REMAINS for finding in found):
        yield f"{tables.count(doctor.store.clear_remains(), 'row')} of deleted accounts cleared"
    for cohort in (str(finding.about["cohort"]) for finding in found if finding.kind == kinds.TOTAL_DIFFERS):
        yield f"cohort {cohort}: n_samples_total set to {doctor.store.set_total(cohort)}"
    for cohort in (str(finding.about["cohort"]) for finding in found if finding.kind == kinds.VERSION_DIFFERS):
        version = versions.announce(doctor.container.registry, doctor.container.tracker, cohort)
        yield f"cohort {cohort}: the tracker names {version} now"
    if any(finding.kind in _OF_REQUESTS for finding in found):
        sent = training.sweep(doctor.container.tracker, doctor.container.queue, doctor.container.policy)
        yield f"{tables.count(len(sent), 'training request')} sent again"
    if any(finding.kind == kinds.VERSION_INCOMPLETE for finding in found):
        yield from _delete_remains(doctor, now)
    for cohort in dict.fromkeys(str(finding.about["cohort"]) for finding in found if finding.kind in _OF_DATASETS):
        yield f"cohort {cohort}: {tables.count(doctor.datasets.delete(cohort), 'file')} of the copy of answers deleted"
    if any(finding.kind == kinds.DEAD_LETTERS for finding in found):
        yield from _delete_dead_letters(doctor)


def _delete_remains(doctor: Doctor, now: datetime) -> Iterator[str]:
    for remains in doctor.old_remains(doctor.store.trackers()[0], now):
        if doctor.files.delete_remains(remains):
            yield f"version {remains.version} of cohort {remains.cohort}: {len(remains.files)} files deleted"


def _delete_dead_letters(doctor: Doctor) -> Iterator[str]:
    """Delete the dead letters of requests that no tracker has any more.

    No training waits for such a message, and the failure is recorded in the tracker's ``last_error``. Messages of a
    live request and messages that are not training requests stay for a person to look at.
    """
    dead = doctor.queue.dead_letters()
    live = {tracker.request_id for tracker in doctor.store.trackers()[0]}
    # A received message is hidden for the visibility timeout, so the loop ends after it has received each message once.
    while dead is not None and (delivery := dead.receive(0)) is not None:
        request = delivery.request
        if request is not None and request.request_id not in live:
            dead.delete(delivery)
            yield f"dead letter of request {request.request_id} ({request.requested_at:%Y-%m-%d %H:%M} UTC) deleted"
