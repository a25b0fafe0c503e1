"""Files that others made become runs; what is wrong with them is named by line and never mended."""

import gzip
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_exp.__main__ import main
from scaling_exp.analysis import AnalysisSettings, record
from scaling_exp.imports import Import, Imported, Source, Tokens, WidePoint, import_source, write
from scaling_exp.report import redraw
from scaling_exp.store import RunFolder
from scaling_exp.types import UserError

SAMPLES = """model,problem,sample,answer,is_correct
a,p,0,4,true
a,p,1,5,false
a,q,0,7,true
a,q,1,,false
b,p,0,4,true
b,p,1,4,true
b,q,0,8,false
b,q,1,7,true
"""
COUNTS = """model,problem,n,c
a,p,10,3
a,q,10,0
b,p,20,20
b,q,10,1
"""


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """A file with some content."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def load(path: Path, **said: object) -> Imported:
    return import_source(Source(str(path), **said))  # pyright: ignore[reportArgumentType]


def rows(imported: Imported, name: str, *columns: str) -> list[tuple]:
    return list(
        zip(*(imported.measured.tables[name][each].to_pylist() for each in columns), strict=True)
    )


def counts(imported: Imported) -> list[tuple]:
    return rows(imported, "counts", "model", "problem", "num_samples", "num_correct")


def refusal(path: Path, **said: object) -> str:
    with pytest.raises(UserError) as raised:
        load(path, **said)
    message = str(raised.value)
    assert "\n" not in message
    return message


# Formats


def test_a_table_of_samples_is_the_same_in_every_format(file, tmp_path):
    expected = load(file("it.csv", SAMPLES)).measured.tables["samples"]
    table = pcsv.read_csv(tmp_path / "it.csv")
    pq.write_table(table, tmp_path / "it.parquet")
    records = table.to_pylist()
    lines = "".join(f"{json.dumps(each)}\n" for each in records)
    others = [
        tmp_path / "it.parquet",
        file("it.jsonl", lines),
        file("it.jsonl.gz", gzip.compress(lines.encode())),
        file("array.json", json.dumps(records, indent=1)),
        file("lines.json", lines),
        file("it.csv.gz", gzip.compress(SAMPLES.encode())),
        file("bom.csv", b"\xef\xbb\xbf" + SAMPLES.encode()),
        file("semicolons.csv", SAMPLES.replace(",", ";")),
        file("it.tsv", SAMPLES.replace(",", "\t")),
        file("crlf.csv", SAMPLES.replace("\n", "\r\n")),
        file("blank.csv", SAMPLES.replace("a,q", "\na,q", 1)),
    ]
    for other in others:
        assert load(other).measured.tables["samples"].equals(expected), other.name


def test_a_row_of_lists_is_as_many_samples(file):
    lists = [
        {
            "id": "p",
            "preds": ["4", None, "5"],
            "is_corrects": [True, False, False],
            "rm": [[0.5], [1], [2.5]],
        },
        {"id": "q", "preds": ["7"], "is_corrects": [1], "rm": [[-3]]},
    ]
    imported = load(
        file("it.jsonl", "\n".join(map(json.dumps, lists))),
        columns={"score": "rm[*][0]"},
        constants={"model": "m"},
    )
    assert rows(imported, "samples", "problem", "sample", "answer", "is_correct", "score") == [
        ("p", 0, "4", True, 0.5),
        ("p", 1, None, False, 1.0),
        ("p", 2, "5", False, 2.5),
        ("q", 0, "7", True, -3.0),
    ]
    assert any("1 of 4 samples have no answer" in note for note in imported.notes)


def test_lists_in_parquet_are_samples_too_and_fields_are_reached_by_path(tmp_path):
    table = pa.table(
        {
            "task_id": ["p", "q"],
            "runs": [[{"ok": True}, {"ok": False}], [{"ok": None}, {"ok": True}]],
            "usage": [{"tokens": 10}, {"tokens": 7}],
        }
    )
    pq.write_table(table, tmp_path / "it.parquet")
    said = {
        "columns": {"is_correct": "runs[*].ok", "num_output_tokens": "usage.tokens"},
        "constants": {"model": "m"},
    }
    assert "row 2, its is_correct is missing" in refusal(
        tmp_path / "it.parquet", tokens=Tokens("row"), **said
    )
    imported = load(tmp_path / "it.parquet", tokens=Tokens("row"), max_bad_rows=1, **said)
    assert counts(imported) == [("m", "p", 2, 1)]
    assert rows(imported, "counts", "num_output_tokens") == [(5.0,)]


def test_a_total_of_tokens_must_say_what_it_counts_and_its_parts_add_up(file):
    lines = [
        {
            "problem": str(at),
            "pred": ["1"] * 3,
            "correct": [0, 1, 0],
            "usage": {"out": out, "in": 12 * at},
        }
        for at, out in zip((1, 2, 1), (10, 30, 5), strict=True)
    ]
    lines[2]["problem"] = "3"
    path = file("it.jsonl", "\n".join(map(json.dumps, lines)))
    said = {
        "columns": {"num_output_tokens": "usage.out", "num_prompt_tokens": "usage.in"},
        "constants": {"model": "m"},
    }
    assert "tokens.counted=row" in refusal(path, **said)
    imported = load(path, tokens=Tokens("running_total", calls_per_row=2), **said)
    assert rows(imported, "samples", "problem", "num_output_tokens", "num_prompt_tokens") == [
        *(("1", n, 6) for n in (4, 3, 3)),
        *(("2", n, 6) for n in (7, 7, 6)),
        *(("3", n, 6) for n in (2, 2, 1)),
    ]
    assert any("starts anew at it.jsonl line 3" in note for note in imported.notes)


# Samples and counts


def test_answers_without_correctness_are_graded_against_the_right_one(file):
    text = "model,qid,answer,gold\nm,p, 4 ,4\nm,p,4.0,4\nm,p,,4\n"
    imported = load(file("it.csv", text))
    assert rows(imported, "samples", "is_correct") == [(True,), (False,), (False,)]
    assert rows(imported, "problems", "problem", "answer") == [("p", "4")]
    assert any("exact match" in note for note in imported.notes)


def test_an_answer_is_found_in_the_text_by_a_pattern(file):
    lines = [
        {"problem": 1, "response": "so #### 42\n", "correct": True},
        {"problem": 1, "response": "I do not know", "correct": False},
        {"problem": 1, "response": "#### [invalid]", "correct": False},
    ]
    imported = load(
        file("it.jsonl", "\n".join(map(json.dumps, lines))),
        constants={"model": "m"},
        answer_pattern=r"#### (?P<answer>.*)",
        no_answer=("[invalid]",),
    )
    assert rows(imported, "samples", "answer") == [("42",), (None,), (None,)]


def test_samples_without_answers_are_counts(file):
    text = "model,problem,passed\n" + "m,p,1\n" * 3 + "m,p,0\n" + "m,q,0\n"
    imported = load(file("it.csv", text))
    assert counts(imported) == [("m", "p", 4, 3), ("m", "q", 1, 0)]
    assert any("no answers to vote with" in note for note in imported.notes)


def test_scores_without_answers_stay_samples_and_choose_among_them(file, tmp_path):
    lines = [f"m,p{at},{at % 2},0.{at % 10}\nm,p{at},1,0.5\n" for at in range(12)]
    imported = load(file("it.csv", f"model,problem,passed,reward\n{''.join(lines)}"))
    assert rows(imported, "samples", "is_correct", "score")[:2] == [(False, 0.0), (True, 0.5)]
    assert "answer" not in imported.measured.tables["samples"].column_names
    settings = record(AnalysisSettings(num_bootstrap=60))
    wanted = Import(
        Source(str(tmp_path / "it.csv")), str(tmp_path / "runs"), settings, is_dry=False
    )
    analysis, _ = redraw(write(wanted, imported, "command"))
    assert set(analysis.curves["selector"]) == {
        "best_of",
        "oracle",
    }  # there is nothing to vote with


def test_counts_may_differ_in_their_number_of_samples(file):
    imported = load(file("it.csv", COUNTS))
    assert counts(imported) == [
        ("a", "p", 10, 3),
        ("a", "q", 10, 0),
        ("b", "p", 20, 20),
        ("b", "q", 10, 1),
    ]
    assert "least 10, median 10, most 20; 50 in all" in imported.summary


def test_what_a_field_does_not_say_is_missing_and_not_a_number(file):
    imported = load(file("it.csv", SAMPLES))
    table = imported.measured.tables["samples"]
    for name in ("truncated", "num_prompt_tokens", "num_output_tokens", "text"):
        assert table[name].null_count == len(table)


def test_problems_that_a_model_lacks_are_left_out_for_all_or_refused(file):
    path = file("it.csv", COUNTS.replace("b,q,10,1\n", ""))
    imported = load(path)
    assert counts(imported) == [("a", "p", 10, 3), ("b", "p", 20, 20)]
    assert rows(imported, "problems", "problem") == [("p",)]
    assert any(
        "1 problems that some model lacks are left out, 1 are kept" in n for n in imported.notes
    )
    assert "b has 1 of 2 problems" in refusal(path, problems="same")
    assert len(counts(load(path, leave_out=("b",), problems="same"))) == 2


def test_models_without_a_common_problem_are_refused(file):
    text = "model,problem,n,c\na,p,1,1\na,r,1,1\nb,q,1,1\n"
    assert "b has 1 of 3 problems; leave it out" in refusal(file("it.csv", text))


def test_a_sample_that_stands_twice_counts_once_and_one_that_contradicts_is_named(file):
    again = file("again.csv", SAMPLES + "a,p,0,4,true\n")
    imported = load(again)
    assert len(imported.measured.tables["samples"]) == 8
    assert any("1 samples stood twice" in note for note in imported.notes)
    other = file("other.csv", SAMPLES + "a,p,0,5,false\n")
    message = refusal(other)
    assert "other.csv line 10, sample 0 of problem 'p' of a stands there before" in message
    assert len(load(other, max_bad_rows=1).measured.tables["samples"]) == 8


def test_counts_of_a_problem_that_stand_twice_are_refused(file):
    message = refusal(file("it.csv", COUNTS + "a,p,10,3\n"))
    assert "line 6, problem 'p' of a has counts before" in message


def test_problems_may_share_a_cluster_and_have_one_each(file):
    counts = "model,problem,cluster_id,n,c\na,p,x,10,3\na,q,x,10,0\na,r,,10,5\n"
    imported = load(file("counts.csv", counts))
    assert rows(imported, "counts", "problem", "cluster") == [("p", "x"), ("q", "x"), ("r", "r")]
    assert "cluster" not in load(file("plain.csv", COUNTS)).measured.tables["counts"].column_names
    message = refusal(file("odd.csv", counts + "b,p,y,10,1\nb,q,x,10,1\nb,r,,10,1\n"))
    assert "line 5, cluster 'y' where problem 'p' had 'x' before" in message


def test_a_problem_has_one_level(file):
    text = "model,problem,level,n,c\na,p,easy,1,1\nb,p,hard,1,1\n"
    message = refusal(file("it.csv", text))
    assert "line 3, level 'hard' where problem 'p' had 'easy' before" in message


def test_an_answer_that_is_graded_two_ways_is_said(file):
    text = "model,problem,pred,correct\nm,p,4,1\nm,p,4,0\n"
    imported = load(file("it.csv", text))
    assert any("1 answers are graded right in some samples and wrong" in n for n in imported.notes)


def test_a_right_sample_without_an_answer_is_refused(file):
    message = refusal(file("it.csv", "model,problem,pred,correct\nm,p,,1\n"))
    assert "line 2, is marked correct but has no answer" in message


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("pqr"), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_folding_samples_gives_the_counts_of_a_plain_loop(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("fold")
    models, problems, right = (list(each) for each in zip(*drawn, strict=True))
    pq.write_table(
        pa.table({"model": models, "problem": problems, "is_correct": right}), folder / "it.parquet"
    )
    of_model = {m: {p for n, p, _ in drawn if n == m} for m in set(models)}
    common = set.intersection(*of_model.values())
    expected = {
        (
            m,
            p,
            sum((n, q) == (m, p) for n, q, _ in drawn),
            sum((n, q, r) == (m, p, True) for n, q, r in drawn),
        )
        for m in of_model
        for p in common
    }
    if common:
        assert set(counts(load(folder / "it.parquet"))) == expected
    else:
        refusal(folder / "it.parquet")


# Bad rows


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("a,r,10,11", "line 6, num_correct is 11 of 10 samples"),
        ("a,r,0,0", "line 6, num_samples is 0"),
        ("a,r,-5,0", "line 6, column 'n': '-5' is not a whole number"),
        ("a,r,10,1.5", "line 6, column 'c': '1.5' is not a whole number"),
        ("a,r,nan,1", "line 6, column 'n': 'nan'"),
        ("a,r,inf,1", "line 6, column 'n': 'inf'"),
        ("a,r,99999999999999999999,1", "line 6, column 'n': '99999999999999999999'"),
        ("a,r,ten,1", "line 6, column 'n': 'ten'"),
        ("a,r,,1", "line 6, its num_samples is missing"),
        (",r,10,1", "line 6, its model is missing"),
        ("a,,10,1", "line 6, its problem is missing"),
        ("a,r,10", "line 6 has 3 cells where the header has 4"),
        ("a,r,10,1,1", "line 6 has 5 cells where the header has 4"),
    ],
)
def test_a_bad_row_is_named_by_line_and_column_and_can_be_left_out(file, row, named):
    path = file("it.csv", f"{COUNTS}{row}\n")
    message = refusal(path)
    assert named in message
    assert "max_bad_rows=1" in message
    imported = load(path, max_bad_rows=1)
    assert len(counts(imported)) == 4
    assert any(named in note for note in imported.notes)


@pytest.mark.parametrize("word", ["maybe", "2", "0.5", "nan"])
def test_what_is_neither_true_nor_false_is_named(file, word):
    path = file("it.csv", SAMPLES + f"a,q,2,1,{word}\n")
    assert f"line 10, column 'is_correct': '{word}' is neither true nor false" in refusal(path)


@pytest.mark.parametrize(
    ("yes", "no"), [("True", "False"), ("1", "0"), ("1.0", "0.0"), ("YES", "no"), (" true ", "f")]
)
def test_booleans_may_be_written_in_many_ways(file, yes, no):
    path = file("it.csv", f"model,problem,correct\nm,p,{yes}\nm,p,{no}\n")
    assert counts(load(path)) == [("m", "p", 2, 1)]


def test_lines_are_counted_through_quoted_newlines_and_blank_lines(file):
    text = 'model,problem,response,correct\nm,p,"two\nlines",1\n\nm,p,one,1\nm,p,one,maybe\n'
    assert "line 6, column 'correct': 'maybe'" in refusal(file("it.csv", text))


def test_a_line_of_jsonl_that_is_no_object_is_named(file):
    good = '{"model": "m", "problem": 1, "correct": true}\n'
    path = file("it.jsonl", f'{good}\n{{"model": "m", "prob\n[1, 2]\n{good}')
    message = refusal(path)
    assert "it.jsonl line 3 is no JSON object: '{" in message
    assert "(and 1 more)" in message
    assert counts(load(path, max_bad_rows=2)) == [("m", "1", 2, 2)]


def test_a_score_that_is_no_number_is_named(file):
    lines = '{"model": "m", "problem": 1, "correct": true, "reward": NaN}'
    assert "line 1, column 'reward': 'NaN' is not a finite number" in refusal(
        file("it.jsonl", lines)
    )


def test_lists_of_different_length_and_empty_ones_are_named(file):
    lines = [
        {"problem": "p", "preds": ["1", "2"], "is_corrects": [True]},
        {"problem": "q", "preds": [], "is_corrects": []},
        {"problem": "r", "preds": ["1"], "is_corrects": [True]},
    ]
    path = file("it.jsonl", "\n".join(map(json.dumps, lines)))
    said = {"constants": {"model": "m"}}
    assert "line 1, its lists are of different length: 2 in answer, 1 in is_correct" in refusal(
        path, **said
    )
    imported = load(path, max_bad_rows=2, **said)
    assert rows(imported, "samples", "problem", "answer") == [("r", "1")]
    assert any("line 2, column 'answer': an empty list" in note for note in imported.notes)


@pytest.mark.parametrize(
    "text",
    [
        "model,problem,is_correct,level\nm,,1,hard\nm,p,1,easy\nm,p,0,easy\n",
        "model,problem,is_correct,level\nm,p,maybe,hard\nm,p,1,easy\nm,p,0,easy\n",
        "model,problem,is_correct,sample\nm,,1,0\nm,p,0,0\nm,p,1,1\n",
        "model,problem,num_samples,num_correct\nm,,4,1\nm,p,2,1\n",
        "model,problem,num_samples,num_correct\nm,p,2,3\nm,p,2,1\n",
    ],
)
def test_a_bad_row_makes_no_good_one_bad(file, text):
    assert counts(load(file("it.csv", text), max_bad_rows=1)) == [("m", "p", 2, 1)]


def test_an_impossible_point_does_not_stand_for_the_one_that_corrects_it(file):
    path = file("it.csv", "model,accuracy\nm,40\nm,0.4\n")
    assert load(path, max_bad_rows=1).measured.tables["points"]["accuracy"].to_pylist() == [0.4]


def test_a_file_of_bad_rows_alone_is_refused(file):
    path = file("it.csv", "model,problem,is_correct,cluster\nm,,1,a\nm,,0,b\n")
    assert "nothing is left to import" in refusal(path, max_bad_rows=2)


def test_many_bad_rows_are_counted_and_the_first_is_told(file):
    text = COUNTS + "".join(f"a,x{at},1,2\n" for at in range(1000))
    message = refusal(file("it.csv", text))
    assert "line 6" in message
    assert "(and 999 more)" in message
    assert len(message) < 300


# Files that are none


def test_files_that_cannot_be_read_are_refused_in_one_line(file, tmp_path):
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "none.parquet")
    cases = {
        "is empty": file("empty.csv", ""),
        "no rows": tmp_path / "none.parquet",
        "a header and no rows": file("header.csv", "model,problem,n,c\n"),
        "is a folder": tmp_path,
        "does not exist": tmp_path / "nothing.csv",
        "line 2 is not UTF-8 (byte 0xe9)": file(
            "latin.csv", "model,problem,n,c\né,p,1,1\n".encode("latin1")
        ),
        "line 1 is not UTF-8": file("utf16.csv", COUNTS.encode("utf-16")),
        "names the column 'n' twice": file("twice.csv", "model,problem,n,n\nm,p,1,1\n"),
        "twice.jsonl line 1 has the key 'n' twice": file(
            "twice.jsonl", '{"model": "m", "n": 1, "n": 2}'
        ),
        "not a whole gzip file": file("cut.csv.gz", gzip.compress(COUNTS.encode())[:-9]),
        "cannot be read as Parquet": file("fake.parquet", COUNTS),
        "line 3 is not valid JSON": file("bad.json", '[{"a": 1},\n{"a": 2},\n{"a": }]'),
        "does not tell its format": file("what.xlsx", "?"),
    }
    for said, path in cases.items():
        assert said in refusal(path), said


def test_an_address_is_refused():
    with pytest.raises(UserError, match="download the file"):
        import_source(Source("https://example.org/x.csv"))


MUTILATED = (
    b'"',
    b",",
    b"\n",
    b";",
    b"\x00",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b"NaN",
    b"-1",
    b"1e999",
    b"\xef\xbb\xbf",
    b"",
)


@settings(max_examples=30)
@given(
    name=st.sampled_from(["it.csv", "it.jsonl", "it.json"]),
    cuts=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 20), st.sampled_from(MUTILATED)), max_size=3
    ),
)
def test_a_mutilated_file_is_refused_or_read_and_nothing_else(tmp_path_factory, name, cuts):
    table = pcsv.read_csv(pa.BufferReader(SAMPLES.encode()))
    content = {
        "it.csv": SAMPLES.encode(),
        "it.jsonl": b"".join(json.dumps(each).encode() + b"\n" for each in table.to_pylist()),
        "it.json": json.dumps(table.to_pylist()).encode(),
    }[name]
    for at, length, instead in cuts:
        content = content[:at] + instead + content[at + length :]
    path = tmp_path_factory.mktemp("cut") / name
    path.write_bytes(content)
    with suppress(UserError):
        assert load(path, max_bad_rows=3).measured.num_samples.sum() <= 8


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([{"a": 1}]), "holds fields; name one of them"),
        (pa.array([[{"a": 1}]]), "holds fields; name one of them"),
        (pa.array([b"\xff"]), "holds bytes that are no UTF-8 text"),
        (pa.array([[2]], pa.list_(pa.int8(), 1)), "2 is neither true nor false"),
        (pa.array([np.float16(0.5)]), "0.5 is neither true nor false"),
        (pa.array([None]), "its is_correct is missing"),
        (pa.array([2**64 - 1], pa.uint64()), "is neither true nor false"),
    ],
)
def test_odd_types_of_parquet_are_refused_in_words(tmp_path, column, said):
    table = pa.table({"model": ["m"], "problem": ["p"], "is_correct": column})
    pq.write_table(table, tmp_path / "it.parquet")
    assert said in refusal(tmp_path / "it.parquet")


# What is understood


def test_a_column_that_is_not_there_is_refused_with_the_nearest(file):
    message = refusal(file("it.csv", COUNTS), columns={"problem": "problen"})
    assert "there is no column 'problen'; did you mean 'problem'?" in message


def test_what_cannot_be_recognised_is_asked_for(file):
    assert "columns.model=COLUMN or constants.model=NAME" in refusal(
        file("a.csv", "problem,n,c\np,1,1\n")
    )
    assert "say kind=samples, counts or points" in refusal(file("b.csv", "x,y\n1,2\n"))
    assert "columns.gold=COLUMN" in refusal(file("c.csv", "model,problem,pred\nm,p,4\n"))


def test_a_lone_column_called_answer_is_not_taken_for_the_models(file):
    """In most data sets it is the right one."""
    imported = load(file("it.csv", "model,problem,answer,correct\nm,p,4,1\n"))
    assert "answer" not in imported.understood.columns
    assert counts(imported) == [("m", "p", 1, 1)]


def test_a_column_can_be_named_not_to_be_used(file):
    imported = load(file("it.csv", SAMPLES), columns={"answer": ""})
    assert "counts" in imported.measured.tables


def test_the_summary_shows_what_was_understood(file):
    path = file("it.csv", "Model,task_id,passed,comment\nLlama-3.1-8B,1,1,x\nnobody,1,0,y\n")
    summary = load(path).summary
    for said in (
        "2 rows, read as samples",
        "problem = 'task_id'",
        "not used   comment",
        "2: 1 with N and D",
        "Llama-3.1-8B: N 8.03e+09, D 1.5e+13",
        "N or D not known of nobody",
        "least 1, median 1, most 1; 2 in all",
    ):
        assert said in summary, said


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"columns": {"colour": "x"}}, "columns.colour is not known"),
        ({"columns": {"k": "x"}, "constants": {"k": 1}}, "k has a column and a constant"),
        ({"max_bad_rows": -1}, "max_bad_rows is -1"),
        ({"answer_pattern": "(.*)"}, "one named group"),
        ({"answer_pattern": "("}, "not a regular expression"),
        ({"units": {"num_parameters": 0.0}}, "above 0"),
        ({"name": "a/b"}, "use letters"),
    ],
)
def test_a_reading_that_cannot_be_is_refused(said, why):
    with pytest.raises(ValueError, match=why):
        Source("it.csv", **said)


# Points


def test_points_in_rows(file):
    text = "model,metric,k,acc,stderr\nm,pass@1,1,0.5,0.1\nm,maj@k,8,0.6,\nm,bon,8,0.7,0.05\n"
    imported = load(file("it.csv", text))
    assert rows(imported, "points", "selector", "k", "level", "accuracy", "standard_error") == [
        ("single", 1, "all", 0.5, 0.1),
        ("voting", 8, "all", 0.6, None),
        ("best_of", 8, "all", 0.7, 0.05),
    ]


def test_points_in_columns_with_facts_in_units(file):
    text = "name,B,T,one,five,err\nm,7,2,0.4,0.5,0.3\nn,70,,0.6,,0.2\n"
    imported = load(
        file("it.csv", text),
        columns={"model": "name", "num_parameters": "B", "pretraining_tokens": "T"},
        units={"num_parameters": 1e9, "pretraining_tokens": 1e12},
        points={
            "one": WidePoint("one", num_problems=100),
            "five": WidePoint("five", "voting", 5, num_problems=100),
            "other": WidePoint("err", level="other", is_error=True),
        },
    )
    assert rows(imported, "points", "model", "selector", "k", "level", "accuracy") == [
        ("m", "single", 1, "all", 0.4),
        ("n", "single", 1, "all", 0.6),
        ("m", "voting", 5, "all", 0.5),
        ("m", "single", 1, "other", pytest.approx(0.7)),
        ("n", "single", 1, "other", pytest.approx(0.8)),
    ]
    errors = imported.measured.tables["points"]["standard_error"].to_pylist()
    assert errors[0] == pytest.approx(np.sqrt(0.4 * 0.6 / 100))
    assert errors[3:] == [None, None]
    known, unknown = imported.models
    assert known.record()["pretraining_flops"] == 6 * 7e9 * 2e12
    assert not unknown.is_known
    assert any("1 accuracies are missing" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "model,acc\nm,45\n",
            "line 2, accuracy is 45, not from 0 to 1; per cent need units.accuracy=0.01",
        ),
        ("model,acc\nm,-0.1\n", "line 2, accuracy is -0.1"),
        ("model,acc\nm,0.1\nm,0.2\n", "line 3, stands there before"),
        ("model,acc,k\nm,0.1,8\n", "accuracies at several k need a selector"),
        ("model,acc,k,selector\nm,0.1,8,magic\n", "line 2, its selector is none of single, voting"),
        ("model,acc,k,selector\nm,0.1,8,single\n", "line 2, a single attempt with k = 8"),
        ("model,acc,k,selector\nm,0.1,0,oracle\n", "line 2, its k is not a whole number from 1"),
    ],
)
def test_points_that_cannot_be_are_named(file, text, named):
    assert named in refusal(file("it.csv", text), kind="points")


def test_per_cent_have_a_unit(file):
    imported = load(file("it.csv", "model,acc\nm,45\n"), units={"accuracy": 0.01})
    assert rows(imported, "points", "accuracy") == [(pytest.approx(0.45),)]


# Facts


def test_columns_come_before_the_registry_and_a_model_has_one_training(file):
    text = "model,problem,n,c,num_parameters\nLlama-2-7b,p,1,1,{}\nLlama-2-7b,q,1,1,{}\n"
    (model,) = load(file("a.csv", text.format(6_000_000_000, 6_000_000_000))).models
    assert model.architecture is not None
    assert model.architecture.num_parameters == 6_000_000_000
    assert model.pretraining_tokens == 2_000_000_000_000
    assert model.origin["num_parameters"] == "column"
    message = refusal(file("b.csv", text.format(6, 7)))
    assert "two values of num_parameters, 6 and 7: Llama-2-7b" in message


def test_facts_that_are_hard_to_believe_are_said(file):
    text = "model,acc,N,D\nbig,0.5,7,2e12\nlong,0.5,3e9,627e12\n"
    notes = " ".join(load(file("it.csv", text)).notes)
    assert "big is said to have fewer than 1,000 parameters" in notes
    assert "long is said to have seen 6.27e+14 tokens" in notes


# Runs


def test_a_run_folder_is_the_same_when_it_is_made_again(file, tmp_path):
    path = file("it.csv", SAMPLES)

    def made(**said: object) -> RunFolder:
        source = Source(str(path), **said)  # pyright: ignore[reportArgumentType]
        return write(
            Import(source, str(tmp_path / "runs"), {}, False), import_source(source), "import"
        )

    first = made()
    before = {each.name: each.read_bytes() for each in first.path.iterdir()}
    assert set(before) >= {"manifest.json", "samples.parquet", "problems.parquet"}
    second = made()
    assert second.path == first.path
    assert {each.name: each.read_bytes() for each in second.path.iterdir()} == before
    assert made(leave_out=("a",)).path != first.path
    path.write_text(SAMPLES.replace("b,q,0,8", "b,q,0,9"))
    assert made().path != first.path


def test_the_manifest_says_where_everything_comes_from(file, tmp_path):
    path = file("it.csv", SAMPLES.replace("a,", "Llama-3-8B,"))
    source = Source(str(path), name="mine")
    folder = write(
        Import(source, str(tmp_path), {"seed": 3}, False), import_source(source), "command"
    )
    manifest = folder.read_manifest()
    assert manifest["run_id"].startswith("mine-")
    assert manifest["source"]["file"] == "it.csv"
    assert manifest["source"]["columns"]["answer"] == "answer"
    assert [each["name"] for each in manifest["models"]] == ["Llama-3-8B"]
    assert [each["name"] for each in manifest["unknown_models"]] == ["b"]
    assert manifest["unknown_models"][0]["pretraining_tokens"] is None
    assert manifest["analysis"] == {"seed": 3}
    assert manifest["set_aside"] == []
    assert {"versions", "git_commit", "hardware", "created", "command", "notes"} <= set(manifest)
    assert folder.read_table("samples").num_rows == 8


def test_the_verb_shows_and_then_writes(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["scaling_exp"])
    path, store = file("a=b, c.csv", COUNTS), f"store={tmp_path / 'runs'}"
    main(["import", str(path), "dry_run=true", store])
    assert "nothing is written" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    main(["import", str(path), "kind=counts", store])
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"report {folder}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("columns.problem=nobody", "there is no column 'nobody'"),
        ("columns.colour=x", "there is no 'columns.colour'"),
        ("kind=guess", "error: kind is 'guess'"),
        ("dry_run=maybe", "dry_run is 'maybe'"),
        ("source=nobody", "it is one of gadre"),
        ("join.file=other.csv", "join.column is missing"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(file, capsys, monkeypatch, override, said):
    monkeypatch.setattr("sys.argv", ["scaling_exp"])
    with pytest.raises(SystemExit) as ended:
        main(["import", str(file("it.csv", COUNTS)), override])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_nine_hundred_thousand_samples_are_read_in_seconds(tmp_path):
    """A loop over them takes a minute; arrays take half a second here."""
    num_models, num_problems, num_samples = 7, 128, 1000
    codes = np.arange(num_models * num_problems * num_samples) // num_samples
    table = pa.table(
        {
            "model": pa.array([f"m{at}" for at in range(num_models)]).take(
                pa.array(codes // num_problems)
            ),
            "problem": codes % num_problems,
            "is_correct": np.random.default_rng(0).random(len(codes)) < 0.1,
        }
    )
    pq.write_table(table, tmp_path / "it.parquet")
    started = time.perf_counter()
    imported = load(tmp_path / "it.parquet")
    assert time.perf_counter() - started < 5
    assert imported.measured.tables["counts"].num_rows == num_models * num_problems
    assert imported.measured.num_samples.sum() == len(codes)
