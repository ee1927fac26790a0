"""Errors of groups of answers."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.groups import (
    bias,
    coverage_by_fifth,
    held_to_outcomes,
    recalibration_gain,
    topic_bias,
    worst_bias_by_activity,
)


def test_bias_is_prediction_less_outcome_of_the_rows() -> None:
    correct, chances = np.array([True, False, False]), np.array([0.5, 0.7, 0.9])
    assert bias(correct, chances, np.array([True, True, False])) == pytest.approx(0.1)
    assert bias(correct, chances, np.zeros(3, dtype=np.bool_)) is None


def test_the_most_active_students_are_the_ones_that_are_off() -> None:
    user = np.repeat(np.arange(20), np.where(np.arange(20) < 18, 2, 10))
    chances = np.full(len(user), 0.5)
    correct = np.arange(len(user)) % 2 == 0
    correct[user >= 18] = True
    assert worst_bias_by_activity(correct, chances, user) == pytest.approx(-0.5)


def test_bias_of_topics_leaves_out_chance() -> None:
    rng = np.random.default_rng(0)
    topic = np.repeat(np.arange(50), 400)
    chances = np.full(len(topic), 0.6)
    right = rng.random(len(topic)) < chances
    assert topic_bias(right, chances, topic) < 0.02
    off = rng.random(len(topic)) < np.where(topic % 2 == 0, 0.5, 0.7)
    assert topic_bias(off, chances, topic) == pytest.approx(0.1, abs=0.02)


def test_recalibration_gains_where_topics_are_off_and_costs_little_elsewhere() -> None:
    rng = np.random.default_rng(0)
    user = np.tile(np.repeat(np.arange(20), 20), 50)
    topic = np.repeat(np.arange(50), 400)
    chances = np.full(len(topic), 0.6)
    right = rng.random(len(topic)) < chances
    off = rng.random(len(topic)) < np.where(topic % 2 == 0, 0.5, 0.7)
    assert recalibration_gain(off, chances, topic, user) > 0.01
    assert -0.003 < recalibration_gain(right, chances, topic, user) < 0.001


def test_coverage_is_that_of_fifths_of_predicted_times() -> None:
    log_seconds = np.arange(100.0)
    inside = np.where(log_seconds < 20, 0.0, 1.0)
    inside[:10] = np.nan
    found = coverage_by_fifth(inside, log_seconds)
    assert found is not None
    assert found[0] == pytest.approx(8 / 18)
    assert found[1] == 1.0
    assert coverage_by_fifth(np.full(100, np.nan), log_seconds) is None


def test_held_chances_follow_the_outcomes_of_the_same_task() -> None:
    user = np.array([1, 1, 1, 1, 2])
    task = np.array([7, 8, 7, 7, 7])
    correct = np.array([True, True, False, True, True])
    chances = np.array([0.6, 0.1, 0.4, 0.9, 0.2])
    assert held_to_outcomes(correct, chances, task, user).tolist() == [0.6, 0.1, 0.6, 0.6, 0.2]
