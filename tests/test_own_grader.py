"""A user's own grader: one function in a file, versioned by its content, and told of its mistakes."""

import re
import shlex
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import ROOT
from test_questions_task import task

from scaling_exp.grading import Grading
from scaling_exp.tasks.graders import FunctionGrader
from scaling_exp.types import Problem, UserError

PROBLEM = Problem("p7", "Name a multiple.", "7", "all", extra='{"of": 7}')
MULTIPLES = """
    import json
    from helper import is_number

    def grade(answer, problem):
        if not is_number(answer):
            return "not a number"
        return int(answer) % json.loads(problem.extra)["of"] == 0

    def hangs(answer, problem):
        while True:
            pass

    def exits(answer, problem):
        import os
        os._exit(3)

    def grabs(answer, problem):
        return bool(bytearray(1 << 40))

    def fails(answer, problem):
        return 1 // int(answer) > 0

    def counts(answer, problem):
        return 1
    """


@pytest.fixture
def file(tmp_path):
    (tmp_path / "helper.py").write_text("def is_number(text):\n    return text.isdigit()\n")
    file = tmp_path / "multiples.py"
    file.write_text(dedent(MULTIPLES))
    return file


def grades(grader, answers):
    with Grading(grader, num_processes=2) as grading:
        return grading.grade([(PROBLEM, each) for each in answers])


def test_a_function_says_right_wrong_or_why_not(file):
    found = grades(FunctionGrader(str(file)), ["14", "15", "seven"])
    assert [each.outcome for each in found] == ["correct", "wrong", "unparsable"]
    assert found[2].detail == "not a number"


@pytest.mark.parametrize(
    ("name", "seconds", "detail"),
    [
        ("hangs", 0.5, "not graded in 0.5 s"),
        ("exits", 20, "process ended"),
        ("grabs", 20, "MemoryError"),
    ],
)
def test_a_function_that_hangs_or_dies_is_no_grade(file, name, seconds, detail):
    (found,) = grades(FunctionGrader(str(file), name, seconds), ["7"])
    assert found.outcome == "unparsable"
    assert detail in found.detail


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("fails", "0", "multiples.py line 22: ZeroDivisionError: "),
        ("fails", "0", "(problem p7, answer '0')"),
        ("counts", "7", "counts returned 1; it must return True, False, or text"),
    ],
)
def test_an_error_in_the_function_is_told_with_its_line(file, name, answer, said):
    with pytest.raises(UserError) as raised:
        grades(FunctionGrader(str(file), name), [answer])
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_error_in_the_file_is_told_with_its_line(file):
    file.write_text("import nowhere_to_be_found\n\ndef grade(answer, problem):\n    return True\n")
    with pytest.raises(UserError, match=r"multiples\.py line 1: ModuleNotFoundError"):
        grades(FunctionGrader(str(file)), ["7"])


def test_the_version_follows_the_file(file):
    before = FunctionGrader(str(file)).version
    assert before == FunctionGrader(str(file)).version
    assert before.startswith("function grade of multiples.py ")
    file.write_text(file.read_text() + "\n# changed\n")
    assert FunctionGrader(str(file)).version != before


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (None, "grade", r"task\.grader\.path: .* cannot be read: No such file"),
        ("def grad(a, b):\n    pass\n", "grade", r"there is no 'grade'; did you mean grad\?"),
        ("def grade(a, b)\n", "grade", r"multiples\.py line 1: expected ':'"),
        ("raise SystemExit\n", "grade", "there is no 'grade'"),
    ],
)
def test_a_mistake_is_told_before_anything_is_drawn(file, content, name, said):
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(UserError, match=said):
        _ = FunctionGrader(str(file), name).version


def test_the_example_in_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "tasks.md").read_text().partition("## Your own grader")[2]
    rows, code, command = re.findall(r"^```\w*\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    Path("multiples.jsonl").write_text(rows)
    Path("my_grader.py").write_text(code)
    words = shlex.split(command.replace("\\\n", ""))
    made = task("file", *(each for each in words if each.lstrip("+").startswith("task.")))
    first, second = made.problems()
    said = [(first, "105"), (second, "27"), (second, "18"), (first, "106"), (first, "10.5")]
    with Grading(made.grader, num_processes=1) as grading:
        outcomes = [each.outcome for each in grading.grade(said)]
    assert outcomes == ["correct", "correct", "correct", "wrong", "unparsable"]
