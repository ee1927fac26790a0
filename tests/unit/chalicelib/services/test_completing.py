"""A completion that was committed is answered, whatever happens to the training that it triggered."""

from __future__ import annotations

from chalicelib.domain.errors import DatabaseUnavailableError
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, TaskChange
from chalicelib.domain.training import TrainingPolicy, TrainingRequest
from chalicelib.services.champion import ChampionCache
from chalicelib.services.tasks import update_task
from tests.support.fakes.database import MemoryDatabase, MemoryTaskStore, MemoryTracker
from tests.support.fakes.services import MemoryQueue, MemoryRegistry


class UnstampedTracker(MemoryTracker):
    """A tracker whose database goes away between the commit of a completion and the stamp."""

    def mark_enqueued(self, request: TrainingRequest) -> None:
        raise DatabaseUnavailableError(f"no stamp for {request.request_id}")


def test_a_completion_succeeds_when_the_request_cannot_be_stamped() -> None:
    database, queue = MemoryDatabase(), MemoryQueue()
    tasks = MemoryTaskStore(database)
    task = tasks.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
    policy = TrainingPolicy(threshold=1, minimum_samples=1)
    change = TaskChange(is_correct=True, actual_time_seconds=3.0)
    champion = ChampionCache(MemoryRegistry(), "default", 60.0)
    done, note = update_task(tasks, champion, UnstampedTracker(database), queue, policy, "ada", task.id, change)
    assert done.completed
    assert note is not None
    assert note.counter == 1
    assert len(queue.messages) == 1
