"""A client of openapi-python-client: register, sign in, create, complete, list, and errors."""

from __future__ import annotations

import os
from uuid import uuid4

from generated import AuthenticatedClient, Client
from generated.api.accounts import login, register
from generated.api.practice_tasks import create_task, list_tasks, read_task, update_task
from generated.models import (
    Detail,
    Difficulty,
    LoginBody,
    NewTask,
    PracticeTask,
    RegisterBody,
    TaskChange,
    TokenAnswer,
    TrainingNote,
    UpdatedTask,
    User,
    ValidationDetail,
)

URL = os.environ["STUDYSMART_URL"]
EMAIL, PASSWORD = "ada@openapi-python-client.example", "correct horse"


def main() -> None:
    anyone = Client(base_url=URL)
    user = register.sync(client=anyone, body=RegisterBody(EMAIL, PASSWORD, "Ada"))
    assert isinstance(user, User)
    assert user.full_name == "Ada"
    taken = register.sync_detailed(client=anyone, body=RegisterBody(EMAIL, "another one"))
    assert taken.status_code == 400
    assert isinstance(taken.parsed, Detail)

    session = login.sync(client=anyone, body=LoginBody(EMAIL, PASSWORD))
    assert isinstance(session, TokenAnswer)
    wrong = AuthenticatedClient(base_url=URL, token="wrong")
    assert list_tasks.sync_detailed(client=wrong).status_code == 401
    client = AuthenticatedClient(base_url=URL, token=session.access_token)

    task = create_task.sync(client=client, body=NewTask("Mathematics", "Fractions", Difficulty.MEDIUM, "1/2 + 1/3 = ?"))
    assert isinstance(task, PracticeTask)
    assert 0 < task.predicted_correct < 1
    assert task.created_at.tzinfo is not None

    done = update_task.sync(task.id, client=client, body=TaskChange(is_correct=True, actual_time_seconds=42))
    assert isinstance(done, UpdatedTask)
    assert isinstance(done.training, TrainingNote)
    assert done.training.counter > 0

    listed = list_tasks.sync(client=client, completed=True, limit=10)
    assert isinstance(listed, list)
    assert [one.id for one in listed] == [task.id]

    assert read_task.sync_detailed(uuid4(), client=client).status_code == 404
    faulty = list_tasks.sync(client=client, limit=1000)
    assert isinstance(faulty, ValidationDetail)
    assert faulty.detail[0].loc == ["query", "limit"]


main()
