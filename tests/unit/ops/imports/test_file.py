"""Reading a file of history: its values, and the reports of faults."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.imports.file import UnusableFileError, open_history
from ops.imports.rows import HistoryRow, identity, micros, task_id

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HEADER = "user_id,topic,is_correct"


def read(tmp_path: Path, content: str | bytes, name: str = "history.csv") -> tuple[list[HistoryRow], list[str]]:
    """The answers of a file with this content, and its faults as they are printed."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    good: list[HistoryRow] = []
    faults: list[str] = []
    with open_history(path, NOW) as rows:
        for row in rows:
            if isinstance(row, HistoryRow):
                good.append(row)
            else:
                faults += map(str, row)
    return good, faults


def row(tmp_path: Path, columns: str, values: str) -> HistoryRow:
    good, faults = read(tmp_path, f"{HEADER},{columns}\nu,Algebra,1,{values}\n")
    assert not faults
    return good[0]


def fault(tmp_path: Path, columns: str, values: str) -> str:
    good, faults = read(tmp_path, f"{HEADER},{columns}\nu,Algebra,1,{values}\n")
    assert (good, len(faults)) == ([], 1)
    return faults[0]


def test_the_three_columns_are_enough(tmp_path: Path) -> None:
    good, faults = read(tmp_path, f"{HEADER}\nu1,Algebra,1\n")
    assert faults == []
    assert good == [HistoryRow(2, "u1", None, "General", "general", "Algebra", "algebra", 2, True, None, None)]


def test_optional_columns_are_read_in_any_order(tmp_path: Path) -> None:
    good, _ = read(
        tmp_path,
        "completed_at,colour,position,is_correct,topic,difficulty,actual_time_seconds,subject,user_id\n"
        "2026-01-02T03:04:05Z,red,7,false, Algebra ,expert,12.5,Maths,u1\n",
    )
    at = micros(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert good == [HistoryRow(2, "u1", 7, "Maths", "maths", " Algebra ", "algebra", 4, False, 12.5, at)]


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("0", False), ("TRUE", True), ("False", False)])
def test_correctness_is_a_digit_or_a_word(tmp_path: Path, text: str, expected: bool) -> None:
    good, _ = read(tmp_path, f"{HEADER}\nu,t,{text}\n")
    assert good[0].is_correct is expected


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        *(("difficulty", text, level) for text, level in {"easy": 1, "Medium": 2, "HARD": 3, "4": 4, "": 2}.items()),
        *(("seconds", text, value) for text, value in {"": None, "0": 0.0, "86400": 86400.0, "1.5e2": 150.0}.items()),
    ],
)
def test_difficulties_and_seconds_are_read(tmp_path: Path, column: str, text: str, expected: float | None) -> None:
    header = "actual_time_seconds" if column == "seconds" else column
    assert getattr(row(tmp_path, header, text), column) == expected


def test_a_time_without_an_offset_is_utc(tmp_path: Path) -> None:
    one = row(tmp_path, "completed_at", "2026-01-01T14:00:00+02:00").at_micros
    assert one == row(tmp_path, "completed_at", "2026-01-01 12:00:00").at_micros


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("difficulty", "5", "must be easy, medium, hard, expert or 1 to 4"),
        ("actual_time_seconds", "-1", "must be 0 to 86400 seconds"),
        ("actual_time_seconds", "86401", "must be 0 to 86400 seconds"),
        ("actual_time_seconds", "nan", "is not a number of seconds"),
        ("actual_time_seconds", "1_0", "is not a number of seconds"),
        ("completed_at", "yesterday", "is not an ISO 8601 time"),
        ("completed_at", "0001-01-01T00:00:00+14:00", "is not an ISO 8601 time"),
        ("completed_at", "2027-01-01", "is in the future"),
        ("position", "1.5", "is not a whole number"),
        ("subject", "x" * 201, "is longer than 200 characters"),
    ],
)
def test_a_bad_value_is_reported_with_line_and_column(tmp_path: Path, column: str, value: str, problem: str) -> None:
    shown = value if len(value) <= 60 else value[:57] + "..."
    assert fault(tmp_path, column, value) == f"line 2, {column}: {shown!r} {problem}"


@pytest.mark.parametrize(
    ("content", "good", "faults"),
    [
        (
            " ,,maybe\n",
            [],
            [
                "line 2, user_id: ' ' is empty",
                "line 2, topic: '' is empty",
                "line 2, is_correct: 'maybe' must be 0, 1, true or false",
            ],
        ),
        (
            "a,t,1\nb,t,2\nc,t\nd,t,0,x\n\ne,t,0\n",
            [(2, "t"), (7, "t")],
            [
                "line 3, is_correct: '2' must be 0, 1, true or false",
                "line 4: 'c,t' has 2 instead of 3 fields",
                "line 5: 'd,t,0,x' has 4 instead of 3 fields",
            ],
        ),
        ('u,"Sums, ""easy"" ones",1\n', [(2, 'Sums, "easy" ones')], []),
        (b"u,caf\xe9,1\nv,caf\xc3\xa9,1\n", [(3, "caf\u00e9")], ["line 2, topic: 'caf\\\\udce9' is not valid UTF-8"]),
        (
            'a,"t,1\n' + "u,t,1\n" * 20_000,
            [(line, "t") for line in range(3, 20_003)],
            ["line 2: 'a,\"t,1' has an unclosed quotation mark"],
        ),
    ],
    ids=["every fault of a row", "good rows around bad ones", "quotes", "invalid UTF-8", "an unclosed quote"],
)
def test_rows_and_their_faults(
    tmp_path: Path, content: str | bytes, good: list[tuple[int, str]], faults: list[str]
) -> None:
    raw = content.encode() if isinstance(content, str) else content
    found, reported = read(tmp_path, HEADER.encode() + b"\n" + raw)
    assert [(one.line, one.topic) for one in found] == good
    assert sorted(reported) == sorted(faults)


def test_a_byte_order_mark_and_windows_line_ends_are_removed(tmp_path: Path) -> None:
    good, faults = read(tmp_path, b"\xef\xbb\xbf" + f"{HEADER}\r\nu,t,1\r\n".encode())
    assert ([r.user_id for r in good], faults) == (["u"], [])


def test_an_ignored_column_may_contain_line_breaks(tmp_path: Path) -> None:
    good, faults = read(tmp_path, f'{HEADER},note\nu,t,1,"two\nlines"\nv,t,x,\n')
    assert [r.line for r in good] == [2]
    assert faults == ["line 4, is_correct: 'x' must be 0, 1, true or false"]


def test_a_null_byte_is_a_fault(tmp_path: Path) -> None:
    good, faults = read(tmp_path, f"{HEADER}\nu,a\0b,1\n")
    assert good == []
    assert "line 2" in faults[0]


def test_a_gzip_file_is_read_under_any_name(tmp_path: Path) -> None:
    packed = gzip.compress(f"{HEADER}\nu,t,1\n".encode())
    assert read(tmp_path, packed, "a.csv.gz")[0] == read(tmp_path, packed, "a.csv")[0]


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        (b"user_id,topic\nu,t\n", "a.csv", "no column is_correct"),
        (b"user_id,topic,topic,is_correct\n", "a.csv", "the column topic appears twice"),
        (b"", "a.csv", "is empty"),
        (b"user_id,topic,is_correct\n", "a.csv.gz", "is not a gzip archive"),
        (
            gzip.compress(b"user_id,topic,is_correct\n" + b"u,t,1\n" * 9999, mtime=0)[:-9],
            "a.csv.gz",
            "archive is damaged",
        ),
        (gzip.compress(b"x" * 100, mtime=0)[:12] + b"\xff" * 40, "a.csv.gz", "archive is damaged"),
        ("user_id,topic,is_correct\n".encode("utf-16"), "a.csv", "no column"),
    ],
)
def test_an_unusable_file_says_why(tmp_path: Path, content: bytes, name: str, problem: str) -> None:
    with pytest.raises(UnusableFileError, match=problem):
        read(tmp_path, content, name)


def test_a_missing_file_and_a_directory_are_unusable(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UnusableFileError), open_history(path, NOW):
            pass


@given(st.binary(max_size=300))
def test_no_bytes_cause_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "history.csv"
    path.write_bytes(HEADER.encode() + b"\n" + content)
    with open_history(path, NOW) as rows:
        assert all(row for row in rows)


def test_the_id_of_an_answer_does_not_depend_on_its_line(tmp_path: Path) -> None:
    first, _ = read(tmp_path, f"{HEADER}\nu,Algebra,1\nv,t,0\n")
    second, _ = read(tmp_path, f"{HEADER}\nv,t,0\nu, ALGEBRA,1\n")
    assert task_id(identity(first[0]), 0) == task_id(identity(second[1]), 0)
    assert task_id(identity(first[0]), 0) != task_id(identity(first[0]), 1)


@given(st.datetimes(min_value=datetime(1900, 1, 1)))
def test_microseconds_are_exact(at: datetime) -> None:
    aware = at.replace(tzinfo=UTC)
    assert micros(aware) == (aware - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)
