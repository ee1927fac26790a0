"""Finds the columns of an answer in the header of a file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

REQUIRED = ("user_id", "topic", "is_correct")
OPTIONAL = ("subject", "difficulty", "item_id", "actual_time_seconds", "completed_at", "position")
COLUMNS = REQUIRED + OPTIONAL

OF_A_TASK = (
    "task_id",
    "completed",
    "task_content",
    "solution_content",
    "answer_content",
    "estimated_time_minutes",
    "study_session_id",
    "created_at",
)
"""The further columns of the service's own export and task list."""

ALL_COLUMNS = (*COLUMNS, "answer_id", *OF_A_TASK)

_OTHER_NAMES = {
    "user_id": ("user", "student", "student_id", "learner_id", "anon_student_id", "email"),
    "topic": ("skill", "skill_name", "skill_id", "kc", "concept", "knowledge_component"),
    "is_correct": ("correct", "answered_correctly", "correct_first_attempt", "outcome", "score"),
    "subject": ("course", "subject_name"),
    "difficulty": ("level",),
    "actual_time_seconds": ("seconds", "time_seconds", "time_taken", "duration", "elapsed_time"),
    "completed_at": ("timestamp", "time", "date", "answered_at", "end_time", "submitted_at"),
    "position": ("order", "sequence", "attempt"),
}
"""Names that other services give to the columns. They are suggested, not taken: "time" may be seconds or a date."""

_SYNONYMS = {
    "id": "task_id",
    "order_id": "answer_id",
    "log_id": "answer_id",
    "problem_log_id": "answer_id",
    "item": "item_id",
    "problem_id": "item_id",
    "question_id": "item_id",
    "exercise_id": "item_id",
}


class ColumnError(ValueError):
    """The header lacks a required column or names one twice, or a mapping names an unknown column."""


def normal(name: str) -> str:
    """Return a column's name without case, spaces, underscores and other marks."""
    return "".join(filter(str.isalnum, name.casefold()))


_BY_NORMAL = {normal(name): name for name in ALL_COLUMNS} | {normal(name): of for name, of in _SYNONYMS.items()}


def columns_of(header: Sequence[str], mapped: Mapping[str, str], required: Sequence[str] = REQUIRED) -> dict[str, int]:
    """Return the index of each column that the header has. ``mapped`` gives the file's names of some columns.

    Raises ColumnError, with a suggestion where a column has nearly the right name.
    """
    places: dict[str, list[int]] = {}
    for index, name in enumerate(header):
        places.setdefault(normal(name), []).append(index)
    found: dict[str, int] = {}
    for column, name in mapped.items():
        if column not in ALL_COLUMNS:
            raise ColumnError(f"--map {column}={name}: no column is called {column} (there are {', '.join(COLUMNS)})")
        at = [index for index, given in enumerate(header) if given == name] or places.get(normal(name), [])
        if len(at) != 1:
            raise ColumnError(f"--map {column}={name}: the file has {len(at) or 'no'} column {name} ({_shown(header)})")
        found[column] = at[0]
    for name, at in places.items():
        if (of := _BY_NORMAL.get(name)) is not None and of not in mapped:
            exact = [index for index in at if header[index] == of]
            chosen = exact if len(exact) == 1 else at
            if len(chosen) > 1:
                raise ColumnError(f"the column {of} appears twice")
            if of not in found or name == normal(of):
                found[of] = chosen[0]
    missing = [column for column in required if column not in found]
    if missing:
        raise ColumnError(f"no column {', '.join(missing)} ({_shown(header)}){_suggestion(missing, header)}")
    return found


def near(column: str, header: Sequence[str]) -> str | None:
    """Return the name in a header that probably means a column, None if there is none."""
    names = {normal(name): name for name in header}
    for other in _OTHER_NAMES.get(column, ()):
        if normal(other) in names:
            return names[normal(other)]
    close = difflib.get_close_matches(normal(column), list(names), 1, 0.8)
    return names[close[0]] if close else None


def _suggestion(missing: Sequence[str], header: Sequence[str]) -> str:
    pairs = {column: name for column in missing if (name := near(column, header)) is not None}
    if not pairs:
        return ""
    given = ",".join(f"{column}={name}" for column, name in pairs.items())
    return f". Perhaps: --map {repr(given) if ' ' in given else given}"


def _shown(header: Sequence[str]) -> str:
    found = ", ".join(header)
    return (
        "its columns: "
        + (found if len(found) <= 200 else found[:197] + "...").encode("ascii", "backslashreplace").decode()
    )
