"""On the local server a training's message is sent once the completion was answered; on Lambda before."""

from __future__ import annotations

import threading

import httpx

from chalicelib import wiring
from chalicelib.domain.training import TrainingRequest
from infra.local.after_answer import AfterAnswer
from tests.support.api import DONE, World, create, serving, sign_up
from tests.support.fakes.services import MemoryQueue


class PatientQueue(MemoryQueue):
    """A queue that takes a message when the test allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = threading.Event()

    def send(self, request: TrainingRequest) -> None:
        assert self.allowed.wait(120), "the test never allowed it"
        super().send(request)


def test_the_completion_that_asks_for_a_training_is_answered_before_the_message_is_sent(world: World) -> None:
    queue = world.queue = PatientQueue()
    wiring.install(world.container())
    student, later = sign_up(world), AfterAnswer()
    wiring.current().later = later
    tasks = [create(student)["id"] for _ in range(5)]
    with serving(later.answered) as url, httpx.Client(base_url=url, timeout=60) as client:
        headers = {"Authorization": f"Bearer {student.token}"}
        notes = [
            client.patch(f"/practice-tasks/{task_id}", json=DONE, headers=headers).json()["training"]
            for task_id in tasks
        ]
        assert notes[-1] == {"counter": 5, "threshold": 5, "queued": True}
        assert client.get("/model/status", headers=headers).json()["training"] == "queued"
        assert queue.messages == []
        queue.allowed.set()
        later.finish(20)
    assert len(queue.messages) == 1
