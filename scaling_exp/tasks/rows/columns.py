"""Questions with an open answer: which column holds what."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scaling_exp.tasks.answers import canonical
from scaling_exp.tasks.files import Row
from scaling_exp.tasks.question import Question
from scaling_exp.tasks.readers.places import boxed
from scaling_exp.tasks.rows.cells import extra_of, name_of, optional_text, text_of
from scaling_exp.types import UserError


@dataclass(frozen=True)
class Columns:
    """Names of columns, or paths into them.

    `answer_pattern` finds the gold in what `answer` holds: its only group, where it matches last; with `boxed` it is
    what stands in the last `\\boxed{}` there. With `canonical` the gold is the canonical form of a mathematical answer
    (`tasks/answers.py`), for graders that compare text.
    """

    question: str = "question"
    answer: str = "answer"
    level: str | None = None
    name: str | None = None
    """Without one a question is called by the number of its row."""
    solution: str | None = None
    """A worked answer, shown where a question serves as an example."""
    answer_pattern: str | None = None
    boxed: bool = False
    canonical: bool = False
    extra: str | None = None
    """What the grader gets besides the answer: text as it is, anything else as JSON."""

    def __post_init__(self) -> None:
        if self.answer_pattern is not None:
            _check_pattern(self.answer_pattern)
            if self.boxed:
                raise ValueError("task.rows: give answer_pattern or boxed, not both")

    def question_in(self, row: Row, at: int) -> Question:
        """The question in a row. Raises UserError that names the column or the row."""
        answer = self._gold(text_of(row, self.answer, "answer", at), at)
        return Question(
            name=name_of(row, self.name, at),
            question=text_of(row, self.question, "question", at),
            answer=canonical(answer) if self.canonical else answer,
            level=optional_text(row, self.level, "level", "all"),
            solution=optional_text(row, self.solution, "solution", ""),
            extra=extra_of(row, self.extra, at),
        )

    def _gold(self, answer: str, at: int) -> str:
        if self.boxed:
            found = boxed(answer)
            if found is None:
                raise UserError(
                    f"task.rows.boxed: row {at} (from 0) has no \\boxed{{}} in {self.answer!r}: {answer[-60:]!r}"
                )
            return found.strip()
        if self.answer_pattern is None:
            return answer.strip()
        found = re.findall(self.answer_pattern, answer)
        if not found:
            raise UserError(
                f"task.rows.answer_pattern {self.answer_pattern!r} finds nothing in row {at} (from 0): {answer[-60:]!r}"
            )
        return found[-1].strip()


def _check_pattern(pattern: str) -> None:
    try:
        num_groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(
            f"task.rows.answer_pattern {pattern!r} is no regular expression: {error}"
        ) from None
    if num_groups != 1:
        raise ValueError(
            f"task.rows.answer_pattern {pattern!r} has {num_groups} groups; the answer is the only one, as in"
            " '#### (.+)'"
        )
