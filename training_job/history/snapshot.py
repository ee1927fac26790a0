"""Reads the answers that a training learns from, in one snapshot of the database.

They are the completed tasks, except those of accounts that an operator excluded. Of a cohort above a bound they are
those of a sample of the students. The answers of a large cohort come from their copy in S3, as far as it is up to date
(:mod:`training_job.datasets`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from chalicelib.storage.database import transaction
from chalicelib.storage.dataset_store import S3DatasetStore
from chalicelib.storage.shards import uncounted_sql
from training_job.history.answers import AnswerTable
from training_job.history.memory import release_memory
from training_job.history.reading import Part, parsed, read_cohort, table_of

MIN_ANSWERS = 50_000
"""Number of answers from which a cohort has a copy in S3. Reading fewer from the tables is faster."""

_COUNTER = text(
    f"SELECT n_samples_since_training + {uncounted_sql('k')} FROM embedding_model_tracker k WHERE cohort = :cohort"  # noqa: S608 - parts are constants, values are bound
)

_N_ANSWERS = text("SELECT coalesce(sum(n_answers), 0) FROM users WHERE cohort = :cohort AND excluded_at IS NULL")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The answers at one moment, and the counter towards the next training at the same moment.

    ``rows_read`` is the number of answers that came from the tables.
    """

    table: AnswerTable
    counter: int
    rows_read: int


def read_snapshot(
    engine: Engine,
    cohort: str,
    datasets: S3DatasetStore | None = None,
    *,
    min_answers: int | None = None,
    max_answers: float = math.inf,
) -> Snapshot:
    """Read the answers and the counter of a cohort in one read-only transaction.

    With ``datasets``, the answers of a cohort of ``min_answers`` (default :data:`MIN_ANSWERS`) are read as far as they
    changed since the last training. The result is the same. Of a cohort with more than ``max_answers``, those of a
    random sample of the students are read (:func:`training_job.datasets.sampled`).
    """
    if datasets is not None and transaction(engine, lambda c: _n_answers(c, cohort)) >= (min_answers or MIN_ANSWERS):
        # pyarrow takes time to import.
        from training_job.datasets import refresh

        counter, parts, rows_read = refresh(engine, datasets, cohort, _counter, max_answers)
        table = table_of(parts)
        del parts
        release_memory()
        return Snapshot(table, counter, rows_read)
    # The text is parsed after the transaction, which would keep old rows from being removed.
    counter, answers = transaction(engine, lambda c: (_counter(c, cohort), read_cohort(c, cohort)))
    if datasets is not None and datasets.read_manifest(cohort) != (None, None):
        # The cohort was larger.
        datasets.delete(cohort)
    part: Part = parsed(answers)
    return Snapshot(table_of([part]), counter, len(part))


def _n_answers(connection: Connection, cohort: str) -> int:
    return int(connection.execute(_N_ANSWERS, {"cohort": cohort}).scalar_one())


def _counter(connection: Connection, cohort: str) -> int:
    """Begin the snapshot of a transaction, and return the counter."""
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    return connection.execute(_COUNTER, {"cohort": cohort}).scalar_one_or_none() or 0
