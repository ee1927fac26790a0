"""How the benchmark of cohorts divides its students, and what it makes of its rounds."""

from __future__ import annotations

import pytest

from benchmarks.cohorts import CLIENTS, N_COHORTS, STUDENTS, in_turn, ratio, shared


@pytest.mark.parametrize("n", N_COHORTS)
def test_each_client_is_students_of_as_many_cohorts_as_possible(n: int) -> None:
    groups = [[f"{cohort}-{i}" for i in range(STUDENTS // n)] for cohort in range(n)]
    shares = shared(groups)
    assert sorted(token for share in shares for token in share) == sorted(token for group in groups for token in group)
    own = STUDENTS // CLIENTS
    assert {len(share) for share in shares} == {own}
    assert {len({token.partition("-")[0] for token in share}) for share in shares} == {min(n, own)}


def test_each_case_is_first_once() -> None:
    assert [in_turn((1, 8, 64), k) for k in range(3)] == [[1, 8, 64], [8, 64, 1], [64, 1, 8]]


def test_rates_are_compared_within_a_round() -> None:
    assert ratio([100.0, 10.0, 50.0], [90.0, 10.0, 60.0]) == 1.0
