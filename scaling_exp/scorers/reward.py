"""A reward model: one with a head for scores in the place of its next token, which vLLM serves as a pooling model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from scaling_exp.scorers.reading import AskedAtMarks, one_token_each
from scaling_exp.scorers.scorer import Ask
from scaling_exp.types import Completion, Sampling, UserError


@dataclass(frozen=True, kw_only=True)
class Reward(AskedAtMarks):
    """Scores a whole answer (`of` "answer": an outcome reward model, a classifier), or every step of one in a single
    reading (`of` "steps": a process reward model, which scores its `mark`, one token).

    Of `num_labels` numbers a score, the one at `label` counts, as the model gives it after its own activation. How
    question and answer are put to it is told in `Asked`.
    """

    of: Literal["answer", "steps"]
    num_labels: int
    label: int

    def __post_init__(self) -> None:
        if not 0 <= self.label < self.num_labels:
            raise ValueError(
                f"scorer.label is {self.label}; it must be below scorer.num_labels ({self.num_labels})"
            )
        if self.of == "steps" and not (self.step_end and self.mark):
            raise ValueError(
                "scorer.of is steps; say where a step ends in scorer.step_end, and what marks it in scorer.mark"
            )
        super().__post_init__()

    @property
    def identity(self) -> object:
        scored = (self.of, self.num_labels, self.label)
        return self.model.fingerprint, self.sampling, self.reading, scored

    @cached_property
    def sampling(self) -> Sampling:
        if self.of == "answer":
            return Sampling(max_tokens=1, temperature=0.0, pooling="classify")
        marks = one_token_each(self.model, self.mark)
        return Sampling(max_tokens=1, temperature=0.0, labels=marks, pooling="token_classify")

    def asks(self, question: str, answer: str) -> Sequence[Ask]:
        texts = self.reading.texts(question, answer)
        (prefix,) = self.model.encode_said(texts[-1:], add_special_tokens=True)
        return [Ask(prefix, self.sampling, self.scores)]

    def scores(self, completion: Completion) -> Sequence[float]:
        told = completion.scores
        num_steps, rest = divmod(len(told), self.num_labels)
        if rest or (self.of == "answer" and num_steps > 1):
            raise UserError(
                f"scorer.num_labels is {self.num_labels} and {self.path} gives {len(told)} numbers: give it the number"
                " of labels that it has"
            )
        return told[self.label :: self.num_labels] or (0.0,)
