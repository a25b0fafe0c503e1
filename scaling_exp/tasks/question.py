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
    extra: str = ""
    """See `types.Problem.extra`."""
