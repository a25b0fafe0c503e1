"""Ways to spend compute on a query: every strategy, selector and number of samples of a model, problem by problem.

Axes: P problems, S samples, A answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import (
    Selector,
    accuracy_table,
    cost_of,
    elected,
    selectors,
    shown_ks,
)
from scaling_exp.analysis.estimators import FloatArray, IntArray, Scores, Votes

ORACLE = "oracle"


@dataclass(frozen=True)
class Way:
    """What a model reaches and spends on each problem; `k` is the mean number of answers that the selector had."""

    model: str
    strategy: str
    selector: Selector
    k: float
    accuracy_P: FloatArray
    flops_P: FloatArray
    tokens_P: FloatArray

    @property
    def flops(self) -> float:
        """Of a query, on average."""
        return float(self.flops_P.mean())

    @property
    def name(self) -> str:
        return f"{self.strategy} by {self.selector.replace('_', ' ')}, {self.k:.3g}"


def ways(one: Attempts) -> Iterator[Way]:
    """All that a user could choose: an oracle knows the answer, so it is none. Nothing where FLOPs are not known."""
    if np.isnan(cost_of(one, "voting", "inference_flops").sample_P).any():
        return
    for selector in selectors(one):
        if selector == ORACLE:
            continue
        if one.kind == "exchangeable":
            ks = shown_ks(one.max_k)
            accuracy_PK = accuracy_table(one, selector, ks)
            for k, accuracy_P in zip(ks, accuracy_PK.T, strict=True):
                yield _way(one, selector, np.full(len(one.problems), k), accuracy_P)
        else:
            yield _way(one, selector, one.num_samples_P, elected(one, selector))


def _way(one: Attempts, selector: Selector, k_P: IntArray, accuracy_P: FloatArray) -> Way:
    flops, tokens = (cost_of(one, selector, axis) for axis in ("inference_flops", "output_tokens"))
    return Way(
        model=one.facts.name,
        strategy=one.strategy,
        selector=selector,
        k=float(k_P.mean()),
        accuracy_P=accuracy_P,
        flops_P=flops.prompt_P + k_P * flops.sample_P,
        tokens_P=tokens.prompt_P + k_P * tokens.sample_P,
    )


def all_halves(
    many: Sequence[Attempts], rng: np.random.Generator
) -> dict[str, tuple[FloatArray, Attempts]]:
    """`halves` of a model's strategies by their names; those that made the same draws keep the same half of them."""
    found: dict[str, tuple[FloatArray, Attempts]] = {}
    done: list[Attempts] = []
    for one in sorted(many, key=lambda each: not each.scores):  # of scored ones samples are known
        twin = next((each for each in done if _are_same_draws(one, each)), None)
        if twin is None:
            found[one.strategy] = halves(one, rng)
        else:
            rate_P, kept = found[twin.strategy]
            assert kept.votes
            mine = _with_votes(one, kept.votes)
            scores = kept.scores if one.scores else {}
            found[one.strategy] = rate_P, replace(mine, scores=scores)
        done.append(one)
    return found


def _are_same_draws(one: Attempts, other: Attempts) -> bool:
    """Whether two strategies gave the same answers to all problems, as those that draw the same samples do."""
    if one.votes is None or other.votes is None or list(one.answers) != list(other.answers):
        return False
    columns = zip(vars(one.votes).values(), vars(other.votes).values(), strict=True)
    return all(np.array_equal(mine, others) for mine, others in columns)


def halves(one: Attempts, rng: np.random.Generator) -> tuple[FloatArray, Attempts]:
    """Samples split at random, problem by problem: the pass rate in one half, (P,), and attempts of the other half."""
    num_kept_P = one.num_samples_P - one.num_samples_P // 2
    if one.scores:
        kept = _half_of_samples(one, num_kept_P, rng)
    elif one.votes:
        kept = _with_votes(one, one.votes.some(num_kept_P, rng))
    else:
        wrong_P = one.num_samples_P - one.num_correct_P
        right_P = rng.hypergeometric(one.num_correct_P, wrong_P, num_kept_P)
        kept = replace(one, num_samples_P=num_kept_P, num_correct_P=right_P)
    num_other_P = one.num_samples_P - kept.num_samples_P
    return (one.num_correct_P - kept.num_correct_P) / np.maximum(num_other_P, 1), kept


def _with_votes(one: Attempts, votes: Votes) -> Attempts:
    counts = {"num_samples_P": votes.num_samples_P, "num_correct_P": votes.num_correct_P}
    return replace(one, votes=votes, **counts)


def _half_of_samples(one: Attempts, num_kept_P: IntArray, rng: np.random.Generator) -> Attempts:
    """The same samples for votes and for all kinds of scores."""
    any_scores = next(iter(one.scores.values()))
    problem_S = any_scores.problem_S
    shuffled = np.lexsort((rng.random(len(problem_S)), problem_S))
    starts_P = np.cumsum(one.num_samples_P) - one.num_samples_P
    rank_S = np.arange(len(problem_S)) - starts_P[problem_S]
    kept = np.sort(shuffled[rank_S < num_kept_P[problem_S]])
    scores = {
        name: Scores(*(values[kept] for values in vars(each).values()))
        for name, each in one.scores.items()
    }
    mine = next(iter(scores.values()))
    votes = Votes.of(len(one.problems), mine.problem_S, mine.answer_S, mine.is_right_S)
    halved = replace(_with_votes(one, votes), scores=scores)
    return halved if one.votes else replace(halved, votes=None)
