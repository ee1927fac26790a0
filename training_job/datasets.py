"""Keeps a copy of a large cohort's answers in S3, and reads only what changed from the tables.

Students are assigned to partitions by a hash of their ids. The fingerprint of a partition is made from its students and
the times at which their answers last changed (``users.changed_at``). A training compares the fingerprints of the tables
with those of the manifest. In the partitions that differ, it reads the answers of the students who changed. All that is
read from the database is read in one snapshot, so the result is that of reading everything (docs/decisions/0057).

A training learns from a bounded number of answers. Of a larger cohort it reads and keeps the first partitions, which
are a random sample of the students (docs/decisions/0058).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, text

from chalicelib.domain.errors import DatasetError
from chalicelib.storage.database import transaction
from chalicelib.storage.dataset_store import SCHEMA, Manifest, Partition, S3DatasetStore
from training_job.history.reading import COLUMNS, Part, joined, parsed, read_answers, without

ANSWERS_OF_PARTITION = 50_000
"""Maximum average number of answers of new partitions."""

STUDENTS_AT_ONCE = 5_000
"""Number of students whose answers are read by one statement."""

_CHANGED = "cast(extract(epoch FROM changed_at) * 1000000 AS bigint)"
_PARTITION = "(hashtextextended(id, 0) & (:count - 1))"

_FINGERPRINTS = text(
    f"""
    SELECT {_PARTITION}, count(*), CAST(sum(n_answers) AS bigint), CAST(sum(hashtextextended(id, {_CHANGED})) AS text)
    FROM users WHERE cohort = :cohort AND excluded_at IS NULL AND n_answers > 0 GROUP BY 1
    """  # noqa: S608 - parts are constants, values are bound
)

_STUDENTS = text(
    f"""
    SELECT {_PARTITION}, id, {_CHANGED} FROM users
    WHERE cohort = :cohort AND excluded_at IS NULL AND n_answers > 0 AND {_PARTITION} = ANY(CAST(:numbers AS bigint[]))
    """  # noqa: S608 - parts are constants, values are bound
)

_TOTAL = text("SELECT coalesce(sum(n_answers), 0) FROM users WHERE cohort = :cohort AND excluded_at IS NULL")

# Arrow's own allocator keeps what it freed.
pa.set_memory_pool(pa.system_memory_pool())

_log = logging.getLogger("studysmart.datasets")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dealt:
    """The students of a partition in the tables: their number, that of their answers, and their fingerprint."""

    students: int = 0
    answers: int = 0
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """The content of a partition: all answers of its students, and when those changed last, in microseconds.

    A student without answers is not in it.
    """

    part: Part
    changed: Mapping[str, int]


_NOTHING = Known(joined([]), {})


def count_for(n_answers: int, current: int = 0) -> int:
    """Return the number of partitions, a power of two. The ``current`` one stays until it fits badly."""
    if current and current * ANSWERS_OF_PARTITION / 4 <= n_answers <= current * ANSWERS_OF_PARTITION * 2:
        return current
    count = 1
    while count * ANSWERS_OF_PARTITION < n_answers:
        count *= 2
    return count


def refresh(
    engine: Engine, store: S3DatasetStore, cohort: str, begin: Callable[[Connection, str], T], max_answers: float
) -> tuple[T, list[Part], int]:
    """Return what ``begin`` returns in the snapshot, the answers by partition, and the number that the tables gave.

    ``begin`` is called first in the transaction, and begins the snapshot. The copy is renewed afterwards. The answers
    are those of :func:`sampled` partitions.
    """
    manifest, etag = store.read_manifest(cohort)
    old = manifest.partitions if manifest else ()
    # Before the transaction, which would keep old rows from being removed.
    known = _read_all(store, cohort, old)

    def work(connection: Connection) -> tuple[T, int, list[Dealt], dict[int, Known], int]:
        begun = begin(connection, cohort)
        before = manifest.count if manifest else 0
        count = count_for(int(connection.execute(_TOTAL, {"cohort": cohort}).scalar_one()), before)
        dealt = sampled(fingerprints(connection, cohort, count), max_answers)
        same = known if before == count else {}
        changed = [n for n, one in enumerate(dealt) if n not in same or old[n].fingerprint != one.fingerprint]
        renewed: dict[int, Known] = {}
        n_read = 0
        for number, students in students_of(connection, cohort, count, changed).items():
            renewed[number], n = _renewed(connection, same.get(number, _NOTHING), students)
            n_read += n
        return begun, count, dealt, renewed, n_read

    begun, count, dealt, renewed, n_read = transaction(engine, work)
    _save(store, cohort, (manifest, etag), count, dealt, renewed)
    _log.info("dataset: %d answers read from the tables, for %d of %d partitions", n_read, len(renewed), len(dealt))
    if len(dealt) < count:
        _log.info("dataset: the training learns from %d of %d partitions of the students", len(dealt), count)
    return begun, [(renewed[n] if n in renewed else known[n]).part for n in range(len(dealt))], n_read


def _read_all(store: S3DatasetStore, cohort: str, partitions: Sequence[Partition]) -> dict[int, Known]:
    """Return the partitions by number, without those that are lost or damaged."""
    known = {}
    for number, partition in enumerate(partitions):
        try:
            known[number] = read_partition(store, cohort, partition)
        except DatasetError as error:
            _log.warning("partition %d is read from the tables again: %s", number, error)
    return known


def _renewed(connection: Connection, before: Known, students: Mapping[str, int]) -> tuple[Known, int]:
    """Return a partition with the answers of these students, and the number of answers that were read."""
    stale = sorted(student for student, changed in students.items() if before.changed.get(student) != changed)
    fresh = read_part(connection, stale)
    gone = before.changed.keys() - students.keys()
    part = joined([without(before.part, gone | set(stale)), fresh])
    return Known(part, {student: students[student] for student in part.user_ids}), len(fresh)


def _save(
    store: S3DatasetStore,
    cohort: str,
    found: tuple[Manifest | None, str | None],
    count: int,
    dealt: Sequence[Dealt],
    renewed: Mapping[int, Known],
) -> None:
    """Write the renewed partitions, move the manifest, and delete the files that do not count any more."""
    manifest, etag = found
    old = manifest.partitions if manifest else ()
    if manifest is not None and not renewed and (manifest.count, len(old)) == (count, len(dealt)):
        return
    written = {number: _write(store, cohort, one, dealt[number]) for number, one in renewed.items()}
    new = Manifest(SCHEMA, count, tuple(written[n] if n in written else old[n] for n in range(len(dealt))))
    if store.move_manifest(cohort, new, etag):
        store.discard(cohort, manifest.objects - new.objects if manifest else ())
    else:
        # The answers of this snapshot are in memory, so this training goes on.
        _log.warning("another training renewed dataset %s meanwhile", cohort)
        store.discard(cohort, {partition.object for partition in written.values()})


def _write(store: S3DatasetStore, cohort: str, known: Known, dealt: Dealt) -> Partition:
    if not len(known.part):
        return Partition("", 0, "", 0, dealt.students, dealt.fingerprint)
    return store.write(
        cohort, encoded(known), rows=len(known.part), students=dealt.students, fingerprint=dealt.fingerprint
    )


def fingerprints(connection: Connection, cohort: str, count: int) -> list[Dealt]:
    """Return the students of each of a cohort's ``count`` partitions."""
    found = {
        number: Dealt(*values)
        for number, *values in connection.execute(_FINGERPRINTS, {"cohort": cohort, "count": count})
    }
    return [found.get(number, Dealt()) for number in range(count)]


def sampled(dealt: Sequence[Dealt], max_answers: float) -> list[Dealt]:
    """Return the first partitions, as many as have ``max_answers`` together, and at least one.

    Students are dealt at random, so they are a random sample. It is the same students from training to training,
    because predictions should not change with the draw, and so that files are read again.
    """
    total = np.cumsum([one.answers for one in dealt])
    return list(dealt[: max(1, int(np.searchsorted(total, max_answers, side="right")))])


def students_of(connection: Connection, cohort: str, count: int, numbers: Sequence[int]) -> dict[int, dict[str, int]]:
    """Return the students of some of a cohort's ``count`` partitions, with the microseconds of their last changes."""
    found: dict[int, dict[str, int]] = {number: {} for number in numbers}
    values = {"cohort": cohort, "count": count, "numbers": list(numbers)}
    for number, student, changed in connection.execute(_STUDENTS, values):
        found[number][student] = changed
    return found


def read_part(connection: Connection, students: Sequence[str]) -> Part:
    """Return the answers of students from the tables."""
    at_once = [students[n : n + STUDENTS_AT_ONCE] for n in range(0, len(students), STUDENTS_AT_ONCE)]
    return joined([parsed(read_answers(connection, some)) for some in at_once])


def read_partition(store: S3DatasetStore, cohort: str, partition: Partition) -> Known:
    """Return the content of a partition. Raises DatasetError if it is lost or damaged."""
    return decoded(store.read(cohort, partition)) if partition.object else _NOTHING


def encoded(known: Known) -> bytes:
    """Return a partition as a Parquet file, a row for each answer."""
    part = known.part
    names = {"user": part.user_ids, "topic": part.topics}
    columns = {
        name: pa.DictionaryArray.from_arrays(part.columns[name], pa.array(names[name], pa.string()))
        if name in names
        else pa.array(part.columns[name])
        for name in COLUMNS
    }
    changed = np.array([known.changed[student] for student in part.user_ids], dtype=np.int64)
    columns["changed"] = pa.array(changed[part.columns["user"]])
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()


def decoded(body: bytes) -> Known:
    """Return the partition of a Parquet file. Raises DatasetError for a file of another kind."""
    try:
        table = pq.read_table(io.BytesIO(body), read_dictionary=["user", "topic"]).combine_chunks()
        names, columns = {}, {}
        for name, kind in COLUMNS.items():
            column = table[name].combine_chunks()
            if name in ("user", "topic"):
                names[name] = tuple(column.dictionary.to_pylist())
                column = column.indices
            columns[name] = column.to_numpy(zero_copy_only=False).astype(kind)
        changed = table["changed"].to_numpy()
    except (pa.ArrowException, KeyError, AttributeError) as error:
        raise DatasetError(f"a partition cannot be read: {error}") from error
    part = Part(names["user"], names["topic"], columns)
    first = np.unique(columns["user"], return_index=True)[1]
    return Known(part, {part.user_ids[columns["user"][row]]: int(changed[row]) for row in first})


def differs(connection: Connection, cohort: str, count: int, number: int, known: Known) -> bool:
    """Return whether a partition that is up to date has other answers than the tables.

    One that is not up to date does not differ: the next training renews it.
    """
    students = students_of(connection, cohort, count, [number])[number]
    return students == known.changed and not _equal(read_part(connection, sorted(students)), known.part)


def _equal(one: Part, other: Part) -> bool:
    first, second = _in_order(one), _in_order(other)
    same_names = (first.user_ids, first.topics) == (second.user_ids, second.topics)
    return same_names and all(
        np.array_equal(first.columns[name], second.columns[name], equal_nan=name in ("seconds", "at"))
        for name in COLUMNS
    )


def _in_order(part: Part) -> Part:
    part = joined([part])
    rows: npt.NDArray[np.int64] = np.lexsort((part.columns["index"], part.columns["user"]))
    return Part(part.user_ids, part.topics, {name: column[rows] for name, column in part.columns.items()})
