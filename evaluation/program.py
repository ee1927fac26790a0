"""What the programs of this folder share: options, printed figures, a trained version, and a student's state."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.features.item_effects import NO_ITEM
from chalicelib.features.items import ANSWERS_COUNTED, NO_RECORD, ItemRecord
from chalicelib.features.state import Answer, StateRow, UserState, advance
from chalicelib.prediction.predictor import Predictor
from training_job.history.answers import AnswerTable


def parser_of(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for ``python -m evaluation.NAME`` with the option ``--json``."""
    parser = argparse.ArgumentParser(prog=f"python -m evaluation.{name}", description=description)
    parser.add_argument("--json", action="store_true", help="print only the JSON line, no progress")
    return parser


def note(options: argparse.Namespace, text: str) -> None:
    """Print a line of progress to standard error, unless only the JSON line is requested."""
    if not options.json:
        print(text, file=sys.stderr, flush=True)


def print_figures(figures: Mapping[str, Any]) -> int:
    """Print one JSON object as the last line, numbers with five significant digits, and return the exit status 0."""
    print(json.dumps({name: _short(value) for name, value in figures.items()}))
    return 0


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _short(part) for name, part in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def trained(table: AnswerTable, seed: int = 0, defended: bool = True, **how: Any) -> tuple[Predictor, dict[str, bytes]]:
    """Train a version as the worker does, and return it as serving reads it, with its files.

    Unless ``defended``, it learns from all answers. ``how`` is passed on to the training.
    """
    from training_job.fit.population import Population
    from training_job.fit.train import train_version
    from training_job.fit.trust import trusted_answers

    learnt = trusted_answers(table) if defended else table
    version = train_version(Population.of(learnt), version="evaluation", seed=seed, **how)
    metadata = json.dumps(version.metadata).encode()
    return Predictor.from_files({**version.files, "metadata.json": metadata}), version.files


@dataclass(slots=True)
class Practice:
    """The practice state of one student, answer by answer."""

    user_id: str
    n_answers: int = 0
    rows: dict[tuple[str, int], StateRow] = field(default_factory=dict)
    items: dict[int, tuple[tuple[int, Answer], ...]] = field(default_factory=dict)
    """The newest answers on each item, with their indices."""

    def add(self, answer: Answer, item: int = NO_ITEM) -> None:
        """Take the student's next answer into the state, and into the record on its item."""
        if item != NO_ITEM:
            self.items[item] = self._on_item_after(answer, item)
        self.rows[answer.topic, answer.difficulty] = self._row_after(answer)
        self.n_answers += 1

    def state(self) -> UserState:
        """Return the state after all answers so far."""
        return UserState(self.user_id, self.n_answers, tuple(self.rows.values()))

    def state_after(self, answer: Answer) -> UserState:
        """Return the state that one more answer would lead to."""
        rows = {**self.rows, (answer.topic, answer.difficulty): self._row_after(answer)}
        return UserState(self.user_id, self.n_answers + 1, tuple(rows.values()))

    def record(self, item: int) -> ItemRecord:
        """Return the record on an item after all answers so far."""
        return _record_of(item, self.items.get(item, ()))

    def record_after(self, answer: Answer, item: int) -> ItemRecord:
        """Return the record on an item that one more answer on it would lead to."""
        return _record_of(item, self._on_item_after(answer, item))

    def _on_item_after(self, answer: Answer, item: int) -> tuple[tuple[int, Answer], ...]:
        return (*self.items.get(item, ()), (self.n_answers, answer))[-ANSWERS_COUNTED:]

    def _row_after(self, answer: Answer) -> StateRow:
        return advance(self.rows.get((answer.topic, answer.difficulty)), answer, self.n_answers)


def _record_of(item: int, answers: Sequence[tuple[int, Answer]]) -> ItemRecord:
    """Return the record of answers on an item, each with its index, as the database reads it."""
    if item == NO_ITEM or not answers:
        return NO_RECORD if item == NO_ITEM else ItemRecord(item)
    index, last = answers[-1]
    correct = sum(answer.is_correct for _, answer in answers)
    return ItemRecord(item, len(answers), correct, last.is_correct, index, last.at)
