"""Tree search guided by a scorer: answers grow in steps, and after each the scorer says which deserve to go on.

Beam search, DVTS, REBASE and particle filtering are one search. They differ in a pure function, `allot`: given the
paths that can go on and their scores, how many children each gets. What is pruned was drawn and is paid for.
Monte-Carlo tree search goes back to where it has been, so it is a loop of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, groupby
from math import ceil, exp, log, sqrt
from random import Random
from typing import Literal, NamedTuple

from scaling_exp.generation import Bound, Forest, seed_of, together
from scaling_exp.types import Path, Sampling, Tokens, UserError

SURE = 1e-7
"""Scores are taken to be no closer to 0 and 1 than this where their log-odds are asked for."""


@dataclass(frozen=True)
class Steps:
    """How answers grow: `sampling` draws one step, which ends at one of its stop tokens or texts or after its
    `max_tokens`; the last of `max_steps` goes to the end of the answer, which has `max_tokens` at most.

    An answer ends where the model ends it and, as models do not that continue any text, at one of the texts in `stop`.
    """

    sampling: Sampling
    max_steps: int
    max_tokens: int
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_steps", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"steps.{name} is {getattr(self, name)}; it must be at least 1")
        if self.sampling.temperature == 0:
            raise ValueError("steps.sampling.temperature is 0: all children would be the same")

    @property
    def are_answers(self) -> bool:
        """Whether nothing ends a step but the end of the answer, so that there is nothing to search."""
        has_end = self.sampling.stop or self.sampling.stop_token_ids
        return self.max_steps > 1 and not has_end and self.sampling.max_tokens >= self.max_tokens

    def next(self, num_steps: int, num_tokens: int) -> Sampling:
        """How an answer goes on that has so many steps and tokens."""
        if num_steps == self.max_steps - 1:
            return self.to_the_end(num_tokens)
        length = min(self.sampling.max_tokens, self.max_tokens - num_tokens)
        stop = self.sampling.stop + self.stop
        return _ending(self.sampling, length, stop, self.sampling.stop_token_ids)

    def to_the_end(self, num_tokens: int) -> Sampling:
        """How an answer of so many tokens goes on without a step's end."""
        return _ending(self.sampling, self.max_tokens - num_tokens, self.stop, ())

    def have_ended(self, forest: Forest, path: Path) -> bool:
        """Whether an answer cannot go on: it came to its end, or is as long as it may be."""
        answer = forest.generated(path)
        is_full = len(path) >= self.max_steps or len(answer) >= self.max_tokens
        return is_full or forest.is_finished(path) or self._is_stopped(forest, answer)

    def _is_stopped(self, forest: Forest, answer: Tokens) -> bool:
        """Whether it holds a text that ends answers: what was drawn last may have ended with a step's end as well."""
        return any(end in forest.decode(answer) for end in self.stop)

    async def grow(self, forest: Forest, path: Path, num_children: int) -> list[Path]:
        """Draw and score children of a path: their paths."""
        num_tokens = len(forest.generated(path)) if path else 0
        sampling = self.next(len(path), num_tokens)
        children = await forest.extend_all(path, range(num_children), sampling)
        await together(forest.score(child.path) for child in children)
        return [child.path for child in children]


@lru_cache(maxsize=1 << 12)
def _ending(
    sampling: Sampling, max_tokens: int, stop: tuple[str, ...], stop_token_ids: Tokens
) -> Sampling:
    """The same with other ends; made once, as a search asks for few of them again and again."""
    return replace(sampling, max_tokens=max_tokens, stop=stop, stop_token_ids=stop_token_ids)


class Level(NamedTuple):
    """What `allot` decides on: the paths that can go on, the scores of the answers so far, and how many children there
    are to be in all. `chance` is a number in [0, 1) drawn by lot."""

    paths: Sequence[Path]
    scores: Sequence[float]
    width: int
    chance: float

    @property
    def ranked(self) -> list[int]:
        """Positions from the best score to the worst; of equals the one with the lower path first."""
        order = range(len(self.paths))
        return sorted(order, key=lambda at: (-self.scores[at], self.paths[at]))


@dataclass(frozen=True)
class Search(ABC):
    """Grow `width` answers step by step. After every step `allot` decides which go on, and with how many children.

    Answers that end are accepted and leave their places: the width that remains is that much less.
    """

    width: int
    steps: Steps

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is {self.width}; it must be at least 1")

    @abstractmethod
    def allot(self, level: Level) -> Sequence[int]:
        """Children of each path."""

    @property
    def keeps_ended(self) -> bool:
        """Whether answers that ended compete for places with those that go on, until all have ended."""
        return False

    async def __call__(self, forest: Forest) -> None:
        paths: list[Path] = [()]
        counts: Sequence[int] = [self.width]
        while paths:
            grown = await together(
                self._grow(forest, path, count) for path, count in zip(paths, counts, strict=True)
            )
            paths = [path for children in grown for path in children]
            ended = [path for path in paths if self.steps.have_ended(forest, path)]
            if not self.keeps_ended or len(ended) == len(paths):
                for path in dict.fromkeys(ended):
                    forest.accept(path)
                paths = [path for path in paths if path not in ended]
            counts = self.allot(self._level(forest, paths)) if paths else []

    async def _grow(self, forest: Forest, path: Path, count: int) -> list[Path]:
        """The paths that take a path's place: so many children, or copies of an answer that ended."""
        if not count or (path and self.steps.have_ended(forest, path)):
            return [path] * count
        return await self.steps.grow(forest, path, count)

    def _level(self, forest: Forest, paths: Sequence[Path]) -> Level:
        scores = [forest.scores[path].last for path in paths]
        width = max(0, self.width - len(forest.accepted))
        lot = Random(seed_of(forest.root, (-1, max(map(len, paths)))))
        return Level(paths, scores, width, lot.random())

    @property
    def bound(self) -> Bound:
        return Bound(
            self.width,
            self.steps.next(0, 0),
            is_exact=False,
            num_below=self.width * (self.steps.max_steps - 1),
            is_scored=True,
            num_tokens=self.width * self.steps.max_tokens,
        )

    @property
    def max_new_tokens(self) -> int:
        return self.steps.max_tokens


@dataclass(frozen=True)
class Beam(Search):
    """The best go on, with `branch` children each, as many as there is room for (Snell et al. 2024, arXiv 2408.03314,
    section 5.2)."""

    branch: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_branch(self.branch, self.width)

    def allot(self, level: Level) -> Sequence[int]:
        return best_first(level, self.branch)


@dataclass(frozen=True)
class Dvts(Search):
    """Diverse verifier tree search: beam search in subtrees of `branch` each, in which one path at a time goes on
    (Beeching et al. 2024, huggingface.co/spaces/HuggingFaceH4/blogpost-scaling-test-time-compute)."""

    branch: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_branch(self.branch, self.width)

    def allot(self, level: Level) -> Sequence[int]:
        """A subtree has as many places as it has paths that can go on: the best of them gets all."""
        counts: list[int] = []
        trees = groupby(range(len(level.paths)), lambda at: level.paths[at][0] // self.branch)
        for tree in (list(members) for _, members in trees):
            mine = level._replace(
                paths=[level.paths[at] for at in tree],
                scores=[level.scores[at] for at in tree],
                width=len(tree),
            )
            counts += best_first(mine, self.branch)
        return counts


@dataclass(frozen=True)
class Rebase(Search):
    """Reward-balanced search: places in proportion to exp(score / temperature) (Wu et al. 2024, arXiv 2408.00724,
    section 3.2).

    `rounding` "exact" fills the width exactly, as the authors' program does; "paper" rounds every share by itself, as
    its text says, so that a level can be narrower or wider.
    """

    temperature: float = 0.2
    rounding: Literal["exact", "paper"] = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_temperature(self.temperature)

    def allot(self, level: Level) -> Sequence[int]:
        share = softmax(level.scores, self.temperature)
        if self.rounding == "paper":
            return [round(level.width * each) for each in share]
        return fill(level, share)

    @property
    def bound(self) -> Bound:
        """A share that is rounded to something is at least a half: rounding doubles a level at most."""
        exact, most = super().bound, 1 + (self.rounding == "paper")
        return replace(exact, num_below=most * exact.num_below, num_tokens=most * exact.num_tokens)


@dataclass(frozen=True)
class ParticleFiltering(Search):
    """Places by lot, in proportion to the odds that scores stand for; answers that ended take part until all have
    (Puri et al. 2025, arXiv 2502.01618, algorithm 1).

    Lots are drawn systematically: a path gets its expected number of children, rounded up or down by chance. Scores are
    probabilities. The answers that are left are accepted once each, however many particles they are.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_temperature(self.temperature)

    @property
    def keeps_ended(self) -> bool:
        return True

    def allot(self, level: Level) -> Sequence[int]:
        logits = [_log_odds(score) for score in level.scores]
        return systematic(softmax(logits, self.temperature), level.width, level.chance)


def best_first(level: Level, branch: int) -> list[int]:
    """`branch` children for each path, from the best on, until the width is used up."""
    counts, left = [0] * len(level.paths), level.width
    for at in level.ranked:
        counts[at] = min(branch, left)
        left -= counts[at]
    return counts


def fill(level: Level, share: Sequence[float]) -> list[int]:
    """Children in proportion to `share`, the width in all: each path, from the best on, gets its part of what is left,
    rounded up."""
    counts, left = [0] * len(level.paths), level.width
    ranked = level.ranked
    # Sums from the smallest on: what is left of 1 after subtracting would be lost in rounding.
    rests = list(accumulate(share[at] for at in reversed(ranked)))[::-1]
    for at, rest in zip(ranked, rests, strict=True):
        counts[at] = min(left, ceil(left * share[at] / rest - 1e-9)) if rest else 0
        left -= counts[at]
    return counts


def systematic(share: Sequence[float], width: int, chance: float) -> list[int]:
    """How many of `width` equidistant marks, the first at `chance`, fall into each share (Kitagawa 1996)."""
    ends = [width * total for total in accumulate(share)]
    ends[-1] = width  # what rounding leaves of the last
    marks = [min(width, max(0, ceil(end - chance))) for end in ends]
    return [last - first for first, last in zip([0, *marks], marks, strict=False)]


def softmax(values: Sequence[float], temperature: float) -> list[float]:
    """exp(value / temperature), scaled so that the sum is 1."""
    most = max(values)
    weights = [exp((value - most) / temperature) for value in values]
    total = sum(weights)
    return [weight / total for weight in weights]


def _log_odds(probability: float) -> float:
    if not -SURE <= probability <= 1 + SURE:
        raise UserError(
            f"particle filtering wants probabilities for scores, and the scorer gives {probability:g}: choose one that"
            " gives them, or another search"
        )
    inside = min(max(probability, SURE), 1 - SURE)
    return log(inside / (1 - inside))


def _check_branch(branch: int, width: int) -> None:
    if not 1 <= branch <= width:
        raise ValueError(f"branch is {branch}; it must be at least 1 and at most width ({width})")


def _check_temperature(temperature: float) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")


class Visits(NamedTuple):
    """What Monte-Carlo tree search knows of a node: its prior, how many rollouts went through it, and the sum of the
    scores that they came to."""

    prior: float
    num_rollouts: int = 0
    total: float = 0.0

    def value(self, num_above: int, exploration: float) -> float:
        """PUCT (Silver et al. 2017, Mastering the game of Go without human knowledge): mean score, or its prior where
        there is none, and a bonus for what is promising and little tried."""
        mean = self.total / self.num_rollouts if self.num_rollouts else self.prior
        return mean + exploration * self.prior * sqrt(num_above) / (1 + self.num_rollouts)

    def after(self, score: float) -> Visits:
        """With one rollout more."""
        return Visits(self.prior, self.num_rollouts + 1, self.total + score)


@dataclass(frozen=True)
class MonteCarloTreeSearch:
    """`num_rollouts` times: follow the most promising nodes to one without children, grow `branch` children of it, and
    play the best of them to the end of the answer, whose score is what its ancestors learn (Kocsis and Szepesvari 2006;
    with a scorer's opinion as the prior: Silver et al. 2017).

    Every answer that ended is accepted. A rollout that arrives at one again draws nothing.
    """

    num_rollouts: int
    branch: int
    steps: Steps
    exploration: float = 1.0

    def __post_init__(self) -> None:
        for name in ("num_rollouts", "branch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.exploration < 0:
            raise ValueError(f"exploration is {self.exploration}; it must be 0 or more")

    async def __call__(self, forest: Forest) -> None:
        tree: dict[Path, Visits] = {(): Visits(prior=1.0)}
        for _ in range(self.num_rollouts):
            leaf = self.select(tree)
            if leaf not in forest.nodes or not self.steps.have_ended(forest, leaf):
                children = await self.steps.grow(forest, leaf, self.branch)
                tree |= {path: Visits(forest.scores[path].last) for path in children}
                leaf = max(children, key=lambda path: tree[path].prior)
                self._accept_ended(forest, children)
            score = await self._score_of_end(forest, leaf)
            for depth in range(len(leaf) + 1):
                tree[leaf[:depth]] = tree[leaf[:depth]].after(score)

    def select(self, tree: Mapping[Path, Visits]) -> Path:
        """The node without children at the end of the most promising way; of equals the first."""
        path: Path = ()
        while (*path, 0) in tree:
            children: list[Path] = [(*path, i) for i in range(self.branch)]
            num_above = tree[path].num_rollouts
            path = max(children, key=lambda each: tree[each].value(num_above, self.exploration))
        return path

    async def _score_of_end(self, forest: Forest, path: Path) -> float:
        """The score of an answer that ended, or of what it comes to when it is played to its end."""
        if self.steps.have_ended(forest, path):
            return forest.scores[path].last
        end = (*path, self.branch)  # its children are numbered below that
        await forest.extend(end, self.steps.to_the_end(len(forest.generated(path))))
        forest.accept(end)
        return await forest.score(end)

    def _accept_ended(self, forest: Forest, paths: Sequence[Path]) -> None:
        for path in paths:
            if self.steps.have_ended(forest, path):
                forest.accept(path)

    @property
    def bound(self) -> Bound:
        step = ceil(self.steps.max_tokens / self.steps.max_steps)
        played = self.steps.max_tokens + (self.branch - 1) * step
        return Bound(
            self.branch,
            self.steps.next(0, 0),
            is_exact=False,
            num_below=self.num_rollouts * (self.branch + 1) - self.branch,
            is_scored=True,
            num_tokens=self.num_rollouts * played,
        )

    @property
    def max_new_tokens(self) -> int:
        return self.steps.max_tokens
