"""How question and answer are put to a model that scores."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from scaling_exp.generation import Source
from scaling_exp.models import Model
from scaling_exp.scorers.scorer import Ask, Scoring
from scaling_exp.types import ModelFacts, Problem, Tokens, UserError


@dataclass(frozen=True)
class Reading:
    """An answer is cut into steps after every match of `step_end` (a regular expression; empty: it is one step), `mark`
    is put after each step and `between` after that where another follows, and `template` makes of question and answer
    so far what the model reads."""

    template: str
    step_end: str
    mark: str = ""
    between: str = ""

    def __post_init__(self) -> None:
        for part in ("{question}", "{answer}"):
            if self.template.count(part) != 1:
                raise ValueError(f"scorer.template is {self.template!r}; it must hold {part} once")
        try:
            re.compile(self.step_end)
        except re.error as error:
            raise ValueError(f"scorer.step_end is {self.step_end!r}: {error}") from error

    def steps(self, answer: str) -> list[str]:
        """An answer cut after every `step_end`; what comes after the last is a step too."""
        if not self.step_end:
            return [answer]
        ends = [found.end() for found in re.finditer(self.step_end, answer)]
        if not ends or answer[ends[-1] :].strip():
            ends.append(len(answer))
        return [answer[first:last] for first, last in zip([0, *ends], ends, strict=False)]

    def texts(self, question: str, answer: str) -> list[str]:
        """What is read to score each step: the answer up to and with it. Never empty."""
        marked = [f"{step}{self.mark}" for step in self.steps(answer)]
        start, end = self._around(question)
        return [
            f"{start}{self.between.join(marked[:number])}{end}"
            for number in range(1, len(marked) + 1)
        ]

    def whole(self, question: str, answer: str) -> tuple[str, int, list[int]]:
        """Question and answer without marks, where in that the answer begins, and where each of its steps ends."""
        start, end = self._around(question)
        steps = self.steps(answer)
        ends = accumulate(map(len, steps), initial=len(start))
        return start + "".join(steps) + end, len(start), [*ends][1:]

    def _around(self, question: str) -> tuple[str, str]:
        """What stands before and after an answer. Not made with `format`: a question may hold braces."""
        before, after = self.template.split("{answer}")
        return before.replace("{question}", question), after.replace("{question}", question)


@dataclass(frozen=True)
class Asked(ABC):
    """A model that scores, and how question and answer are put to it (`Reading`)."""

    path: str
    name: str = "scorer"
    revision: str | None = None
    dtype: str | None = None
    pretraining_tokens: int | None = None
    max_model_len: int | None = None
    template: str = "{question} {answer}"
    step_end: str = ""

    def __post_init__(self) -> None:
        _ = self.reading

    @cached_property
    def reading(self) -> Reading:
        return Reading(self.template, self.step_end)

    @cached_property
    def model(self) -> Model:
        return Model(
            self.name,
            self.path,
            self.pretraining_tokens,
            revision=self.revision,
            dtype=self.dtype,
            max_model_len=self.max_model_len,
        )

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def facts(self) -> ModelFacts:
        return self.model.facts

    @property
    def caveat(self) -> str:
        """Nothing: it knows no more than it reads."""
        return ""

    def num_beside(self, problems: Sequence[Problem]) -> Sequence[int]:
        texts = [self.reading.texts(each.prompt, "")[-1] for each in problems]
        return [len(each) for each in self.model.encode_said(texts, add_special_tokens=True)]

    @abstractmethod
    def asks(self, question: str, answer: str) -> Sequence[Ask]:
        """See `Asking`."""

    def scorer(
        self,
        source: Source,
        root: str,
        problem: Problem,
        text: Callable[[Tokens], str],
        read: Callable[[Tokens], str | None],  # noqa: ARG002 - one shape for all
    ) -> Scoring:
        return Scoring(self, source, root, problem.prompt, text)


@dataclass(frozen=True, kw_only=True)
class AskedAtMarks(Asked):
    """One that is asked where marks stand."""

    mark: str = ""
    between: str = ""

    @cached_property
    def reading(self) -> Reading:
        return Reading(self.template, self.step_end, self.mark, self.between)


def one_token_each(model: Model, *words: str) -> Tokens:
    """Token ids of words. Raises UserError for one that is not one token."""
    found = model.encode(words)
    for word, tokens in zip(words, found, strict=True):
        if len(tokens) != 1:
            raise UserError(
                f"scorer: {word!r} is {len(tokens)} tokens of {model.path}; it must be one"
            )
    return tuple(token for (token,) in found)
