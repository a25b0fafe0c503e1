"""A data set of questions as a task: where its rows are, how one becomes a question, a prompt, an answer, a grade.

Five parts that know nothing of each other: `source` finds rows, `rows` makes a question of one, `prompt` puts it into
words, `reader` finds the answer in a completion, `grader` judges it. A benchmark is a choice of five, in `conf/task/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar

import numpy as np

from scaling_exp.grading import Grader
from scaling_exp.tasks.graders import GRADERS
from scaling_exp.tasks.prompting import Prompting
from scaling_exp.tasks.readers import READERS, Reader
from scaling_exp.tasks.rows import ROWS, Rows
from scaling_exp.tasks.source import Source
from scaling_exp.types import Problem


@dataclass(frozen=True)
class Questions:
    """`num_problems` rows of a data set, chosen at random by `seed`; null for all, in their order."""

    source: Source
    rows: Rows
    prompt: Prompting
    reader: Reader
    grader: Grader
    num_problems: int | None = None
    seed: int = 0

    KINDS: ClassVar[Mapping[str, Mapping[str, type]]] = {
        "rows": ROWS,
        "reader": READERS,
        "grader": GRADERS,
    }

    def __post_init__(self) -> None:
        if self.num_problems is not None and self.num_problems < 1:
            raise ValueError(f"num_problems is {self.num_problems}; it must be at least 1, or null")

    def problems(self) -> Sequence[Problem]:
        """Raises UserError when the rows cannot be had or are not what `rows` expects."""
        return self._problems

    def read(self, text: str) -> str | None:
        """The answer in what a model wrote after its thinking and before any stop string."""
        said = self.prompt.said(text)
        return None if said is None else self.reader.read(said)

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        rows = self.source.rows()
        questions = [self.rows.question(rows[at], at) for at in self._chosen(len(rows))]
        return tuple(map(self.prompt.problem, questions))

    def _chosen(self, num_rows: int) -> list[int]:
        if self.num_problems is None or self.num_problems >= num_rows:
            return list(range(num_rows))
        rng = np.random.default_rng(self.seed)
        return sorted(rng.choice(num_rows, self.num_problems, replace=False).tolist())

    def __getstate__(self) -> dict:
        """Without the problems: workers only read."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
