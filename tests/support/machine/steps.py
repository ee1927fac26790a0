"""What all steps share: what may be drawn, when a step may be taken, and what must hold after it."""

from __future__ import annotations

import tempfile
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from chalicelib.domain.tasks import Difficulty
from chalicelib.storage.training_queue import Delivery
from ops.doctor.checks import PARTS
from tests.support.machine.deployment import Deployment
from tests.support.machine.world import World

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


def always(_machine: Machine) -> bool:
    return True


def step(possible: Callable[[Any], object], **drawn: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule that is possible under a condition, and not again within some steps.

    Few runs are drawn, and the first ones that Hypothesis draws would do the simplest thing over and over.
    """

    def decorate(function: Callable[..., None]) -> Any:
        @wraps(function)
        def noted(self: Machine, *given: Any, **values: Any) -> None:
            self.recent.append(function.__name__)
            function(self, *given, **values)

        def fresh(self: Machine) -> bool:
            return function.__name__ not in self.recent and bool(possible(self))

        as_rule: Any = rule(**drawn)
        return precondition(fresh)(as_rule(noted))

    return decorate


class Machine(RuleBasedStateMachine):
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
