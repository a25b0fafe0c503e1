"""How fast answers are graded: plain numbers at once, formulas that need algebra in processes of their own.

Nothing is drawn: the answers are made here. Reading them out of completions is timed apart, since it runs beside the
engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter

from scaling_exp.bench.result import Result, Row, Setup, check_positive
from scaling_exp.grading import Grading
from scaling_exp.tasks.graders import MathGrader
from scaling_exp.tasks.readers import MathReader
from scaling_exp.types import Problem

Graded = tuple[Problem, str]


@dataclass(frozen=True)
class GradingBench:
    """`num_numbers` plain numbers, `num_formulas` formulas, and among these `num_hanging` that no grader ends with."""

    num_numbers: int
    num_formulas: int
    num_hanging: int
    seconds: float
    """After which an answer is given up."""

    def __post_init__(self) -> None:
        check_positive(self, "num_numbers", "num_formulas", "num_hanging")

    def run(self, setup: Setup) -> Result:  # noqa: ARG002 - it needs no model
        texts = [f"so the answer is \\boxed{{{at:,}.0}}" for at in range(self.num_numbers)]
        started = perf_counter()
        read = [str(MathReader().read(text)) for text in texts]
        reading = _row("reading of numbers", len(texts), perf_counter() - started, 0)
        numbers = [(_problem(str(at % 1000)), answer) for at, answer in enumerate(read)]
        rows = [
            reading,
            self._graded("numbers", numbers),
            self._graded("formulas", _formulas(self.num_formulas)),
            self._graded("that hang", [_hanging(at) for at in range(self.num_hanging)]),
        ]
        return Result(
            f"Grading with {MathGrader(self.seconds).version}",
            tuple(rows),
            ("formulas: the processes' start is in the time",),
        )

    def _graded(self, what: str, answers: Sequence[Graded]) -> Row:
        started = perf_counter()
        with Grading(MathGrader(self.seconds)) as grading:
            grades = grading.grade(answers)
        seconds = perf_counter() - started
        return _row(
            what, len(answers), seconds, sum(each.outcome == "unparsable" for each in grades)
        )


def _row(what: str, num: int, seconds: float, num_unparsable: int) -> Row:
    return {
        "answers": what,
        "number": num,
        "seconds": seconds,
        "a second": num / seconds,
        "unparsable": num_unparsable,
    }


def _problem(gold: str) -> Problem:
    return Problem(gold, "?", gold, "all")


def _formulas(num: int) -> list[Graded]:
    """Right and wrong ones that only algebra can tell."""
    kinds = (
        ("x^2+2x+{n}", "{n}+2x+x^2"),
        ("\\sqrt{{{n}}}+1", "1+\\sqrt{{{n}}}"),
        ("(x+{n})^2", "x^2+{n}"),
        ("\\frac{{x}}{{{n}}}", "x/{n}"),
    )
    return [
        (_problem(gold.format(n=at + 2)), answer.format(n=at + 2))
        for at, (gold, answer) in enumerate(islice(cycle(kinds), num))
    ]


def _hanging(at: int) -> Graded:
    return _problem(f"x+{at}"), f"9^{{9^{{9^{{9^{{9+{at}}}}}}}}}"
