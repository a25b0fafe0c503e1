"""What a pool holds and lacks of what strategies want, for every problem of one model.

Strategies that always ask for the same draws are counted, not run: ten million draws take seconds. A strategy that
adapts is replayed over what is known, and only on problems where counting cannot tell. Draws nothing, loads no engine.

Axes: P problems, in the order of their roots, as parts are sorted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
import numpy.typing as npt

from scaling_exp.generation import Bound, Forest, Strategy, Stream, grow
from scaling_exp.models import Model
from scaling_exp.scorers import ScorerModel, Scoring
from scaling_exp.store import Index, Pool, Replay, known_by_root, stream_of
from scaling_exp.tasks import Task
from scaling_exp.types import Problem, Sampling, Tokens, UserError

Ints = npt.NDArray[np.int64]
PROBLEMS_PER_REPLAY = 512


@dataclass(frozen=True)
class Prompted:
    """The problems as one model sees them, in the order of their roots: the names that seeds are hashed from."""

    model: Model
    problems: Sequence[Problem]
    prompts: Sequence[Tokens]
    roots: list[str]

    @classmethod
    def of(
        cls,
        model: Model,
        problems: Sequence[Problem],
        seed: int,
        strategies: Mapping[str, Strategy],
    ) -> Prompted:
        """Raises UserError when the model cannot take the prompts or what strategies want to add to them."""
        ordered = sorted(problems, key=lambda each: each.name)
        prompts = model.prompts(ordered)
        _check_lengths(model, prompts, strategies)
        roots = [f"{seed}/{model.name}/{problem.name}" for problem in ordered]
        return cls(model, ordered, prompts, roots)

    def without(self, left_out: Collection[str]) -> Prompted:
        """All problems but those with the given names."""
        kept = [at for at, each in enumerate(self.problems) if each.name not in left_out]
        return Prompted(
            self.model,
            [self.problems[at] for at in kept],
            [self.prompts[at] for at in kept],
            [self.roots[at] for at in kept],
        )

    def slice(self, first: int, last: int) -> Prompted:
        """Problems `first` <= i < `last`."""
        return Prompted(
            self.model,
            self.problems[first:last],
            self.prompts[first:last],
            self.roots[first:last],
        )

    def streams(self, sampling: Sampling) -> Ints:
        """Names_P of the streams of samples that continue the prompts themselves."""
        streams = (
            Stream(root, (), prompt, sampling)
            for root, prompt in zip(self.roots, self.prompts, strict=True)
        )
        names = (stream_of(self.model.fingerprint, stream) for stream in streams)
        return np.fromiter(names, np.int64, len(self.roots))


def _check_lengths(
    model: Model, prompts: Sequence[Tokens], strategies: Mapping[str, Strategy]
) -> None:
    longest = max(map(len, prompts), default=0)
    for name, strategy in strategies.items():
        needed = longest + strategy.max_new_tokens
        if needed > model.max_tokens:
            longer = "" if model.max_model_len is None else ", or raise engine.max_model_len"
            raise UserError(
                f"strategies.{name}: a prompt of {longest} tokens and {needed - longest} more do not fit the"
                f" {model.max_tokens} tokens of model {model.name}; lower max_tokens{longer}"
            )


@dataclass(frozen=True)
class Survey:
    """What one model's pool holds of what strategies can ask for, and what it lacks, an upper bound, per problem."""

    prompted: Prompted
    pool: Pool
    num_known_P: Ints
    num_missing_P: Ints
    lacks_P: Mapping[str, npt.NDArray[np.bool_]]
    """Per strategy, whether it misses draws of a problem."""
    has_scorer: bool = False
    """Whether there is one, whose pool may know answers to any problem from other strategies."""

    @property
    def model(self) -> Model:
        return self.prompted.model

    @property
    def problems_to_draw(self) -> list[int]:
        """Positions of the problems of which a strategy misses draws."""
        return np.flatnonzero(np.any(list(self.lacks_P.values()), axis=0)).tolist()

    def strategies_to_draw(self, at: int) -> tuple[str, ...]:
        """Strategies that miss draws of the problem at a position."""
        return tuple(name for name, lacks_P in self.lacks_P.items() if lacks_P[at])


@dataclass(frozen=True)
class Scores:
    """A scorer and the pool of what it said."""

    kind: ScorerModel
    pool: Pool


def survey(
    prompted: Prompted,
    pool: Pool,
    strategies: Mapping[str, Strategy],
    task: Task,
    scores: Scores | None = None,
) -> Survey:
    """Compare what strategies can ask for with what the pool has."""
    replaying = _Replaying(prompted, pool, task, scores)
    index = pool.index()
    num_known_P = np.zeros(len(prompted.roots), np.int64)
    num_missing_P = np.zeros(len(prompted.roots), np.int64)
    lacks_P: dict[str, npt.NDArray[np.bool_]] = {}
    for sampling, named in _by_sampling(strategies):
        drawn = _Drawn(index, prompted.streams(sampling))
        num_fixed = max((each.num_samples for each in named.values() if each.is_exact), default=0)
        beyond_P = np.zeros(len(prompted.roots), np.int64)
        for name, bound in named.items():
            if bound.is_exact and not bound.is_scored:
                lacks_P[name] = drawn.missing(0, bound.num_samples) > 0
                continue
            open_P = drawn.missing(num_fixed, bound.num_samples)
            is_open_P = (open_P + bound.num_below > 0) | bound.is_scored
            unsure_P = is_open_P & (drawn.known(0, bound.num_samples) > 0)
            lacks_P[name] = is_open_P & ~replaying.needs_nothing(strategies[name], unsure_P)
            beyond_P = np.maximum(beyond_P, np.where(lacks_P[name], open_P, 0))
            num_missing_P += np.where(lacks_P[name], bound.num_below, 0)
        num_known_P += drawn.known(0, max(each.num_samples for each in named.values()))
        num_missing_P += drawn.missing(0, num_fixed) + beyond_P
    has_scorer = scores is not None
    return Survey(prompted, pool, num_known_P, num_missing_P, lacks_P, has_scorer)


def _by_sampling(
    strategies: Mapping[str, Strategy],
) -> Iterator[tuple[Sampling, dict[str, Bound]]]:
    """Bounds of the strategies that share draws: those of one sampling, by the strategy's name."""
    bounds = [(name, strategy.bound) for name, strategy in strategies.items()]
    bounds.sort(key=lambda each: repr(each[1].sampling))
    for sampling, named in groupby(bounds, key=lambda each: each[1].sampling):
        yield sampling, dict(named)


@dataclass(frozen=True)
class _Drawn:
    """Counts of known samples in one stream per problem."""

    index: Index
    stream_P: Ints

    def known(self, first: int, last: int) -> Ints:
        first_P, last_P = (np.full(len(self.stream_P), at) for at in (first, max(first, last)))
        return self.index.count(self.stream_P, first_P, last_P)

    def missing(self, first: int, last: int) -> Ints:
        return max(0, last - first) - self.known(first, last)


@dataclass(frozen=True)
class _Replaying:
    """Strategies run over what the pools hold."""

    prompted: Prompted
    pool: Pool
    task: Task
    scores: Scores | None

    def needs_nothing(
        self, strategy: Strategy, unsure_P: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Of the problems in `unsure_P`, those on which the strategy ends with what is known."""
        needs_nothing_P = np.zeros(len(unsure_P), bool)
        unsure = np.flatnonzero(unsure_P)
        for start in range(0, len(unsure), PROBLEMS_PER_REPLAY):
            chosen = unsure[start : start + PROBLEMS_PER_REPLAY].tolist()
            needs_nothing_P[chosen] = [
                not any(replay.missing for replay in replays)
                for replays in self._replay(strategy, chosen)
            ]
        return needs_nothing_P

    def _replay(self, strategy: Strategy, chosen: Sequence[int]) -> list[list[Replay]]:
        """What was asked for of each problem: of the model, and of the scorer if there is one."""
        model, roots = self.prompted.model, [self.prompted.roots[at] for at in chosen]
        read = cache(lambda tokens: self.task.read(model.decode(tokens)))
        encode = cache(lambda words: model.encode([words])[0])
        pools = [self.pool, *([self.scores.pool] if self.scores else [])]
        known = known_by_root([pool.rows(roots) for pool in pools])
        replays, planted = [], []
        for at, root in zip(chosen, roots, strict=True):
            mine = [Replay(pool.fingerprint, known.get(root, {})) for pool in pools]
            scoring = None
            if self.scores:
                question = self.prompted.problems[at].prompt
                scoring = Scoring(self.scores.kind, mine[1], root, question, model.decode)
            forest = Forest(
                self.prompted.prompts[at],
                mine[0],
                root,
                read,
                model.stop_token_ids,
                scoring,
                encode,
                model.decode,
            )
            replays.append(mine)
            planted.append((strategy, forest))
        grow(planted)
        return replays
