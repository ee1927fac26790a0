"""A server behind its own app: answers in a batch to a running stack, and what its webhook hears of them."""

from __future__ import annotations

import json
import uuid
from collections import Counter

import pytest

from benchmarks._clients import Client
from benchmarks.local_stack import temporary_stack
from ops import cli
from tests.support.receivers import Receiver, is_genuine, listening
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def test_a_batch_and_its_training_reach_the_receiver(capsys: pytest.CaptureFixture[str]) -> None:
    receiver = Receiver()
    receiver.statuses = [500, 204]
    with listening(receiver) as url, temporary_stack() as stack:
        command = ["--state-dir", str(stack.state_dir)]
        assert cli.main([*command, "service", "create", "school"]) == 0
        key = next(word for word in capsys.readouterr().out.split() if word.startswith("ssk_"))
        assert cli.main([*command, "webhooks", "add", url, "--service", "school"]) == 0
        secret = capsys.readouterr().out.splitlines()[1]
        app = Client(stack.url, key)
        given = {"subject": "Maths", "topic": "Fractions", "difficulty": "easy", "actual_time_seconds": 20}
        answers = [
            {**given, "id": f"a-{n}", "learner_id": f"pupil-{n % 4}", "is_correct": n % 3 > 0} for n in range(40)
        ]
        for _ in range(2):
            stored = app.call("POST", "/answers", {"answers": answers})
        assert (stored["stored"], app.errors) == (0, 0)
        expected = {"version.promoted", "training.complete"}
        wait_for(lambda: expected <= set(receiver.types), 180, "the events of the first version")
        app.close()
    completions = [one["data"] for one in receiver.accepted if one["type"] == "completion"]
    assert Counter(one["learner_id"] for one in completions) == {f"pupil-{n}": 10 for n in range(4)}
    assert len({one["task_id"] for one in completions}) == len(completions) == 40
    assert receiver.types.count("training.complete") == 1
    assert all(is_genuine(secret, headers, body) for headers, body in receiver.seen)
    assert len({uuid.UUID(one) for one in receiver.ids}) == len(receiver.ids)
    assert json.loads(receiver.seen[0][1]) == receiver.accepted[0]
