"""Number puzzles: numbers to be combined to a target, as Countdown and the Game of 24 ask."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from scaling_exp.tasks.files import Row
from scaling_exp.tasks.question import Question
from scaling_exp.tasks.rows.cells import name_of, optional_text, text_of, texts_of
from scaling_exp.types import UserError

_number = re.compile(r"\d+")


@dataclass(frozen=True)
class CountdownRows:
    """`numbers` holds a list of whole numbers, or text such as `4 5 6 10`.

    The target is in column `target`, or is `always` the same. A question is `wording` with its `{numbers}` and its
    `{target}`; the answer that a report shows is `solution` where a row has one, else the target.
    """

    numbers: str = "nums"
    target: str | None = None
    always: int | None = None
    wording: str = "{numbers}"
    level: str | None = None
    name: str | None = None
    solution: str | None = None

    def __post_init__(self) -> None:
        if (self.target is None) == (self.always is None):
            raise ValueError(
                "task.rows: give target, the column that holds it, or always, e.g. task.rows.always=24"
            )
        if "{numbers}" not in self.wording:
            raise ValueError(f"task.rows.wording is {self.wording!r}; it must have {{numbers}}")

    def question_in(self, row: Row, at: int) -> Question:
        """The question in a row. Raises UserError that names the column or the row."""
        numbers = _whole(texts_of(row, (self.numbers,), "numbers", at), "numbers", at)
        target = self.always if self.target is None else self._target(row, self.target, at)
        listed = " ".join(map(str, numbers))
        solution = optional_text(row, self.solution, "solution", "")
        return Question(
            name=name_of(row, self.name, at),
            question=self.wording.replace("{numbers}", listed).replace("{target}", str(target)),
            answer=solution or str(target),
            level=optional_text(row, self.level, "level", "all"),
            solution=solution,
            extra=json.dumps({"numbers": numbers, "target": target}),
        )

    def _target(self, row: Row, column: str, at: int) -> int:
        return _whole((text_of(row, column, "target", at),), "target", at)[0]


def _whole(texts: tuple[str, ...], key: str, at: int) -> list[int]:
    words = " ".join(texts).replace(",", " ").strip("[] ").split()
    if not words or not all(map(_number.fullmatch, words)):
        raise UserError(
            f"task.rows.{key}: row {at} (from 0) has {' '.join(texts)!r}; whole numbers are wanted"
        )
    return list(map(int, words))
