"""The scene of the screenshots."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from lab import scenes


def test_answers_keep_their_order_and_end_yesterday() -> None:
    answers = scenes.answers_of(None)
    assert len(answers) == 679
    placed = scenes.over_the_last_days(answers)
    assert [(one.user_id, one.topic, one.is_correct) for one in placed] == [
        (one.user_id, one.topic, one.is_correct) for one in answers
    ]
    by_student: dict[str, list[datetime]] = defaultdict(list)
    for answer in placed:
        by_student[answer.user_id].append(datetime.fromisoformat(answer.completed_at))
    now = datetime.now(UTC)
    for moments in by_student.values():
        assert moments == sorted(set(moments))
        assert now - timedelta(days=29) < moments[0]
        assert now - timedelta(days=2) < moments[-1] < now
