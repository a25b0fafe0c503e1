"""LiveCodeBench (Jain et al. 2024, arXiv 2403.07974): contest problems, judged by hidden cases of input and output.

The private cases of the data set are packed, with a pickle inside; they stay so until they are graded, and are then
read without running anything (`programs.unpacked`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from scaling_exp.tasks.files import Row
from scaling_exp.tasks.programs import Judging
from scaling_exp.tasks.question import Question
from scaling_exp.tasks.rows.cells import optional_text, text_of
from scaling_exp.tasks.rows.programs import PASSES
from scaling_exp.types import UserError

MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random"),
    *("statistics", "itertools", "functools", "operator", "io", "sys", "json"),
)
BEFORE = "\n".join(
    [
        *(f"from {each} import *" for each in MODULES),
        "from builtins import *",
        "from typing import *",
        *(f"import {each}" for each in MODULES),
        "sys.setrecursionlimit(50000)",
    ]
)
"""What contest programs take for granted."""
CALLED = "called_by_the_tests"

STARTER = (
    "{question}\n\nWrite a Python program that completes this starter code, and put it between ```python and ```.\n"
    "```python\n{starter}\n```"
)
STANDARD_INPUT = (
    "{question}\n\nWrite a Python program that reads the input from standard input and prints the answer to standard"
    " output, and put it between ```python and ```. Do not test it on the samples."
)


@dataclass(frozen=True)
class LiveCodeBench:
    """A problem with starter code wants a method of `Solution`, any other a program over standard input and output.

    `level` is what tells problems apart: their difficulty, or the month of their contest, by which `task.levels` takes
    those that came after a model's training data.
    """

    level: Literal["difficulty", "month"] = "difficulty"

    def question_in(self, row: Row, at: int) -> Question:
        """The question in a row. Raises UserError that names the column or the row."""
        starter = optional_text(row, "starter_code", "starter_code", "")
        wording = STARTER if starter else STANDARD_INPUT
        asked = text_of(row, "question_content", "question_content", at)
        function = _function(text_of(row, "metadata", "metadata", at), at) if starter else ""
        judging = Judging(
            entry_point=CALLED,
            before=BEFORE,
            after=f"{CALLED} = Solution().{function}" if starter else "",
            mode="function" if starter else "script",
            imports=MODULES,
            cases=text_of(row, "public_test_cases", "public_test_cases", at),
            packed_cases=optional_text(row, "private_test_cases", "private_test_cases", ""),
        )
        return Question(
            name=text_of(row, "question_id", "question_id", at),
            question=wording.replace("{question}", asked).replace("{starter}", starter.rstrip()),
            answer=PASSES,
            level=self._level(row, at),
            extra=judging.extra(),
        )

    def _level(self, row: Row, at: int) -> str:
        if self.level == "difficulty":
            return text_of(row, "difficulty", "difficulty", at)
        return text_of(row, "contest_date", "contest_date", at)[: len("2024-08")]


def _function(metadata: str, at: int) -> str:
    """The name of the method that is called."""
    try:
        name = json.loads(metadata)["func_name"]
    except (ValueError, TypeError, KeyError):
        name = None
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(
            f"task.rows: row {at} (from 0) has starter code, but no func_name in its metadata"
        )
    return name
