"""Practice effects: topics keep the common ones until their answers show that they differ."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import FloatArray
from training_job.fit.lnirt import fit_lnirt
from training_job.history.answers import AnswerTable


def practised(n_users: int, each: int, rates: FloatArray, seed: int = 0) -> AnswerTable:
    """Answers whose logits rise by each topic's rate with log(1 + attempts). Students answer ``each`` per topic."""
    rng = np.random.default_rng(seed)
    n_topics = len(rates)
    user = np.repeat(np.arange(n_users), n_topics * each)
    topic = np.concatenate([rng.permutation(np.repeat(np.arange(n_topics), each)) for _ in range(n_users)])
    attempts = np.empty(len(user))
    by_topic = np.lexsort((np.arange(len(user)), topic, user))
    attempts[by_topic] = np.tile(np.arange(each), n_users * n_topics)
    logit = rng.normal(size=n_users)[user] + rates[topic] * (np.log1p(attempts) - 1.5)
    return AnswerTable.from_columns(
        user=user, user_ids=[f"student {n}" for n in range(n_users)], topic=topic,
        topics=[f"topic {n}" for n in range(n_topics)], difficulty=np.full(len(user), 2),
        is_correct=rng.random(len(user)) < 1.0 / (1.0 + np.exp(-logit)),
    )  # fmt: skip


def test_with_few_answers_topics_keep_the_common_effects() -> None:
    for seed in range(3):
        practice = fit_lnirt(practised(5, 15, np.zeros(7), seed)).practice
        assert np.abs(practice - practice[-1]).max() < 0.06


def test_with_many_answers_topics_have_effects_of_their_own() -> None:
    rates = np.array([0.0, 0.0, 0.0, 0.6, 0.6, 0.6])
    rate = fit_lnirt(practised(300, 20, rates)).practice[:6, 1]
    assert rate[:3].max() + 0.2 < rate[3:].min()
