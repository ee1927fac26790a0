"""The Python client: renewal of the access token, pages, errors, and asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from studysmart_client import ApiError, StudySmart, answer
from studysmart_client.api.accounts import change_password, read_profile, register
from studysmart_client.api.analytics import topics
from studysmart_client.api.practice_tasks import create_task, list_tasks, read_task
from studysmart_client.models import Difficulty, NewTask, PasswordBody, PracticeTask, RegisterBody

URL = os.environ["STUDYSMART_URL"]
EMAIL, PASSWORD = "ada@client-python.example", "correct horse"


def expect_error(status: int, call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    assert caught.value.status == status
    return caught.value


async def all_topics(session: StudySmart) -> list[str]:
    async with session.client as client:
        return [one.topic for one in answer(await topics.asyncio_detailed(client=client))]


def main() -> None:
    session = StudySmart(URL)
    answer(register.sync_detailed(client=session.client, body=RegisterBody(EMAIL, PASSWORD)))
    expect_error(401, lambda: session.login(EMAIL, "wrong"))
    expect_error(401, lambda: answer(read_profile.sync_detailed(client=session.client)))
    session.login(EMAIL, PASSWORD)

    # A token that is refused is renewed, by several threads at once too.
    session._tokens.access_token = "expired"
    with ThreadPoolExecutor(4) as pool:
        profiles = [pool.submit(read_profile.sync_detailed, client=session.client) for _ in range(4)]
    assert {answer(one.result()).email for one in profiles} == {EMAIL}
    again = StudySmart(URL, refresh_token=session.refresh_token)
    assert answer(read_profile.sync_detailed(client=again.client)).email == EMAIL
    ended = StudySmart(URL, refresh_token="unknown")
    expect_error(401, lambda: answer(read_profile.sync_detailed(client=ended.client)))

    body = PasswordBody(PASSWORD, "another horse")
    session.keep(answer(change_password.sync_detailed(client=session.client, body=body)))

    for topic in ("Fractions", "Algebra", "Geometry"):
        new = NewTask("Mathematics", topic, Difficulty.EASY, "?")
        task: PracticeTask = answer(create_task.sync_detailed(client=session.client, body=new))
    pages = list(session.pages(list_tasks.sync_detailed, limit=1, subject="mathematics"))
    assert [one.topic for page in pages for one in page] == ["Geometry", "Algebra", "Fractions"]
    assert len(pages) == 3

    found = answer(read_task.sync_detailed(task.id, client=session.client))
    assert found.topic == "Geometry"
    faulty = expect_error(422, lambda: list(session.pages(list_tasks.sync_detailed, limit=1_000)))
    assert faulty.detail[0]["loc"] == ["query", "limit"]
    assert asyncio.run(all_topics(session)) == []


main()
