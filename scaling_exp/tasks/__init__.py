"""Tasks: load problems, prompt, read an answer, grade it. `kind:` in a configuration chooses from `TASKS`."""

from collections.abc import Sequence
from typing import Protocol

from scaling_exp.grading import Grader
from scaling_exp.tasks.arithmetic import SumsAndProducts
from scaling_exp.tasks.questions import Questions
from scaling_exp.types import Problem


class Task(Protocol):
    """What a strategy is tried on. Frozen and picklable; knows text, never tokens or engines."""

    def problems(self) -> Sequence[Problem]:
        """The problems, always the same for the same configuration."""
        ...

    def read(self, text: str) -> str | None:
        """The answer that a completion gives, in the form that votes count; None when it gives none.

        It runs beside the engine, so it must be quick for any text.
        """
        ...

    @property
    def grader(self) -> Grader:
        """Who says whether an answer is right, after drawing."""
        ...


TASKS = {"sums_and_products": SumsAndProducts, "questions": Questions}

__all__ = ["TASKS", "Questions", "SumsAndProducts", "Task"]
