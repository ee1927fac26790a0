"""Reading files of history as people have them: one table for each kind of difference."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chalicelib.domain.items import key_of_id
from ops.imports.importer import Reading, open_history
from ops.imports.report import ImportReport
from ops.imports.rows import HistoryRow
from ops.imports.source import UnusableFileError
from ops.imports.values import Item, micros

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HEADER = "user_id,topic,is_correct"


def read(
    tmp_path: Path, content: str | bytes, reading: Reading | None = None, name: str = "history.csv"
) -> tuple[list[HistoryRow], ImportReport]:
    """Return the answers of a file with this content, and the report."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    report = ImportReport()
    with open_history(path, NOW, report, reading) as chunks:
        return [row for rows in chunks for row in rows], report


def one(tmp_path: Path, column: str, text: str, separator: str = ",") -> HistoryRow:
    """Return the answer of a file with one more column."""
    header = HEADER.replace(",", separator)
    rows, report = read(tmp_path, f"{header}{separator}{column}\nu{separator}t{separator}1{separator}{text}\n")
    assert report.bad == 0
    return rows[0]


def refusals(report: ImportReport) -> dict[str, str]:
    return {reason: str(rows) for reason, rows in report.refused.items()}


def test_the_three_columns_are_enough(tmp_path: Path) -> None:
    rows, report = read(tmp_path, f"{HEADER}\nu1,Algebra,1\n")
    assert rows == [HistoryRow(2, "u1", None, "General", "general", "Algebra", "algebra", 2, True, None, None)]
    assert report.bad == 0


@pytest.mark.parametrize("column", ["item_id", "Item", "item", "problem_id", "Question ID", "exercise-id"])
def test_a_column_names_the_exercise(tmp_path: Path, column: str) -> None:
    rows, report = read(tmp_path, f"{HEADER},{column}\nu,t,1, Q-1 \nu,t,1,NA\n")
    assert [row.item for row in rows] == [Item(" Q-1 ", key_of_id("q-1")), None]
    assert report.origin["Columns"].endswith("item_id" if column == "item_id" else f"item_id (from {column})")


def test_one_of_two_names_of_an_exercise_is_taken(tmp_path: Path) -> None:
    rows, report = read(tmp_path, f"{HEADER},problem_id,item_id,question_id\nu,t,1,p,i,q\n")
    assert rows[0].item == Item("i", key_of_id("i"))
    assert report.origin["Not taken"] == "problem_id, question_id"
    rows, _ = read(tmp_path, f"{HEADER},problem_id,item_id\nu,t,1,p,i\n", Reading(mapped={"item_id": "problem_id"}))
    assert rows[0].item == Item("p", key_of_id("p"))


@pytest.mark.parametrize("text", ["x" * 201, "\u200b", "a\x00b"])
def test_an_answer_stays_without_an_impossible_item(tmp_path: Path, text: str) -> None:
    rows, report = read(tmp_path, f"{HEADER},item_id\nu,t,1,{text}\n")
    assert ([row.item for row in rows], report.bad) == ([None], 0)
    (reason,) = report.changed
    assert reason.startswith("an item that ")


@pytest.mark.parametrize(
    "header", ["User_ID,Topic,Is_Correct", "user id, topic ,IsCorrect", '"USER-ID",TOPIC,"is correct"']
)
def test_names_of_columns_differ_in_case_and_marks(tmp_path: Path, header: str) -> None:
    assert read(tmp_path, f"{header}\nu1,Algebra,1\n")[0][0].user_id == "u1"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("sep_line", [False, True])
def test_the_separator_is_found(tmp_path: Path, separator: str, sep_line: bool) -> None:
    lines = ["user_id,topic,is_correct,extra", "u,a b,1,", "v,c,0,x"]
    content = "\r\n".join(line.replace(",", separator) for line in lines)
    rows, _ = read(tmp_path, (f"sep={separator}\r\n" if sep_line else "") + content)
    assert [(row.user_id, row.topic, row.line - sep_line) for row in rows] == [("u", "a b", 2), ("v", "c", 3)]


@pytest.mark.parametrize(
    ("encoding", "given"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-16-le", None),
        ("utf-16-be", None),
        ("cp1252", "windows-1252"),
        ("latin-1", "iso-8859-1"),
        ("mac-roman", "mac-roman"),
    ],
)
def test_the_encoding_is_found_or_given(tmp_path: Path, encoding: str, given: str | None) -> None:
    content = f"{HEADER}\nu1,Brüche,1\n".encode(encoding)
    rows, report = read(tmp_path, content, Reading(encoding=given))
    assert ([row.topic for row in rows], report.bad) == (["Brüche"], 0)


def test_bytes_of_another_encoding_are_refused_with_a_hint(tmp_path: Path) -> None:
    rows, report = read(tmp_path, f"{HEADER},note\nu1,Brüche,1,\nu1,Decimals,0,ü\n".encode("cp1252"))
    assert [row.topic for row in rows] == ["Decimals"]
    assert list(report.refused) == ["topic has bytes that the file's encoding does not have"]
    assert any("--encoding windows-1252" in hint for hint in report.hints)


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError, match="--encoding klingon: is no encoding"):
        read(tmp_path, HEADER, Reading(encoding="klingon"))


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, f"{HEADER}\nu,t,1\n")
    return file.getvalue()


PLAIN = f"{HEADER}\nu,t,1\n".encode()


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(PLAIN),
        bz2.compress(PLAIN),
        lzma.compress(PLAIN),
        zipped("history.csv"),
        zipped("data/", "data/history.csv", "__MACOSX/history.csv"),
    ],
    ids=["gzip", "bzip2", "xz", "zip", "zip from a Mac"],
)
def test_an_archive_of_one_file_is_read(tmp_path: Path, content: bytes) -> None:
    assert len(read(tmp_path, content)[0]) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (zipped("a.csv", "b.csv"), "is a zip archive of 2 files: unpack it, it holds a.csv, b.csv"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "is an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an Excel workbook: save its sheet as CSV"),
        (b"PAR1\x00", "is a Parquet file"),
        (b"<!DOCTYPE html><html>", "is an HTML or XML document"),
        (b'[{"user_id": "u"}]', "is JSON, not CSV"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (gzip.compress(bytes(range(256)) * 40)[:-9], "the archive is damaged"),
        (b"PK\x03\x04damaged", "the archive is damaged"),
        (f"{HEADER},topic\n".encode(), "the column topic appears twice"),
        (b"user_id,topic,is_corect\n", "no column is_correct .*Perhaps: --map is_correct=is_corect"),
        (b"student,skill_name,correct,x\n", "--map user_id=student,topic=skill_name,is_correct=correct"),
    ],
)
def test_an_unusable_file_is_explained(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(UnusableFileError, match=problem):
        read(tmp_path, content)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "none.csv", "No such file"), (tmp_path, "is a directory")):
        with pytest.raises(UnusableFileError, match=problem), open_history(path, NOW, ImportReport()):
            pass


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    reading = Reading(mapped={"is_correct": "score", "topic": "skill name"})
    rows, report = read(tmp_path, "user_id,topic,skill name,score\nu,x,Fractions,1\n", reading)
    assert rows[0].topic == "Fractions"
    assert report.origin["Columns"] == "is_correct (from score), topic (from skill name), user_id"
    assert report.origin["Not taken"] == "topic"
    with pytest.raises(UnusableFileError, match="the file has no column points"):
        read(tmp_path, f"{HEADER}\n", Reading(mapped={"is_correct": "points"}))
    with pytest.raises(UnusableFileError, match="no column is called topics"):
        read(tmp_path, f"{HEADER}\n", Reading(mapped={"topics": "topic"}))


@pytest.mark.parametrize(
    "text", ["1", "1.0", "TRUE", "t", "Yes", "y", "Correct", "right", "WAHR", "VRAI", " 1 ", "1e0"]
)
def test_words_for_yes(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"{HEADER}\nu,t,{text}\n")[0][0].is_correct is True


@pytest.mark.parametrize("text", ["0", "0.0", "False", "F", "no", "N", "incorrect", "WRONG", "falsch", "FAUX", "-0.0"])
def test_words_for_no(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"{HEADER}\nu,t,{text}\n")[0][0].is_correct is False


@pytest.mark.parametrize(
    "text",
    [
        "NA",
        "NaN",
        "NULL",
        r"\N",
        "None",
        "",
        " ",
        "-",
        "N/A",
        "n.a.",
        "#N/A",
        "#NULL!",
        "nil",
        "?",
        "<NA>",
        ".",
        "\u2013",
    ],
)
def test_words_for_no_value(tmp_path: Path, text: str) -> None:
    header = f"{HEADER},difficulty,actual_time_seconds,completed_at,position,subject"
    rows, report = read(tmp_path, f"{header}\nu,t,1,{text},{text},{text},{text},{text}\n")
    assert rows == [HistoryRow(2, "u", None, "General", "general", "t", "t", 2, True, None, None)]
    assert (report.bad, report.changed) == (0, {})


@pytest.mark.parametrize(
    ("text", "separator", "seconds"),
    [
        ("0", ",", 0.0),
        ("12.5", ",", 12.5),
        ("1.5e2", ",", 150.0),
        ('"12,5"', ",", 12.5),
        ("12,5", ";", 12.5),
        ("1,250", ";", 1.25),
        ("1.234,5", ";", 1234.5),
        ('"1,234.5"', ",", 1234.5),
        ("86400", ",", 86400.0),
    ],
)
def test_decimal_marks(tmp_path: Path, text: str, separator: str, seconds: float) -> None:
    assert one(tmp_path, "actual_time_seconds", text, separator).seconds == seconds


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("-4.12", "a negative time was taken as unknown"),
        ("97200", "a time of more than a day was taken as unknown"),
        ("inf", "a time of more than a day was taken as unknown"),
        ("1e999", "a time of more than a day was taken as unknown"),
        ("5e-324", "a time of less than a millisecond was taken as unknown"),
    ],
)
def test_impossible_seconds_are_unknown(tmp_path: Path, text: str, remark: str) -> None:
    rows, report = read(tmp_path, f"{HEADER},actual_time_seconds\nu,t,1,{text}\n")
    assert rows[0].seconds is None
    assert {reason: str(of) for reason, of in report.changed.items()} == {remark: f"line 2 '{text}'"}


@pytest.mark.parametrize(
    "text",
    [
        "2017-12-01T10:11:40Z",
        "2017-12-01 10:11:40",
        "2017-12-01 10:11:40.000",
        "2017-12-01 10:11:40 UTC",
        "2017-12-01T12:11:40+02:00",
        "2017/12/01 10:11:40",
        "20171201T101140",
        "1512123100",
        "1512123100.0",
        "1512123100000",
        "1512123100000000",
        "1512123100000000000",
    ],
)
def test_times_are_iso_8601_or_count_from_1970(tmp_path: Path, text: str) -> None:
    assert one(tmp_path, "completed_at", text).at_micros == micros(datetime(2017, 12, 1, 10, 11, 40, tzinfo=UTC))


@pytest.mark.parametrize(
    ("column", "text", "problem"),
    [
        ("difficulty", "5", "must be easy, medium, hard, expert or 1 to 4"),
        ("actual_time_seconds", "1_0", "is not a number"),
        ("actual_time_seconds", "12 s", "is not a number"),
        ("actual_time_seconds", '"1,250"', "has two meanings: is the comma a decimal mark?"),
        ("completed_at", "yesterday", "is no time: neither ISO 8601 nor seconds or milliseconds since 1970"),
        ("completed_at", "01/02/2017", "is no time: neither ISO 8601 nor seconds or milliseconds since 1970"),
        ("completed_at", "0", "is no time: neither ISO 8601 nor seconds or milliseconds since 1970"),
        ("completed_at", "1512-06-01", "is before 1990"),
        ("completed_at", "2027-01-01", "is in the future"),
        ("position", "1.5", "is not a whole number"),
        ("subject", "x" * 201, "is longer than 200 characters"),
    ],
)
def test_an_unclear_value_is_refused_by_name(tmp_path: Path, column: str, text: str, problem: str) -> None:
    rows, report = read(tmp_path, f"{HEADER},{column}\nu,Algebra,1,{text}\n")
    assert (rows, report.bad) == ([], 1)
    assert list(report.refused) == [f"{column} {problem}"]


def test_all_faults_of_a_row_are_reported(tmp_path: Path) -> None:
    rows, report = read(tmp_path, f"{HEADER}\n ,,0.25\n")
    assert (rows, report.bad) == ([], 1)
    assert refusals(report) == {
        "user_id is empty": "line 2 ' '",
        "topic is empty": "line 2",
        "is_correct is neither a clear yes nor a clear no": "line 2 '0.25'",
    }


def test_good_rows_around_bad_ones_are_kept(tmp_path: Path) -> None:
    rows, report = read(tmp_path, f"{HEADER}\na,t,1\nb,t,2\nc,t\nd,t,0,x\n\ne,t,0,,\n")
    assert [(row.line, row.user_id) for row in rows] == [(2, "a"), (7, "e")]
    assert (report.read, report.bad) == (5, 3)
    assert refusals(report) == {
        "is_correct is neither a clear yes nor a clear no": "line 3 '2'",
        "has 2 instead of 3 fields": "line 4 'c,t'",
        "has 4 instead of 3 fields": "line 5 'd,t,0,x'",
    }


def test_faults_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    _, report = read(tmp_path, HEADER + "\nu,t,maybe" * 9)
    assert list(report.lines())[2] == (
        "Refused: 9 rows: is_correct is neither a clear yes nor a clear no "
        "(line 2 'maybe', line 3 'maybe', line 4 'maybe', ...)"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_read(tmp_path: Path, end: str) -> None:
    assert [row.user_id for row in read(tmp_path, end.join([HEADER, "u,t,1", "v,t,0"]))[0]] == ["u", "v"]


def test_quoted_fields_may_hold_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    rows, report = read(tmp_path, f'{HEADER}\nu,"Sums, ""easy""\nones",1\nv,"two\nlines",maybe\nw,t,0\n')
    assert [(row.line, row.topic) for row in rows] == [(2, 'Sums, "easy"\nones'), (6, "t")]
    assert refusals(report) == {"is_correct is neither a clear yes nor a clear no": "line 4 'maybe'"}


def test_an_unclosed_quotation_mark_affects_only_its_own_line(tmp_path: Path) -> None:
    rest = "".join(f"u{n},t,1\n" for n in range(20_000))
    rows, report = read(tmp_path, f'{HEADER}\na,"t,1\n{rest}')
    assert len(rows) == 20_000
    assert refusals(report) == {"has an unclosed quotation mark": "line 2 'a,\"t,1'"}


def test_the_report_names_what_was_taken_and_left(tmp_path: Path) -> None:
    _, report = read(tmp_path, "order_id;User_ID;topic;is_correct;colour;timestamp\n1;u;t;1;red;2020-01-01\n")
    assert report.origin == {
        "File": "history.csv, separated by semicolon, encoding utf-8",
        "Columns": "answer_id (from order_id), user_id (from User_ID), topic, is_correct",
        "Not taken": "colour, timestamp",
    }
    assert report.hints == ["Is timestamp the column completed_at? Then run again with --map completed_at='timestamp'."]


def test_tasks_that_are_not_completed_are_left_out(tmp_path: Path) -> None:
    rows, report = read(tmp_path, f"{HEADER},completed\nu,t,1,True\nu,t,,False\n")
    assert (len(rows), report.bad) == (1, 0)
    assert list(report.left_out) == ["the task is not completed"]


def test_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "piped"
    path.write_bytes(zipped("history.csv"))
    with path.open("rb") as piped:
        monkeypatch.setattr("sys.stdin", piped)
        with open_history(Path("-"), NOW, ImportReport()) as chunks:
            assert len(next(chunks)) == 1
