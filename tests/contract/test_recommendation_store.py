"""Which topics every store offers for recommendation, be it in memory or in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import TrainingPolicy
from chalicelib.ports import RecommendationStore, TaskStore, TopicChoice
from chalicelib.storage.database import connect
from chalicelib.storage.recommendation_store import PostgresRecommendationStore
from chalicelib.storage.task_store import PostgresTaskStore
from tests.support.fakes.database import MemoryDatabase, MemoryTaskStore
from tests.support.fakes.recommendations import MemoryRecommendationStore

ADA = "ada"


@dataclass
class School:
    """Students at work, and the store that finds topics."""

    tasks: TaskStore
    store: RecommendationStore

    def create(self, topic: str, user: str = ADA, subject: str = "Mathematics") -> str:
        return self.tasks.insert(user, NewTask(subject, topic, Difficulty.EASY, "?"), DEFAULT_PREDICTION).id

    def practise(self, topic: str, user: str = ADA, subject: str = "Mathematics") -> None:
        self.tasks.complete(user, self.create(topic, user, subject), Result(True, 5), None, TrainingPolicy())

    def practise_by_others(self, topic: str, n: int = 5, subject: str = "Mathematics") -> None:
        for number in range(n):
            self.practise(topic, f"other {number}", subject)

    def topics(self, subject: str | None = None, own: int = 40, others: int = 50) -> list[str]:
        return [choice.topic for choice in self.store.topics(ADA, subject, own, others)]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.slow)])
def school(request: pytest.FixtureRequest) -> Iterator[School]:
    if request.param == "memory":
        database = MemoryDatabase()
        yield School(MemoryTaskStore(database), MemoryRecommendationStore(database))
        return
    engine = connect(request.getfixturevalue("database_url"), pool_size=2)
    yield School(PostgresTaskStore(engine, "default"), PostgresRecommendationStore(engine, "default"))
    engine.dispose()


def test_where_nobody_practised_there_is_nothing_to_recommend(school: School) -> None:
    assert school.topics() == []


def test_own_topics_come_first_the_latest_first_even_when_not_completed(school: School) -> None:
    school.practise("Algebra")
    school.practise_by_others("Fractions")
    school.create("Geometry")
    assert school.topics() == ["Geometry", "Algebra", "Fractions"]


def test_a_topic_is_named_as_last_written_and_comes_once(school: School) -> None:
    school.practise("algebra", subject="maths")
    school.practise(" ALGEBRA", user="bob")
    school.practise("Algebra", subject="Maths")
    algebra = topic_key("maths", "algebra")
    assert school.store.topics(ADA, None, 40, 50) == [TopicChoice("Maths", "Algebra", algebra, True)]


def test_the_same_topic_of_two_subjects_is_two_topics(school: School) -> None:
    """Five students in all, but four in each subject, do not make its name known."""
    for subject in ("History", "Biology"):
        school.practise("Chapter 1", subject=subject)
        school.practise_by_others("Chapter 2", subject=subject)
        school.practise_by_others("Diary", 4, subject=subject)
    found = [(choice.topic_key, choice.own) for choice in school.store.topics(ADA, None, 40, 50)]
    assert found == [
        (topic_key(subject, name), own)
        for subject, name, own in (
            ("Biology", "Chapter 1", True),
            ("History", "Chapter 1", True),
            ("Biology", "Chapter 2", False),
            ("History", "Chapter 2", False),
        )
    ]


def test_topics_of_others_come_by_the_number_of_their_students(school: School) -> None:
    school.practise_by_others("Five")
    school.practise("Five", "other 0")
    school.practise_by_others("Six", 6)
    school.create("Only planned", user="other 1")
    assert school.store.topics(ADA, None, 40, 50) == [
        TopicChoice("Mathematics", "Six", topic_key("mathematics", "six"), False),
        TopicChoice("Mathematics", "Five", topic_key("mathematics", "five"), False),
    ]


def test_a_topic_of_a_few_others_is_not_named(school: School) -> None:
    school.practise_by_others("Four", 4)
    for _ in range(9):
        school.practise("Diary of one", user="other 1")
    assert school.topics() == []
    school.practise("four")
    assert school.topics() == ["four"]


def test_a_subject_keeps_the_topics_of_the_others_out(school: School) -> None:
    school.practise("Algebra")
    school.practise("Cells", subject="Biology")
    school.practise_by_others("Genes", subject="biology")
    school.practise_by_others("Fractions")
    assert school.topics("biology") == ["Cells", "Genes"]
    assert school.topics("history") == []


def test_each_kind_has_its_limit(school: School) -> None:
    for number in range(4):
        school.practise(f"Mine {number}")
        school.practise_by_others(f"Theirs {number}")
    assert school.topics(own=2, others=3) == ["Mine 3", "Mine 2", "Theirs 0", "Theirs 1", "Theirs 2"]
