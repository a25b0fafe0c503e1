"""A model that says, in its next token, whether an answer is on the way to a right one.

Process reward models are such (Math-Shepherd: Wang et al. 2023, arXiv 2312.08935), and any model is that is asked for a
verdict (Zhang et al. 2024, arXiv 2408.15240).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp
from typing import Literal

from scaling_exp.scorers.reading import AskedAtMarks, one_token_each
from scaling_exp.scorers.scorer import Ask
from scaling_exp.types import Completion, Sampling


@dataclass(frozen=True, kw_only=True)
class Labels(AskedAtMarks):
    """Score = p(good) / (p(good) + p(bad)), the probabilities that the next token is one of two words.

    How question and answer are put to it is told in `Asked`. With `scored` "answer" only the whole answer is asked
    about, with "steps" every step of it.
    """

    good: str
    bad: str
    scored: Literal["answer", "steps"] = "answer"

    def __post_init__(self) -> None:
        if self.good == self.bad:
            raise ValueError(f"scorer.good and scorer.bad are both {self.good!r}; they must differ")
        if self.scored == "steps" and not self.step_end:
            raise ValueError("scorer.scored is steps; say where a step ends in scorer.step_end")
        super().__post_init__()

    @property
    def identity(self) -> object:
        return self.model.fingerprint, self.sampling, self.reading, self.scored

    @cached_property
    def sampling(self) -> Sampling:
        labels = one_token_each(self.model, self.good, self.bad)
        return Sampling(max_tokens=1, temperature=0.0, labels=labels)

    def asks(self, question: str, answer: str) -> Sequence[Ask]:
        texts = self.reading.texts(question, answer)
        asked = texts if self.scored == "steps" else texts[-1:]
        prefixes = self.model.encode_said(asked, add_special_tokens=True)
        return [Ask(prefix, self.sampling, self.scores) for prefix in prefixes]

    def scores(self, completion: Completion) -> Sequence[float]:
        good, bad = completion.scores
        return (1 / (1 + exp(min(bad - good, 700.0))),)
