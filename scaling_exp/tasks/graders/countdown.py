"""Number puzzles: Countdown, and the Game of 24, which is Countdown with all numbers and one target."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from scaling_exp.grading import Quick
from scaling_exp.tasks.expressions import parse
from scaling_exp.types import Grade, Problem, UserError


@dataclass(frozen=True)
class CountdownGrader(Quick):
    """An answer is right when it is an expression that has exactly the target's value and uses each number at most
    once, with `must_use_all` exactly once. What it says its value is does not count."""

    must_use_all: bool = False
    knows: str = field(default="", init=False, repr=False)

    @property
    def version(self) -> str:
        return f"countdown 1, {'all' if self.must_use_all else 'any'} numbers"

    def quick(self, problem: Problem, answer: str) -> Grade | None:
        """Raises UserError when the problem is no puzzle."""
        numbers, target = _puzzle(problem)
        found = parse(answer)
        if found is None:
            return Grade("unparsable", "not an expression")
        used = Counter(found.numbers)
        if used - numbers:
            return Grade("wrong", f"uses {_listed(used - numbers)} beyond the given numbers")
        if self.must_use_all and numbers - used:
            return Grade("wrong", f"leaves out {_listed(numbers - used)}")
        if found.value != target:
            return Grade("wrong", f"is {found.value}, not {target}")
        return Grade("correct")


def _puzzle(problem: Problem) -> tuple[Counter[Fraction], Fraction]:
    try:
        puzzle = json.loads(problem.extra)
        return Counter(map(Fraction, puzzle["numbers"])), Fraction(puzzle["target"])
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"problem {problem.name} is no number puzzle; task.grader.kind=countdown wants task.rows.kind=countdown"
        ) from None


def _listed(numbers: Counter[Fraction]) -> str:
    return ", ".join(map(str, sorted(numbers.elements())))
