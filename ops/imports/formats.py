"""Readers for the files of published data sets.

Each format turns the records of its files into the columns of ``studysmart import``. Records that are not a clear
answer are left out, and the report gives the reason.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby

import numpy as np

from chalicelib.domain.tasks import MAX_NAME_LENGTH
from ops.imports.columns import normal
from ops.imports.report import ImportReport
from ops.imports.source import UnusableFileError, opened
from ops.imports.table import Record
from ops.imports.values import is_missing
from ops.places import Place

Answer = dict[str, str]
"""The values of one answer, as texts, by the columns of ``studysmart import``."""

MILLISECONDS = 0.001

_KEPT_OF_LONG_ITEM = MAX_NAME_LENGTH - 64
"""Characters that stay of a long id of an item. A digest follows them."""


@dataclass(slots=True)
class Given:
    """The input of a format: the records of a file, its header and path, and the report.

    ``companion`` finds another file of the same data set. ``questions`` is its path if the user gave ``--questions``.
    ``item_columns`` are the columns that name the exercise together.
    """

    records: Iterator[Record]
    header: Sequence[str]
    path: Place
    questions: Place | None
    report: ImportReport
    index: dict[str, int] = field(init=False)
    item_columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Find the columns by their names without case and marks."""
        self.index = {normal(name): n for n, name in reversed(list(enumerate(self.header)))}

    def text(self, record: Record, name: str) -> str:
        """Return the text of a column, empty where the file does not have the column or has no value."""
        at = self.index.get(normal(name))
        text = "" if at is None else record.fields[at]
        return "" if is_missing(text) else text.strip()

    def answer(self, record: Record, **names: str) -> Answer:
        """Return the columns of ``studysmart import`` by the names that the file has for them."""
        return {column: self.text(record, name) for column, name in names.items()}

    def item(self, record: Record) -> dict[str, str]:
        """Return the column ``item_id``, without a value where the file does not name the exercise."""
        parts = [self.text(record, name) for name in self.item_columns]
        text = "/".join(parts) if all(parts) else ""
        if len(text) > MAX_NAME_LENGTH:  # a step of KDD Cup 2010 may be a formula
            text = text[:_KEPT_OF_LONG_ITEM] + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return {"item_id": text}

    def leave_out(self, record: Record, reason: str, value: str = "") -> None:
        """Note in the report that a record is no answer."""
        self.report.leave_out(record.line, value, reason)

    def companion(self, *names: str) -> Place | None:
        """Return ``--questions``, or a file with one of these names next to the file, or None."""
        if self.questions is not None:
            return self.questions
        folder = self.path if self.path.is_dir() else self.path.parent
        places = [base / name for base in (folder, folder.parent, folder.parent / "contents") for name in names]
        return next((place for place in places if place.is_file()), None)


Rows = Iterator[tuple[int, Answer]]
"""Answers with the line of each."""


@dataclass(frozen=True, slots=True)
class Format:
    """A published form. ``signatures`` are columns that no other form has together; ``unit`` is that of its times.

    ``items`` are the columns that name an exercise: of several choices, the first that a file has. Where a form numbers
    the exercises of each topic, the column of the topic is one of them. ``fallback`` is the encoding of a file that is
    not UTF-8.
    """

    title: str
    signatures: tuple[frozenset[str], ...]
    rows: Callable[[Given], Rows]
    unit: float = 1.0
    items: tuple[tuple[str, ...], ...] = ()
    fallback: str = "windows-1252"
    quoted: bool = True

    def fits(self, header: Iterable[str]) -> bool:
        """Return True for the header of a file of this form."""
        names = set(map(normal, header))
        return any(signature <= names for signature in self.signatures)

    def item_columns(self, index: Mapping[str, int]) -> tuple[str, ...]:
        """Return the columns that name an exercise in a file with an index of its columns; none if it has none."""
        return next((names for names in self.items if all(normal(name) in index for name in names)), ())


def _one_answer_once(given: Given, topic: str, answer_id: str, **names: str) -> Rows:
    """Give clear answers; leave out records that repeat one, by its id, under another skill or the same."""
    seen: dict[tuple[str, str], str] = {}
    for record in _clear_answers(given, names["is_correct"], topic):
        answer = given.answer(record, topic=topic, **names) | given.item(record)
        key = (answer["user_id"], given.text(record, answer_id))
        if key in seen:
            same = seen[key] == answer["topic"]
            given.leave_out(record, "repeats an answer" if same else "repeats an answer under another skill", key[1])
            continue
        if len(seen) > _REMEMBERED:
            seen.clear()  # the records of an answer are close together
        seen[key] = answer["topic"]
        yield record.line, answer


_REMEMBERED = 500_000


def _clear_answers(given: Given, correct: str, topic: str) -> Iterator[Record]:
    """Give the records with a topic and a clear outcome; partial credit is none."""
    for record in given.records:
        outcome = given.text(record, correct)
        if not outcome or not _is_yes_or_no(outcome):
            given.leave_out(record, f"{correct} is partial credit or missing", outcome)
        elif not given.text(record, topic):
            given.leave_out(record, f"has no {topic}")
        else:
            yield record


def _is_yes_or_no(text: str) -> bool:
    try:
        return float(text) in (0.0, 1.0)
    except ValueError:
        return text.lower() in ("true", "false")


def _assistments_2009(given: Given) -> Rows:
    skill = "skill_name" if "skillname" in given.index else "skill_id"
    return _one_answer_once(
        given,
        skill,
        "order_id",
        user_id="user_id",
        is_correct="correct",
        actual_time_seconds="ms_first_response",
        position="order_id",
    )


def _assistments_2012(given: Given) -> Rows:
    skill = "skill" if "skill" in given.index else "skill_id"
    return _one_answer_once(
        given,
        skill,
        "problem_log_id",
        user_id="user_id",
        is_correct="correct",
        actual_time_seconds="ms_first_response",
        completed_at="end_time",
    )


def _assistments_2015(given: Given) -> Rows:
    return _one_answer_once(given, "sequence_id", "log_id", user_id="user_id", is_correct="correct", position="log_id")


def _assistments_2017(given: Given) -> Rows:
    for record in _clear_answers(given, "correct", "skill"):
        if given.text(record, "skill").lower() in ("noskill", "no skill"):
            given.leave_out(record, "has no skill")
            continue
        yield (
            record.line,
            given.answer(
                record,
                user_id="studentId",
                topic="skill",
                is_correct="correct",
                actual_time_seconds="timeTaken",
                completed_at="endTime",
            )
            | given.item(record),
        )


def _kdd_2010(given: Given) -> Rows:
    component = next((name for name in given.header if name.strip().upper().startswith("KC")), "")
    if not component:
        raise UnusableFileError(f"{given.path}: no column KC(...): it names the topics")
    for record in given.records:
        names = [name for name in given.text(record, component).split("~~") if name]
        outcome = given.text(record, "Correct First Attempt")
        if not names:
            given.leave_out(record, "has no knowledge component")
        elif not outcome:
            given.leave_out(record, "has no outcome, as in the parts that were to be predicted")
        else:
            if len(names) > 1:
                given.report.change(
                    record.line, "~~".join(names), "the first of several knowledge components was taken"
                )
            yield (
                record.line,
                {
                    "user_id": given.text(record, "Anon Student Id"),
                    "topic": names[0],
                    "is_correct": outcome,
                    "actual_time_seconds": given.text(record, "Step Duration (sec)"),
                    "completed_at": given.text(record, "First Transaction Time"),
                }
                | given.item(record),
            )


def _companion_rows(path: Place, *columns: str) -> Iterator[Mapping[str, str]]:
    """Give the rows of a further file of a set. Raises UnusableFileError if it lacks a column."""
    with opened(path) as source:
        table = csv.DictReader(source.text)
        missing = set(columns) - set(table.fieldnames or ())
        if missing:
            raise UnusableFileError(f"{path}: no column {', '.join(sorted(missing))}: it is another file of the set")
        yield from table


def _questions(given: Given) -> dict[str, Mapping[str, str]]:
    path = given.companion("questions.csv")
    return {} if path is None else {row["question_id"]: row for row in _companion_rows(path, "question_id", "tags")}


def _first_tag(question: Mapping[str, str]) -> str:
    tag = re.split(r"[ ;]", question.get("tags", "").strip())[0]
    return f"Tag {tag}" if tag.isdecimal() else ""


def _ednet(given: Given) -> Rows:
    questions = _questions(given)
    if not questions:
        raise UnusableFileError(
            f"{given.path}: EdNet's answers are correct or not by its questions file: name it with --questions"
        )
    for record in given.records:
        question = questions.get(given.text(record, "question_id"))
        chosen = given.text(record, "user_answer")
        if question is None:
            given.leave_out(record, "the question is not in the questions file", given.text(record, "question_id"))
        elif not chosen:
            given.leave_out(record, "has no answer")
        else:
            yield (
                record.line,
                {
                    "user_id": given.text(record, "user_id"),
                    "topic": _first_tag(question) or f"Part {question.get('part', '')}".strip(),
                    "subject": f"Part {question['part']}" if question.get("part") else "",
                    "is_correct": str(int(chosen == question.get("correct_answer", "").strip())),
                    "actual_time_seconds": given.text(record, "elapsed_time"),
                    "completed_at": given.text(record, "timestamp"),
                }
                | given.item(record),
            )


def _riiid(given: Given) -> Rows:
    """Give answers with their times, which the set notes with the next question of the student."""
    questions = _questions(given)
    if not questions:
        given.report.hints.append("Topics are questions; with --questions questions.csv they are the questions' tags.")
    for _, rows in groupby(given.records, lambda record: given.text(record, "user_id")):
        waiting: list[tuple[int, Answer]] = []
        container = ""
        for record in rows:
            if given.text(record, "content_type_id") == "1" or given.text(record, "answered_correctly") == "-1":
                given.leave_out(record, "is a lecture")
                continue
            if given.text(record, "task_container_id") != container:
                container = given.text(record, "task_container_id")
                for line, answer in waiting:
                    yield line, answer | {"actual_time_seconds": given.text(record, "prior_question_elapsed_time")}
                waiting.clear()
            content = given.text(record, "content_id")
            question = questions.get(content, {})
            waiting.append(
                (
                    record.line,
                    {
                        "user_id": given.text(record, "user_id"),
                        "topic": _first_tag(question) or f"Question {content}",
                        "subject": f"Part {question['part']}" if question.get("part") else "",
                        "is_correct": given.text(record, "answered_correctly"),
                        "position": given.text(record, "row_id"),
                    }
                    | given.item(record),
                )
            )
        yield from waiting


def _eedi(given: Given) -> Rows:
    topics = _eedi_topics(given)
    if not topics:
        given.report.hints.append("Topics are questions; with Eedi's question metadata they are its subjects.")
    date_of = _eedi_dates(given)
    for record in given.records:
        question = given.text(record, "QuestionId")
        yield (
            record.line,
            {
                "user_id": given.text(record, "UserId"),
                "topic": topics.get(question) or f"Question {question}",
                "is_correct": given.text(record, "IsCorrect"),
                "completed_at": date_of(given.text(record, "AnswerId")),
            }
            | given.item(record),
        )


def _eedi_topics(given: Given) -> dict[str, str]:
    """Return the name of the most specific subject of each question, by the question's id."""
    path = given.companion(
        *(f"{folder}question_metadata_task_{n}.csv" for n in ("1_2", "3_4") for folder in ("", "metadata/"))
    )
    if path is None:
        return {}
    names: dict[str, tuple[int, str]] = {}
    subjects = path.parent / "subject_metadata.csv"
    if subjects.is_file():
        for row in _companion_rows(subjects, "SubjectId", "Name", "Level"):
            names[row["SubjectId"]] = (int(row["Level"]) if row["Level"].isdecimal() else 0, row["Name"])
    found = {}
    for row in _companion_rows(path, "QuestionId", "SubjectId"):
        ids = re.findall(r"[0-9]+", row["SubjectId"])
        if ids:
            found[row["QuestionId"]] = max(names.get(one, (0, f"Subject {one}")) for one in ids)[1]
    return found


def _eedi_dates(given: Given) -> Callable[[str], str]:
    """Return the time of an answer by its id. There are millions, so they are kept as numbers."""
    folder = given.path.parent
    names = [f"answer_metadata_task_{n}.csv" for n in ("1_2", "3_4")]
    places = [base / name for base in (folder, folder / "metadata", folder.parent / "metadata") for name in names]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        given.report.hints.append("Eedi's answer metadata is not next to the file, so the answers have no times.")
        return lambda _: ""
    ids, seconds = array("q"), array("q")
    try:
        for row in _companion_rows(place, "AnswerId", "DateAnswered"):
            ids.append(int(row["AnswerId"]))
            seconds.append(int(datetime.fromisoformat(row["DateAnswered"]).replace(tzinfo=UTC).timestamp()))
    except ValueError as error:
        raise UnusableFileError(f"{place}: row {len(ids) + 1}: {error}") from None
    by_id = np.argsort(np.array(ids))
    sorted_ids = np.array(ids)[by_id]

    def date(answer_id: str) -> str:
        at = int(np.searchsorted(sorted_ids, int(answer_id))) if answer_id.isdecimal() else len(sorted_ids)
        found = at < len(sorted_ids) and sorted_ids[at] == int(answer_id)
        return str(seconds[by_id[at]]) if found else ""

    return date


def _junyi(given: Given) -> Rows:
    """Give the answers of either edition: of 2015 (by DataShop) or of 2019 (by Kaggle)."""
    new = "ucid" in given.index
    names = _junyi_names(given) if new else {}
    for record in given.records:
        if new:
            answer = given.answer(
                record,
                user_id="uuid",
                topic="ucid",
                is_correct="is_correct",
                actual_time_seconds="total_sec_taken",
                completed_at="timestamp_TW",
            )
            answer["topic"] = names.get(answer["topic"], answer["topic"])
        else:
            answer = given.answer(
                record,
                user_id="user_id",
                topic="exercise",
                is_correct="correct",
                actual_time_seconds="time_taken",
                completed_at="time_done",
            )
        yield record.line, answer | {"subject": "Mathematics"} | given.item(record)


def _junyi_names(given: Given) -> dict[str, str]:
    path = given.companion("Info_Content.csv")
    if path is None:
        return {}
    return {row["ucid"]: row["content_pretty_name"] for row in _companion_rows(path, "ucid", "content_pretty_name")}


def _duolingo(given: Given) -> Rows:
    """Give one answer for each time that a word was seen in a session; the wrong ones first."""
    for record in given.records:
        seen, right = (given.text(record, name) for name in ("session_seen", "session_correct"))
        if not (seen.isdecimal() and right.isdecimal() and int(right) <= int(seen) <= 1_000):
            given.leave_out(record, "has no possible counts session_seen and session_correct", f"{seen}, {right}")
            continue
        answer = {
            "user_id": given.text(record, "user_id"),
            "topic": given.text(record, "lexeme_string")[:200],
            "subject": given.text(record, "learning_language"),
            "completed_at": given.text(record, "timestamp"),
        } | given.item(record)
        for n in range(int(seen)):
            yield record.line, answer | {"is_correct": str(int(n >= int(seen) - int(right)))}


def _signature(*names: str) -> tuple[frozenset[str], ...]:
    return (frozenset(map(normal, names)),)


FORMATS = {
    "assistments2009": Format(
        "ASSISTments 2009",
        _signature("order_id", "correct", "ms_first_response"),
        _assistments_2009,
        MILLISECONDS,
        (("problem_id",),),
    ),
    "assistments2012": Format(
        "ASSISTments 2012",
        _signature("problem_log_id", "correct", "ms_first_response"),
        _assistments_2012,
        MILLISECONDS,
        (("problem_id",),),
    ),
    "assistments2015": Format(
        "ASSISTments 2015", _signature("user_id", "log_id", "sequence_id", "correct"), _assistments_2015
    ),
    "assistments2017": Format(
        "ASSISTments 2017",
        _signature("studentId", "skill", "correct", "timeTaken"),
        _assistments_2017,
        items=(("problemId",),),
    ),
    "kdd2010": Format(
        "KDD Cup 2010",
        _signature("Anon Student Id", "Correct First Attempt", "First Transaction Time"),
        _kdd_2010,
        items=(("Problem Name", "Step Name"),),
        quoted=False,
    ),
    "ednet": Format(
        "EdNet KT1",
        _signature("timestamp", "question_id", "user_answer", "elapsed_time"),
        _ednet,
        MILLISECONDS,
        (("question_id",),),
    ),
    "riiid": Format(
        "Riiid",
        _signature("content_type_id", "answered_correctly", "task_container_id"),
        _riiid,
        MILLISECONDS,
        (("content_id",),),
    ),
    "eedi": Format(
        "Eedi", _signature("QuestionId", "UserId", "AnswerId", "IsCorrect"), _eedi, items=(("QuestionId",),)
    ),
    "junyi": Format(
        "Junyi Academy",
        _signature("exercise", "time_done", "correct") + _signature("timestamp_TW", "uuid", "ucid", "is_correct"),
        _junyi,
        items=(("upid",), ("exercise", "problem_type")),
    ),
    "duolingo": Format(
        "Duolingo half-life regression",
        _signature("lexeme_string", "session_seen", "session_correct"),
        _duolingo,
        items=(("lexeme_id",), ("lexeme_string",)),
    ),
}
"""The published forms by their names on the command line."""


def recognised(header: Sequence[str]) -> str | None:
    """Return the name of the form that a header shows, None if it shows none."""
    return next((name for name, form in FORMATS.items() if form.fits(header)), None)
