"""Curves: accuracy and cost of every model, strategy and number of samples, with intervals.

Whether a difference between two curves is worth its price is for tradeoff.py.

Axes: P problems, K numbers of samples, R rows of the bootstrap (row 0: the data as they are).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.cost import AXES, QueryCost
from scaling_exp.analysis.estimators import (
    FloatArray,
    IntArray,
    best_of_all,
    best_of_k,
    maj_at_k,
    pass_at_k,
    plurality,
    weighted_plurality,
    weighted_vote_at_k,
)
from scaling_exp.analysis.intervals import Resamples, resample_problems
from scaling_exp.analysis.tradeoff import Curve, matching_ks
from scaling_exp.types import ModelFacts

Selector = Literal[
    "single",
    "voting",
    "oracle",
    "best_of",
    "best_of_min",
    "best_of_product",
    "best_of_mean",
    "weighted_voting",
]
BEST_OF: Mapping[Selector, str] = {
    "best_of": "last",
    "best_of_min": "min",
    "best_of_product": "product",
    "best_of_mean": "mean",
}
"""Which score of an answer a selector goes by."""
ALL_LEVELS = "all"
GREEDY = "greedy"
"""How the name of a strategy begins whose single answer is the model's greedy one."""
PLAIN = "sampling"
"""What a strategy is called whose samples others are compared with, where nothing else tells them apart."""


def selectors(attempts: Attempts) -> tuple[Selector, ...]:
    """What can pick an answer from these attempts; the oracle always can."""
    if attempts.kind == "single":
        return ("single",)
    by_votes: tuple[Selector, ...] = ("voting",) if attempts.votes else ()
    by_best: tuple[Selector, ...] = tuple(
        each for each, name in BEST_OF.items() if name in attempts.scores
    )
    # Without answers all wrong samples would count as one answer, and win together.
    has_weights = attempts.votes is not None and "last" in attempts.scores
    by_weight: tuple[Selector, ...] = ("weighted_voting",) if has_weights else ()
    chosen: tuple[Selector, ...] = (*by_votes, *by_best, *by_weight)
    return chosen if attempts.kind == "adaptive" else (*chosen, "oracle")


def shown_ks(num_samples: int) -> list[int]:
    """1, 2, 4, ... and the number of samples itself."""
    return sorted({2**i for i in range(num_samples.bit_length())} | {num_samples})


def accuracy_table(attempts: Attempts, selector: Selector, ks: Sequence[int]) -> FloatArray:
    """Expected accuracy per problem and k, shape (P, K), of an exchangeable strategy.

    Raises ValueError for a selector that these attempts lack the votes or the scores for.
    """
    if selector == "oracle":
        return pass_at_k(attempts.num_correct_P, attempts.num_samples_P, ks)
    if selector == "voting" and attempts.votes:
        return maj_at_k(attempts.votes, ks).values_PK
    if selector in BEST_OF and BEST_OF[selector] in attempts.scores:
        return best_of_k(attempts.scores[BEST_OF[selector]], ks)
    if selector == "weighted_voting" and "last" in attempts.scores:
        return weighted_vote_at_k(attempts.scores["last"], ks).values_PK
    raise ValueError(f"{attempts.strategy} of {attempts.facts.name} has nothing for {selector}")


def elected(attempts: Attempts, selector: Selector) -> FloatArray:
    """Accuracy per problem, shape (P,), of what a selector makes of all samples of a strategy that decides itself how
    many there are."""
    if selector in BEST_OF:
        return best_of_all(attempts.scores[BEST_OF[selector]])
    if selector == "weighted_voting":
        return weighted_plurality(attempts.scores["last"])
    if attempts.votes:
        return plurality(attempts.votes)
    return attempts.num_correct_P.astype(np.float64)


def cost_of(attempts: Attempts, selector: Selector, axis: str) -> QueryCost:
    """What a query costs along an axis, scores included where the selector looks at them."""
    cost = attempts.costs[axis]
    needs_scores = selector in BEST_OF or selector == "weighted_voting"
    if needs_scores and axis in attempts.scoring:
        return cost + attempts.scoring[axis]
    return cost


def matching_curve(attempts: Attempts, selector: Selector, resamples: Resamples) -> Curve:
    """The finely spaced curve on which matches are looked for."""
    ks = matching_ks(attempts.max_k)
    accuracy_PK = accuracy_table(attempts, selector, ks)
    return curve_of(attempts, ks, accuracy_PK, resamples, selector)


def curve_of(
    attempts: Attempts,
    ks: Sequence[int],
    accuracy_PK: FloatArray,
    resamples: Resamples,
    selector: Selector,
) -> Curve:
    """The curve of some attempts whose accuracy per problem is known."""
    cost = cost_of(attempts, selector, "inference_flops")
    return Curve(
        facts=attempts.facts,
        ks_K=np.array(ks),
        accuracy_RK=resamples.means(accuracy_PK),
        prefill_R=resamples.means(cost.prompt_P),
        sample_R=resamples.means(cost.sample_P),
        prompt_tokens=float(attempts.prompt_tokens_P.mean()),
        output_tokens=float(attempts.output_tokens_P.mean()),
    )


@dataclass(frozen=True)
class _Group:
    """Problems that are shown together, with resamples of their own."""

    level: str
    rows_P: IntArray
    resamples: Resamples


def curve_table(attempts: Sequence[Attempts], resamples: Resamples, seed: int) -> pd.DataFrame:
    """All points, over all problems (level "all") and per level, which is resampled by itself and so never empty.

    Columns: model, strategy, selector, level, k (mean samples per problem), accuracy (with _low and _high), the mean
    cost of a query along each known axis of `cost.AXES` (inference_flops with _low and _high), pretraining_flops,
    num_parameters, num_problems. NaN where a cost is not known.
    """
    groups = _groups(attempts[0], resamples, seed)
    rows = [
        row
        for one in attempts
        for selector, accuracy_PK, samples_PK in _points(one)
        for group in groups
        for row in _rows(one, selector, group, accuracy_PK, samples_PK)
    ]
    return pd.DataFrame(rows)


def _groups(one: Attempts, resamples: Resamples, seed: int) -> list[_Group]:
    levels = one.levels
    groups = [_Group(ALL_LEVELS, np.arange(len(levels)), resamples)]
    num_resamples = len(resamples.weights_RP) - 1
    for level in sorted(set(levels)):
        rows_P = np.flatnonzero(np.array(levels) == level)
        clusters = None if one.clusters is None else [one.clusters[at] for at in rows_P]
        own = resample_problems(len(rows_P), num_resamples, resamples.confidence, seed, clusters)
        groups.append(_Group(level, rows_P, own))
    return groups


def _points(one: Attempts) -> Iterator[tuple[Selector, FloatArray, FloatArray]]:
    """What one strategy measures: (selector, accuracy, samples drawn), the last two per problem and k."""
    if one.kind == "exchangeable":
        ks = shown_ks(one.max_k)
        samples_PK = np.broadcast_to(np.array(ks, np.float64), (len(one.problems), len(ks)))
        for selector in selectors(one):
            yield selector, accuracy_table(one, selector, ks), samples_PK
        return
    samples_P1 = one.num_samples_P[:, None].astype(np.float64)
    for selector in selectors(one):
        yield selector, elected(one, selector)[:, None], samples_P1


def _rows(
    one: Attempts,
    selector: Selector,
    group: _Group,
    accuracy_PK: FloatArray,
    samples_PK: FloatArray,
) -> list[dict[str, str | float]]:
    accuracy_RK = np.clip(group.resamples.means(accuracy_PK[group.rows_P]), 0.0, 1.0)
    low, high = group.resamples.accuracy_interval(accuracy_RK)
    columns = {
        "k": samples_PK[group.rows_P].mean(axis=0),
        "accuracy": accuracy_RK[0],
        "accuracy_low": low,
        "accuracy_high": high,
        **_cost_columns(one, selector, group, samples_PK[group.rows_P]),
    }
    identity = {
        "model": one.facts.name,
        "strategy": one.strategy,
        "selector": selector,
        "level": group.level,
    }
    model = {
        "pretraining_flops": one.facts.pretraining_flops,
        "num_parameters": one.facts.architecture.num_parameters,
        "num_problems": len(group.rows_P),
    }
    return [
        identity | {name: float(values[at]) for name, values in columns.items()} | model
        for at in range(len(low))
    ]


def _cost_columns(
    one: Attempts, selector: Selector, group: _Group, samples_PK: FloatArray
) -> dict[str, FloatArray]:
    columns: dict[str, FloatArray] = {}
    for axis in AXES:
        if axis not in one.costs:
            continue
        cost = cost_of(one, selector, axis)
        prompt_P1, sample_P1 = cost.prompt_P[group.rows_P, None], cost.sample_P[group.rows_P, None]
        cost_PK = prompt_P1 + samples_PK * sample_P1
        columns[axis] = cost_PK.mean(axis=0)
        if axis == "inference_flops":
            low, high = _interval(group.resamples, group.resamples.means(cost_PK))
            columns[f"{axis}_low"], columns[f"{axis}_high"] = low, high
    return columns


def _interval(resamples: Resamples, values_RK: FloatArray) -> tuple[FloatArray, FloatArray]:
    """An interval, or NaN for both ends where the values are not known."""
    is_known_K = ~np.isnan(values_RK).any(axis=0)
    low, high = resamples.interval(np.where(is_known_K, values_RK, 0.0))
    return np.where(is_known_K, low, np.nan), np.where(is_known_K, high, np.nan)


def ladder_table(
    models: Sequence[ModelFacts],
    attempts: Sequence[Attempts],
    reference: str | None,
    curves: pd.DataFrame,
) -> pd.DataFrame:
    """One row per model, in order of pre-training compute; maj@K and pass@K at the reference
    strategy's largest K. Shares are NaN where they were not recorded."""
    rows = []
    for facts in models:
        own = [a for a in attempts if a.facts == facts]
        shown = [a for a in own if a.strategy == reference] or own
        rows.append(
            {
                "model": facts.name,
                "num_parameters": facts.architecture.num_parameters,
                "pretraining_tokens": facts.pretraining_tokens,
                "pretraining_flops": facts.pretraining_flops,
                "pretraining_loss": np.nan
                if facts.pretraining_loss is None
                else facts.pretraining_loss,
                "greedy": greedy_accuracy(facts.name, curves),
                **_reference_scores(facts.name, reference, curves),
                "truncated_share": _mean_share(shown, "truncated_share"),
                "unparsable_share": _mean_share(shown, "unparsable_share"),
            }
        )
    return pd.DataFrame(rows)


def greedy_accuracy(model: str, curves: pd.DataFrame) -> float:
    """Accuracy of a model's greedy answer over all problems; NaN where there is none."""
    is_greedy = curves["strategy"].str.startswith(GREEDY) & (curves["selector"] == "single")
    is_mine = (curves["model"] == model) & (curves["level"] == ALL_LEVELS)
    found = curves.loc[(is_greedy & is_mine).to_numpy(bool), "accuracy"].tolist()
    return found[0] if found else float("nan")


def _mean_share(shown: Sequence[Attempts], name: str) -> float:
    if not shown:
        return float("nan")
    weights = [float(a.num_samples_P.sum()) for a in shown]
    return float(np.average([getattr(a, name) for a in shown], weights=weights))


def _reference_scores(model: str, reference: str | None, curves: pd.DataFrame) -> dict[str, float]:
    if reference is None:
        return {"pass@1": np.nan}
    is_own = (curves["strategy"] == reference) & (curves["level"] == ALL_LEVELS)
    own = curves.loc[(is_own & (curves["model"] == model)).to_numpy(bool)]
    columns = (own[column].tolist() for column in ("selector", "k", "accuracy"))
    accuracy = {(selector, k): value for selector, k, value in zip(*columns, strict=True)}
    last = max((k for _, k in accuracy), default=np.nan)
    single = [accuracy[s, 1.0] for s in ("oracle", "voting") if (s, 1.0) in accuracy]
    return {
        "pass@1": single[0] if single else np.nan,
        f"maj@{last:.0f}": accuracy.get(("voting", last), np.nan),
        f"pass@{last:.0f}": accuracy.get(("oracle", last), np.nan),
    }


def reference_strategy(attempts: Sequence[Attempts]) -> str | None:
    """The exchangeable strategy that the trade is read from, of `most_shared`."""
    candidates = [a for a in attempts if a.kind == "exchangeable"]
    return most_shared([(a.strategy, a.max_k) for a in candidates])


def most_shared(measured: Sequence[tuple[str, float]]) -> str | None:
    """Of strategies with their numbers of samples, one pair a model: that of most models, then of most samples, then
    `sampling`, then by name; None of none."""
    holders = Counter(strategy for strategy, _ in measured)
    most = {strategy: max(k for each, k in measured if each == strategy) for strategy in holders}
    order = {name: (-holders[name], -most[name], name != PLAIN, name) for name in holders}
    return min(order, key=order.__getitem__, default=None)
