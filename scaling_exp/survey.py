"""What a pool holds and lacks of what strategies want, for every problem of one model.

Strategies that always ask for the same draws are counted, not run: ten million draws take seconds. A strategy that
adapts is replayed over what is known, and only on problems where counting cannot tell. Draws nothing, loads no engine.

Axes: P problems, in the order of their roots, as parts are sorted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from scaling_exp.generation import Bound, Forest, Strategy, Stream, at_once
from scaling_exp.models import Model
from scaling_exp.planting import Ground, without_collector
from scaling_exp.scorers import ScorerModel
from scaling_exp.store import Index, NotDrawn, Pool, Replay, known_by_root, stream_of
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
        for name, strategy in strategies.items():
            _check_words(model, name, strategy)
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


def _check_words(model: Model, name: str, strategy: Strategy) -> None:
    """What a strategy puts into a model's mouth, and the tokens that it waits for, are the model's own."""
    for words in getattr(strategy, "forced", ()):
        try:
            model.encode([words])
        except UserError:
            raise UserError(
                f"strategies.{name} makes model {model.name} say {words!r}, of which it does not know every word;"
                " choose words of its own"
            ) from None
    last = max(strategy.bound.sampling.stop_token_ids, default=-1)
    if last < 0 or model.facts.hosted_as:  # whose engine refuses to stop at tokens at all
        return
    if last >= (size := model.tokenizer.get_vocab_size()):
        raise UserError(
            f"strategies.{name} stops at token {last}, but model {model.name} has {size}; name one of its own"
        )


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


def check_scorer(
    scorer: ScorerModel,
    problems: Sequence[Problem],
    models: Sequence[Model],
    strategies: Mapping[str, Strategy],
) -> None:
    """Raise UserError when the scorer's model cannot read a question with the longest answer to it.

    How long an answer is in other words than its model's is not known before it is drawn: of such a model it counts for
    nothing here, and the draw of a score tells.
    """
    scored = {name: each for name, each in strategies.items() if each.bound.is_scored}
    if scorer.model is None or not scored:
        return
    limit, beside = scorer.model.max_tokens, max(scorer.num_beside(problems), default=0)
    for model in models:
        has_its_words = model.vocabulary == scorer.model.vocabulary
        for name, strategy in scored.items():
            answer = strategy.max_new_tokens if has_its_words else 0
            if beside + answer + 1 > limit:
                raise UserError(
                    f"strategies.{name}: scorer.path {scorer.model.path} takes {limit} tokens, and a question is up to"
                    f" {beside} with scorer.template, an answer of {model.name} up to {strategy.max_new_tokens}: lower"
                    " max_tokens, or choose another scorer"
                )


@dataclass(frozen=True)
class Survey:
    """What one model's pool holds of what strategies can ask for, and what it lacks, an upper bound, per problem."""

    prompted: Prompted
    pool: Pool
    num_known_P: Ints
    num_missing_P: Ints
    num_tokens_P: Ints
    """Of the draws that are missing (see `Bound.num_tokens`)."""
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
    index = pool.index()
    wanted = [_Wanted.of(prompted, index, each) for each in _by_sampling(strategies)]
    unsure = {name: unsure_P for each in wanted for name, unsure_P in each.unsure.items()}
    with without_collector():
        ended = _ended_with_known(prompted, pool, strategies, task, scores, unsure)
    num_known_P = np.zeros(len(prompted.roots), np.int64)
    num_missing_P = np.zeros(len(prompted.roots), np.int64)
    num_tokens_P = np.zeros(len(prompted.roots), np.int64)
    lacks_P: dict[str, npt.NDArray[np.bool_]] = {}
    for each in wanted:
        lacks_P |= each.lacks(ended)
        num_known_P += each.num_known_P
        num_missing_P += each.num_missing(lacks_P)
        num_tokens_P += each.num_tokens(lacks_P)
    has_scorer = scores is not None
    return Survey(prompted, pool, num_known_P, num_missing_P, num_tokens_P, lacks_P, has_scorer)


@dataclass(frozen=True)
class _Wanted:
    """What strategies of one sampling can ask for, by their names, and what is drawn of it."""

    bounds: Mapping[str, Bound]
    drawn: _Drawn

    @classmethod
    def of(
        cls, prompted: Prompted, index: Index, asked: tuple[Sampling, Mapping[str, Bound]]
    ) -> _Wanted:
        sampling, bounds = asked
        return cls(bounds, _Drawn(index, prompted.streams(sampling)))

    @property
    def num_fixed(self) -> int:
        """Samples that are asked for whatever they hold."""
        return max((each.num_samples for each in self.bounds.values() if each.is_exact), default=0)

    @property
    def num_known_P(self) -> Ints:
        return self.drawn.known(0, max(each.num_samples for each in self.bounds.values()))

    def num_open(self, bound: Bound) -> Ints:
        """Samples beyond the fixed ones that are not drawn, (P,)."""
        return self.drawn.missing(self.num_fixed, bound.num_samples)

    def is_open(self, bound: Bound) -> npt.NDArray[np.bool_]:
        """Whether counting does not show that a strategy has all it can ask for, (P,)."""
        if bound.is_exact and not bound.is_scored:
            return self.drawn.missing(0, bound.num_samples) > 0
        return (self.num_open(bound) + bound.num_below > 0) | bound.is_scored

    @cached_property
    def unsure(self) -> dict[str, npt.NDArray[np.bool_]]:
        """By strategy that may end before it asked for all, problems of which something is drawn: only a replay can
        tell."""
        return {
            name: self.is_open(bound) & (self.drawn.known(0, bound.num_samples) > 0)
            for name, bound in self.bounds.items()
            if bound.is_scored or not bound.is_exact
        }

    def lacks(self, ended: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, npt.NDArray[np.bool_]]:
        """By strategy, whether it misses draws of a problem; `ended` are those of which a replay ended with what is
        known."""
        return {
            name: self.is_open(bound) & ~ended[name] if name in ended else self.is_open(bound)
            for name, bound in self.bounds.items()
        }

    def num_missing(self, lacks: Mapping[str, npt.NDArray[np.bool_]]) -> Ints:
        """Most draws that are missing, (P,): samples are shared, what is below them is not."""
        fixed_P = self.drawn.missing(0, self.num_fixed)
        adaptive = {name: each for name, each in self.bounds.items() if name in self.unsure}
        beyond = [np.where(lacks[name], self.num_open(each), 0) for name, each in adaptive.items()]
        below = [np.where(lacks[name], each.num_below, 0) for name, each in adaptive.items()]
        nothing_P = np.zeros_like(fixed_P)
        return fixed_P + np.max([nothing_P, *beyond], axis=0) + np.sum([nothing_P, *below], axis=0)

    def num_tokens(self, lacks: Mapping[str, npt.NDArray[np.bool_]]) -> Ints:
        """Most tokens of them, (P,): of what goes below samples the forests whole, as if they shared none."""
        fixed_P = self.drawn.missing(0, self.num_fixed)
        flat = [name for name, each in self.bounds.items() if not each.num_below]
        deep = [name for name, each in self.bounds.items() if each.num_below]
        beyond = [np.where(lacks[name], self.num_open(self.bounds[name]), 0) for name in flat]
        samples_P = fixed_P + np.max([np.zeros_like(fixed_P), *beyond], axis=0)
        tokens_P = samples_P * max(
            (self.bounds[name].sampling.max_tokens for name in flat), default=0
        )
        forests = [np.where(lacks[name], self.bounds[name].most_tokens, 0) for name in deep]
        return tokens_P + np.sum([np.zeros_like(fixed_P), *forests], axis=0)


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


def _ended_with_known(
    prompted: Prompted,
    pool: Pool,
    strategies: Mapping[str, Strategy],
    task: Task,
    scores: Scores | None,
    unsure: Mapping[str, npt.NDArray[np.bool_]],
) -> dict[str, npt.NDArray[np.bool_]]:
    """By strategy, of its problems in `unsure`, those on which it ends with what is known. What is known of a problem
    is read once for all strategies."""
    ended = {name: np.zeros(len(prompted.roots), bool) for name in unsure}
    every = list(unsure.values()) or [np.zeros(len(prompted.roots), bool)]
    any_unsure = np.flatnonzero(np.any(every, axis=0))
    pools = [pool, *([scores.pool] if scores else [])]
    for start in range(0, len(any_unsure), PROBLEMS_PER_REPLAY):
        chosen = any_unsure[start : start + PROBLEMS_PER_REPLAY].tolist()
        roots = [prompted.roots[at] for at in chosen]
        known = known_by_root([each.rows(roots) for each in pools])
        ground = Ground.of(prompted.model, task, scores and scores.kind).remembering()
        for at, root in zip(chosen, roots, strict=True):
            source, *said = (Replay(pool.fingerprint, known.get(root, {})) for pool in pools)
            scorer = ground.scorer_of(root, prompted.problems[at], said[0] if said else None)
            for name in [name for name, unsure_P in unsure.items() if unsure_P[at]]:
                forest = ground.forest(prompted.prompts[at], root, source, scorer)
                ended[name][at] = _ends(strategies[name], forest)
    return ended


def _ends(strategy: Strategy, forest: Forest) -> bool:
    """Whether a strategy comes to its end with what is known."""
    try:
        at_once(strategy(forest))
    except NotDrawn:
        return False
    return True
