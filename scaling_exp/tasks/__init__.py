"""Tasks: load problems, prompt, read an answer, grade it. `kind:` in a configuration chooses from `TASKS`."""

from collections.abc import Sequence
from typing import Protocol

from scaling_exp.tasks.arithmetic import SumsAndProducts
from scaling_exp.types import Problem


class Task(Protocol):
    """What a strategy is tried on. Frozen and picklable; knows text, never tokens or engines."""

    def problems(self) -> Sequence[Problem]:
        """The problems, always the same for the same configuration."""
        ...

    def read(self, text: str) -> str | None:
        """The answer that a completion gives; None when it gives none."""
        ...

    def grade(self, problem: Problem, answer: str) -> bool:
        """Whether an answer is right."""
        ...


TASKS = {"sums_and_products": SumsAndProducts}

__all__ = ["TASKS", "SumsAndProducts", "Task"]
