"""Independent attempts: one greedy, many sampled, or as many as a vote needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from scaling_exp.generation import Bound, Forest, together
from scaling_exp.types import Sampling
from scaling_exp.votes import (
    count_votes,
    fewest_to_be_confident,
    fewest_to_settle,
    is_unanimous,
)


async def draw(forest: Forest, first: int, last: int, sampling: Sampling) -> None:
    """Draw and accept samples `first` <= i < `last`, all at once."""
    for node in await forest.extend_all((), range(first, last), sampling):
        forest.accept(node.path)


@dataclass(frozen=True)
class Greedy:
    """One attempt at temperature 0, ended by any of the texts in `stop`."""

    max_tokens: int
    stop: tuple[str, ...] = ()

    async def __call__(self, forest: Forest) -> None:
        await draw(forest, 0, 1, self.bound.sampling)

    @property
    def bound(self) -> Bound:
        sampling = Sampling(max_tokens=self.max_tokens, temperature=0.0, stop=self.stop)
        return Bound(1, sampling, is_exact=True)

    @property
    def max_new_tokens(self) -> int:
        return self.max_tokens


@dataclass(frozen=True)
class ParallelSampling:
    """`num_samples` independent samples (Wang et al. 2022, arXiv 2203.11171; Brown et al. 2024, arXiv 2407.21787).

    With `is_scored` the scorer is asked about each, for best-of-N and weighted votes (Cobbe et al. 2021, arXiv
    2110.14168).
    """

    num_samples: int
    sampling: Sampling
    is_scored: bool = False

    def __post_init__(self) -> None:
        check_sampled(self.num_samples, self.sampling)

    async def __call__(self, forest: Forest) -> None:
        await draw(forest, 0, self.num_samples, self.sampling)
        if self.is_scored:
            await together(forest.score(path) for path in forest.accepted)

    @property
    def bound(self) -> Bound:
        return Bound(self.num_samples, self.sampling, is_exact=True, is_scored=self.is_scored)

    @property
    def max_new_tokens(self) -> int:
        return self.sampling.max_tokens


@dataclass(frozen=True)
class Vote(ABC):
    """Draw samples of a vote of `num_samples` in waves, in their fixed order, until it may stop.

    Nothing is aborted, and what arrives first counts no more, so there is no bias toward answers that finish early.
    """

    num_samples: int
    sampling: Sampling

    def __post_init__(self) -> None:
        check_sampled(self.num_samples, self.sampling)

    @abstractmethod
    def wave(self, answers: Sequence[str | None], num_remaining: int) -> int:
        """How many samples to draw next, given all answers so far; 0: the vote may stop."""

    async def __call__(self, forest: Forest) -> None:
        answers: list[str | None] = []
        while more := self.wave(answers, self.num_samples - len(answers)):
            first, last = len(answers), len(answers) + more
            await draw(forest, first, last, self.sampling)
            answers += [forest.answer((i,)) for i in range(first, last)]

    @property
    def bound(self) -> Bound:
        return Bound(self.num_samples, self.sampling, is_exact=False)

    @property
    def max_new_tokens(self) -> int:
        return self.sampling.max_tokens


@dataclass(frozen=True)
class AdaptiveVoting(Vote):
    """Each wave is the fewest samples that could settle the vote: it elects exactly the winner of the full one."""

    def wave(self, answers: Sequence[str | None], num_remaining: int) -> int:
        return fewest_to_settle(count_votes(answers), num_remaining)


@dataclass(frozen=True)
class AdaptiveConsistency(Vote):
    """Stop once the leading answer is, with probability `confidence`, the more frequent of the two that lead
    (the Beta criterion at 0.95: Aggarwal et al. 2023, arXiv 2305.11860)."""

    confidence: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; it must be between 0.5 and 1")

    def wave(self, answers: Sequence[str | None], num_remaining: int) -> int:
        return fewest_to_be_confident(count_votes(answers), num_remaining, self.confidence)


@dataclass(frozen=True)
class EarlyStopping(Vote):
    """Stop once all samples of a window, each after the one before, give one answer (ESC: Li et al. 2024, arXiv
    2401.10480)."""

    window: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.window <= self.num_samples:
            raise ValueError(
                f"window is {self.window}; it must be at least 2 and at most num_samples ({self.num_samples})"
            )

    def wave(self, answers: Sequence[str | None], num_remaining: int) -> int:
        return 0 if is_unanimous(answers[-self.window :]) else min(self.window, num_remaining)


def check_sampled(num_samples: int, sampling: Sampling) -> None:
    """Raises ValueError for no samples, and for several that would be the same."""
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
    if num_samples > 1 and sampling.temperature == 0:
        raise ValueError(
            f"num_samples is {num_samples} with sampling.temperature 0: all samples would be the same;"
            " use kind: greedy, or a temperature above 0"
        )
