"""Tasks that ask for programs: read out of completions, put together, judged; every canonical solution passes."""

import base64
import json
import os
import pickle
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from test_questions_task import from_rows, task

from scaling_exp.grading import Grading
from scaling_exp.sandbox import Limits, Verdict, chosen, tried
from scaling_exp.tasks.graders import GRADERS
from scaling_exp.tasks.programs import Judging, unpacked
from scaling_exp.tasks.readers import READERS
from scaling_exp.types import Problem, UserError

READ = {
    "a fenced block": ("Sure:\n```python\nx = 1\n```\nDone.", "x = 1"),
    "the last that defines": (
        "```\ndef f(): pass\n```\nso\n```python\nprint(f())\n```",
        "def f(): pass",
    ),
    "the last of several": ("```py\na = 1\n```\n```py\na = 2\n```", "a = 2"),
    "an open fence": ("```python\ndef f():\n    return 1\n", "def f():\n    return 1"),
    "a fence that the prompt opened": (
        "def f():\n    return 1\n```\nDone.",
        "def f():\n    return 1",
    ),
    "a longer fence": ("````\na = '''\n```\n'''\n````", "a = '''\n```\n'''"),
    "an indented continuation": ("\n    return a + b\n\n", "    return a + b"),
    "nothing": (" \n\t\n", None),
    "an empty block": ("```python\n```", None),
}


@pytest.mark.parametrize("name", READ)
def test_a_program_is_read(name):
    text, code = READ[name]
    assert READERS["code"]().read(text) == code


def test_reading_is_quick_for_any_text():
    long = ("```" + "a" * 100_000 + "`\n") * 10
    reader, started = READERS["code"](), time.monotonic()
    for text in ("`" * 300_000, "```\n" * 100_000, "def " * 100_000, "``` x\n" * 100_000, long):
        reader.read(text)
    assert time.monotonic() - started < 5


HEADER = 'import math\n\ndef twice(x):\n    return 2 * x\n\ndef f(x):\n    """Four times x."""\n'
TESTS = "def check(candidate):\n    assert candidate(3) == twice(6) == 12\n"
JUDGING = Judging(tests=TESTS, entry_point="f", header=HEADER)
ANSWERS = {
    "a continuation": ("    return twice(twice(x))", "correct"),
    "with tabs": ("\treturn twice(twice(x))", "correct"),
    "with two blanks": ("  y = twice(x)\n  return twice(y)", "correct"),
    "anew": ("def f(x):\n  return 4 * x", "correct"),
    "anew, with a helper": ("def g(x):\n  return 4 * x\n\ndef f(x):\n  return g(x)", "correct"),
    "anew, with the future": (
        "from __future__ import annotations\ndef f(x): return 4 * x",
        "correct",
    ),
    "after a comment": ("# easy\n  return 4 * x", "correct"),
    "another number": ("    return 5 * x", "wrong"),
    "a changed helper": ("    return 5 * x\n\ndef twice(x): return 7.5", "wrong"),
    "no Python": ("    return 4 * x)", "unparsable"),
    "prose": ("The answer is four times x.", "unparsable"),
    "nothing": ("", "unparsable"),
    "an error": ("    return 4 / 0", "wrong"),
    "sleep": ("    __import__('time').sleep(60)", "wrong"),
}


@pytest.fixture(scope="module", autouse=True)
def _sandbox():
    try:
        chosen("auto")
    except UserError as error:
        pytest.skip(str(error))


def test_answers_complete_a_header_or_write_it_anew():
    grader = GRADERS["program"](limits=Limits(cpu_seconds=2, wall_seconds=3))
    problem = Problem("p", HEADER, "?", "all", extra=JUDGING.extra())
    with Grading(grader) as grading:
        grades = grading.grade([(problem, answer) for answer, _ in ANSWERS.values()])
    found = {name: grade.outcome for name, grade in zip(ANSWERS, grades, strict=True)}
    assert found == {name: outcome for name, (_, outcome) in ANSWERS.items()}
    details = dict(zip(ANSWERS, (each.detail for each in grades), strict=True))
    assert "ZeroDivisionError" in details["an error"]
    assert details["sleep"] == "not done in 3 s"
    assert "SyntaxError" in details["prose"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("", "task.rows.kind=programs"),
        (Judging(tests="def check(f): pass", entry_point="f").extra(), "never call the program"),
        (Judging(tests="check(", entry_point="f").extra(), "no Python"),
    ],
)
def test_a_problem_that_cannot_be_judged_is_no_wrong_answer(extra, said):
    problem = Problem("p", "?", "?", "all", extra=extra)
    with pytest.raises(UserError, match=said):
        GRADERS["program"]().slow(problem, "def f(): pass")


def test_more_memory_than_there_is_is_told():
    with pytest.raises(ValueError, match="memory_mib is 4096"):
        GRADERS["program"](limits=Limits(memory_mib=4096))


def test_the_version_names_what_grades_depend_on():
    grader = GRADERS["program"](packages=("numpy",))
    assert chosen("auto").name in grader.version
    assert "cpu_seconds=10" in grader.version
    assert grader.version.endswith("with numpy")


def outcomes(made, answers):
    with Grading(made.grader) as grading:
        return [grade.outcome for grade in grading.grade(answers)]


def test_tests_may_be_a_list_and_are_shown(tmp_path):
    row = {
        "task_id": 7,
        "prompt": "Write a function to add.",
        "code": "def add(a, b):\n    return a + b",
        "test_imports": ["import math"],
        "test_list": ["assert add(1, 2) == 3", "assert math.isclose(add(.5, .5), 1)"],
    }
    made = from_rows("mbpp", tmp_path, [row])
    (problem,) = made.problems()
    assert problem.name == "7"
    assert problem.prompt.endswith(
        "to add.\nYour code should pass these tests:\nassert add(1, 2) == 3\nassert"
        " math.isclose(add(.5, .5), 1)\n```python\n"
    )
    answers = [made.read(f"{row['code']}\n```\nDone."), "def add(a, b): return 3", "def sum(): 0"]
    assert outcomes(made, [(problem, each) for each in answers]) == ["correct", "wrong", "wrong"]


def test_float_tests_of_the_plus_sets_take_nothing_for_a_float_but_one_that_is_near(tmp_path):
    test = """
import numpy as np

def assertion(out, exp, atol):
    if atol == 0 and isinstance(exp, float):
        atol = 1e-6
    if out != exp and atol != 0:
        np.testing.assert_allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"

def check(candidate):
    for inp, exp in zip([[3.0], [4.0]], [1.5, 2.0]):
        assertion(candidate(*inp), exp, 0)
"""
    row = {
        "task_id": "HumanEval/0",
        "prompt": 'def half(x):\n    """Half of x."""\n',
        "canonical_solution": "    return x / 2\n",
        "entry_point": "half",
        "test": test,
    }
    made = from_rows("humaneval_plus", tmp_path, [row])
    (problem,) = made.problems()
    answers = {
        "    return x / 2": "correct",
        "    return x / 2 + 1e-8": "correct",
        "    return x / 2 + 1e-3": "wrong",
        "    return []": "wrong",
        "    return [x / 2]": "wrong",
        "    return float('nan')": "wrong",
        "    return type('Empty', (), {'__len__': lambda _: 0, '__getitem__': 0})()": "wrong",
    }
    assert outcomes(made, [(problem, each) for each in answers]) == list(answers.values())
    loose = replace(made, rows=replace(made.rows, strict_assertion=False))
    assert outcomes(loose, [(loose.problems()[0], "    return []")]) == ["correct"]


def packed(content):
    return base64.b64encode(zlib.compress(pickle.dumps(content))).decode()


def contest_row(name, public, private, **more):
    row = {"starter_code": "", "metadata": "{}", "difficulty": "easy", **more}
    row["contest_date"] = "2025-02-08T00:00:00"
    row["question_content"] = f"Do {name}."
    row["public_test_cases"] = json.dumps(public)
    row["private_test_cases"] = packed(json.dumps(private))
    return row | {"question_id": name}


CONTEST = [
    contest_row(
        "sums",
        [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}],
        [{"input": "1 0.5", "output": "1.50", "testtype": "stdin"}],
    ),
    contest_row(
        "totals",
        [{"input": "[1, 2]\n3", "output": "[6, [3]]", "testtype": "functional"}],
        [{"input": "[]\n1", "output": "[1, [1]]", "testtype": "functional"}],
        starter_code="class Solution:\n    def total(self, items: List[int], more: int):\n        ",
        metadata=json.dumps({"func_name": "total"}),
    ),
]
SUM = "print(sum(map({}, input().split())))"
TOTAL = "class Solution:\n    def total(self, items: List[int], more: int):\n        return {}"


def test_contest_problems_are_judged_by_public_and_private_cases(tmp_path):
    made = from_rows("livecodebench", tmp_path, CONTEST)
    script, method = made.problems()
    assert "standard input" in script.prompt
    assert "class Solution:" in method.prompt
    answers = {
        (script, SUM.format("float")): "correct",
        (script, SUM.format("int")): "wrong",
        (script, "print(3)"): "wrong",
        (script, "print("): "unparsable",
        (method, TOTAL.format("sum(items) + more, (more,)")): "correct",
        (method, TOTAL.format("6, [3]")): "wrong",
        (method, "def total(items, more): return 6"): "wrong",
    }
    assert outcomes(made, list(answers)) == list(answers.values())
    by_month = from_rows("livecodebench", tmp_path, CONTEST, "task.rows.level=month")
    assert {each.level for each in by_month.problems()} == {"2025-02"}


class Intruder:
    def __reduce__(self):
        return os.system, ("touch /tmp/intruded",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (packed(Intruder()), "has no place in test cases"),
        (packed([1, 2]), "hold no text"),
        ("no base64!", "cannot be read"),
        (base64.b64encode(zlib.compress(bytes(1 << 21))).decode(), "are more than"),
    ],
)
def test_packed_cases_are_read_without_running_anything(monkeypatch, content, said):
    monkeypatch.setattr("scaling_exp.tasks.programs.MAX_UNPACKED_BYTES", 1 << 20)
    assert unpacked(packed("[]")) == "[]"
    with pytest.raises(UserError, match=said):
        unpacked(content)


def test_a_row_without_its_method_is_told(tmp_path):
    row = {**CONTEST[1], "metadata": "{}"}
    with pytest.raises(UserError, match="no func_name in its metadata"):
        from_rows("livecodebench", tmp_path, [row]).problems()


SETS = {
    "humaneval": ("humaneval/HumanEval.jsonl.gz", 164),
    "mbpp_code": ("mbpp/mbpp_sanitized_for_code_generation.jsonl", 427),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_every_canonical_solution_passes(public_data, name):
    file, num = SETS[name]
    made = task(name, f"task.source.path={public_data(file)}")
    problems = made.problems()
    assert len(problems) == num
    box, grader = chosen("auto"), made.grader

    def found(problem):
        judging = Judging.of(problem.extra)
        program = judging.program(made.read(problem.answer))
        return tried(program, judging.all_tests(), box, grader.limits)

    with ThreadPoolExecutor(4) as pool:
        verdicts = dict(zip((p.name for p in problems), pool.map(found, problems), strict=True))
    assert {n: v for n, v in verdicts.items() if v != Verdict("passed")} == {}
