"""An arithmetic expression, as number puzzles ask for: boxed, where the text says the answer is, else its last line."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_exp.tasks.expressions import calculated
from scaling_exp.tasks.readers.places import announced, boxed


@dataclass(frozen=True)
class ExpressionReader:
    """Reads an expression with an operation in it; of `(4+8)*(6-4) = 24` the first side. What is only the same in
    another order, or with other brackets around it, is the same text."""

    def read(self, text: str) -> str | None:
        for find in (boxed, announced, _last_line):
            said = find(text)
            found = calculated(said) if said else None
            if found is not None:
                return found.text
        return None


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]
