"""Answers to reasoning-gym's problems, by its own scorers, and by more where these can be fooled.

Nine of its scorers run the answer as Python (`eval`, SymPy's `parse_expr`), which a model wrote: these are given only
what calls nothing or is a formula. Four call answers right that are not (see docs/grading.md): there an answer must be
right by a rule of ours as well.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version as version_of
from math import isclose

from scaling_exp.grading import RIGHT_ANSWER
from scaling_exp.tasks import gym
from scaling_exp.tasks.expressions import parse
from scaling_exp.types import Grade, Problem, UserError

MAX_CHARS = 20_000
"""A longer answer is not scored."""
NAMES = {
    *("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("exp", "log", "ln", "sqrt", "pi", "abs", "Abs", "erf", "Rational"),
}
_name = re.compile(r"[^\W\d]\w*")
_no_formula = re.compile(r"[^A-Za-z0-9\s+\-*/^().,=|]|\.\s*[A-Za-z]")


@dataclass(frozen=True)
class ReasoningGymGrader:
    """An answer is right when its score is 1. What scores less is wrong, and the score is the grade's detail; what a
    scorer does not survive is unparsable."""

    seconds: float = 10.0
    imports: tuple[str, ...] = field(default=("reasoning_gym",), init=False)
    knows: str = field(default=RIGHT_ANSWER, repr=False)
    """Of most generators; empty for those whose rules say what is right."""

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"task.grader.seconds is {self.seconds}; it must be above 0")

    @property
    def version(self) -> str:
        """Raises UserError where reasoning-gym is not installed."""
        gym.library()
        return f"reasoning_gym 1, reasoning-gym {version_of('reasoning-gym')}, {self.seconds:g} s"

    def quick(self, problem: Problem, answer: str) -> Grade | None:  # noqa: ARG002 - one shape for all
        return Grade("unparsable", "too long") if len(answer) > MAX_CHARS else None

    def slow(self, problem: Problem, answer: str) -> Grade:
        """Raises UserError when the problem is not reasoning-gym's."""
        made = _made(problem)
        name = made.entry["metadata"].get("source_dataset", made.generator)
        if not RUN.get(name, _anything)(answer):
            return Grade("unparsable", "not a form that can be evaluated safely")
        scorer = gym.made_again(made.generator, json.dumps(dict(made.parameters)))
        try:
            score = scorer.score_answer(answer, made.entry)
            is_right = score == 1 and RIGHT.get(name, _always)(answer, made.entry)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # noqa: BLE001 - scorers fail on odd answers in many ways
            return Grade("unparsable", f"{name}: {type(error).__name__}: {error}"[:200])
        return Grade("correct") if is_right else Grade("wrong", f"score {score:.3g}")


def _made(problem: Problem) -> gym.Made:
    try:
        return gym.Made.from_text(problem.extra)
    except (ValueError, TypeError):
        raise UserError(
            f"problem {problem.name} is not reasoning-gym's; task.grader.kind=reasoning_gym wants"
            " task.source.kind=reasoning_gym and task.rows.extra=entry"
        ) from None


# Answers that may be run.


def _anything(_: str) -> bool:
    return True


def _calls_nothing(answer: str) -> bool:
    """Whether it is a literal, or has no bracket that could call something."""
    if "(" not in answer:
        return True
    try:
        ast.literal_eval(answer.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _is_formula(answer: str) -> bool:
    """Whether it has numbers, operations, single letters and well-known functions only."""
    names = _name.findall(answer)
    return not _no_formula.search(answer) and all(len(each) == 1 or each in NAMES for each in names)


RUN: Mapping[str, Callable[[str], bool]] = {
    **dict.fromkeys(
        ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"), _calls_nothing
    ),
    **dict.fromkeys(
        (
            *("countdown", "puzzle24", "polynomial_multiplication"),
            *("simple_integration", "intermediate_integration"),
        ),
        _is_formula,
    ),
}

# What an answer with the score 1 must also be.


def _always(_: str, __: gym.Entry) -> bool:
    return True


def _is_same_word(answer: str, entry: gym.Entry) -> bool:
    """The scorer of game_of_life_halting compares whether there is text at all."""
    return answer.strip().lower() == entry["answer"].lower()


def _is_near(answer: str, entry: gym.Entry) -> bool:
    """That of coin_flip is content with the first digits: 0 for 0.3125."""
    given, right = (float(Fraction(each.replace(",", ""))) for each in (answer, entry["answer"]))
    return isclose(given, right, rel_tol=1e-3)


def _is_number(answer: str, _: gym.Entry) -> bool:
    """That of complex_arithmetic finds `nan` as near as can be."""
    return "nan" not in answer.lower()


def _is_solution(answer: str, entry: gym.Entry) -> bool:
    """That of puzzle24 takes any four numbers, and cuts the value to a whole number."""
    found = parse(answer)
    numbers = Counter(map(Fraction, entry["metadata"]["numbers"]))
    return found is not None and found.value == 24 and Counter(found.numbers) == numbers


RIGHT: Mapping[str, Callable[[str, gym.Entry], bool]] = {
    "game_of_life_halting": _is_same_word,
    "coin_flip": _is_near,
    "complex_arithmetic": _is_number,
    "puzzle24": _is_solution,
}
