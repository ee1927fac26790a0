"""Compares the stored facts of a student with those that the completed tasks give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from chalicelib.domain.topics import split_key
from chalicelib.features.state import StateRow, replay
from ops.doctor.findings import ANSWERS_MISCOUNTED, ANSWERS_MISNUMBERED, STATE_DIFFERS, Finding
from ops.doctor.store import StudentRecord

TOLERANCE = 1e-9
"""For sums of floats, relative, and absolute near 0."""

_FLOATS = ("sum_log_seconds", "sum_sq_log_seconds", "decayed")
_DESCRIBED = 3
"""The number of differing rows that a finding describes; it only counts the others."""


def examine(student: StudentRecord) -> list[Finding]:
    """Return the findings on one student."""
    user, completed = student.user_id, len(student.answers)
    found = []
    for place, (index, _) in enumerate(student.answers):
        if index != place:
            about = {"user_id": user, "place": place, "answer_index": index, "completed": completed}
            found.append(ANSWERS_MISNUMBERED.found(**about))
            break  # the repair numbers all of them again
    if completed != student.n_answers:
        found.append(ANSWERS_MISCOUNTED.found(user_id=user, n_answers=student.n_answers, completed=completed))
    expected = replay(user, (answer for _, answer in student.answers))
    differences = _differences({(row.topic, row.difficulty): row for row in expected.rows}, student.stored)
    if differences:
        more = f", and {len(differences) - _DESCRIBED} more" if len(differences) > _DESCRIBED else ""
        text = "; ".join(differences[:_DESCRIBED]) + more
        found.append(STATE_DIFFERS.found(user_id=user, n_rows=len(differences), differences=text))
    return found


def _differences(
    expected: Mapping[tuple[str, int], StateRow], stored: Mapping[tuple[str, int], StateRow | None]
) -> list[str]:
    texts = []
    for key in sorted({*expected, *stored}):
        (subject, topic), difficulty = split_key(key[0]), key[1]
        name = f"{topic!r} of {subject!r} at difficulty {difficulty}"
        right, found = expected.get(key), stored.get(key)
        if right is None:
            texts.append(f"{name} has a state but no answer")
        elif key not in stored:
            texts.append(f"{name} has {right.attempts} answers but no state")
        elif found is None:
            texts.append(f"{name}: decayed cannot be read")
        elif found != right or not np.array_equal(found.decayed, right.decayed):
            unlike = [field.name for field in fields(StateRow) if not _alike(field.name, right, found)]
            texts += [f"{name}: {_difference(unlike[0], right, found)}"] if unlike else []
    return texts


def _alike(name: str, right: StateRow, found: StateRow) -> bool:
    if name in _FLOATS:
        return bool(np.allclose(getattr(found, name), getattr(right, name), rtol=TOLERANCE, atol=TOLERANCE))
    return bool(getattr(right, name) == getattr(found, name))


def _difference(name: str, right: StateRow, found: StateRow) -> str:
    if name == "decayed":
        error = float(np.abs(right.decayed - found.decayed).max())
        return f"decayed differs from the replay by up to {error:.3g}"
    return f"{name} is {getattr(found, name)}, but the replay gives {getattr(right, name)}"
