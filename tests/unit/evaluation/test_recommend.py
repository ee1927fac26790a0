"""The simulated students by whom recommendations are judged."""

from __future__ import annotations

import numpy as np

from chalicelib.prediction.predictor import Predictor
from evaluation.recommend import FADING_DAYS, TOPICS, at_random, learner, recommended, table_of
from tests.support.archives import version_files

AVERAGE = np.zeros(len(TOPICS))


def test_the_same_seed_gives_the_same_student() -> None:
    students = [learner("one", (0, 1), AVERAGE) for _ in range(2)]
    for one in students:
        for number in range(10):
            one.practise(at_random(one, number), number)
    assert students[0].answers == students[1].answers
    np.testing.assert_array_equal(students[0].learnt, students[1].learnt)


def test_more_is_learnt_where_the_chance_is_near_the_students_peak() -> None:
    gained = []
    for base in (0.0, -6.0, 6.0):  # chances of about 0.5, nearly none, nearly sure
        student = learner("one", (0, 1), AVERAGE)
        student.peak, student.base = 0.5, np.full(len(TOPICS), base)
        student.practise((0, 2), 0)
        gained.append(student.learnt[0])
    assert gained[0] > 10 * max(gained[1:])


def test_what_was_learnt_fades_but_not_what_was_there_before() -> None:
    student = learner("one", (0, 1), AVERAGE)
    student.learnt[:] = 1.0
    np.testing.assert_allclose(student.skill(FADING_DAYS) - student.base, np.exp(-1.0))


def test_a_student_can_follow_the_recommendations_and_becomes_a_table() -> None:
    student = learner("one", (0, 1), AVERAGE)
    policy = recommended(Predictor.from_files(version_files()), 0.75)
    for number in range(6):
        student.practise(policy(student, number), number)
    table = table_of([student])
    assert len(table) == student.state().n_answers == 6
    assert [table.topics[code] for code in table.topic] == [answer.topic for answer in student.answers]
