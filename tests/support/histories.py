"""Simulated histories for the tests of the model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from chalicelib.features.items import ANSWERS_COUNTED, NO_RECORD, ItemRecord
from chalicelib.features.state import Answer, StateRow, UserState, replay
from training_job.history.answers import AnswerTable


def simulate(
    n_users: int,
    n_topics: int,
    n_answers: int,
    *,
    seed: int = 0,
    times: bool = True,
    levels: Sequence[int] = (1, 2, 3, 4),
) -> AnswerTable:
    """Answers of a 2PL and lognormal population, students taking turns; levels are half a logit apart."""
    rng = np.random.default_rng(seed)
    ability, speed = rng.normal(size=n_users), rng.normal(scale=0.3, size=n_users)
    discrimination = np.exp(rng.normal(scale=0.2, size=n_topics))
    level_effect, level_time = -0.5 * (np.arange(4) - 1), 0.25 * (np.arange(4) - 1)
    easiness = rng.normal(0.5, 0.8, size=n_topics)[:, None] + level_effect
    intensity = rng.normal(4.0, 0.4, size=n_topics)[:, None] + level_time
    user, topic = rng.integers(n_users, size=n_answers), rng.integers(n_topics, size=n_answers)
    level = rng.choice(np.array(levels) - 1, size=n_answers)
    logit = discrimination[topic] * ability[user] + easiness[topic, level]
    seconds = np.exp(intensity[topic, level] - speed[user] + rng.normal(scale=0.5, size=n_answers))
    return AnswerTable.from_columns(
        user=user,
        user_ids=[f"student {i}" for i in range(n_users)],
        topic=topic,
        topics=[f"topic {i}" for i in range(n_topics)],
        difficulty=level + 1,
        is_correct=rng.random(n_answers) < 1 / (1 + np.exp(-logit)),
        seconds=seconds if times else None,
        at=1.7e9 + 600.0 * np.arange(n_answers),
    )


def rebuilt(table: AnswerTable, **changes: Any) -> AnswerTable:
    """The table with some columns changed; None for unknown seconds or times."""
    names = ("user", "user_ids", "topic", "topics", "difficulty", "is_correct", "seconds", "at", "order", "item")
    columns: dict[str, Any] = {name: getattr(table, name) for name in names}
    return AnswerTable.from_columns(**{**columns, **changes})


def answers_of(table: AnswerTable, rows: Sequence[int]) -> list[Answer]:
    """Rows of a table as the practice state takes them."""
    return [
        Answer(
            topic=table.topics[table.topic[row]],
            difficulty=int(table.difficulty[row]),
            is_correct=bool(table.is_correct[row]),
            seconds=None if np.isnan(table.seconds[row]) else float(table.seconds[row]),
            at=time_of(table, row),
        )
        for row in rows
    ]


def time_of(table: AnswerTable, row: int) -> datetime | None:
    """When a row was answered."""
    return None if np.isnan(table.at[row]) else datetime.fromtimestamp(float(table.at[row]), UTC)


def begun_at(table: AnswerTable, row: int) -> datetime | None:
    """When a row was begun, which is when its prediction was asked for."""
    at = float(table.begun_at[row])
    return None if np.isnan(at) else datetime.fromtimestamp(at, UTC)


def record_of(item: int, answers: Sequence[tuple[int, Answer]]) -> ItemRecord:
    """A record on an item as the database reads it, from its answers with their indices."""
    if not item:
        return NO_RECORD
    newest = answers[-ANSWERS_COUNTED:]
    if not newest:
        return ItemRecord(item)
    index, last = newest[-1]
    correct = sum(answer.is_correct for _, answer in newest)
    return ItemRecord(item, len(newest), correct, last.is_correct, index, last.at)


def record_before(table: AnswerTable, row: int) -> ItemRecord:
    """The record of the row's student on its item just before that answer."""
    earlier = [i for i in range(row) if table.user[i] == table.user[row]]
    answers = enumerate(answers_of(table, earlier))
    item = int(table.item[row])
    return record_of(item, [(n, answer) for n, answer in answers if table.item[earlier[n]] == item])


def state_before(table: AnswerTable, row: int) -> UserState:
    """The stored state of the row's student just before that answer."""
    earlier = [i for i in range(row) if table.user[i] == table.user[row]]
    return replay(table.user_ids[table.user[row]], answers_of(table, earlier))


def rows_by_key(state: UserState) -> dict[tuple[str, int], StateRow]:
    """The rows of a state by topic and difficulty."""
    return {(row.topic, row.difficulty): row for row in state.rows}


def state_after(table: AnswerTable, row: int, *, correct: bool) -> UserState:
    """The state of the row's student just after that answer, had it been correct or not."""
    earlier = [i for i in range(row) if table.user[i] == table.user[row]]
    (answer,) = answers_of(table, [row])
    changed = msgspec.structs.replace(answer, is_correct=correct)
    return replay(table.user_ids[table.user[row]], [*answers_of(table, earlier), changed])
