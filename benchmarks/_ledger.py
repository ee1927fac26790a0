"""What the API acknowledged to students, against what is stored in the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Engine, text

Result = tuple[bool, float]
"""Correct, seconds."""


@dataclass(slots=True)
class Ledger:
    """One student's tasks, by their ids. A request that was never answered leaves its task ``in_doubt``."""

    user_id: str = ""
    open: list[str] = field(default_factory=list)
    completed: dict[str, Result] = field(default_factory=dict)
    in_doubt: set[str] = field(default_factory=set)
    acknowledged: int = 0
    """Completions that were answered, also of tasks that were deleted later."""

    def complete(self, task_id: str, result: Result) -> None:
        """The API answered a completion or a correction."""
        if task_id not in self.completed:
            self.acknowledged += 1
            self.open.remove(task_id)
        self.completed[task_id] = result

    def delete(self, task_id: str) -> None:
        """The API answered a deletion."""
        self.completed.pop(task_id, None)
        if task_id in self.open:
            self.open.remove(task_id)

    def doubt(self, task_id: str) -> None:
        """A request on the task was not answered to the end: whatever became of the task is right."""
        self.completed.pop(task_id, None)
        if task_id in self.open:
            self.open.remove(task_id)
        self.in_doubt.add(task_id)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Acknowledged completions that are not there as acknowledged, and answers that are there too often."""

    lost: int
    duplicated: int


_ANSWERS = text(
    """
    SELECT CAST(id AS text), is_correct, actual_time_seconds FROM practice_tasks
    WHERE user_id = :user_id AND completed
    """
)
_COUNTED = text(
    """
    SELECT (SELECT n_answers FROM users WHERE id = :user_id),
           (SELECT coalesce(sum(attempts), 0) FROM practice_state WHERE user_id = :user_id)
    """
)
_TOTAL = text(
    "SELECT sum(n_samples_total), (SELECT count(*) FROM practice_tasks WHERE completed) FROM embedding_model_tracker"
)


def compare(engine: Engine, ledgers: Iterable[Ledger]) -> Comparison:
    """Each acknowledged completion must be stored once, counted once by its student's row and state, and no other.

    A task in doubt may be there or not.
    """
    lost = duplicated = 0
    with engine.connect() as connection:
        for ledger in ledgers:
            who = {"user_id": ledger.user_id}
            stored = {task_id: (correct, spent) for task_id, correct, spent in connection.execute(_ANSWERS, who)}
            lost += sum(stored.get(task_id) != result for task_id, result in ledger.completed.items())
            unasked = stored.keys() - ledger.completed.keys() - ledger.in_doubt
            counted = [int(number or 0) - len(stored) for number in connection.execute(_COUNTED, who).one()]
            duplicated += len(unasked) + max(0, *counted)
            lost += max(0, *(-number for number in counted))
        total, completed = connection.execute(_TOTAL).one()
        duplicated += max(0, int(total or 0) - completed)
        lost += max(0, completed - int(total or 0))
    return Comparison(lost, duplicated)
