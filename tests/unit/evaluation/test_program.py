"""The practice of one student in the evaluation knows what the database would know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluation.program import Practice
from evaluation.quality import answer_of
from tests.support.histories import record_before, simulate


def test_a_record_on_an_item_is_the_one_that_the_database_reads() -> None:
    table = simulate(1, 2, 400)
    table = replace(table, item=np.arange(400) % 3)
    practice = Practice("student")
    for row in range(400):
        item = int(table.item[row])
        assert practice.record(item) == record_before(table, row)
        practice.add(answer_of(table, row), item)
    assert practice.record(1).attempts == 100
