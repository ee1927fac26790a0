"""The benchmarks read what they are given, keep test students out of training, and count as they say."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from chalicelib.prediction.predictor import Predictor, predict
from evaluation.adaptation import HORIZON, answers_to_cover, covered_share, jumpers
from evaluation.answers import folds_of, read_answers
from evaluation.quality import predictions_around
from evaluation.small_data import ANSWERS, YARDSTICKS, draw, summary
from tests.support.archives import attentive_files
from tests.support.histories import answers_of, simulate, state_after, state_before


def written(folder: Path, text: str, name: str = "answers.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_a_file_with_the_least_columns_is_read_in_its_own_order(tmp_path: Path) -> None:
    answers = read_answers(written(tmp_path, "user_id,topic,is_correct\nb,X,1\na,y,0\nb,y,0\n"))
    table = answers.table
    assert [table.user_ids[code] for code in table.user] == ["b", "b", "a"]
    assert [table.topics[code] for code in table.topic] == ["x", "y", "y"]
    assert table.is_correct.tolist() == [True, False, False]
    assert not table.timed.any()


def test_a_packed_file_with_every_column_is_read_by_position(tmp_path: Path) -> None:
    text = (
        "item,user_id,position,topic,is_correct,actual_time_seconds,difficulty,split,fold\n"
        "9,a,1,x,1,20.5,hard,train,0\n9,a,0,x,0,,easy,train,0\n9,b,0,x,true,0,4,test,-1\n"
    )
    answers = read_answers(written(tmp_path, text, "answers.csv.gz"))
    assert answers.table.difficulty.tolist() == [1, 3, 4]
    np.testing.assert_array_equal(answers.table.seconds, [np.nan, 20.5, np.nan])
    assert answers.test.tolist() == [False, False, True]
    assert answers.fold.tolist() == [0, 0, -1]
    assert [mask.tolist() for mask in folds_of(answers, seed=0)] == [[False, False, True]]


def test_rows_that_say_nothing_are_counted_and_left_out(tmp_path: Path) -> None:
    answers = read_answers(written(tmp_path, "user_id,topic,is_correct\na,x,1\n,x,1\na,,1\na,x,maybe\na\n"))
    assert (len(answers.table), answers.skipped) == (1, 4)


def test_a_file_without_usable_answers_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no usable answers"):
        read_answers(written(tmp_path, "a,b\n1,2\n"))


def test_times_of_completion_order_the_users_among_each_other(tmp_path: Path) -> None:
    text = (
        "user_id,topic,is_correct,completed_at\n"
        "a,x,1,2026-01-02T00:00:00Z\na,x,0,2026-01-04T00:00:00Z\nb,x,1,2026-01-03T00:00:00\n"
    )
    assert read_answers(written(tmp_path, text)).table.order.tolist() == [0, 2, 1]


def test_times_of_completion_order_the_answers_of_a_user(tmp_path: Path) -> None:
    text = (
        "user_id,position,topic,is_correct,completed_at\n"
        "a,0,late,1,2026-01-02T00:00:00Z\na,1,early,0,2026-01-01T00:00:00Z\n"
        "b,1,second,1,2026-01-01T00:00:00Z\nb,0,first,1,\n"
    )
    table = read_answers(written(tmp_path, text)).table
    assert [table.topics[code] for code in table.topic] == ["early", "late", "first", "second"]


def test_each_user_is_tested_once_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    lines = [f"user {user},x,{user % 2}" for user in range(50) for _ in range(2)]
    dealt = []
    for ordered in (lines, lines[::-1]):
        answers = read_answers(written(tmp_path, "\n".join(["user_id,topic,is_correct", *ordered])))
        folds = folds_of(answers, seed=0)
        assert [fold.sum() for fold in folds] == [20] * 5
        assert np.sum(folds, axis=0).tolist() == [1] * 100
        dealt.append([{answers.table.user_ids[code] for code in answers.table.user[fold]} for fold in folds])
    assert dealt[0] == dealt[1]


def test_the_folds_of_a_file_are_taken_as_they_are(tmp_path: Path) -> None:
    text = "user_id,topic,is_correct,fold\na,x,1,4\nb,x,0,2\nc,x,1,2\n"
    folds = folds_of(read_answers(written(tmp_path, text)), seed=0)
    assert [fold.tolist() for fold in folds] == [[False, True, True], [True, False, False]]


def test_items_are_numbered_and_are_topics_where_there_are_none(tmp_path: Path) -> None:
    text = "user_id,topic,is_correct,item\na,x,1,7\na,x,1,8\na,y,0,\na,x,1,7\n"
    assert read_answers(written(tmp_path, text)).item.tolist() == [0, 1, 2, 0]


def test_predictions_around_an_answer_are_those_that_would_be_served() -> None:
    table = simulate(3, 4, 90)
    predictor = Predictor.from_files(attentive_files())
    rows = np.arange(0, len(table), 7)
    four = predictions_around(predictor, table, rows)
    for number, row in enumerate(rows.tolist()):
        (answer,) = answers_of(table, [row])
        ended = answer.at or datetime.now(UTC)
        begun = ended - timedelta(seconds=answer.seconds or 0.0)
        before = state_before(table, row)
        after = [(state_after(table, row, correct=outcome), ended) for outcome in (True, False)]
        for (state, moment), batch in zip(
            [(before, begun), (before, begun + timedelta(days=1)), *after], four, strict=True
        ):
            assert batch[number] == predict(predictor, state, answer.topic, answer.difficulty, moment).correct


def test_a_draw_has_few_users_on_seven_topics_and_is_the_same_again() -> None:
    table = simulate(40, 30, 12_000)
    first, second = draw(table, 3), draw(table, 3)
    assert len(first) == ANSWERS
    assert 4 <= len(np.unique(first.user)) <= 10
    assert len(np.unique(first.topic)) <= 7
    np.testing.assert_array_equal(first.is_correct, second.is_correct)


def test_small_data_reports_the_worst_ratio_and_nothing_where_there_are_no_times() -> None:
    job: dict[str, float | None] = {"log_loss": 0.5, "lnirt_log_loss": 0.5, "mean_log_loss": 1.0, "job_s": 3.0}
    job |= {"log_time_rmse": None, "running_mean_log_loss": 0.4}
    job |= {f"{base}_log_time_rmse": None for base in YARDSTICKS}
    figures = summary([job, {**job, "log_loss": 0.6}])
    assert figures["worst_log_loss_ratio_to_lnirt"] == pytest.approx(1.2)
    assert figures["mean_log_loss_ratio_to_lnirt"] == pytest.approx(1.1)
    assert figures["worst_log_loss_ratio_to_running_mean"] == pytest.approx(1.5)
    assert figures["worst_log_time_rmse_ratio_to_lnirt"] is None
    assert figures["log_time_rmse_ratio_to_running_mean"] is None
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_predicting_the_new_chances_covers_all_of_a_jump_and_the_old_ones_nothing() -> None:
    tested = jumpers(0)
    np.testing.assert_allclose(covered_share(tested.new, tested), 1.0)
    np.testing.assert_allclose(covered_share(tested.old, tested), 0.0, atol=1e-12)


def test_answers_are_counted_until_eighty_percent_are_covered() -> None:
    share = np.where(np.arange(HORIZON) < 20, 0.0, 1.0)
    assert answers_to_cover(share) == 21
    assert answers_to_cover(np.zeros(HORIZON)) is None
