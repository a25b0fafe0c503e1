"""The letter of a choice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scaling_exp.grading import Quick
from scaling_exp.tasks.answers import canonical
from scaling_exp.types import Grade, Problem, UserError

_letter = re.compile("[A-Z]")


@dataclass(frozen=True)
class ChoiceGrader(Quick):
    """An answer is right when it is the letter of the gold answer; `(B)`, `B.` and `B` are one."""

    version: str = field(default="choice 1", init=False)

    def quick(self, problem: Problem, answer: str) -> Grade | None:
        """Raises UserError when the gold answer is no letter."""
        gold = canonical(problem.answer)
        if not _letter.fullmatch(gold):
            raise UserError(
                f"the answer to problem {problem.name} is {problem.answer!r}, not a letter; see rows.answer of the task"
            )
        letter = canonical(answer)
        if not _letter.fullmatch(letter):
            return Grade("unparsable", "not a letter")
        return Grade.of(letter == gold)
