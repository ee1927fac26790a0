"""Forgetting is found where it is, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chalicelib.domain.errors import ModelError
from chalicelib.domain.forgetting import Forgetting
from chalicelib.domain.lnirt import LnirtParameters
from chalicelib.domain.lnirt_json import from_json, to_json
from tests.support.histories import rebuilt
from tests.support.models import model_of
from training_job.fit.lnirt import fit_lnirt
from training_job.history.answers import AnswerTable

HOUR = 3600.0


def practised(rates: tuple[float, float], *, n_users: int = 150, seed: int = 0) -> AnswerTable:
    """Sessions of two topics, a minute per answer, with pauses of one to 500 hours between the sessions.

    ``rates`` are the logits that the topics lose per unit of log(1 + hours).
    """
    rng = np.random.default_rng(seed)
    user, topic, at, correct = [], [], [], []
    for student in range(n_users):
        now, last, ability = 0.0, [np.nan, np.nan], rng.normal()
        for _ in range(5):
            for _ in range(6):
                which = int(rng.integers(2))
                away = 0.0 if np.isnan(last[which]) else np.log1p((now - last[which]) / HOUR)
                logit = 1.0 + ability - rates[which] * away
                user.append(student)
                topic.append(which)
                at.append(1.7e9 + now)
                correct.append(rng.random() < 1 / (1 + np.exp(-logit)))
                last[which] = now
                now += 60.0
            now += HOUR * np.exp(rng.uniform(0, np.log(500)))
    n = len(user)
    return AnswerTable.from_columns(
        user=user, user_ids=[f"student {i}" for i in range(n_users)], topic=topic, topics=["a", "b"],
        difficulty=np.full(n, 2), is_correct=correct, at=at,
    )  # fmt: skip


def rates_of(table: AnswerTable) -> tuple[float, float]:
    """The rates at which the two topics are found to be forgotten, with the cost of any pause."""
    lnirt = fit_lnirt(table)
    assert lnirt.forgetting is not None
    of_topic, pause = lnirt.forgetting.rate, lnirt.forgetting.pause
    return tuple(float(of_topic[lnirt.topic_row(topic)] + pause) for topic in ("a", "b"))  # type: ignore[return-value]


def test_topics_are_forgotten_as_fast_as_they_were() -> None:
    slow, fast = rates_of(practised((0.15, 0.45)))
    assert slow == pytest.approx(0.15, abs=0.12)
    assert fast == pytest.approx(0.45, abs=0.12)
    assert fast - slow > 0.1


def test_a_rate_with_few_answers_is_the_common_one() -> None:
    table = practised((0.3, 0.3))
    table = table.select(np.flatnonzero((table.topic == 0) | (table.user == 0)))
    lnirt = fit_lnirt(table)
    assert lnirt.forgetting is not None
    rate = lnirt.forgetting.rate
    assert rate[lnirt.topic_row("b")] == pytest.approx(rate[lnirt.average_row], abs=0.03)


def test_what_is_not_forgotten_gets_no_rate_worth_mentioning() -> None:
    lnirt = fit_lnirt(practised((0.0, 0.0)))
    if lnirt.forgetting is not None:
        assert lnirt.forgetting.rate.max() + lnirt.forgetting.pause < 0.08


def test_learning_while_away_is_never_credited_to_waiting() -> None:
    forgetting = fit_lnirt(practised((-0.4, -0.4))).forgetting
    assert forgetting is None or forgetting.rate.max() + forgetting.pause < 0.05


@pytest.mark.parametrize("dated", [0, 20])
def test_without_dates_the_model_is_what_it_was(dated: int) -> None:
    table = practised((0.4, 0.4), n_users=40)
    at = np.where(np.arange(len(table)) < dated, table.at, np.nan)
    lnirt = fit_lnirt(rebuilt(table, at=at))
    assert lnirt.forgetting is None
    assert b"forgetting" not in to_json(lnirt)


def test_quick_practice_without_pauses_tells_nothing_of_forgetting() -> None:
    table = practised((0.4, 0.4), n_users=40)
    forgetting = fit_lnirt(rebuilt(table, at=1.7e9 + 5.0 * np.arange(len(table)))).forgetting
    assert forgetting is None


def forgetful(**changes: object) -> LnirtParameters:
    lnirt = model_of(2, subjects=("maths", "history"))
    rate = np.array([0.1, 0.2, 0.3, 0.3, 0.3])
    values: dict[str, object] = {
        "rate": rate, "typical": rate, "short": 0.5, "typical_short": 0.4, "pause": 0.2, "typical_pause": 0.1,
    }  # fmt: skip
    return replace(lnirt, forgetting=Forgetting(**{**values, **changes}))  # type: ignore[arg-type]


def test_forgetting_is_published() -> None:
    lnirt = forgetful()
    found = from_json(to_json(lnirt)).forgetting
    assert found is not None
    assert lnirt.forgetting is not None
    for name in Forgetting.__struct_fields__:
        np.testing.assert_allclose(getattr(found, name), getattr(lnirt.forgetting, name), err_msg=name)


@pytest.mark.parametrize(
    "changes", [{"rate": np.array([0.1, -0.1, 0.1, 0.1, 0.1])}, {"short": -0.1}, {"pause": -0.1}, {"pause": 1e30}]
)
def test_a_file_in_which_waiting_helps_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="damaged"):
        from_json(to_json(forgetful(**changes)))
