"""Finding the answer in a completion. `kind:` chooses from `READERS`."""

from typing import Protocol, runtime_checkable

from scaling_exp.tasks.readers.choice import ChoiceReader
from scaling_exp.tasks.readers.code import CodeReader
from scaling_exp.tasks.readers.expression import ExpressionReader
from scaling_exp.tasks.readers.last_line import LastLineReader
from scaling_exp.tasks.readers.math import MathReader
from scaling_exp.tasks.readers.number import NumberReader
from scaling_exp.tasks.readers.pattern import PatternReader
from scaling_exp.tasks.readers.tag import TagReader


@runtime_checkable
class Reader(Protocol):
    """Where an answer stands, and its canonical form, in which equal answers are equal text. Frozen and picklable."""

    def read(self, text: str) -> str | None:
        """The answer, in time linear in the text; None when there is none."""
        ...


READERS: dict[str, type] = {
    "math": MathReader,
    "number": NumberReader,
    "choice": ChoiceReader,
    "pattern": PatternReader,
    "last_line": LastLineReader,
    "expression": ExpressionReader,
    "tag": TagReader,
    "code": CodeReader,
}

__all__ = ["READERS", "MathReader", "Reader"]
