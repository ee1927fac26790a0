"""What students do, one after the other and in the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import NewTask, TaskChange
from chalicelib.services import tasks as task_service
from chalicelib.services.training import Later, at_once
from tests.support.machine.steps import LEVELS, TOPICS, Machine, always, anything, levels, results, slots, some, step
from tests.support.machine.world import Task, nth


class Students(Machine):
    """Creates, completes, corrects, deletes."""

    @step(always, slot=slots, topic=anything, level=levels)
    def create(self, slot: int, topic: int, level: int) -> None:
        self._create(slot, topic, level)

    def _create(self, slot: int, topic: int, level: int) -> str:
        api, user = self.deployment.api, self.student(slot)
        new = NewTask("Math", nth(TOPICS, topic).upper(), LEVELS[level], "?")
        task = task_service.create_task(api.tasks, api.champion, user, new)
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

    @step(always, pick=anything, one=results, other=results)
    def complete_twice_at_once(self, pick: int, one: tuple[bool, float], other: tuple[bool, float]) -> None:
        task_id = self._create(pick % 3, pick, pick % 2)
        due = self.world.is_due(1)
        self._at_once(lambda: self._update(task_id, *one), lambda: self._update(task_id, *other))
        stored = self._stored(task_id)
        assert stored in (one, other)
        self.world.answer(task_id, *stored)
        self._count(due)

    @step(always, pick=anything, one=results, other=results)
    def complete_two_at_once(self, pick: int, one: tuple[bool, float], other: tuple[bool, float]) -> None:
        first, second = (self._create(pick % 3, pick + i, pick % 2) for i in range(2))
        due = self.world.is_due(2)
        self._at_once(lambda: self._update(first, *one), lambda: self._update(second, *other))
        for task_id in self._in_order(first, second):
            self.world.answer(task_id, *(one if task_id == first else other))
        self._count(False)
        self._count(due)

    @step(always, pick=anything, result=results)
    def complete_and_delete_at_once(self, pick: int, result: tuple[bool, float]) -> None:
        task_id = self._create(pick % 3, pick, pick % 2)
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
        _, note = task_service.update_task(
            api.tasks, api.champion, api.tracker, api.queue, api.policy, user, task_id, change, later
        )
        assert note is not None
        return note

    def _delete(self, task_id: str) -> None:
        self.deployment.api.tasks.delete(self.world.tasks[task_id].user, task_id)

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
        ready = Barrier(len(work))

        def begin(part: Callable[[], Any]) -> Any:
            ready.wait()
            return part()

        with ThreadPoolExecutor(len(work)) as pool:
            return list(pool.map(begin, work))

    def _stored(self, task_id: str) -> tuple[bool, float]:
        query = "SELECT is_correct, actual_time_seconds FROM practice_tasks WHERE id = CAST(:id AS uuid)"
        ((correct, spent),) = self.deployment.rows(query, id=task_id)
        return correct, spent

    def _in_order(self, *task_ids: str) -> list[str]:
        query = "SELECT CAST(id AS text) FROM practice_tasks WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY answer_index"
        return [task_id for (task_id,) in self.deployment.rows(query, ids=list(task_ids))]

    def _known(self, user: str) -> bool:
        return bool(self.deployment.rows("SELECT 1 FROM users WHERE id = :user", user=user))
