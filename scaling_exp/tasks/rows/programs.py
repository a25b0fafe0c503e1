"""Programs to be written, and the tests that judge them: HumanEval, MBPP and what has their form."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_exp.tasks.files import Row
from scaling_exp.tasks.programs import Judging, lines
from scaling_exp.tasks.question import Question
from scaling_exp.tasks.rows.cells import name_of, optional_text, text_of, texts_of

PASSES = "a program that passes its tests"

THEIR_ASSERTION = "def assertion(out, exp, atol):"
STRICT_ASSERTION = '''
def assertion(out, exp, atol):
    """Equal, or where floats are expected, as many and near."""
    if isinstance(exp, float) and type(out) in (int, float):
        assert abs(out - exp) <= (atol or 1e-6) + 1e-7 * abs(exp) or out == exp, (out, exp)
    elif isinstance(exp, (list, tuple)) and any(isinstance(each, float) for each in exp):
        assert type(out) in (list, tuple) and len(out) == len(exp), (out, exp)
        for one, other in zip(out, exp):
            assertion(one, other, atol)
    else:
        assert out == exp, (out, exp)
'''


@dataclass(frozen=True)
class ProgramRows:
    """`tests` are Python: they assert, or define `check(candidate)`, and may be a list of lines.

    With `is_header` the question is the beginning of the program, which an answer continues or writes anew. `shown` are
    tests that `{tests}` in `wording` shows; `test_imports` are lines that stand before program and tests.

    `strict_assertion` replaces the comparison that the tests of EvalPlus on the Hub bring: NumPy's takes an empty list
    for any float, so that a program that returns one would pass.
    """

    question: str = "prompt"
    tests: str = "test"
    entry_point: str | None = None
    """The column with the function's name; without one the tests call it by its name."""
    is_header: bool = False
    shown: str | None = None
    test_imports: str | None = None
    wording: str = "{question}"
    strict_assertion: bool = False
    solution: str | None = None
    level: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if "{question}" not in self.wording or ("{tests}" in self.wording) != (
            self.shown is not None
        ):
            raise ValueError(
                f"task.rows.wording is {self.wording!r}; it must have {{question}}, and {{tests}} when task.rows.shown"
                " names a column of tests"
            )

    def question_in(self, row: Row, at: int) -> Question:
        """The question in a row. Raises UserError that names the column or the row."""
        asked = text_of(row, self.question, "question", at)
        entry_point = optional_text(row, self.entry_point, "entry_point", "").strip()
        before = self._lines(row, self.test_imports, "test_imports", at)
        shown = self._lines(row, self.shown, "shown", at)
        tests = self._lines(row, self.tests, "tests", at)
        judging = Judging(
            tests=_with_strict_assertion(tests) if self.strict_assertion else tests,
            entry_point=entry_point,
            header=asked if self.is_header else "",
            before=before,
        )
        solution = optional_text(row, self.solution, "solution", "")
        return Question(
            name=name_of(row, self.name, at),
            question=self.wording.replace("{question}", asked).replace("{tests}", shown),
            answer=solution or PASSES,
            level=optional_text(row, self.level, "level", "all"),
            solution=solution,
            extra=judging.extra(),
        )

    def _lines(self, row: Row, column: str | None, key: str, at: int) -> str:
        return "" if column is None else lines(texts_of(row, (column,), key, at))


def _with_strict_assertion(tests: str) -> str:
    renamed = THEIR_ASSERTION.replace("assertion", "their_assertion")
    return STRICT_ASSERTION + tests.replace(THEIR_ASSERTION, renamed)
