"""A model that says, in its next token, whether an answer is on the way to a right one.

Process reward models are such (Math-Shepherd: Wang et al. 2023, arXiv 2312.08935), and any model is that is asked for a
verdict (Zhang et al. 2024, arXiv 2408.15240).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp
from typing import Literal

from scaling_exp.models import Model
from scaling_exp.types import Completion, Sampling, Tokens, UserError


@dataclass(frozen=True)
class Labels:
    """Score = p(good) / (p(good) + p(bad)), the probabilities that the next token is one of two words.

    An answer is cut into steps after every match of `step_end` (a regular expression; empty: it is one step), `mark` is
    put after each step and `between` after that where another follows, and `template` makes of question and answer so
    far what the model reads. With `scored` "answer" only the whole answer is asked about, with "steps" every step.
    """

    path: str
    good: str
    bad: str
    name: str = "scorer"
    revision: str | None = None
    pretraining_tokens: int | None = None
    template: str = "{question} {answer}"
    step_end: str = ""
    mark: str = ""
    between: str = ""
    scored: Literal["answer", "steps"] = "answer"

    def __post_init__(self) -> None:
        for part in ("{question}", "{answer}"):
            if self.template.count(part) != 1:
                raise ValueError(f"scorer.template is {self.template!r}; it must hold {part} once")
        if self.scored == "steps" and not self.step_end:
            raise ValueError("scorer.scored is steps; say where a step ends in scorer.step_end")
        try:
            re.compile(self.step_end)
        except re.error as error:
            raise ValueError(f"scorer.step_end is {self.step_end!r}: {error}") from error

    @cached_property
    def model(self) -> Model:
        return Model(self.name, self.path, self.pretraining_tokens, revision=self.revision)

    @property
    def identity(self) -> object:
        asked = (self.template, self.step_end, self.mark, self.between, self.scored)
        return self.model.fingerprint, self.sampling, asked

    @cached_property
    def sampling(self) -> Sampling:
        return Sampling(max_tokens=1, temperature=0.0, labels=self._labels)

    @cached_property
    def _labels(self) -> Tokens:
        """Token ids of `good` and `bad`. Raises UserError for a word that is not one token."""
        found = self.model.encode([self.good, self.bad])
        for word, tokens in zip((self.good, self.bad), found, strict=True):
            if len(tokens) != 1:
                raise UserError(
                    f"scorer: {word!r} is {len(tokens)} tokens of {self.path}; a label must be one"
                )
        return tuple(token for (token,) in found)

    def steps(self, answer: str) -> list[str]:
        """An answer cut after every `step_end`; what comes after the last is a step too."""
        if not self.step_end:
            return [answer]
        ends = [found.end() for found in re.finditer(self.step_end, answer)]
        if not ends or answer[ends[-1] :].strip():
            ends.append(len(answer))
        return [answer[first:last] for first, last in zip([0, *ends], ends, strict=False)]

    def prefixes(self, question: str, answer: str) -> Sequence[Tokens]:
        marked = [f"{step}{self.mark}" for step in self.steps(answer)]
        numbers = range(1, len(marked) + 1) if self.scored == "steps" else [len(marked)]
        texts = [self._read(question, self.between.join(marked[:number])) for number in numbers]
        return self.model.encode(texts, add_special_tokens=True)

    def _read(self, question: str, answer: str) -> str:
        """Not with `format`: a question may hold braces."""
        before, after = self.template.split("{answer}")
        return f"{before.replace('{question}', question)}{answer}{after}"

    def value(self, completion: Completion) -> float:
        """0 for a completion without labels, as one that is not drawn yet has none."""
        if not completion.label_logprobs:
            return 0.0
        good, bad = completion.label_logprobs
        return 1 / (1 + exp(min(bad - good, 700.0)))
