"""A student's own answers as a file that ``studysmart import`` reads."""

from __future__ import annotations

import csv
import io
from typing import Annotated

from chalice.app import Request, Response
from msgspec import Struct

from chalicelib.api.routing import Routes, next_page
from chalicelib.domain.accounts import Caller
from chalicelib.domain.fields import about
from chalicelib.domain.limits import EXPORTS
from chalicelib.domain.service_accounts import Scope
from chalicelib.domain.tasks import PracticeTask
from chalicelib.wiring import Container

routes = Routes(__name__, "export", Scope.LEARNERS_READ)

MAX_ROWS = 2_000
MAX_TEXT_BYTES = 1_800_000
"""Maximum size of a page's texts. Quotation marks double them, and a Lambda may answer 6 MB."""

COLUMNS = {
    "task_id": "id",
    "user_id": "user_id",
    "subject": "subject",
    "topic": "topic",
    "difficulty": "difficulty",
    "item_id": "item_id",
    "task_content": "task_content",
    "solution_content": "solution_content",
    "answer_content": "answer_content",
    "estimated_time_minutes": "estimated_time_minutes",
    "study_session_id": "study_session_id",
    "is_correct": "is_correct",
    "actual_time_seconds": "actual_time_seconds",
    "completed_at": "completed_at",
    "created_at": "created_at",
}
"""The columns of the file, by the fields of a task that they hold."""


class ExportQuery(Struct):
    """The place after which the page begins, from the ``Link`` header of the page before it."""

    after: Annotated[int, about("Place after which the page begins", -1, ge=-1, le=2**31 - 1)] = -1


@routes.route(
    "GET",
    "/export",
    "Export your answers",
    query=ExportQuery,
    answer=str,
    media_type="text/csv",
    limit=EXPORTS,
    sends=("Link", "Content-Disposition"),
    example=",".join(COLUMNS) + "\r\n",
)
def export_answers(container: Container, caller: Caller, query: ExportQuery, request: Request) -> Response:
    """Return the caller's completed tasks as CSV, oldest first. The ``Link`` header holds the next page.

    Only the first page has a line with the columns: the pages one after the other are one file.
    """
    rows = container.tasks.answers(caller.user_id, query.after, MAX_ROWS, MAX_TEXT_BYTES)
    text = io.StringIO()
    writer = csv.writer(text)
    if query.after < 0:
        writer.writerow(COLUMNS)
    writer.writerows(_line(task) for _, task in rows)
    headers = {
        "Content-Type": "text/csv; charset=utf-8",
        "Cache-Control": "no-store",
        "Content-Disposition": 'attachment; filename="answers.csv"',
    }
    if rows:
        headers |= next_page(request, {"after": rows[-1][0]})
    return Response(text.getvalue(), headers)


def _line(task: PracticeTask) -> list[object]:
    return [
        value.isoformat() if hasattr(value := getattr(task, name), "isoformat") else value for name in COLUMNS.values()
    ]
