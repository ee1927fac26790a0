"""Whether what is stored of a student is what the student's completed tasks give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from chalicelib.features.state import Answer, StateRow, replay
from ops.doctor.findings import ANSWERS_MISCOUNTED, ANSWERS_MISNUMBERED, STATE_DIFFERS, Finding
from ops.doctor.store import StudentRecord

TOLERANCE = 1e-9
"""Of sums of floats, relative, and absolute near 0."""

_FLOATS = ("sum_log_seconds", "sum_sq_log_seconds", "decayed")
_NAMED = 3
"""Differing rows that a finding describes; it counts the others."""


def examine(student: StudentRecord) -> list[Finding]:
    """The findings on one student; reads the answers once, in order."""
    misplaced: list[tuple[int, int]] = []

    def in_order() -> Iterator[Answer]:
        for place, (index, answer) in enumerate(student.answers):
            if index != place and not misplaced:
                misplaced.append((place, index))
            yield answer

    expected = replay(student.user_id, in_order())
    user = {"user_id": student.user_id}
    found = []
    if misplaced:
        place, index = misplaced[0]
        what = f"student {student.user_id}: answer {place} has the index {index}, of {expected.n_answers} answers"
        found.append(Finding(ANSWERS_MISNUMBERED, what, {**user, "place": place, "answer_index": index}))
    if expected.n_answers != student.n_answers:
        what = f"student {student.user_id}: n_answers is {student.n_answers}, of {expected.n_answers} completed tasks"
        numbers = {"n_answers": student.n_answers, "completed": expected.n_answers}
        found.append(Finding(ANSWERS_MISCOUNTED, what, {**user, **numbers}))
    differences = _differences({(row.topic, row.difficulty): row for row in expected.rows}, dict(student.stored))
    if differences:
        more = f", and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
        what = f"student {student.user_id}: {'; '.join(differences[:_NAMED])}{more}"
        found.append(Finding(STATE_DIFFERS, what, {**user, "n_rows": len(differences)}))
    return found


def _differences(
    expected: dict[tuple[str, int], StateRow], stored: dict[tuple[str, int], StateRow | None]
) -> list[str]:
    words = []
    for key in sorted({*expected, *stored}):
        topic, difficulty = key
        name = f"{topic!r} at difficulty {difficulty}"
        right, found = expected.get(key), stored.get(key)
        if right is None:
            words.append(f"{name} has a state and no answer")
        elif key not in stored:
            words.append(f"{name} has {right.attempts} answers and no state")
        elif found is None:
            words.append(f"{name}: decayed cannot be read")
        elif found != right or not np.array_equal(found.decayed, right.decayed):
            unlike = [field.name for field in fields(StateRow) if not _alike(field.name, right, found)]
            words += [f"{name}: {_said(unlike[0], right, found)}"] if unlike else []
    return words


def _alike(name: str, right: StateRow, found: StateRow) -> bool:
    if name in _FLOATS:
        return bool(np.allclose(getattr(found, name), getattr(right, name), rtol=TOLERANCE, atol=TOLERANCE))
    return bool(getattr(right, name) == getattr(found, name))


def _said(name: str, right: StateRow, found: StateRow) -> str:
    if name == "decayed":
        worst = float(np.abs(right.decayed - found.decayed).max())
        return f"decayed is up to {worst:.3g} off the replay"
    return f"{name} is {getattr(found, name)}, replayed {getattr(right, name)}"
