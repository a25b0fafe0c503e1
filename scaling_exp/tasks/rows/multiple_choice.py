"""Questions with choices: the gold is the letter of the right one, as the prompt shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from string import ascii_uppercase
from typing import Literal

import numpy as np

from scaling_exp.tasks.files import Row
from scaling_exp.tasks.question import Question
from scaling_exp.tasks.rows.cells import name_of, optional_text, text_of, texts_of
from scaling_exp.types import UserError


@dataclass(frozen=True)
class MultipleChoice:
    """`choices` are columns, or the one column that holds a list.

    `answer` holds a letter, an index from 0 or the text of the right choice, as `answer_is` says. `first`: the first of
    `choices` is right, and they are put into an order that a hash of the question gives, the same in every run.
    """

    choices: tuple[str, ...]
    answer_is: Literal["letter", "index", "text", "first"] = "letter"
    question: str = "question"
    answer: str = "answer"
    level: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("task.rows.choices is empty; name the columns of the choices")

    def question_in(self, row: Row, at: int) -> Question:
        """The question in a row. Raises UserError that names the column or the row."""
        question = text_of(row, self.question, "question", at)
        choices = texts_of(row, self.choices, "choices", at)
        if not 2 <= len(choices) <= len(ascii_uppercase):
            raise UserError(
                f"task.rows.choices: row {at} (from 0) has {len(choices)}; 2 to 26 can be"
            )
        order = _order(question, len(choices)) if self.answer_is == "first" else range(len(choices))
        right = 0 if self.answer_is == "first" else self._right(row, choices, at)
        return Question(
            name=name_of(row, self.name, at),
            question=question,
            answer=ascii_uppercase[list(order).index(right)],
            level=optional_text(row, self.level, "level", "all"),
            choices=tuple(choices[each] for each in order),
        )

    def _right(self, row: Row, choices: Sequence[str], at: int) -> int:
        """The index of the right choice."""
        said = text_of(row, self.answer, "answer", at).strip()
        known = {
            "letter": ascii_uppercase[: len(choices)],
            "index": [str(each) for each in range(len(choices))],
            "text": [each.strip() for each in choices],
        }[self.answer_is]
        if said not in known:
            raise UserError(
                f"task.rows.answer: row {at} (from 0) has {said!r}, which is no {self.answer_is} of its"
                f" {len(choices)} choices; see task.rows.answer_is"
            )
        return known.index(said)


def _order(question: str, num_choices: int) -> Sequence[int]:
    seed = int.from_bytes(blake2b(question.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).permutation(num_choices).tolist()
