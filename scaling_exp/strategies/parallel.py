"""Independent attempts: one greedy, many sampled, or as many as the vote needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from scaling_exp.generation import Bound, Forest
from scaling_exp.types import Sampling
from scaling_exp.votes import count_votes, fewest_to_settle


async def draw(forest: Forest, first: int, last: int, sampling: Sampling) -> None:
    """Draw and accept samples `first` <= i < `last`, all at once."""
    for node in await forest.extend_all((), range(first, last), sampling):
        forest.accept(node.path)


@dataclass(frozen=True)
class Greedy:
    """One attempt at temperature 0."""

    max_tokens: int

    async def __call__(self, forest: Forest) -> None:
        await draw(forest, 0, 1, self.bound.sampling)

    @property
    def bound(self) -> Bound:
        return Bound(1, Sampling(max_tokens=self.max_tokens, temperature=0.0), is_exact=True)

    @property
    def max_new_tokens(self) -> int:
        return self.max_tokens


@dataclass(frozen=True)
class ParallelSampling:
    """`num_samples` independent samples (Wang et al. 2022, arXiv 2203.11171; Brown et al. 2024, arXiv 2407.21787)."""

    num_samples: int
    sampling: Sampling

    def __post_init__(self) -> None:
        _check_sampled(self.num_samples, self.sampling)

    async def __call__(self, forest: Forest) -> None:
        await draw(forest, 0, self.num_samples, self.sampling)

    @property
    def bound(self) -> Bound:
        return Bound(self.num_samples, self.sampling, is_exact=True)

    @property
    def max_new_tokens(self) -> int:
        return self.sampling.max_tokens


@dataclass(frozen=True)
class AdaptiveVoting:
    """Sample in waves, each the fewest that could settle the vote of `num_samples`.

    Elects exactly the winner of the full vote over the same samples, draws them in their fixed order and aborts
    nothing, so it has no bias toward answers that finish early.
    """

    num_samples: int
    sampling: Sampling

    def __post_init__(self) -> None:
        _check_sampled(self.num_samples, self.sampling)

    async def __call__(self, forest: Forest) -> None:
        votes: Counter[str] = Counter()
        num_drawn = 0
        while wave := fewest_to_settle(votes, self.num_samples - num_drawn):
            await draw(forest, num_drawn, num_drawn + wave, self.sampling)
            votes += count_votes(forest.answer((i,)) for i in range(num_drawn, num_drawn + wave))
            num_drawn += wave

    @property
    def bound(self) -> Bound:
        return Bound(self.num_samples, self.sampling, is_exact=False)

    @property
    def max_new_tokens(self) -> int:
        return self.sampling.max_tokens


def _check_sampled(num_samples: int, sampling: Sampling) -> None:
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
    if num_samples > 1 and sampling.temperature == 0:
        raise ValueError(
            f"num_samples is {num_samples} with sampling.temperature 0: all samples would be the same;"
            " use kind: greedy, or a temperature above 0"
        )
