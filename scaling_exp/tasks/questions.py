"""A data set of questions as a task: where its rows are, how one becomes a question, a prompt, an answer, a grade.

Five parts that know nothing of each other: `source` finds rows, `rows` makes a question of one, `prompt` puts it into
words, `reader` finds the answer in a completion, `grader` judges it. A benchmark is a choice of five, in `conf/task/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import ClassVar

import numpy as np

from scaling_exp.grading import Grader
from scaling_exp.schema import unknown
from scaling_exp.tasks.graders import GRADERS
from scaling_exp.tasks.prompting import Example, Prompting
from scaling_exp.tasks.question import Question
from scaling_exp.tasks.readers import READERS, Reader
from scaling_exp.tasks.rows import ROWS, Rows
from scaling_exp.tasks.sources import SOURCES, DataSet, Source
from scaling_exp.types import Problem, UserError


@dataclass(frozen=True)
class Shots:
    """Worked examples from another part of the data set: `num_examples` of it by `seed`, the same for every question.

    They are of another `split`, or of other `files` where the source names its own; `path` is a local file that holds
    them, for a source that is a file itself.
    """

    num_examples: int
    split: str | None = None
    path: str | None = None
    files: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_examples < 1:
            raise ValueError(
                f"task.shots.num_examples is {self.num_examples}; it must be at least 1"
            )
        if (self.split is not None) + (self.path is not None) + bool(self.files) != 1:
            raise ValueError(
                "task.shots: give split, or files where task.source.files is given, or path where the source is a file"
            )

    def source(self, questions: Source) -> Source:
        """Where the examples are, given where the questions are. Raises UserError where they are the same."""
        if not isinstance(questions, DataSet):
            raise UserError(
                "task.shots chooses from another part of a data set, and this task makes its rows; write the examples"
                " yourself: task.prompt.examples=[{question: ..., answer: ...}]"
            )
        if self.path is not None:
            return replace(questions, path=self.path, files=())
        key = "split" if self.split is not None else "files"
        if questions.path is not None and FilePath(questions.path).is_file():
            raise UserError(
                f"task.shots.{key} chooses nothing in task.source.path, which is one file; give task.shots.path"
            )
        if self.split is not None and questions.files:
            raise UserError(
                "task.shots.split chooses nothing beside task.source.files; give task.shots.files"
            )
        if self.files == questions.files and (self.files or self.split == questions.split):
            raise UserError(
                f"task.shots.{key} is what the questions are from; examples must be others"
            )
        return replace(questions, split=self.split, files=self.files)


@dataclass(frozen=True)
class Questions:
    """Questions of rows `first` <= i < `last` that have one of `levels` (all where none is named), and of these
    `num_problems` chosen at random by `seed`; null for all. They keep their order.
    """

    source: Source
    rows: Rows
    prompt: Prompting
    reader: Reader
    grader: Grader
    shots: Shots | None = None
    first: int = 0
    last: int | None = None
    levels: tuple[str, ...] = ()
    num_problems: int | None = None
    seed: int = 0

    KINDS: ClassVar[Mapping[str, Mapping[str, type]]] = {
        "source": SOURCES,
        "rows": ROWS,
        "reader": READERS,
        "grader": GRADERS,
    }

    def __post_init__(self) -> None:
        if self.num_problems is not None and self.num_problems < 1:
            raise ValueError(
                f"task.num_problems is {self.num_problems}; it must be at least 1, or null"
            )
        if self.first < 0 or (self.last is not None and self.last <= self.first):
            raise ValueError(
                f"task.first is {self.first} and task.last {self.last}; rows first <= i < last, from 0"
            )

    def problems(self) -> Sequence[Problem]:
        """Raises UserError when the rows cannot be had or are not what `rows` expects."""
        return self._problems

    def read(self, text: str) -> str | None:
        """The answer in what a model wrote after its thinking and before any stop string."""
        said = self.prompt.said(text)
        return None if said is None else self.reader.read(said)

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        questions = self._of_levels(self._questions(self.source, self.first, self.last))
        _check_names(questions)
        examples = [] if self.shots is None else self._examples(self.shots)
        chosen = _some(questions, self.num_problems, self.seed)
        return tuple(self.prompt.problem(each, examples) for each in chosen)

    def _questions(self, source: Source, first: int, last: int | None) -> list[Question]:
        rows = source.rows()
        if first >= len(rows):
            raise UserError(f"task.first is {first}, but there are {len(rows)} rows")
        return [self.rows.question_in(rows[at], at) for at in range(len(rows))[first:last]]

    def _of_levels(self, questions: list[Question]) -> list[Question]:
        there = Counter(each.level for each in questions)
        for level in self.levels:
            if level not in there:
                raise UserError(unknown("task.levels", level, sorted(there)))
        return [each for each in questions if not self.levels or each.level in self.levels]

    def _examples(self, shots: Shots) -> list[Example]:
        questions = self._questions(shots.source(self.source), 0, None)
        if len(questions) < shots.num_examples:
            raise UserError(
                f"task.shots.num_examples is {shots.num_examples}, but there are {len(questions)} to choose from"
            )
        return [
            Example(each.question, each.solution or each.answer, each.choices)
            for each in _some(questions, shots.num_examples, shots.seed)
        ]

    def __getstate__(self) -> dict:
        """Without the problems: workers only read."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)


def _some(questions: Sequence[Question], num_wanted: int | None, seed: int) -> Sequence[Question]:
    if num_wanted is None or num_wanted >= len(questions):
        return questions
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(questions), num_wanted, replace=False).tolist())
    return [questions[at] for at in chosen]


def _check_names(questions: Sequence[Question]) -> None:
    """Names find a problem's draws again: two questions of one name would share them."""
    seen: dict[str, int] = {}
    for at, each in enumerate(questions):
        if each.name in seen:
            raise UserError(
                f"task.rows.name: questions {seen[each.name]} and {at} (from 0) are both named {each.name!r};"
                " choose a column that differs, or null for the row's number"
            )
        seen[each.name] = at
