"""Thinking longer instead of more often: thinking that is made to go on, and attempts that see the ones before.

Words that are put into the model's mouth are configured as text; the forest makes the model's tokens of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scaling_exp.generation import Bound, Forest, most_tokens, together
from scaling_exp.strategies.parallel import check_sampled
from scaling_exp.types import Path, Sampling, Tokens


@dataclass(frozen=True)
class BudgetForcing:
    """Where the model would end its thinking, `wait` is put instead, `num_waits` times at most; after
    `thinking.max_tokens`, forced ones included, `end_of_thinking` is put (s1: Muennighoff et al. 2025, arXiv
    2501.19393, section 3.1).

    Thinking ends at one of `thinking.stop_token_ids`, and where the model ends. An answer that is still to come then
    has `max_answer_tokens`. `num_samples` such chains run side by side: longer or more often is one number or the
    other.
    """

    num_samples: int
    num_waits: int
    wait: str
    thinking: Sampling
    end_of_thinking: str
    max_answer_tokens: int

    def __post_init__(self) -> None:
        check_sampled(self.num_samples, self.thinking)
        if self.num_waits < 0:
            raise ValueError(f"num_waits is {self.num_waits}; it must be 0 or more")
        if self.max_answer_tokens < 1:
            raise ValueError(
                f"max_answer_tokens is {self.max_answer_tokens}; it must be at least 1"
            )
        if self.thinking.stop:
            raise ValueError(
                "thinking.stop is text, which cannot be taken back; name its token in thinking.stop_token_ids"
            )

    @property
    def forced(self) -> tuple[str, ...]:
        """What the model is made to say."""
        return (*((self.wait,) if self.num_waits else ()), self.end_of_thinking)

    async def __call__(self, forest: Forest) -> None:
        for path in await together(self._chain(forest, (i,)) for i in range(self.num_samples)):
            forest.accept(path)

    async def _chain(self, forest: Forest, path: Path) -> Path:
        """Think, think on, and answer: the path of the answer."""
        await forest.extend(path, self.thinking)
        path = await self._think_on(forest, path)
        if forest.is_finished(path):
            return path
        forced = () if self._has_stopped(forest, path) else forest.encode(self.end_of_thinking)
        answer = replace(self.thinking, max_tokens=self.max_answer_tokens, stop_token_ids=())
        await forest.extend((*path, 0), answer, forced)
        return (*path, 0)

    async def _think_on(self, forest: Forest, path: Path) -> Path:
        """Put `wait` in the place of the end, as long as there is one and room is left: where thinking ends."""
        wait = forest.encode(self.wait) if self.num_waits else ()
        for _ in range(self.num_waits):
            # The end is cut, and its place is free again.
            left = self.thinking.max_tokens - (len(forest.generated(path)) - 1) - len(wait)
            if left < 1 or not self._has_stopped(forest, path):
                break
            path = (*path, 0)
            sampling = replace(self.thinking, max_tokens=left)
            await forest.extend(path, sampling, wait, cut=self._ends(forest))
        return path

    def _has_stopped(self, forest: Forest, path: Path) -> bool:
        """Whether the model ended its thinking by itself."""
        last = forest.nodes[path].completion.tokens[-1:]
        return bool(last) and last[0] in self._ends(forest)

    def _ends(self, forest: Forest) -> Tokens:
        return self.thinking.stop_token_ids + forest.end_tokens

    @property
    def bound(self) -> Bound:
        return Bound(
            self.num_samples,
            self.thinking,
            is_exact=False,
            num_below=self.num_samples * (self.num_waits + 1),
            num_tokens=self.num_samples * self.max_new_tokens,
        )

    @property
    def max_new_tokens(self) -> int:
        thought = self.thinking.max_tokens + most_tokens(self.end_of_thinking)
        return thought + self.max_answer_tokens


@dataclass(frozen=True)
class Revision:
    """`num_attempts` in `num_chains`: each attempt of a chain follows the one before and `again`, and has both in view
    (sequential revisions: Snell et al. 2024, arXiv 2408.03314, section 6).

    One chain is all in sequence, as many chains as attempts is plain sampling, and what is between costs the same
    number of attempts. All attempts are accepted, the first of every chain first.
    """

    num_attempts: int
    num_chains: int
    sampling: Sampling
    again: str

    def __post_init__(self) -> None:
        check_sampled(self.num_attempts, self.sampling)
        if self.num_chains < 1 or self.num_attempts % self.num_chains:
            raise ValueError(
                f"num_chains is {self.num_chains}; it must divide num_attempts ({self.num_attempts})"
            )

    @property
    def forced(self) -> tuple[str, ...]:
        """What stands between attempts."""
        return (self.again,) if self.length > 1 else ()

    @property
    def length(self) -> int:
        """Attempts of a chain."""
        return self.num_attempts // self.num_chains

    async def __call__(self, forest: Forest) -> None:
        await together(self._chain(forest, (i,)) for i in range(self.num_chains))
        for depth in range(self.length):
            for chain in range(self.num_chains):
                forest.accept((chain, *[0] * depth))

    async def _chain(self, forest: Forest, path: Path) -> None:
        await forest.extend(path, self.sampling)
        for _ in range(self.length - 1):
            path, again = (*path, 0), forest.encode(self.again)
            await forest.extend(path, self.sampling, again, cut=forest.end_tokens, begins_anew=True)

    @property
    def bound(self) -> Bound:
        below = self.num_attempts - self.num_chains
        return Bound(
            self.num_chains,
            self.sampling,
            is_exact=not below,
            num_below=below,
            num_tokens=self.num_chains * self.max_new_tokens,
        )

    @property
    def max_new_tokens(self) -> int:
        return self.length * (self.sampling.max_tokens + most_tokens(self.again))
