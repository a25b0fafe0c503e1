"""The weights that a model's authors kept along its pre-training: which steps, as which revisions, after how much data.

A checkpoint is asked for as `step1000`, or by its revision in full. It knows no hub: which revisions exist is what the
authors say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from scaling_exp.types import UserError

FINISHED = "main"
"""Asks for the finished weights, beside checkpoints."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights after `step` steps, which saw `tokens` tokens."""

    step: int
    revision: str
    tokens: int


@dataclass(frozen=True)
class Checkpoints:
    """All of one model. `revision` is their name with {step}, and {billions} of tokens rounded up."""

    model: str
    revision: str
    tokens_per_step: int
    ranges: tuple[range, ...]

    @classmethod
    def read(cls, model: str, revision: str, tokens_per_step: int, steps: str) -> Checkpoints:
        """`steps` are numbers and ranges with their ends, `0 1 2 1000-143000/1000`."""
        return cls(model, revision, tokens_per_step, tuple(map(_range, steps.split())))

    @property
    def steps(self) -> Iterator[int]:
        return (step for each in self.ranges for step in each)

    def at(self, step: int) -> Checkpoint:
        """The checkpoint after a number of steps, whether or not it was kept."""
        tokens = step * self.tokens_per_step
        billions = -(-tokens // 10**9)
        return Checkpoint(step, self.revision.format(step=step, billions=billions), tokens)

    def find(self, asked: str) -> Checkpoint:
        """The checkpoint that `asked` names. Raises UserError when it is none of this model's."""
        if found := re.fullmatch(r"step(\d+)", asked):
            step = int(found[1])
            if any(step in each for each in self.ranges):
                return self.at(step)
            near = min(self.steps, key=lambda each: abs(each - step))
            raise UserError(f"checkpoints: {self.model} has no {asked}; the nearest is step{near}")
        if found := re.search(r"step(\d+)", asked):
            checkpoint = self.at(int(found[1]))
            if checkpoint.revision == asked:
                return checkpoint
        near = get_close_matches(asked, [f"step{step}" for step in self.steps], 1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "a checkpoint is asked for as step1000"
        raise UserError(
            f"checkpoints: how many tokens {asked} of {self.model} saw is not known; {hint}"
            f" (any other revision: ladder=models, with its pretraining_tokens)"
        )


def _range(text: str) -> range:
    first, _, rest = text.partition("-")
    last, _, stride = rest.partition("/")
    return range(int(first), int(last or first) + 1, int(stride or 1))
