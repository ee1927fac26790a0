"""What must be true: who answered what, where the counter stands, which training is asked for and which version serves.

A model in plain Python of the two protocols, without storage, time or randomness. What a run may
decide one way or the other (a race's winner, the gate's verdict, an id) is told to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chalicelib.domain.training import TrainingPolicy

POLICY = TrainingPolicy()


@dataclass
class Task:
    """A task as it must be stored; ``result`` is (correct, seconds), None while it is open."""

    user: str
    topic: str
    difficulty: int
    result: tuple[bool, float | None] | None = None
    imported: bool = False
    """Answers of an import have no times here, so they are placed before those that have."""


@dataclass
class Request:
    """The live training request. ``held`` says whether a worker's lease on it still runs."""

    id: str
    held: bool = False
    outranked: bool = False
    """Whether an operator has rolled back since it was asked for."""
    made: tuple[str, int, int] | None = None
    """The version that a worker wrote for it before it died, with the counter and the samples that it covers."""


@dataclass
class Message:
    """A message of the training queue; ``hidden`` while somebody has received it."""

    request: str
    receives: int = 0
    hidden: bool = False


@dataclass
class World:
    """Everything that must be true of a deployment."""

    tasks: dict[str, Task] = field(default_factory=dict)
    answers: dict[str, list[str]] = field(default_factory=dict)
    """Each student's completed tasks, in the order of completion."""
    counter: int = 0
    last_training: int = 0
    live: Request | None = None
    skipped: bool = False
    failed: bool = False
    waits: bool = False
    """Whether the next automatic training has to wait, because one was given up."""
    champion: str | None = None
    served: set[str] = field(default_factory=set)
    """Every version that has been the champion."""
    pinned: bool = False
    named: str | None = None
    """The version that the tracker names."""
    queue: list[Message] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    unsent: bool = False

    @property
    def total(self) -> int:
        return sum(map(len, self.answers.values()))

    @property
    def trainable(self) -> bool:
        """Whether there are enough answers, and of both kinds."""
        right = {task.result[0] for task in self.tasks.values() if task.result is not None}
        return self.total >= POLICY.minimum_samples and len(right) == 2

    def open_tasks(self) -> list[str]:
        return [task_id for task_id, task in self.tasks.items() if task.result is None]

    def completed_tasks(self) -> list[str]:
        return [task_id for task_id, task in self.tasks.items() if task.result is not None]

    def is_due(self, more: int = 0) -> bool:
        enough = self.total + more >= POLICY.minimum_samples
        return self.live is None and not self.waits and self.counter + more >= POLICY.threshold and enough

    def answer(self, task_id: str, correct: bool, seconds: float | None) -> None:
        """Store a result; the first one of a task places it in the student's history."""
        task = self.tasks[task_id]
        if task.result is None:
            answers = self.answers.setdefault(task.user, [])
            answers.insert(self.imported(task.user) if task.imported else len(answers), task_id)
        task.result = (correct, seconds)

    def imported(self, user: str) -> int:
        """The number of a student's imported answers."""
        return sum(self.tasks[task_id].imported for task_id in self.answers.get(user, ()))

    def ask(self, request_id: str, sent: bool = True) -> None:
        """A training is asked for; its message was sent or is still to be."""
        self.live, self.skipped, self.unsent = Request(request_id), False, not sent
        if sent:
            self.queue.append(Message(request_id))

    def delete(self, task_id: str) -> None:
        task = self.tasks.pop(task_id)
        if task.result is not None:
            self.answers[task.user].remove(task_id)

    def erase(self, user: str) -> None:
        for task_id in [task_id for task_id, task in self.tasks.items() if task.user == user]:
            self.delete(task_id)

    def place(self, task_id: str) -> int | None:
        """The place of an answer in its student's history, None for an open task."""
        task = self.tasks[task_id]
        return None if task.result is None else self.answers[task.user].index(task_id)

    def receivable(self) -> Message | None:
        """The message that the next receive gives; those that were received too often become dead letters by it."""
        if any(message.hidden for message in self.queue):
            return None
        while self.queue and self.queue[0].receives >= 3:
            self.dead.append(self.queue.pop(0).request)
        return self.queue[0] if self.queue else None

    def take_up(self) -> None:
        """A worker takes the lease, which also says that the message was sent."""
        assert self.live is not None
        self.live.held, self.skipped, self.unsent = True, False, False

    def skip(self) -> None:
        self.live, self.skipped, self.failed = None, True, False

    def fail(self, last: bool) -> None:
        """A training failed: it is tried again, or given up."""
        assert self.live is not None
        self.failed, self.live.held = True, False
        if last:
            self.live, self.waits = None, True

    def covered(self) -> tuple[int, int] | None:
        """(counter, samples) of the live request's version, if it served already: then it is not trained again."""
        made = self.live.made if self.live is not None else None
        return made[1:] if made is not None and made[0] in self.served else None

    def promote(self, version: str) -> None:
        """A training moved the pointer; the tracker is told later."""
        self.champion = version
        self.served.add(version)

    def finish(self, counted: int, samples: int, following: str | None, sent: bool = True) -> None:
        """The tracker's transaction at a training's end, and the request for the next one."""
        self.counter = max(self.counter - counted, 0)
        self.last_training, self.failed, self.named, self.live = samples, False, self.champion, None
        self.waits = False
        if following is not None:
            self.ask(following, sent)

    def serve(self, version: str, pinned: bool) -> None:
        """An operator moved the pointer."""
        self.promote(version)
        self.named, self.pinned = version, pinned

    def findings(self) -> list[str]:
        """The codes that the doctor must find, and no others."""
        found = []
        if self.is_due() and not self.skipped:
            found.append("training-due")
        if self.failed and not (self.live is not None and self.live.held):
            found.append("training-failed")
        if self.named != self.champion and self.covered() is None:
            found.append("version-differs")
        if sum(not message.hidden for message in self.queue) > (self.live is not None) + 1:
            found.append("queue-backlog")
        if self.dead:
            found.append("dead-letters")
        return sorted(found)

    def remarks(self) -> list[str]:
        return ["counter-above-total"] if self.counter > self.total else []


def nth(choices: Sequence[str], pick: int) -> str:
    """One of the choices for any number."""
    return choices[pick % len(choices)]
