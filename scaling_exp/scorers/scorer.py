"""What a kind of scorer must tell, and the scorer of one prompt that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from scaling_exp.generation import Score, Scorer, Source, Stream, together
from scaling_exp.models import Model
from scaling_exp.types import Completion, ModelFacts, Problem, Sampling, Tokens


class Ask(NamedTuple):
    """One draw of a scorer's: what it is given, how it is asked (greedily, so that equal questions are one draw), and
    what the completion means: a score for every step that is asked about."""

    prefix: Tokens
    sampling: Sampling
    scores: Callable[[Completion], Sequence[float]]


class ScorerModel(Protocol):
    """A frozen, picklable description of what scores, and of how it is asked."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> Model | None:
        """What an engine must hold to score; None where none is needed."""
        ...

    @property
    def fingerprint(self) -> str:
        """What its draws are kept under."""
        ...

    @property
    def facts(self) -> ModelFacts:
        """What it costs follows from these."""
        ...

    @property
    def identity(self) -> object:
        """All that decides a score, with a `repr` that tells it apart."""
        ...

    @property
    def caveat(self) -> str:
        """What a reader of results must know, in a sentence; empty for nothing."""
        ...

    def num_beside(self, problems: Sequence[Problem]) -> Sequence[int]:
        """Tokens that it reads of each problem beside an answer."""
        ...

    def scorer(
        self,
        source: Source,
        root: str,
        problem: Problem,
        text: Callable[[Tokens], str],
        read: Callable[[Tokens], str | None],
    ) -> Scorer:
        """It for answers to one problem. `text` and `read` tell how the tokens of the model that answers read, and
        which answer they give."""
        ...


class Asking(Protocol):
    """A model that is asked about questions and answers as texts."""

    def asks(self, question: str, answer: str) -> Sequence[Ask]:
        """What tells the scores of an answer's steps, in their order, the last with the whole of it; never empty."""
        ...


@dataclass(frozen=True)
class Scoring:
    """Scores answers to one prompt, each once, in however many forests it stands.

    All steps are asked for at once, but for those that an answer shares with one that was scored before.
    """

    kind: Asking
    source: Source
    root: str
    question: str
    text: Callable[[Tokens], str]
    """How the tokens of the model that answers read."""
    known: dict[Tokens, Score] = field(default_factory=dict)
    """By answer."""
    told: dict[Tokens, Completion] = field(default_factory=dict)
    """By prefix: for one question it says how it is asked about."""

    async def __call__(self, answer: Tokens) -> Score:
        if answer not in self.known:
            self.known[answer] = await self._score(answer)
        return self.known[answer]

    async def _score(self, answer: Tokens) -> Score:
        asks = self.kind.asks(self.question, self.text(answer))
        await together(self._ask(ask) for ask in asks if ask.prefix not in self.told)
        steps = [score for ask in asks for score in ask.scores(self.told[ask.prefix])]
        return Score(tuple(steps), len(asks[-1].prefix))

    async def _ask(self, ask: Ask) -> None:
        stream = Stream(self.root, (), ask.prefix, ask.sampling)
        (self.told[ask.prefix],) = await self.source(stream, (0,))
