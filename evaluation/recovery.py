"""How well LNIRT's parameters are recovered from answers that were simulated with known ones.

``python -m evaluation.recovery --json [--seed 0]`` draws easiness, discrimination, intensity and residual spread per
topic (easiness and intensity per topic and difficulty, ordered), and abilities and speeds per student. It simulates
answers without practice effects, and fits. For each parameter it prints ``bias`` (mean of fitted minus true) and
``rmse``, in

* logits at ability 0: ``easiness``;
* logits per standard deviation of ability: ``discrimination``;
* log seconds: ``intensity``, ``residual_sd``, ``speed``;
* standard deviations of ability in the population: ``ability``.

``unseen_easiness`` and ``unseen_intensity`` are those of the topics and difficulties without answers.
``least_step_*`` is the smallest step from one difficulty to the next over all topics and the average topic: each must
be harder and take longer than the one before. Estimates of students are shrunk towards the population's mean, as in
serving.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, LnirtParameters, ability_from, grid_log_likelihoods, sigmoid
from evaluation.program import note, parser_of, print_figures
from training_job.fit.lnirt import clipped_times, fit_lnirt
from training_job.history.answers import AnswerTable

SIZES = {"large": (400, 8, 40_000), "medium": (60, 8, 6_000), "small": (8, 7, 679)}
"""Students, topics and answers."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The parameters from which answers are drawn.

    ``ability`` and ``speed`` (S,) are of students, ``discrimination`` and ``residual_sd`` (T,) of topics, ``easiness``
    and ``intensity`` (T, 4) of cells. ``seen`` (T, 4) marks the cells that have answers.
    """

    ability: FloatArray
    speed: FloatArray
    discrimination: FloatArray
    easiness: FloatArray
    intensity: FloatArray
    residual_sd: FloatArray
    seen: npt.NDArray[np.bool_]


def truth_of(n_students: int, n_topics: int, seed: int) -> Truth:
    """Return a random population. Abilities and speeds have exactly the moments that the model assumes."""
    rng = np.random.default_rng(seed)

    def standard(size: int) -> FloatArray:
        drawn = rng.normal(size=size)
        return (drawn - drawn.mean()) / drawn.std()

    def ordered(centre: FloatArray, gaps: FloatArray) -> FloatArray:
        levels = np.cumsum(np.hstack([np.zeros((n_topics, 1)), gaps]), axis=1)
        return centre[:, None] + levels - levels[:, 1:2]

    # The first topic has no answers at expert, the second none at easy.
    seen = np.ones((n_topics, N_LEVELS), dtype=np.bool_)
    seen[0, 3] = seen[1, 0] = False
    return Truth(
        ability=standard(n_students),
        speed=0.3 * standard(n_students),
        discrimination=np.exp(rng.normal(scale=0.2, size=n_topics)),
        easiness=ordered(rng.normal(0.5, 0.8, n_topics), -rng.uniform(0.2, 0.9, (n_topics, N_LEVELS - 1))),
        intensity=ordered(rng.normal(4.0, 0.4, n_topics), rng.uniform(0.1, 0.4, (n_topics, N_LEVELS - 1))),
        residual_sd=rng.uniform(0.3, 0.7, n_topics),
        seen=seen,
    )


def answers_from(truth: Truth, n_answers: int, seed: int) -> AnswerTable:
    """Return answers of random students on random cells among those that are seen."""
    rng = np.random.default_rng(seed + 1)
    user = rng.integers(len(truth.ability), size=n_answers)
    cell = rng.choice(np.flatnonzero(truth.seen), size=n_answers)
    topic, level = cell // N_LEVELS, cell % N_LEVELS
    chance = sigmoid(truth.discrimination[topic] * truth.ability[user] + truth.easiness[topic, level])
    noise = truth.residual_sd[topic] * rng.normal(size=n_answers)
    return AnswerTable.from_columns(
        user=user, user_ids=[f"student {n}" for n in range(len(truth.ability))],
        topic=topic, topics=[f"topic {n}" for n in range(len(truth.discrimination))], difficulty=level + 1,
        is_correct=rng.random(n_answers) < chance,
        seconds=np.exp(truth.intensity[topic, level] - truth.speed[user] + noise),
    )  # fmt: skip


def abilities(model: LnirtParameters, table: AnswerTable) -> FloatArray:
    """Return the posterior means of ability from all answers of each student. Shape (S,)."""
    correct, incorrect = grid_log_likelihoods(
        model.discrimination[table.topic], model.easiness[table.topic, table.level]
    )
    likelihood = np.zeros((len(table.user_ids), correct.shape[1]))
    np.add.at(likelihood, table.user, np.where(table.is_correct[:, None], correct, incorrect))
    return ability_from(likelihood)[0]


def speeds(model: LnirtParameters, table: AnswerTable) -> FloatArray:
    """Return the posterior means of speed from all answers of each student, in log seconds. Shape (S,)."""
    time = model.time
    if time is None:
        raise ValueError("the model knows no times")
    precision = 1.0 / time.residual_variance[table.topic]
    beyond = time.intensity[table.topic, table.level] - clipped_times(table).log_seconds
    students = len(table.user_ids)
    weighted = np.bincount(table.user, weights=precision * beyond, minlength=students)
    speed: FloatArray = weighted / (np.bincount(table.user, precision, students) + 1.0 / time.speed_variance)
    return speed


def measure(n_students: int, n_topics: int, n_answers: int, seed: int) -> dict[str, float]:
    """Return bias and RMSE of every parameter, in the units of the module's docstring."""
    truth = truth_of(n_students, n_topics, seed)
    table = answers_from(truth, n_answers, seed)
    model = fit_lnirt(table)
    time = model.time
    if time is None or len(model.topics) != n_topics:
        raise ValueError(f"{n_answers} answers are too few for {n_topics} topics")
    easiness, intensity = model.easiness[:-1] - truth.easiness, time.intensity[:-1] - truth.intensity
    errors = {
        "easiness": easiness[truth.seen],
        "discrimination": model.discrimination[:-1] - truth.discrimination,
        "intensity": intensity[truth.seen],
        "residual_sd": np.sqrt(time.residual_variance[:-1]) - truth.residual_sd,
        "ability": abilities(model, table) - truth.ability,
        "speed": speeds(model, table) - truth.speed,
        "unseen_easiness": easiness[~truth.seen],
        "unseen_intensity": intensity[~truth.seen],
    }
    figures: dict[str, float] = {}
    for name, error in errors.items():
        figures |= {f"{name}_bias": float(error.mean()), f"{name}_rmse": float(np.sqrt(np.mean(error**2)))}
    figures["least_step_easiness"] = float(-np.diff(model.easiness, axis=1).max())
    figures["least_step_intensity"] = float(np.diff(time.intensity, axis=1).min())
    return figures


def main() -> int:
    parser = parser_of("recovery", __doc__)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = {name: measure(*size, options.seed) for name, size in SIZES.items()}
    note(options, f"{'':24}" + "".join(f"{name:>12}" for name in found))
    for key in next(iter(found.values())):
        note(options, f"{key:24}" + "".join(f"{figures[key]:12.3f}" for figures in found.values()))
    return print_figures({f"{name}_{key}": value for name, figures in found.items() for key, value in figures.items()})


if __name__ == "__main__":
    sys.exit(main())
