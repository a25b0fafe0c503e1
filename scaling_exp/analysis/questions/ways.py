"""Ways to spend compute on a query: every strategy, selector and number of samples of a model, problem by problem.

Axes: P problems, S samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import (
    Selector,
    accuracy_table,
    cost_of,
    elected,
    reference_strategy,
    selectors,
    shown_ks,
)
from scaling_exp.analysis.estimators import FloatArray, IntArray, Scores, Votes
from scaling_exp.analysis.questions.asking import CannotTell
from scaling_exp.analysis.study import Study

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
        """`sampling by voting at k = 16`, `greedy`."""
        name = choice_name(self.strategy, self.selector)
        return name if self.selector == "single" else f"{name} at k = {self.k:.3g}"


def choice_name(strategy: str, selector: str) -> str:
    """A strategy and what chooses among its answers; a single answer is chosen by nothing."""
    return strategy if selector == "single" else f"{strategy} by {selector.replace('_', ' ')}"


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


def plain_samples(attempts: Iterable[Attempts], strategy: str | None) -> dict[str, Attempts]:
    """By model, the attempts under the strategy that others are set against: the one that is named, else the one that
    the trade is read from.

    Raises CannotTell where nobody drew several samples under the one that is named.
    """
    several = [one for one in attempts if one.kind == "exchangeable" and len(one.answer_S)]
    chosen = strategy or reference_strategy(several)
    found = {one.facts.name: one for one in several if one.strategy == chosen}
    if strategy and not found:
        known = ", ".join(dict.fromkeys(one.strategy for one in several)) or "none"
        raise CannotTell(
            f"no model has several samples under strategy {strategy}; name in `plain` one that has: {known}"
        )
    return found


def models_of(study: Study) -> list[str]:
    """Names of the models that drew, those of unknown pre-training compute among them."""
    return list(dict.fromkeys(one.facts.name for one in study.attempts))


def first_samples(one: Attempts, num_kept: int) -> Attempts:
    """Of every problem the samples numbered below `num_kept`."""
    problem_S = np.repeat(np.arange(len(one.problems)), one.num_samples_P)
    starts_P = np.cumsum(one.num_samples_P) - one.num_samples_P
    kept = np.flatnonzero(np.arange(len(problem_S)) - starts_P[problem_S] < num_kept)
    mine = (problem_S[kept], one.answer_S[kept], one.is_right_S[kept])
    num_samples_P, num_correct_P = (
        np.bincount(each, minlength=len(one.problems)) for each in (mine[0], mine[0][mine[2]])
    )
    return replace(
        one,
        num_samples_P=num_samples_P,
        num_correct_P=num_correct_P,
        votes=Votes.of(len(one.problems), *mine) if one.votes else None,
        answer_S=mine[1],
        is_right_S=mine[2],
        scores={name: Scores(*mine, each.score_S[kept]) for name, each in one.scores.items()},
    )
