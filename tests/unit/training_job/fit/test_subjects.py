"""The level of subjects in LNIRT: a new topic of a known subject starts from the subject's average."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from chalicelib.domain.digests import digest
from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, LnirtParameters, sigmoid
from chalicelib.domain.lnirt_json import from_json, rounded, to_json
from chalicelib.domain.topics import topic_key
from tests.support.histories import simulate
from training_job.fit.levels import SUCCESS_LEVELS, fit_levels
from training_job.fit.lnirt import fit_lnirt
from training_job.history.answers import AnswerTable

SUBJECTS = {"history": 1.2, "physics": -1.2}
"""Mean easiness of the topics of each subject, at difficulty 2."""

N_TOPICS, N_STUDENTS = 12, 120


def two_subjects(seed: int) -> tuple[AnswerTable, FloatArray]:
    """Return students' answers with times on topics of both subjects, and the topics' easiness (T,)."""
    draw = np.random.default_rng(seed)
    names = [topic_key(subject, f"chapter {n}") for subject in SUBJECTS for n in range(N_TOPICS)]
    easiness = np.repeat(list(SUBJECTS.values()), N_TOPICS) + draw.normal(0, 0.5, len(names))
    ability = draw.normal(size=N_STUDENTS)
    # Every student answers each topic twice, except those of the last topics of a subject, which few know.
    asked = draw.random((N_STUDENTS, len(names))) < np.tile(np.r_[np.full(N_TOPICS - 2, 0.5), 0.02, 0.02], 2)
    user, topic = (np.repeat(codes, 2) for codes in np.nonzero(asked))
    correct = draw.random(len(user)) < sigmoid(ability[user] + easiness[topic])
    seconds = np.exp(3.5 - 0.3 * easiness[topic] + draw.normal(0, 0.4, len(user)))
    table = AnswerTable.from_columns(
        user=user, user_ids=[f"student {n}" for n in range(N_STUDENTS)], topic=topic, topics=names,
        difficulty=np.full(len(user), 2), is_correct=correct, seconds=seconds,
    )  # fmt: skip
    return table, easiness


def without_subjects(table: AnswerTable) -> AnswerTable:
    return replace(table, topics=tuple(topic.replace("\x1f", " ") for topic in table.topics))


def test_a_new_topic_starts_from_its_subject() -> None:
    table, _ = two_subjects(0)
    model = fit_lnirt(table)
    assert model.subjects == tuple(SUBJECTS)
    for subject, easiness in SUBJECTS.items():
        row = model.topic_row(topic_key(subject, "A new chapter"))
        assert not model.knows(row)
        assert model.easiness[row, 1] == pytest.approx(easiness, abs=0.4)
        assert model.time is not None
        assert model.time.intensity[row, 1] == pytest.approx(3.5 - 0.3 * easiness, abs=0.25)
    assert model.topic_row(topic_key("Latin", "A new chapter")) == model.average_row
    assert model.easiness[model.average_row, 1] == pytest.approx(0.0, abs=0.4)


def test_topics_with_few_answers_are_nearer_the_truth() -> None:
    """Mean over simulations of the squared error, compared with a model that knows no subjects."""
    errors = []
    for seed in range(5):
        table, easiness = two_subjects(seed)
        few = [n for n, topic in enumerate(table.topics) if topic.endswith((" 10", " 11")) and n in table.topic]
        errors.append(
            [
                np.mean((model.easiness[[model.topic_row(named.topics[n]) for n in few], 1] - easiness[few]) ** 2)
                for named in (table, without_subjects(table))
                for model in (fit_lnirt(named),)
            ]
        )
    with_level, without = np.mean(errors, axis=0)
    assert with_level < 0.8 * without


@pytest.mark.parametrize("subject", ["mathematics", "general"])
def test_one_subject_is_fitted_as_none(subject: str) -> None:
    table = simulate(30, 5, 900)
    plain, named = (
        fit_lnirt(table),
        fit_lnirt(replace(table, topics=tuple(topic_key(subject, t) for t in table.topics))),
    )
    assert named.subjects == ()
    assert json.loads(to_json(named)) | {"topics": []} == json.loads(to_json(plain)) | {"topics": []}


def test_a_subject_without_answers_is_as_the_others_but_less_sure() -> None:
    observed, weight = np.zeros((4, 4)), np.zeros((4, 4))
    observed[:2], weight[:2] = 2.0, 50.0
    fit = fit_levels(observed, weight, SUCCESS_LEVELS, np.array([0, 0, 1, 1]))
    assert fit.values.shape == fit.variances.shape == (4 + 1 + 2, 4)
    np.testing.assert_allclose(fit.values[:, 1], 2.0, atol=0.15)
    assert (fit.variances[5] < fit.variances[6]).all()
    assert (fit.variances[6] <= fit.variances[4] + 1e-6).all()


def test_subjects_survive_their_file() -> None:
    model = fit_lnirt(two_subjects(1)[0])
    again = rounded(model)
    assert again.subjects == model.subjects
    for found, expected in ((again, model), (again.time, model.time)):
        for field in fields(LnirtParameters if found is again else type(model.time)):  # type: ignore[arg-type]
            value = getattr(expected, field.name)
            if isinstance(value, np.ndarray):
                np.testing.assert_allclose(getattr(found, field.name), value, rtol=1e-5)


def test_a_file_without_subjects_is_read_as_before() -> None:
    model = fit_lnirt(two_subjects(1)[0])
    document = json.loads(to_json(model))
    del document["subjects"]
    old = from_json(json.dumps(document).encode())
    rows = len(model.topics) + 1
    np.testing.assert_allclose(old.easiness, model.easiness[:rows], rtol=1e-5)
    assert old.topic_row(topic_key("History", "A new chapter")) == old.average_row


@pytest.mark.parametrize(
    "damage",
    [
        {"names": ["history"]},
        {"names": ["history", "history"]},
        {"easiness": [[0.0] * 4]},
        {"intensity": None},
        {"intensity_variance": [[0.0] * 4] * 2},
    ],
)
def test_damaged_subjects_are_refused(damage: dict[str, object]) -> None:
    document = json.loads(to_json(fit_lnirt(two_subjects(1)[0])))
    document["subjects"] |= damage
    with pytest.raises(ModelError):
        from_json(json.dumps(document).encode())


def test_a_subject_is_found_by_its_digest() -> None:
    model = fit_lnirt(two_subjects(1)[0])
    hidden = replace(model, subjects=(digest("history"), "physics"))
    for subject in SUBJECTS:
        key = topic_key(subject, "A new chapter")
        assert hidden.topic_row(key) == model.topic_row(key)
