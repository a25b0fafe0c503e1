"""What graders must decide though mathematics does not: ours, and what math-verify alone says (docs/grading.md)."""

import pytest
from math_verify import parse, verify

from scaling_exp.grading import Grading
from scaling_exp.tasks.graders import MathGrader
from scaling_exp.types import Problem

CHOICES = [
    (r"\{1,2\}", r"\{2,1\}", True, True),
    ("1,2", "2,1", True, True),
    ("(1,2)", "(2,1)", False, False),
    ("(1,2)", "[1,2]", False, False),
    ("(1,2)", "1,2", False, True),
    (r"50\%", "50", True, True),
    (r"50\%", "0.5", True, False),
    (r"10\text{ cm}", "10", True, True),
    (r"10\text{ cm}", r"10\text{ m}", True, True),
    ("x=5", "5", True, True),
    ("5", "x=5", True, True),
    (r"\frac13", "0.333333", True, True),
    (r"\frac13", "0.33", False, False),
    (r"\frac13", "0.3333", False, False),
    (r"\frac{\pi}{2}", "1.5707963", False, True),
    (r"3\pm 2", "5,1", True, True),
    ("12_5", "12_7", False, True),
    (r"\text{3:30 p.m.}", "3:30 a.m.", False, False),
]


@pytest.fixture(scope="module")
def grading():
    with Grading(MathGrader()) as grading:
        yield grading


@pytest.mark.parametrize(("gold", "answer", "is_right", "_"), CHOICES)
def test_what_we_decide(grading, gold, answer, is_right, _):
    (grade,) = grading.grade([(Problem("p", "?", gold, "all"), answer)])
    assert grade.is_correct == is_right


@pytest.mark.parametrize(("gold", "answer", "_", "is_right"), CHOICES)
def test_what_math_verify_alone_says(gold, answer, _, is_right):
    right, given = (parse(f"${each}$", parsing_timeout=0) for each in (gold, answer))
    assert verify(right, given, timeout_seconds=None) == is_right
