"""Students, workers, operators and deaths in any order: after every step a model and the doctor must agree with it.

Real PostgreSQL, S3 and SQS. Hypothesis draws the steps, always the same ones; ``STATE_MACHINE_RUNS=500`` draws that
many new runs, and shortens one that fails.
"""

from __future__ import annotations

import logging
import os
import tempfile
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import Difficulty, NewTask
from chalicelib.services import models, training
from chalicelib.services import tasks as task_service
from chalicelib.services.tasks import TaskChange
from chalicelib.services.training import Later, at_once
from chalicelib.storage.training_queue import Delivery
from infra.local import postgres
from infra.local.aws import resources
from ops.doctor_checks import PARTS
from ops.doctor_repair import repair
from ops.import_history import import_file
from ops.simulate import SimulatedAnswer, write_csv
from tests.conftest import TEMPLATE_DATABASE, SayAtEnd
from tests.machine.deployment import BrokenTraining, Deployment, QuickTraining
from tests.machine.world import Message, Task, World, nth
from training_job.pipeline import Train, train_and_compare

pytestmark = pytest.mark.slow

RUNS, STEPS = 8, 50
MORE_RUNS = int(os.environ.get("STATE_MACHINE_RUNS", "0"))

FRESH = 12
"""Steps within which none is of the same rule."""

LEVELS = list(Difficulty)
TOPICS = ("topic 0", "topic 1", "topic 2")

anything = st.integers(0, 99)
slots = st.integers(0, 2)
levels = st.integers(0, 1)
seconds = st.sampled_from([0.0, 1.0, 20.5, 300.0])
results = st.tuples(st.booleans(), seconds)
some = st.integers(1, 8)
many = st.sampled_from([1, 3, 20, 120])
biases = st.sampled_from([0.0, 0.0, 3.0])


@dataclass
class Figures:
    """What the runs did."""

    runs: int = 0
    steps: int = 0
    longest: int = 0
    done: Counter[str] = field(default_factory=Counter)


@dataclass
class ImportedRow:
    """A row of an imported file, and the task that it made."""

    user: str
    topic: str
    difficulty: int
    correct: bool
    seconds: int
    task_id: str = ""


def always(_machine: StudySmart) -> bool:
    return True


def step(possible: Callable[[StudySmart], object], **drawn: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule that is possible under a condition, and not again within some steps.

    Few runs are drawn, and the first ones that Hypothesis draws would do the simplest thing over and over.
    """

    def decorate(function: Callable[..., None]) -> Any:
        @wraps(function)
        def noted(self: StudySmart, *given: Any, **values: Any) -> None:
            self.recent.append(function.__name__)
            function(self, *given, **values)

        def fresh(self: StudySmart) -> bool:
            return function.__name__ not in self.recent and bool(possible(self))

        return precondition(fresh)(rule(**drawn)(noted))

    return decorate


def dying(death: str) -> Any:
    """The rule that a worker dies at this point of its work."""

    def die(self: StudySmart) -> None:
        self._work(QuickTraining(), death)

    die.__name__ = f"die_{death.replace(' ', '_')}"
    return step(lambda self: self._nobody_is_at_work())(die)


class StudySmart(RuleBasedStateMachine):
    """One deployment under everything that can happen to it. ``deploy`` and ``figures`` are set by the test."""

    deploy: Callable[[], Deployment]
    undeploy: Callable[[Deployment], None]
    figures: Figures

    def __init__(self) -> None:
        super().__init__()
        self.deployment = type(self).deploy()
        self.world = World()
        self.deliveries: dict[str, Delivery] = {}
        self.files: list[tuple[Path, list[ImportedRow]]] = []
        self.directory = tempfile.TemporaryDirectory(prefix="studysmart-")
        self.erased = [0, 0, 0]
        self.objects: set[tuple[str, str]] | None = None
        self.steps = -1
        self.recent: deque[str] = deque(maxlen=FRESH)

    def teardown(self) -> None:
        self.directory.cleanup()
        type(self).undeploy(self.deployment)
        figures = type(self).figures
        figures.runs, figures.steps = figures.runs + 1, figures.steps + self.steps
        figures.longest = max(figures.longest, self.steps)

    def student(self, slot: int) -> str:
        return f"student {slot}" + "'" * self.erased[slot]

    def did(self, what: str) -> None:
        type(self).figures.done[what] += 1

    # What students do.

    @initialize(n=st.sampled_from([30, 12, 8]))
    def there_is_some_history(self, n: int) -> None:
        self._import_new(0, 0, n)

    @step(always, slot=slots, topic=anything, level=levels)
    def create(self, slot: int, topic: int, level: int) -> None:
        self._create(slot, topic, level)

    def _create(self, slot: int, topic: int, level: int) -> str:
        api, user = self.deployment.api, self.student(slot)
        new = NewTask("Math", nth(TOPICS, topic).upper(), LEVELS[level], "?")
        task = task_service.create_task(api.tasks, api.models, user, new)
        self.world.tasks[task.id] = Task(user, nth(TOPICS, topic), level + 1)
        if self.world.named == self.world.champion:
            assert task.model_version == self.world.champion
            assert (task.prediction_source == Source.DEFAULT) == (self.world.champion is None)
        return task.id

    @step(always, slot=slots, topic=anything, level=levels, n=some)
    def practise(self, slot: int, topic: int, level: int, n: int) -> None:
        for i in range(n):
            self._complete(self._create(slot, topic + i, level), (topic + i) % 3 > 0, 10.0 + i)

    @step(lambda self: self.world.open_tasks(), pick=anything, result=results)
    def complete(self, pick: int, result: tuple[bool, float]) -> None:
        self._complete(nth(self.world.open_tasks(), pick), *result)

    @step(lambda self: self.world.open_tasks(), pick=anything, result=results)
    def complete_and_die_before_the_message_is_sent(self, pick: int, result: tuple[bool, float]) -> None:
        self._complete(nth(self.world.open_tasks(), pick), *result, later=lambda _: None)

    @step(lambda self: self.world.completed_tasks(), pick=anything)
    def complete_again(self, pick: int) -> None:
        task_id = nth(self.world.completed_tasks(), pick)
        result = self.world.tasks[task_id].result
        assert result is not None
        note = self._update(task_id, result[0], result[1] or 0.0)
        assert (note.counter, note.queued) == (self.world.counter, self.world.live is not None)

    @step(lambda self: self.world.completed_tasks(), pick=anything, result=results)
    def correct(self, pick: int, result: tuple[bool, float]) -> None:
        task_id = nth(self.world.completed_tasks(), pick)
        self._update(task_id, *result)
        self.world.answer(task_id, *result)

    @step(lambda self: self.world.open_tasks(), pick=anything, one=results, other=results)
    def complete_twice_at_once(self, pick: int, one: tuple[bool, float], other: tuple[bool, float]) -> None:
        task_id = nth(self.world.open_tasks(), pick)
        due = self.world.is_due(1)
        self._at_once(lambda: self._update(task_id, *one), lambda: self._update(task_id, *other))
        stored = self._stored(task_id)
        assert stored in (one, other)
        self.world.answer(task_id, *stored)
        self._count(due)

    @step(lambda self: len(self.world.open_tasks()) > 1, pick=anything, one=results, other=results)
    def complete_two_at_once(self, pick: int, one: tuple[bool, float], other: tuple[bool, float]) -> None:
        tasks = self.world.open_tasks()
        first, second = nth(tasks, pick), nth(tasks, pick + 1)
        due = self.world.is_due(2)
        self._at_once(lambda: self._update(first, *one), lambda: self._update(second, *other))
        for task_id in self._in_order(first, second):
            self.world.answer(task_id, *(one if task_id == first else other))
        self._count(False)
        self._count(due)

    @step(lambda self: self.world.open_tasks(), pick=anything, result=results)
    def complete_and_delete_at_once(self, pick: int, result: tuple[bool, float]) -> None:
        task_id = nth(self.world.open_tasks(), pick)
        due = self.world.is_due(1)

        def complete() -> bool:
            try:
                self._update(task_id, *result)
            except NotFoundError:
                return False
            return True

        completed, _ = self._at_once(complete, lambda: self._delete(task_id))
        self.world.delete(task_id)
        if completed:
            self.did("deleted in the same moment")
            self._count(due)

    @step(lambda self: self.world.tasks, pick=anything)
    def delete(self, pick: int) -> None:
        task_id = nth(list(self.world.tasks), pick)
        self._delete(task_id)
        self.world.delete(task_id)

    @step(always, slot=slots)
    def erase_the_account(self, slot: int) -> None:
        user = self.student(slot)
        self.deployment.api.users.erase(user)
        self.world.erase(user)
        if any(user == row.user for _, rows in self.files for row in rows) or self._known(user):
            self.erased[slot] += 1

    def _complete(self, task_id: str, correct: bool, spent: float, later: Later = at_once) -> None:
        due = self.world.is_due(1)
        note = self._update(task_id, correct, spent, later)
        self.world.answer(task_id, correct, spent)
        self._count(due, sent=later is at_once)
        assert (note.counter, note.queued) == (self.world.counter, due)

    def _update(self, task_id: str, correct: bool, spent: float, later: Later = at_once) -> Any:
        api, change = self.deployment.api, TaskChange(is_correct=correct, actual_time_seconds=spent)
        user = self.world.tasks[task_id].user
        _, note = task_service.update_task(api.tasks, api.tracker, api.queue, api.policy, user, task_id, change, later)
        assert note is not None
        return note

    def _delete(self, task_id: str) -> None:
        task_service.delete_task(self.deployment.api.tasks, self.world.tasks[task_id].user, task_id)

    def _count(self, due: bool, sent: bool = True) -> None:
        """One more completion was counted, and asked for a training if one was due."""
        self.world.counter += 1
        if due:
            self.did("training asked for" if sent else "request not sent")
            self.world.ask(self._live_request(), sent)

    def _live_request(self) -> str:
        request_id = self.deployment.api.tracker.read(self.deployment.cohort).training_request_id
        assert request_id is not None
        return request_id

    @staticmethod
    def _at_once(*work: Callable[[], Any]) -> list[Any]:
        with ThreadPoolExecutor(len(work)) as pool:
            return [future.result() for future in [pool.submit(part) for part in work]]

    def _stored(self, task_id: str) -> tuple[bool, float]:
        query = "SELECT is_correct, actual_time_seconds FROM practice_tasks WHERE id = CAST(:id AS uuid)"
        ((correct, spent),) = self.deployment.rows(query, id=task_id)
        return correct, spent

    def _in_order(self, *task_ids: str) -> list[str]:
        query = "SELECT CAST(id AS text) FROM practice_tasks WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY answer_index"
        return [task_id for (task_id,) in self.deployment.rows(query, ids=list(task_ids))]

    def _known(self, user: str) -> bool:
        return bool(self.deployment.rows("SELECT 1 FROM users WHERE id = :user", user=user))

    # What operators do.

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
            "SELECT CAST(id AS text) FROM practice_tasks WHERE user_id = :user AND answer_index >= :known "
            "ORDER BY answer_index"
        )
        for user in {row.user for row in missing}:
            known = len(self.world.answers.get(user, ()))
            added = [task_id for (task_id,) in deployment.rows(query, user=user, known=known)]
            for row, task_id in zip((row for row in missing if row.user == user), added, strict=True):
                assert row.task_id in ("", task_id)
                row.task_id = task_id
                self.world.tasks[task_id] = Task(user, row.topic, row.difficulty)
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
        models.rollback(api.registry, api.tracker, cohort, version)
        self.world.serve(version, self.world.pinned)

    @step(lambda self: self.world.champion is not None, pick=st.none() | anything)
    def pin_or_unpin(self, pick: int | None) -> None:
        api, cohort = self.deployment.api, self.deployment.cohort
        if self.world.pinned:
            models.unpin(api.registry, api.tracker, cohort)
            self.world.serve(self.world.champion or "", False)
            return
        version = None if pick is None else nth(api.registry.list_versions(cohort), pick)
        models.pin(api.registry, api.tracker, cohort, version)
        self.world.serve(version or self.world.champion or "", True)

    @step(lambda self: self.world.champion is not None)
    def prune(self) -> None:
        registry, cohort = self.deployment.api.registry, self.deployment.cohort
        before = registry.list_versions(cohort)
        gone = models.prune(registry, cohort, 2)
        assert sorted(gone) == sorted(set(before[2:]) - self.world.served)

    @step(lambda self: self.world.dead and not self._dead_and_alive())
    def ask_the_doctor_for_repair(self) -> None:
        now = datetime.now(UTC)
        doctor = self.deployment.doctor
        assert len(list(repair(doctor, doctor.examine(now).findings, now))) == len(self.world.dead)
        self.world.dead.clear()

    def _dead_and_alive(self) -> bool:
        return self.world.live is not None and self.world.live.id in self.world.dead

    # What workers, processes and time do.

    @step(lambda self: self._nobody_is_at_work(), bias=biases)
    def train(self, bias: float) -> None:
        self._work(QuickTraining(bias))

    @step(lambda self: self._nobody_is_at_work(), slot=slots, n=some)
    def train_while_students_practise(self, slot: int, n: int) -> None:
        self._work(QuickTraining(meanwhile=lambda: self.practise(slot, 0, 0, n)))

    @step(lambda self: self._nobody_is_at_work())
    def fail(self) -> None:
        self._work(BrokenTraining())

    die_at_receive = dying("at receive")
    die_at_lease = dying("at lease")
    die_in_training = dying("in training")
    die_between_files = dying("between files")
    die_before_the_pointer = dying("before the pointer")
    die_after_the_pointer = dying("after the pointer")
    die_before_finish = dying("before finish")
    die_before_delete = dying("before delete")
    die_before_the_next_request = dying("before the next request")

    @step(lambda self: self._nobody_is_at_work())
    def be_overtaken(self) -> None:
        """Another worker trains the same request, since this one's lease ran out."""

        def overtake() -> None:
            self.world.take_up()
            self.time_passes()
            self._work(None)

        self._work(QuickTraining(meanwhile=overtake), overtaken=True)

    @step(lambda self: self.deliveries or (self.world.live and self.world.live.held))
    def time_passes(self) -> None:
        """Leases and visibility of whoever died run out."""
        for delivery in self.deliveries.values():
            self.deployment.worker.queue.extend(delivery, 0)
        self._show_all()
        if self.world.live is not None and self.world.live.held:
            self.deployment.move_clock("lease_expires_at", 1.0)
            self.world.live.held = False

    @step(lambda self: self.deliveries)
    def a_message_comes_again_early(self) -> None:
        """Its visibility runs out before the lease."""
        for delivery in self.deliveries.values():
            self.deployment.worker.queue.extend(delivery, 0)
        self._show_all()

    @step(lambda self: self.world.live)
    def sweep_a_minute_later(self) -> None:
        world, api = self.world, self.deployment.api
        if world.unsent:
            self.deployment.move_clock("training_requested_at", 60.0)
        sent = training.sweep(api.tracker, api.queue)
        assert len(sent) == world.unsent
        if world.unsent:
            assert world.live is not None
            world.unsent = False
            world.queue.append(Message(world.live.id))

    @step(lambda self: self.world.live and not self.world.live.held and not self.world.unsent)
    def sweep_ten_minutes_later(self) -> None:
        world, api = self.world, self.deployment.api
        assert world.live is not None
        self.deployment.move_clock("training_enqueued_at", 601.0)
        assert training.sweep(api.tracker, api.queue) == [world.live.id]
        # By now the queue would take the same id again; this one still remembers it while the message is there.
        if all(message.request != world.live.id for message in world.queue):
            world.queue.append(Message(world.live.id))

    @step(always)
    def restart(self) -> None:
        self.deployment.stop()
        self.deployment.start()

    def _nobody_is_at_work(self) -> bool:
        return not self.deliveries

    def _see_to_a_message(self) -> None:
        """Let there be something to train for."""
        if self.world.live is None:
            self.force_a_training()
        elif self.world.unsent:
            self.sweep_a_minute_later()
        elif not self.world.queue:
            self.time_passes()
            self.sweep_ten_minutes_later()

    def _show_all(self) -> None:
        self.deliveries.clear()
        for message in self.world.queue:
            message.hidden = False

    def _receive(self) -> tuple[Message, Delivery] | None:
        expected = self.world.receivable()
        delivery = self.deployment.worker.queue.receive(0)
        if expected is None or delivery is None:
            assert (expected, delivery) == (None, None)
            return None
        expected.receives, expected.hidden = expected.receives + 1, True
        assert delivery.request is not None
        assert (delivery.request.request_id, delivery.receive_count) == (expected.request, expected.receives)
        self.deliveries[expected.request] = delivery
        return expected, delivery

    def _gone(self, message: Message) -> None:
        self.world.queue.remove(message)
        del self.deliveries[message.request]

    def _work(self, train: Train | None, death: str | None = None, overtaken: bool = False) -> None:
        """A worker receives a message and deals with it, to its end or its death."""
        self._see_to_a_message()
        received = self._receive()
        if received is None:
            return
        message, delivery = received
        world, live = self.world, self.world.live
        if live is None or live.id != message.request:
            self.did("message of a request that is over")
            died = self.deployment.work(delivery, train, death)
            assert died == (death in ("at receive", "before delete"))
            if not died:
                self._gone(message)
        elif live.held or death == "at receive":
            self.did("request held by another" if live.held else "death at receive")
            died = self.deployment.work(delivery, train, death if death == "at receive" else None)
            assert died == (death == "at receive")
        elif world.covered() is None and not world.trainable:
            self._skip(message, delivery, train, death)
        elif isinstance(train, BrokenTraining) and world.covered() is None:
            self._fail(message, delivery, train)
        elif overtaken and world.covered() is None:
            self.did("overtaken")
            assert not self.deployment.work(delivery, train, death)
        else:
            self._train(message, delivery, train, death)

    def _skip(self, message: Message, delivery: Delivery, train: Train | None, death: str | None) -> None:
        died = self.deployment.work(delivery, train, death if death in ("at lease", "before delete") else None)
        self.world.take_up()
        if death == "at lease":
            self.did("death at lease")
            return
        self.did("skipped")
        self.world.skip()
        assert died == (death == "before delete")
        if not died:
            self._gone(message)

    def _fail(self, message: Message, delivery: Delivery, train: Train | None) -> None:
        last = message.receives == 3
        self.did("given up" if last else "failed")
        assert not self.deployment.work(delivery, train, None)
        self.world.take_up()
        self.world.fail(last)
        self.deployment.worker.queue.extend(delivery, 0)
        self._show_all()

    def _train(self, message: Message, delivery: Delivery, train: Train | None, death: str | None) -> None:
        """Everything from the lease to the deletion, as far as it got."""
        world, live, registry = self.world, self.world.live, self.deployment.worker.registry
        assert delivery.request is not None
        assert live is not None
        version, covered = delivery.request.version, world.covered()
        counted, samples = covered or (world.counter, world.total)
        died = self.deployment.work(delivery, train, death)
        world.take_up()
        if death == "at lease" or (covered is None and death in ("in training", "between files")):
            self.did(f"death {death}")
            assert died
            return
        if covered is None:
            live.made = (version, counted, samples)
            verdict = registry.read_metadata(self.deployment.cohort, version)["promotion"]
            promoted = verdict["promoted"]
            assert promoted or world.pinned or world.champion is not None
            assert not (promoted and world.pinned)
            self.did("promoted" if promoted else "pinned" if world.pinned else "not promoted")
            if promoted and death == "before the pointer":
                self.did(f"death {death}")
                assert died
                return
            if promoted:
                world.promote(version)
            if promoted and death == "after the pointer":
                self.did(f"death {death}")
                assert died
                return
        else:
            self.did("finished what was published")
        self._end(message, counted, samples, death, died)

    def _end(self, message: Message, counted: int, samples: int, death: str | None, died: bool) -> None:
        world = self.world
        if death == "before finish":
            self.did(f"death {death}")
            assert died
            return
        world.finish(counted, samples, None)
        due = world.is_due()
        sent = not died and due
        if due:
            self.did("next training at once")
            world.ask(self._live_request(), sent)
        assert died == (death == "before delete" or (due and death == "before the next request"))
        if died:
            self.did(f"death {death}")
        if death != "before delete":
            self._gone(message)

    # What must hold.

    @invariant()
    def nothing_is_lost_and_nothing_counted_twice(self) -> None:
        self.steps += 1
        world, deployment = self.world, self.deployment
        row = deployment.api.tracker.read(deployment.cohort)
        assert (row.n_samples_since_training, row.n_samples_total) == (world.counter, world.total)
        assert (row.n_samples_last_training, row.model_version) == (world.last_training, world.named)
        assert row.training_request_id == (world.live.id if world.live else None)
        assert row.lease_live == (world.live is not None and world.live.held)
        assert (row.last_error is not None) == world.failed
        found = deployment.api.registry.read_champion(deployment.cohort)
        serving = (found[0].version, found[0].pinned) if found else (None, False)
        assert serving == (world.champion, world.pinned)
        hidden = sum(message.hidden for message in world.queue)
        assert deployment.worker.queue.depth() == (len(world.queue) - hidden, hidden)
        assert self._answers() == {
            task_id: (task.user, task.topic, task.difficulty, task.result, world.place(task_id))
            for task_id, task in world.tasks.items()
        }

    @invariant()
    def the_doctor_finds_what_is_wrong_and_nothing_else(self) -> None:
        """It looks at everything, but at tables and files only when there is anything new in the registry."""
        objects = self.deployment.objects()
        parts = PARTS if objects != self.objects else PARTS - {"schema", "files"}
        self.objects = objects
        examined = self.deployment.doctor.examine(parts=parts)
        unsent = {"request-unsent"} if self.world.unsent else set()
        found = [finding for finding in examined.findings if finding.kind.code not in unsent]
        assert sorted(finding.kind.code for finding in found) == self.world.findings(), found
        assert [remark.kind.code for remark in examined.remarks] == self.world.remarks()
        assert examined.answers == self.world.total

    def _answers(self) -> Mapping[str, Any]:
        query = """
            SELECT CAST(id AS text), user_id, topic_key, difficulty_numeric, completed, is_correct,
                   actual_time_seconds, answer_index FROM practice_tasks
            """
        return {
            task_id: (user, topic, difficulty, (correct, spent) if completed else None, place)
            for task_id, user, topic, difficulty, completed, correct, spent, place in self.deployment.rows(query)
        }


@pytest.fixture
def machine(
    postgres_server: postgres.Postgres,
    aws_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[type[StudySmart]]:
    """The machine, each run of which gets a database, a registry and a queue of its own."""
    # Lines of trainings that are made to fail would bury why a test failed.
    caplog.set_level(logging.CRITICAL, "studysmart")
    client = resources.client_environment(aws_endpoint)
    for name, value in client.items():
        monkeypatch.setenv(name, value)
    databases: dict[int, str] = {}

    def deploy(train: Train | None = None) -> Deployment:
        name = f"machine_{uuid.uuid4().hex[:12]}"
        postgres.create_database(postgres_server, name, TEMPLATE_DATABASE)
        outputs = resources.create_stack(aws_endpoint, name.replace("_", "-"), {})
        environment = {**client, **resources.program_environment(aws_endpoint, outputs)}
        deployment = Deployment({**environment, "DATABASE_URL": postgres_server.url(name), "LOG_FORMAT": "text"}, train)
        databases[id(deployment)] = name
        return deployment

    def undeploy(deployment: Deployment) -> None:
        deployment.stop()
        postgres.drop_database(postgres_server, databases.pop(id(deployment)))

    members = {"deploy": staticmethod(deploy), "undeploy": staticmethod(undeploy), "figures": Figures()}
    yield type("StudySmart", (StudySmart,), members)
    assert not databases


def test_the_same_holds_with_real_trainings_one_of_which_dies_after_its_publish(machine: type[StudySmart]) -> None:
    run = machine()
    steps: list[Callable[[], object]] = [
        lambda: run._import_new(0, 0, 12),
        lambda: run.practise(slot=0, topic=0, level=0, n=5),
        lambda: run._work(train_and_compare),
        lambda: run.practise(slot=1, topic=1, level=0, n=5),
        lambda: run._work(train_and_compare, "after the pointer"),
        lambda: run.time_passes(),
        lambda: run._work(train_and_compare),
        lambda: run.roll_back(pick=1),
        lambda: run.restart(),
        lambda: run.practise(slot=2, topic=2, level=1, n=2),
    ]
    try:
        for take in steps:
            take()
            run.nothing_is_lost_and_nothing_counted_twice()
            run.the_doctor_finds_what_is_wrong_and_nothing_else()
    finally:
        run.teardown()
    done = machine.figures.done
    assert (done["promoted"], done["death after the pointer"], done["finished what was published"]) == (2, 1, 1)


def test_whatever_happens_in_whatever_order_nothing_is_lost_or_counted_twice(
    machine: type[StudySmart], say_at_end: SayAtEnd
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=MORE_RUNS or RUNS,
            stateful_step_count=STEPS,
            derandomize=not MORE_RUNS,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if MORE_RUNS else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures = machine.figures
    say_at_end(
        f"state machine: {figures.steps} steps in {figures.runs} runs, the longest of {figures.longest} steps "
        f"({', '.join(f'{name} {n}' for name, n in sorted(figures.done.items()))})"
    )
