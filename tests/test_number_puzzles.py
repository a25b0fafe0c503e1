"""Countdown and the Game of 24: what is an expression, which answers are right, and puzzles that can be solved."""

import json
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_questions_task import outcomes, task

from scaling_exp.grading import Grading
from scaling_exp.tasks.expressions import calculated, parse
from scaling_exp.tasks.graders import CountdownGrader
from scaling_exp.tasks.readers.expression import ExpressionReader
from scaling_exp.types import Problem, UserError

PUZZLE = Problem("p", "?", "24", "all", extra=json.dumps({"numbers": [4, 6, 8, 4], "target": 24}))


@pytest.mark.parametrize(
    ("text", "value", "spelled"),
    [
        ("(4 + 8) * (6 - 4)", 24, "(4+8)*(6-4)"),
        ("(6 − 4) × (8 + 4)", 24, "(4+8)*(6-4)"),
        (r"\left(4+8\right) \times \left(6-4\right)", 24, "(4+8)*(6-4)"),
        (r"$[8 + 4] \cdot \{6 - 4\}$", 24, "(4+8)*(6-4)"),
        ("(8+4)(6-4)", 24, "(4+8)*(6-4)"),
        ("((((4+8))))x(6-4)", 24, "(4+8)*(6-4)"),
        (r"\frac{6}{1 - \frac{3}{4}}", 24, "6/(1-3/4)"),
        (r"\dfrac{6}{1-\frac34}", 24, "6/(1-3/4)"),
        ("8 ÷ (3 – 8 / 3)", 24, "8/(3-8/3)"),
        ("-(4-10)*4", 24, "-(4-10)*4"),
        ("4 - (2 - 3)", 5, "3+4-2"),
        ("12/3/2", 2, "12/2/3"),
        ("12/(3/2)", 8, "12*2/3"),
        ("2*-3", -6, "(-3)*2"),
        ("1.5 * 4.0", 6, "1.5*4"),
    ],
)
def test_an_expression_has_one_value_and_one_spelling(text, value, spelled):
    found = parse(text)
    assert found is not None
    assert found.value == value
    assert found.text == spelled
    again = parse(found.text)
    assert again is not None
    assert (again.value, again.text) == (value, spelled)
    assert sorted(again.numbers) == sorted(found.numbers)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "4 5",
            "4 +",
            "(4",
            "4)",
            "4 ** 2",
            "4^2",
            "4!",
            "sqrt(4)",
            r"\sqrt{4}",
            "1/0",
            "1/(2-2)",
        ),
        *(
            "__import__('os')",
            "4 if 1 else 2",
            "1e9",
            "(" * 300 + "1" + ")" * 300,
            "1+" * 300 + "1",
        ),
        *("-" * 300, "٤+٤", "4//2", "4 = 4"),
    ],
)
def test_what_is_no_expression(text):
    assert parse(text) is None


@given(st.text(alphabet="0123456789+-*/()F{}\\frac ×=.,\n", max_size=300))
def test_no_text_breaks_reading(text):
    found = calculated(text)
    assert found is None or parse(found.text) is not None


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(
            lambda each: f"({each[0]}{each[1]}{each[2]})"
        ),
        max_leaves=8,
    )
)
def test_the_value_is_what_python_calculates(text):
    found = parse(text)
    try:
        value = eval(re.sub(r"(\d+)", r"Fraction(\1)", text), {"Fraction": Fraction})
    except ZeroDivisionError:
        assert found is None
        return
    assert found is not None
    assert found.value == value
    again = parse(found.text)
    assert again is not None
    assert again.value == value
    assert again.text == found.text


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Steps:\n4 + 8 = 12\n6 - 4 = 2\nAnswer: (4 + 8) * (6 - 4) = 24", "(4+8)*(6-4)"),
        ("So \\boxed{(6-4) \\times (4+8)}. The answer is 24.", "(4+8)*(6-4)"),
        ("The answer is $\\boxed{24}$: (4+8)*(6-4) = 24", "(4+8)*(6-4)"),
        ("**Answer: (4 + 8) * (6 - 4) = 24.**", "(4+8)*(6-4)"),
        ("the expression is\n- (4+8)*(6-4)", "(4+8)*(6-4)"),
        ("so 24 = (4+8)*(6-4)", "(4+8)*(6-4)"),
        ("The final answer is (4+8)*(6-4), which is 24.", "(4+8)*(6-4)"),
        ("Answer: None", None),
        ("Answer: 24", None),
        ("It cannot be done.", None),
        ("", None),
    ],
)
def test_where_an_expression_is_read(text, read):
    assert ExpressionReader().read(text) == read


@pytest.mark.parametrize(
    ("answer", "must_use_all", "outcome", "detail"),
    [
        ("(4+8)*(6-4)", True, "correct", ""),
        ("4*6", False, "correct", ""),
        ("4*6", True, "wrong", "leaves out 4, 8"),
        ("4*6+8-4-4", False, "wrong", "uses 4 beyond the given numbers"),
        ("4*6*1", False, "wrong", "uses 1 beyond the given numbers"),
        ("46-8*4", False, "wrong", "uses 46 beyond the given numbers"),
        ("6*8/4/4", True, "wrong", "is 3, not 24"),
        ("24", False, "wrong", "uses 24 beyond the given numbers"),
        ("four times six", False, "unparsable", "not an expression"),
    ],
)
def test_which_answers_are_right(answer, must_use_all, outcome, detail):
    with Grading(CountdownGrader(must_use_all)) as grading:
        (grade,) = grading.grade([(PUZZLE, answer)])
    assert (grade.outcome, grade.detail) == (outcome, detail)


def test_a_problem_that_is_no_puzzle_is_told():
    with pytest.raises(UserError, match=r"wants task\.rows\.kind=countdown"):
        CountdownGrader().quick(Problem("p", "?", "24", "all"), "4*6")


@pytest.mark.parametrize("name", ["countdown", "game24_generated"])
def test_made_puzzles_have_a_solution_that_is_graded_right(name):
    made = task(name, "task.source.num_puzzles=40")
    problems = made.problems()
    assert len(problems) == 40
    assert problems == task(name, "task.source.num_puzzles=40").problems()
    assert problems[:10] == task(name, "task.source.num_puzzles=10").problems()
    assert problems != task(name, "task.source.num_puzzles=40", "task.source.seed=1").problems()
    assert len({each.extra for each in problems}) == 40
    said = [(each, made.read(f"Answer: {each.answer}")) for each in problems]
    assert set(outcomes(made, said)) == {"correct"}
    others = [
        (each, answer) for (_, answer), each in zip(said, (*problems[1:], problems[0]), strict=True)
    ]
    assert "correct" not in outcomes(made, others)
    for each in problems:
        puzzle = json.loads(each.extra)
        assert f"numbers {' '.join(map(str, puzzle['numbers']))}," in each.prompt
        assert f"Make {puzzle['target']} of" in each.prompt


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.source.num_numbers=[1]"], "puzzles have 2 to 10 numbers"),
        (["task.source.smallest_target=0"], "they must be at least 1"),
        (["task.source.num_puzzles=0"], "it must be at least 1"),
        (
            ["task.source.largest_number=2", "task.source.num_numbers=[2]"],
            "ask for fewer num_puzzles",
        ),
        (["task.rows.target=null"], "give target, the column that holds it, or always"),
        (["task.rows.numbers=numbers"], "did you mean nums?"),
        (["task.rows.numbers=solution"], "whole numbers are wanted"),
        (["+task.shots={num_examples: 1, split: train}"], "task.prompt.examples="),
    ],
)
def test_a_mistake_in_a_puzzle_names_the_key(overrides, said):
    with pytest.raises((UserError, ValueError)) as raised:
        task("countdown", "task.source.num_puzzles=3", *overrides).problems()
    assert said in str(raised.value)


def test_puzzles_of_a_list_like_that_of_the_hub(tmp_path):
    file = tmp_path / "train.jsonl"
    rows = [{"target": 98, "nums": [44, 19, 35]}, {"target": 64, "nums": [63, 95, 96]}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = task("countdown_3to4", f"task.source.path={file}")
    first, second = made.problems()
    assert first.prompt.startswith("Make 98 of the numbers 44 19 35, using")
    assert outcomes(made, [(first, "44+19+35"), (second, "96-95+63")]) == ["correct", "correct"]


def test_tree_of_thoughts_labels_are_ours(public_data):
    """GPT-4's 10,000 chains of thought on 100 puzzles: every label is what we read and grade."""
    made = task("game24", f"task.source.path={public_data('tot_game24/24.csv')}")
    problems = made.problems()
    assert [problems[0].name, problems[99].name] == ["901", "1000"]
    samples = "tot_game24/gpt-4_0.7_naive_cot_sample_100_start900_end1000.json"
    rows = json.loads(public_data(samples).read_text())
    read = [
        (problem, made.read(text))
        for problem, row in zip(problems, rows, strict=True)
        for text in row["ys"]
    ]
    labels = [info["r"] for row in rows for info in row["infos"]]
    answered = [each for each in read if each[1] is not None]
    grades = iter(outcomes(made, answered))
    ours = [int(answer is not None and next(grades) == "correct") for _, answer in read]
    assert len(ours) == 10_000
    assert sum(ours) == 403
    assert ours == labels
