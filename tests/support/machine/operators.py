"""What operators do: imports, trainings by force, and which version serves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
)

from chalicelib.services import training, versions
from evaluation.simulator import SimulatedAnswer, write_csv
from ops.doctor.repair import repair
from ops.imports.importer import import_file
from tests.support.machine.steps import LEVELS, TOPICS, ImportedRow, always, anything, many, slots, step
from tests.support.machine.students import Students
from tests.support.machine.world import Task, nth


class Operators(Students):
    """Imports, forces, rolls back, pins, prunes, repairs."""

    @initialize(n=st.sampled_from([30, 12, 8]))
    def there_is_some_history(self, n: int) -> None:
        self._import_new(0, 0, n)

    @step(always, slot=slots, pick=anything, n=many)
    def import_a_file(self, slot: int, pick: int, n: int) -> None:
        self._import_new(slot, pick, n)

    def _import_new(self, slot: int, pick: int, n: int) -> None:
        number, users = len(self.files), (self.student(slot), self.student((slot + 1) % 3))
        rows = [
            ImportedRow(users[i % 2], nth(TOPICS, pick + i), (pick + i) % 2 + 1, (pick + i) % 3 > 0, 5 + i)
            for i in range(n)
        ]
        path = Path(self.directory.name) / f"{number}.csv"
        write_csv(
            (
                SimulatedAnswer(
                    row.user,
                    1_000 * number + i,
                    "Math",
                    row.topic,
                    LEVELS[row.difficulty - 1].value,
                    int(row.correct),
                    row.seconds,
                    "",
                )
                for i, row in enumerate(rows)
            ),
            path,
        )
        self._import(path, rows)
        self.files.append((path, rows))

    @step(lambda self: self.files, pick=anything)
    def import_a_file_again(self, pick: int) -> None:
        self._import(*self.files[pick % len(self.files)])

    def _import(self, path: Path, rows: Sequence[ImportedRow]) -> None:
        deployment, here = self.deployment, {self.student(slot) for slot in range(3)}
        missing = [row for row in rows if row.user in here and row.task_id not in self.world.tasks]
        report = import_file(deployment.api.engine, deployment.cohort, path, datetime.now(UTC), lambda _: None)
        assert (report.added, report.bad) == (len(missing), sum(row.user not in here for row in rows))
        query = (
            "SELECT CAST(id AS text) FROM practice_tasks WHERE user_id = :user AND completed AND completed_at IS NULL "
            "ORDER BY answer_index OFFSET :known"
        )
        for user in {row.user for row in missing}:
            known = self.world.imported(user)
            added = [task_id for (task_id,) in deployment.rows(query, user=user, known=known)]
            for row, task_id in zip((row for row in missing if row.user == user), added, strict=True):
                assert row.task_id in ("", task_id)
                row.task_id = task_id
                self.world.tasks[task_id] = Task(user, row.topic, row.difficulty, imported=True)
                self.world.answer(task_id, row.correct, float(row.seconds))

    @step(always)
    def force_a_training(self) -> None:
        api = self.deployment.api
        request = training.force_training(api.tracker, api.queue, self.deployment.cohort)
        assert (request is None) == (self.world.live is not None)
        if request is not None:
            self.world.ask(request.request_id)

    @step(lambda self: self.world.total, value=st.integers(0, 7))
    def set_the_counter(self, value: int) -> None:
        self.deployment.api.tracker.set_counter(self.deployment.cohort, value)
        self.world.counter = value

    @step(lambda self: self.world.champion is not None, pick=anything)
    def roll_back(self, pick: int) -> None:
        api, cohort = self.deployment.api, self.deployment.cohort
        version = nth(api.registry.list_versions(cohort), pick)
        versions.rollback(api.registry, api.tracker, cohort, version)
        self.world.serve(version, self.world.pinned)
        if self.world.live is not None:
            self.world.live.outranked = True

    @step(lambda self: self.world.champion is not None, pick=st.none() | anything)
    def pin_or_unpin(self, pick: int | None) -> None:
        api, cohort = self.deployment.api, self.deployment.cohort
        if self.world.pinned:
            versions.unpin(api.registry, api.tracker, cohort)
            self.world.serve(self.world.champion or "", False)
            return
        version = None if pick is None else nth(api.registry.list_versions(cohort), pick)
        versions.pin(api.registry, api.tracker, cohort, version)
        self.world.serve(version or self.world.champion or "", True)

    @step(lambda self: self.world.champion is not None)
    def prune(self) -> None:
        registry, cohort = self.deployment.api.registry, self.deployment.cohort
        before = registry.list_versions(cohort)
        gone = versions.prune(registry, cohort, 2)
        assert sorted(gone) == sorted(set(before[2:]) - self.world.served)

    @step(lambda self: self.world.dead and not self._dead_and_alive())
    def ask_the_doctor_for_repair(self) -> None:
        now = datetime.now(UTC)
        doctor = self.deployment.doctor
        assert len(list(repair(doctor, doctor.examine(now).findings, now))) == len(self.world.dead)
        self.world.dead.clear()

    def _dead_and_alive(self) -> bool:
        return self.world.live is not None and self.world.live.id in self.world.dead
