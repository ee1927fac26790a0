"""Calibration by group, and the log-loss of versions as they served."""

from __future__ import annotations

import math

import pytest

from chalicelib.domain.predictions import Source
from chalicelib.domain.results import ServedAnswer
from chalicelib.services import groups
from chalicelib.services.groups import CalibrationGroup, Served
from tests.support.fakes.analytics import MemoryAnalyticsStore
from tests.support.fakes.database import MemoryDatabase


class Answers(MemoryAnalyticsStore):
    """A store with the given answers, newest first."""

    def __init__(self, *answers: ServedAnswer) -> None:
        super().__init__(MemoryDatabase())
        self._answers = list(answers)

    def newest_served(self, limit: int) -> list[ServedAnswer]:
        return self._answers[:limit]


def served(
    chance: float,
    correct: bool,
    *,
    user: str = "ada",
    topic: str = "Fractions",
    source: Source = Source.EMBEDDING,
    version: str | None = "v1",
    index: int = 3,
    n_answers: int = 4,
    paused: float | None = 1.0,
) -> ServedAnswer:
    return ServedAnswer(user, "Mathematics", topic, source, version, chance, correct, index, n_answers, paused)


def found(*answers: ServedAnswer) -> dict[tuple[str, str], CalibrationGroup]:
    report = groups.by_group(Answers(*answers), 10_000)
    return {(group.division, group.name): group for group in report.groups}


def test_a_group_compares_mean_chance_and_share_of_correct_answers() -> None:
    group = found(served(0.8, True), served(0.6, False))["source", "embedding"]
    assert (group.n, group.accuracy) == (2, 0.5)
    assert group.predicted_accuracy == pytest.approx(0.7)
    assert group.difference == pytest.approx(0.2)
    assert group.difference_by_chance == pytest.approx(math.sqrt(2 * (0.8 * 0.2 + 0.6 * 0.4) / math.pi) / 2)
    assert group.log_loss == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)


def test_answers_are_divided_by_source_version_place_and_pause() -> None:
    by_name = found(
        served(0.8, True, paused=13.0),
        served(0.8, True, index=0, paused=None, version="v2", source=Source.LNIRT),
        served(0.5, True, version=None, source=Source.DEFAULT),
    )
    numbers = {key: group.n for key, group in by_name.items() if key[0] != "activity"}
    assert numbers == {
        ("source", "embedding"): 1,
        ("source", "lnirt"): 1,
        ("source", "default"): 1,
        ("version", "v1"): 1,
        ("version", "v2"): 1,
        ("place", "first answers"): 1,
        ("place", "later answers"): 1,
        ("pause", "after more than 12 hours"): 1,
        ("pause", "unknown pause"): 1,
    }


def test_tenths_hold_students_sorted_by_their_number_of_answers() -> None:
    by_name = found(*(served(0.05 * n, True, user=f"student {n:2}", n_answers=n) for n in range(1, 21)))
    tenths = [group for (division, _), group in by_name.items() if division == "activity"]
    assert [group.name for group in tenths] == [f"tenth {number:2}" for number in range(1, 11)]
    assert {group.n for group in tenths} == {2}
    means = [group.predicted_accuracy for group in tenths]
    assert means == sorted(means)


def test_topics_of_fewer_than_five_students_are_left_out() -> None:
    shared = [served(0.7, True, user=f"student {n}") for n in range(5)]
    rare = [served(0.7, True, user=f"student {n % 4}", topic="Rare") for n in range(8)]
    topics = [name for division, name in found(*shared, *rare) if division == "topic"]
    assert topics == ["Mathematics: Fractions"]


def test_the_worst_calibrated_topics_come_first() -> None:
    answers = [
        served(chance, True, user=f"student {n}", topic=topic)
        for topic, chance in (("Right", 0.95), ("Wrong", 0.3), ("Near", 0.8))
        for n in range(5)
    ]
    assert [name for division, name in found(*answers) if division == "topic"] == [
        "Mathematics: Wrong",
        "Mathematics: Near",
        "Mathematics: Right",
    ]


def test_at_most_twenty_topics_are_shown() -> None:
    answers = [
        served(0.7, True, user=f"student {n}", topic=f"Topic {number}") for number in range(23) for n in range(5)
    ]
    assert sum(division == "topic" for division, _ in found(*answers)) == groups.TOPICS_SHOWN


def test_stored_chances_of_0_and_1_have_a_finite_loss() -> None:
    group = found(served(1.0, False), served(0.0, True))["source", "embedding"]
    assert math.isfinite(group.log_loss)


def test_each_version_has_the_log_loss_of_what_it_served() -> None:
    store = Answers(served(0.8, True), served(0.8, False), served(0.5, True, version=None, source=Source.DEFAULT))
    assert groups.served_by_version(store) == {"v1": Served(2, -(math.log(0.8) + math.log(1 - 0.8)) / 2)}
