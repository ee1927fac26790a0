"""Practice tasks: create, list, read, complete, delete."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from chalicelib.api.routing import Reply, Routes
from chalicelib.api.schemas import CompletedTaskAnswer, TaskAnswer, TaskBody, TaskPatch, TaskQuery, task_answer, text_of
from chalicelib.domain.accounts import Caller
from chalicelib.ports import TaskFilter
from chalicelib.services import tasks
from chalicelib.wiring import Container

routes = Routes(__name__, "practice tasks")


@routes.route("POST", "/practice-tasks", "Create a task and predict it", status=201, body=TaskBody, answer=TaskAnswer)
def create_task(container: Container, caller: Caller, body: TaskBody) -> TaskAnswer:
    """Create a task of the caller."""
    task = tasks.create_task(container.tasks, container.champion, caller.user_id, body.to_new_task())
    return task_answer(task, TaskAnswer)


@routes.route(
    "GET",
    "/practice-tasks",
    "List one's tasks, newest first; the Link header holds the next page",
    query=TaskQuery,
    answer=list[TaskAnswer],
)
def list_tasks(container: Container, caller: Caller, query: TaskQuery) -> Reply:
    """A page of the caller's tasks."""
    wanted = TaskFilter(query.subject, query.topic, query.completed, query.q)
    page = tasks.list_tasks(container.tasks, caller.user_id, wanted, query.limit, query.cursor)
    return Reply([task_answer(task, TaskAnswer) for task in page.tasks], _link(query, page.next_cursor))


@routes.route("GET", "/practice-tasks/subject/{subject}/latest", "The newest task of a subject", answer=TaskAnswer)
def latest_of_subject(container: Container, caller: Caller, subject: str) -> TaskAnswer:
    """The caller's newest task of a subject."""
    return task_answer(tasks.latest_of_subject(container.tasks, caller.user_id, subject), TaskAnswer)


@routes.route("GET", "/practice-tasks/{task_id}", "Read a task", answer=TaskAnswer)
def read_task(container: Container, caller: Caller, task_id: str) -> TaskAnswer:
    """One task of the caller."""
    return task_answer(tasks.get_task(container.tasks, caller.user_id, task_id), TaskAnswer)


@routes.route(
    "PATCH",
    "/practice-tasks/{task_id}",
    "Complete, correct or change a task",
    body=TaskPatch,
    answer=CompletedTaskAnswer,
)
def update_task(container: Container, caller: Caller, task_id: str, body: TaskPatch) -> CompletedTaskAnswer:
    """Complete a task of the caller, or correct its result."""
    task, note = tasks.update_task(
        container.tasks,
        container.tracker,
        container.queue,
        container.policy,
        caller.user_id,
        task_id,
        tasks.TaskChange(body.completed, body.is_correct, body.actual_time_seconds, text_of(body.study_session_id)),
        container.later,
    )
    answer = task_answer(task, CompletedTaskAnswer)
    if note is not None:
        answer.training = note
    return answer


@routes.route("DELETE", "/practice-tasks/{task_id}", "Delete a task", status=204)
def delete_task(container: Container, caller: Caller, task_id: str) -> None:
    """Delete a task of the caller."""
    tasks.delete_task(container.tasks, caller.user_id, task_id)


def _link(query: TaskQuery, cursor: str | None) -> dict[str, str]:
    """The ``Link`` header of the next page: relative, so that it holds under a stage prefix and behind a proxy."""
    if cursor is None:
        return {}
    parameters: dict[str, Any] = {"limit": query.limit, "cursor": cursor}
    parameters |= {name: getattr(query, name) for name in ("subject", "topic", "q") if getattr(query, name) is not None}
    if query.completed is not None:
        parameters["completed"] = str(query.completed).lower()
    return {"Link": f'<practice-tasks?{urlencode(parameters)}>; rel="next"'}
