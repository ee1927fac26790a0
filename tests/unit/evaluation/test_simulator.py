"""Simulated students, and the part of a file that the demonstration takes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from evaluation import selection, simulator
from ops.imports.importer import open_history
from ops.imports.report import ImportReport
from ops.imports.source import UnusableFileError


def test_the_same_seed_gives_the_same_answers_and_another_seed_others() -> None:
    assert simulator.history(50, seed=3) == simulator.history(50, seed=3)
    assert simulator.history(50, seed=3) != simulator.history(50, seed=4)


def test_simulated_answers_are_importable_rows(tmp_path: Path) -> None:
    answers = simulator.history(679, n_users=4)
    simulator.write_csv(answers, tmp_path / "a.csv")
    report = ImportReport()
    with open_history(tmp_path / "a.csv", datetime.now(UTC), report) as chunks:
        assert sum(map(len, chunks)) == 679
    assert (report.bad, report.changed) == (0, {})
    assert len({a.user_id for a in answers}) == 4


def test_harder_tasks_are_failed_more_often_and_take_longer() -> None:
    answers = simulator.history(6_000, n_users=30)
    by_level = {d: [a for a in answers if a.difficulty == d] for d in ("easy", "expert")}
    share = {d: np.mean([a.is_correct for a in rows]) for d, rows in by_level.items()}
    seconds = {d: np.median([a.actual_time_seconds for a in rows]) for d, rows in by_level.items()}
    assert share["easy"] > share["expert"]
    assert seconds["easy"] < seconds["expert"]


def _file(tmp_path: Path, rows: list[tuple[str, str]]) -> Path:
    path = tmp_path / "history.csv"
    path.write_text("user_id,topic,is_correct\n" + "".join(f"{user},{topic},1\n" for user, topic in rows))
    return path


def test_the_most_active_users_on_the_most_common_topics_are_taken(tmp_path: Path) -> None:
    busy = [(f"busy{n % 2}", f"t{n % 3}") for n in range(60)]
    path = _file(tmp_path, [("rare", "t0"), *busy, ("busy0", "odd")])
    chosen = selection.select(path, 20, n_users=2, n_topics=3)
    assert Counter(row.user_id for row in chosen) == {"busy0": 10, "busy1": 10}
    assert {row.topic for row in chosen} == {"t0", "t1", "t2"}


def test_users_are_added_where_few_have_too_few_answers(tmp_path: Path) -> None:
    path = _file(tmp_path, [(f"u{n}", "t") for n in range(30)])
    assert len({row.user_id for row in selection.select(path, 20, n_users=2, n_topics=3)}) == 20


def test_a_file_with_too_few_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError, match="has 5 good answers"):
        selection.select(_file(tmp_path, [("u", "t")] * 5), 20, 2, 3)


def test_a_selection_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    simulator.write_csv(simulator.history(40), path)
    chosen = selection.select(path, 40, 4, 7)
    selection.write_csv(chosen, tmp_path / "b.csv")
    with open_history(tmp_path / "b.csv", datetime.now(UTC), ImportReport()) as chunks:
        again = [row._replace(line=0) for rows in chunks for row in rows]
    assert again == [row._replace(line=0) for row in chosen]
