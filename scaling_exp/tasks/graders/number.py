"""Plain numbers, compared exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from scaling_exp.grading import Quick
from scaling_exp.tasks.answers import canonical, number
from scaling_exp.types import Grade, Problem, UserError


@dataclass(frozen=True)
class NumberGrader(Quick):
    """An answer is right when its value is that of the gold answer. Percent signs and units do not count."""

    version: str = field(default="number 1", init=False)

    def quick(self, problem: Problem, answer: str) -> Grade | None:
        """Raises UserError when the gold answer is no number."""
        gold = _gold(problem.answer)
        if gold is None:
            raise UserError(
                f"the answer to problem {problem.name} is {problem.answer!r}, not a number; grader.kind=math grades it"
            )
        found = _value(answer)
        return Grade("unparsable", "not a number") if found is None else Grade.of(found == gold)


def _value(text: str) -> Fraction | None:
    return number(canonical(text).removesuffix(r"\%"))


_gold = lru_cache(maxsize=4096)(_value)
