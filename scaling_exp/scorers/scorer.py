"""What a kind of scorer must tell, and the scorer of one prompt that is made of it."""

from __future__ import annotations

from asyncio import gather
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from scaling_exp.generation import Score, Source, Stream
from scaling_exp.models import Model
from scaling_exp.types import Completion, Sampling, Tokens


class ScorerModel(Protocol):
    """A frozen, picklable description of a model that scores, and of how it is asked."""

    @property
    def model(self) -> Model: ...

    @property
    def identity(self) -> object:
        """All that decides a score, with a `repr` that tells it apart."""
        ...

    @property
    def sampling(self) -> Sampling:
        """How it is asked; greedy, so that equal questions are one draw."""
        ...

    def prefixes(self, question: str, answer: str) -> Sequence[Tokens]:
        """What it is given to score the steps of an answer, the last with the whole of it; never empty."""
        ...

    def scores(self, completion: Completion) -> Sequence[float]:
        """What a completion means: a score for every step that was asked about; one where it is not drawn yet."""
        ...


@dataclass(frozen=True)
class Scoring:
    """Scores answers to one prompt. All steps are asked for at once; what the source knows costs nothing."""

    kind: ScorerModel
    source: Source
    root: str
    question: str
    text: Callable[[Tokens], str]
    """How the tokens of the model that answers read."""

    async def __call__(self, answer: Tokens) -> Score:
        prefixes = self.kind.prefixes(self.question, self.text(answer))
        streams = [Stream(self.root, (), prefix, self.kind.sampling) for prefix in prefixes]
        asked = await gather(*(self.source(stream, (0,)) for stream in streams))
        steps = [score for (said,) in asked for score in self.kind.scores(said)]
        return Score(tuple(steps), len(prefixes[-1]))
