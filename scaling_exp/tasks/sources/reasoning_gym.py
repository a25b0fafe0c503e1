"""Problems of any generator of reasoning-gym, by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaling_exp.tasks import gym
from scaling_exp.tasks.files import Row

ANY = "(any that fits)"
"""Stands for the answer of a generator that has none of its own and checks what it is given."""

NOTHING = "(nothing)"
"""Stands for empty text, which a few problems of `ab` end with."""


@dataclass(frozen=True)
class ReasoningGym:
    """`size` problems of `generator`, made by `seed`; `parameters` are those of the generator's own configuration.

    Columns: `question`, `answer`, `generator` (of a composite one, that which made the row) and `entry`, which its
    grader wants.
    """

    generator: str
    size: int
    seed: int = 0
    parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"task.source.size is {self.size}; it must be at least 1")
        for key in ("size", "seed"):
            if key in (self.parameters or ()):
                raise ValueError(f"task.source.parameters has {key}; give task.source.{key}")

    def rows(self) -> Sequence[Row]:
        """The problems. Raises UserError for what the generator does not know or accept."""
        parameters = {**(self.parameters or {}), "size": self.size, "seed": self.seed}
        entries = gym.entries(self.generator, parameters)
        return [self._row(entry, parameters) for entry in entries]

    def _row(self, entry: gym.Entry, parameters: dict[str, Any]) -> Row:
        return {
            "question": entry["question"],
            "answer": ANY if entry["answer"] is None else entry["answer"] or NOTHING,
            "generator": entry["metadata"].get("source_dataset", self.generator),
            "entry": gym.Made(self.generator, parameters, entry).as_text(),
        }
