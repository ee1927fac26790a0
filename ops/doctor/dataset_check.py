"""Compares the copies of answers in S3 with the tables."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sqlalchemy import Connection, Engine

from chalicelib.domain.errors import DatasetError
from chalicelib.storage.database import transaction
from chalicelib.storage.dataset_store import S3DatasetStore


def faults(engine: Engine, store: S3DatasetStore, cohort: str) -> Iterator[tuple[int | None, str]]:
    """Yield the faults of a cohort's copy, with the number of the partition if its answers are not those of the tables.

    Memory holds one partition. A copy that a training is renewing is not judged.
    """
    manifest, etag = store.read_manifest(cohort)
    if manifest is None:
        if etag is not None:
            yield None, "the manifest cannot be used"
        return
    # pyarrow takes time to import.
    from training_job import datasets

    for number, partition in enumerate(manifest.partitions):
        try:
            known = datasets.read_partition(store, cohort, partition)
        except DatasetError as error:
            if store.read_manifest(cohort)[1] != etag:
                return
            yield None, str(error)
            continue

        def look(connection: Connection, number: int, known: datasets.Known) -> bool:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return datasets.differs(connection, cohort, manifest.count, number, known)

        if transaction(engine, partial(look, number=number, known=known)):
            yield number, "differs"
