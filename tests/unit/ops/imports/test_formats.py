"""Published sets of practice data, in the shape in which they are published. All rows are made up."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.imports.importer import Reading, open_history
from ops.imports.report import ImportReport
from ops.imports.source import UnusableFileError

NOW = datetime(2026, 6, 1, tzinfo=UTC)

QUESTIONS = """\
question_id,bundle_id,explanation_id,correct_answer,part,tags,deployed_at
q10,b1,e1,b,5,71;72,1558093219372
q11,b1,e1,c,2,-1,1558093219372
"""

SAMPLES: dict[str, tuple[str, list[tuple[Any, ...]], dict[str, int]]] = {
    "assistments2009": (
        "order_id,assignment_id,user_id,problem_id,original,correct,attempt_count,ms_first_response,position,skill_id,"
        "skill_name\n"
        "900001,7,501,51,1,1,1,-4120,126,24,Circle Graph\n"
        "900001,7,501,51,1,1,1,-4120,126,30,Reading a Scale\n"
        "900002,7,501,52,1,0,1,9400,3,24,Circle Graph\n"
        "900002,7,501,52,1,0,1,9400,3,24,Circle Graph\n"
        "900003,7,501,53,1,0.25,1,9400,3,24,Circle Graph\n"
        "900004,7,501,54,1,1,1,9400,3,,\n",
        [("501", "Circle Graph", True, None, None), ("501", "Circle Graph", False, 9.4, None)],
        {
            "repeats an answer under another skill": 1,
            "repeats an answer": 1,
            "correct is partial credit or missing": 1,
            "has no skill_name": 1,
        },
    ),
    "assistments2012": (
        "problem_log_id,skill,problem_id,user_id,start_time,end_time,correct,ms_first_response,Average_confidence(BORED)\n"
        "11,Ordering Fractions,5,61,2012-09-28 15:11:24,2012-09-28 15:11:40,1,16000,0.1\n"
        "12,,5,61,2012-09-28 15:12:24,2012-09-28 15:12:40,1,16000,0.1\n",
        [("61", "Ordering Fractions", True, 16.0, "2012-09-28T15:11:40")],
        {"has no skill": 1},
    ),
    "assistments2015": (
        "user_id,log_id,sequence_id,correct\n50121,1674,7014,0\n50121,1675,7014,0.666667\n50121,1674,7014,0\n",
        [("50121", "7014", False, None, None)],
        {"correct is partial credit or missing": 1, "repeats an answer": 1},
    ),
    "assistments2017": (
        "studentId,MiddleSchoolId,AveKnow,skill,problemId,startTime,endTime,timeTaken,correct,original\n"
        "8,2,0.35,properties-of-geometric-figures,950,1096470301,1096470350,49,0,1\n"
        "8,2,0.35,noskill,951,1096470301,1096470350,49,0,1\n",
        [("8", "properties-of-geometric-figures", False, 49.0, "2004-09-29T15:05:50")],
        {"has no skill": 1},
    ),
    "kdd2010": (
        "Row\tAnon Student Id\tProblem Hierarchy\tStep Name\tStep Start Time\tFirst Transaction Time\t"
        "Step Duration (sec)\tCorrect First Attempt\tKC(Default)\tOpportunity(Default)\n"
        '1\tst01\tUnit X\t3"x = 9\t2005-09-09 12:24:35.0\t2005-09-09 12:24:49.0\t40\t0\tFind slope~~Read graph\t1~~4\n'
        "2\tst01\tUnit X\tS2\t\t2005-09-09 12:25:16.0\t\t1\t\t\n"
        "3\tst01\tUnit X\tS3\t\t2005-09-09 12:25:17.0\t99999\t1\tFind slope\t2\n"
        "4\tst01\tUnit X\tS4\t\t2005-09-09 12:25:18.0\t3\t\tFind slope\t3\n",
        [
            ("st01", "Find slope", False, 40.0, "2005-09-09T12:24:49"),
            ("st01", "Find slope", True, None, "2005-09-09T12:25:17"),
        ],
        {
            "has no knowledge component": 1,
            "has no outcome, as in the parts that were to be predicted": 1,
        },
    ),
    "ednet": (
        "timestamp,solving_id,question_id,user_answer,elapsed_time\n"
        "1512123100000,1,q10,b,38000\n1512123160000,2,q11,a,0\n1512123170000,3,q11,,1\n1512123180000,4,q99,a,1\n",
        [
            ("u7", "Tag 71", True, 38.0, "2017-12-01T10:11:40"),
            ("u7", "Part 2", False, 0.0, "2017-12-01T10:12:40"),
        ],
        {"has no answer": 1, "the question is not in the questions file": 1},
    ),
    "riiid": (
        "row_id,timestamp,user_id,content_id,content_type_id,task_container_id,user_answer,answered_correctly,"
        "prior_question_elapsed_time,prior_question_had_explanation\n"
        "0,0,115,5692,0,1,3,1,,\n"
        "1,20110,115,128,1,2,-1,-1,,\n"
        "2,118363,115,7860,0,3,0,0,55000.0,False\n"
        "3,118363,115,7861,0,3,0,1,55000.0,False\n"
        "4,0,124,7900,0,0,0,1,,\n",
        [
            ("115", "Question 5692", True, 55.0, None),
            ("115", "Question 7860", False, None, None),
            ("115", "Question 7861", True, None, None),
            ("124", "Question 7900", True, None, None),
        ],
        {"is a lecture": 1},
    ),
    "eedi": (
        "QuestionId,UserId,AnswerId,IsCorrect,CorrectAnswer,AnswerValue\n16997,4,100,1,2,2\n",
        [("4", "Question 16997", True, None, None)],
        {},
    ),
    "junyi": (
        "user_id,exercise,problem_type,problem_number,topic_mode,suggested,review_mode,time_done,time_taken,"
        "time_taken_attempts,correct,count_attempts,hint_used\n"
        '12,time_terminology,analog_word,3,False,False,False,1420714810324490,4,"3&1",True,2,False\n',
        [("12", "time_terminology", True, 4.0, "2015-01-08T11:00:10.324490")],
        {},
    ),
    "junyi of 2019": (
        "timestamp_TW,uuid,ucid,upid,problem_number,exercise_problem_repeat_session,is_correct,total_sec_taken,level\n"
        "2018-09-01 00:00:00 UTC,u==,c1,p1,1,1,false,11,1\n",
        [("u==", "c1", False, 11.0, "2018-09-01T00:00:00")],
        {},
    ),
    "duolingo": (
        "p_recall,timestamp,delta,user_id,learning_language,ui_language,lexeme_id,lexeme_string,history_seen,"
        "history_correct,session_seen,session_correct\n"
        "0.5,1362076081,27649635,u:FO,de,en,76390c,lernt/lernen<vblex><pri><p3><sg>,6,4,2,1\n"
        "1.0,1362076081,27649635,u:FO,de,en,76390c,die,6,4,0,1\n",
        [
            ("u:FO", "lernt/lernen<vblex><pri><p3><sg>", False, None, "2013-02-28T18:28:01"),
            ("u:FO", "lernt/lernen<vblex><pri><p3><sg>", True, None, "2013-02-28T18:28:01"),
        ],
        {"has no possible counts session_seen and session_correct": 1},
    ),
}


def read(path: Path, reading: Reading | None = None) -> tuple[list[tuple[Any, ...]], ImportReport]:
    report = ImportReport()
    with open_history(path, NOW, report, reading) as chunks:
        rows = [row for rows in chunks for row in rows]
    return [(row.user_id, row.topic, row.is_correct, row.seconds, shown(row.at_micros)) for row in rows], report


def shown(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1e6, UTC).replace(tzinfo=None).isoformat()


@pytest.mark.parametrize("named", [False, True], ids=["recognised", "named"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_published_file_is_read_as_it_is(tmp_path: Path, sample: str, *, named: bool) -> None:
    content, answers, left_out = SAMPLES[sample]
    (tmp_path / "u7.csv").write_text(content)
    if sample == "ednet":
        (tmp_path / "questions.csv").write_text(QUESTIONS)
    rows, report = read(tmp_path / "u7.csv", Reading(format=sample.partition(" ")[0] if named else None))
    assert rows == answers
    assert {reason: of.count for reason, of in report.left_out.items()} == left_out
    assert report.bad == 0


ITEMS: dict[str, tuple[str, list[str | None]]] = {
    "assistments2009": ("from problem_id", ["51", "52"]),
    "assistments2012": ("from problem_id", ["5"]),
    "assistments2015": ("", [None]),
    "assistments2017": ("from problemId", ["950"]),
    "kdd2010": ("from Problem Name and Step Name", ['EG1/3"x = 9', "EG1/S3"]),
    "ednet": ("from question_id", ["q10", "q11"]),
    "riiid": ("from content_id", ["5692", "7860", "7861", "7900"]),
    "eedi": ("from QuestionId", ["16997"]),
    "junyi": ("from exercise and problem_type", ["time_terminology/analog_word"]),
    "junyi of 2019": ("from upid", ["p1"]),
    "duolingo": ("from lexeme_id", ["76390c", "76390c"]),
}


def read_items(path: Path) -> tuple[list[str | None], str]:
    report = ImportReport()
    with open_history(path, NOW, report) as chunks:
        items = [row.item and row.item.id for rows in chunks for row in rows]
    return items, report.origin.get("Items", "")


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_published_file_names_its_exercises(tmp_path: Path, sample: str) -> None:
    content = (
        SAMPLES[sample][0].replace("\tStep Name", "\tProblem Name\tStep Name").replace("\tUnit X", "\tUnit X\tEG1")
    )
    (tmp_path / "u7.csv").write_text(content)
    (tmp_path / "questions.csv").write_text(QUESTIONS if sample == "ednet" else "question_id,tags\n")
    assert read_items(tmp_path / "u7.csv") == ITEMS[sample][::-1]


def test_a_part_of_an_exercise_alone_names_none(tmp_path: Path) -> None:
    (tmp_path / "junyi.csv").write_text(SAMPLES["junyi"][0].replace("analog_word", ""))
    assert read_items(tmp_path / "junyi.csv")[0] == [None]
    (tmp_path / "kdd.txt").write_text(SAMPLES["kdd2010"][0])
    assert read_items(tmp_path / "kdd.txt") == ([None, None], "")


def test_long_names_of_exercises_stay_different(tmp_path: Path) -> None:
    found = []
    for word in ("x" * 300, "x" * 299 + "y"):
        (tmp_path / "junyi.csv").write_text(SAMPLES["junyi"][0].replace("analog_word", word))
        found += read_items(tmp_path / "junyi.csv")[0]
    assert [len(str(item)) for item in found] == [200, 200]
    assert found[0] != found[1]


def test_ednet_is_a_folder_with_a_file_for_each_student(tmp_path: Path) -> None:
    for user in ("u1", "u20"):
        (tmp_path / "KT1").mkdir(exist_ok=True)
        (tmp_path / "KT1" / f"{user}.csv").write_text(SAMPLES["ednet"][0])
    (tmp_path / "contents").mkdir()
    (tmp_path / "contents" / "questions.csv").write_text(QUESTIONS)
    rows, report = read(tmp_path / "KT1", Reading(format="ednet"))
    assert [row[0] for row in rows] == ["u1", "u1", "u20", "u20"]
    assert report.origin["Folder"] == "KT1, 2 files"


def test_ednet_needs_its_questions(tmp_path: Path) -> None:
    (tmp_path / "u7.csv").write_text(SAMPLES["ednet"][0])
    with pytest.raises(UnusableFileError, match="name it with --questions"):
        read(tmp_path / "u7.csv")


def test_riiid_takes_topics_from_the_questions(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(SAMPLES["riiid"][0])
    (tmp_path / "q.csv").write_text("question_id,bundle_id,correct_answer,part,tags\n5692,1,0,1,51 131 162\n")
    rows, _ = read(tmp_path / "train.csv", Reading(questions=tmp_path / "q.csv"))
    assert [row[1] for row in rows] == ["Tag 51", "Question 7860", "Question 7861", "Question 7900"]


def test_eedi_has_its_topics_and_times_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "train_task_1_2.csv").write_text(SAMPLES["eedi"][0])
    folder = tmp_path / "metadata"
    folder.mkdir()
    (folder / "question_metadata_task_1_2.csv").write_text('QuestionId,SubjectId\n16997,"[3, 71, 98]"\n')
    (folder / "subject_metadata.csv").write_text(
        "SubjectId,Name,ParentId,Level\n3,Maths,NULL,0\n98,Angles,71,2\n71,Geometry,3,1\n"
    )
    (folder / "answer_metadata_task_1_2.csv").write_text(
        "AnswerId,DateAnswered,Confidence,GroupId,QuizId,SchemeOfWorkId\n100,2019-11-06 17:40:00.000,,1,1,\n"
    )
    rows, _ = read(tmp_path / "train_task_1_2.csv")
    assert rows == [("4", "Angles", True, None, "2019-11-06T17:40:00")]


def test_junyi_has_names_of_exercises_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "Log_Problem.csv").write_text(SAMPLES["junyi of 2019"][0])
    (tmp_path / "Info_Content.csv").write_text("ucid,content_pretty_name\nc1,Adding\n")
    assert read(tmp_path / "Log_Problem.csv")[0][0][1] == "Adding"


def test_a_recognised_file_is_read_in_the_encoding_and_quotes_of_its_form(tmp_path: Path) -> None:
    content = SAMPLES["kdd2010"][0].replace("Find slope~~Read graph", 'Br\u00fcche "neu"').replace('3"x', '"3x')
    (tmp_path / "kdd.txt").write_bytes(content.encode("cp1252"))
    rows, report = read(tmp_path / "kdd.txt")
    assert ([row[1] for row in rows], report.bad) == (['Br\u00fcche "neu"', "Find slope"], 0)


def test_a_wrong_companion_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(SAMPLES["riiid"][0])
    (tmp_path / "q.csv").write_text("id,tags\n1,2\n")
    with pytest.raises(UnusableFileError, match=r"q.csv: no column question_id"):
        read(tmp_path / "train.csv", Reading(questions=tmp_path / "q.csv"))


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,topic,is_correct\nu,t,1\n")
    with pytest.raises(UnusableFileError, match="does not have the columns of Riiid"):
        read(tmp_path / "a.csv", Reading(format="riiid"))
