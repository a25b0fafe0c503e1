"""A question of a data set, before it is put into words for a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """`name` is unique inside the task and stable between runs."""

    name: str
    question: str
    answer: str
    level: str = "all"
    choices: tuple[str, ...] = ()
    """Of a multiple-choice question, in the order of their letters."""
    solution: str = ""
    """A worked answer, for a question that serves as an example; empty: there is only the answer."""
    extra: str = ""
    """See `types.Problem.extra`."""
