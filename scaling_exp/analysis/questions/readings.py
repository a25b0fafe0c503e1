"""Readings: what a model reaches, and what it costs, with k samples of one strategy, for every row of the bootstrap.

Read from counts where there are any; where only points were imported, rows are drawn from their intervals. Questions
look at readings, so they need not know which of the two they have. Nothing is read beyond the k that were measured.

Axes: R rows of the bootstrap (row 0: the data as they are), K numbers of samples, P problems, N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.cost import QueryCost
from scaling_exp.analysis.curves import Selector, accuracy_table, cost_of, most_shared, selectors
from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.points import rows_around
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.tradeoff import first_reach
from scaling_exp.types import ModelFacts

SINGLE, ORACLE = "single", "oracle"
USABLE = ("voting", "weighted_voting", "best_of")
"""Selectors that a user could run, the one that needs least first; the oracle needs the answer."""


@dataclass(frozen=True)
class Reading:
    """One model under one strategy and selector. A query at k samples costs prompt_R + k sample_R; NaN when the cost
    is not known along the axis that was asked for."""

    facts: ModelFacts
    strategy: str
    selector: str
    k_K: IntArray
    accuracy_RK: FloatArray
    prompt_R: FloatArray
    sample_R: FloatArray

    @property
    def one_R(self) -> FloatArray:
        """Accuracy with the fewest samples measured: one, but for strategies that always draw more."""
        return self.accuracy_RK[:, 0]

    @property
    def best_R(self) -> FloatArray:
        """Accuracy with the most samples measured."""
        return self.accuracy_RK[:, -1]

    def cost_R(self, k_R: FloatArray) -> FloatArray:
        """Of a query at k samples."""
        return self.prompt_R + k_R * self.sample_R

    def reach_R(self, target_R: FloatArray) -> FloatArray:
        """Smallest k at which a target is reached, linear in log k between the ks measured; NaN where none does."""
        return first_reach(self.accuracy_RK, self.k_K, target_R[:, None])[:, 0]

    def at_R(self, k_R: FloatArray) -> FloatArray:
        """Accuracy at k, linear in log k; that at the last k beyond it."""
        log_k_K = np.log(self.k_K)
        rows = zip(np.log(np.maximum(k_R, self.k_K[0])), self.accuracy_RK, strict=True)
        return np.array([np.interp(log_k, log_k_K, accuracy_K) for log_k, accuracy_K in rows])


def usable_selector(study: Study) -> str | None:
    """The selector that a user could run and that was measured; None where only the oracle or one sample was."""
    known = set(study.curves["selector"])
    return next((selector for selector in USABLE if selector in known), None)


def readings(study: Study, selector: str, axis: str) -> list[Reading]:
    """One reading a model that has any, in the study's order, all of the strategy that most models have; `axis` is a
    cost of `cost.AXES`."""
    found = _from_attempts(study, selector, axis) or _from_points(study, selector, axis)
    strategy = most_shared([(each.strategy, float(each.k_K[-1])) for each in found])
    by_model = {each.facts.name: each for each in found if each.strategy == strategy}
    return [by_model[facts.name] for facts in study.models if facts.name in by_model]


def single_attempts(study: Study) -> dict[str, FloatArray]:
    """Accuracy of one sample by model, (R,) each: from the strategy that most models have, whatever it was drawn for;
    of a single attempt, such as greedy decoding, where nothing else was drawn."""
    for selector in (*USABLE, ORACLE, SINGLE):
        found = [each for each in readings(study, selector, "inference_flops") if each.k_K[0] == 1]
        if found:
            return {each.facts.name: each.one_R for each in found}
    return {}


def _from_attempts(study: Study, selector: str, axis: str) -> list[Reading]:
    return [
        _reading_of_attempts(study, one, offered, axis)
        for one in study.attempts
        for offered in selectors(one)
        if offered == selector and one.kind == "exchangeable"
    ]


def _reading_of_attempts(study: Study, one: Attempts, selector: Selector, axis: str) -> Reading:
    ks, means = _ks(one.max_k), study.resamples.means
    unknown_P = np.full(len(one.problems), np.nan)
    cost = cost_of(one, selector, axis) if axis in one.costs else QueryCost(unknown_P, unknown_P)
    return Reading(
        facts=one.facts,
        strategy=one.strategy,
        selector=selector,
        k_K=np.array(ks),
        accuracy_RK=means(accuracy_table(one, selector, ks)),
        prompt_R=means(cost.prompt_P),
        sample_R=means(cost.sample_P),
    )


def _ks(num_samples: int) -> list[int]:
    """Four an octave, all powers of two and the last: fine enough to interpolate in log k."""
    quarters = np.rint(2.0 ** (np.arange(4 * num_samples.bit_length()) / 4)).astype(int)
    return sorted({int(k) for k in quarters if k <= num_samples} | {num_samples})


def _from_points(study: Study, selector: str, axis: str) -> list[Reading]:
    frame = study.curves.loc[(study.curves["level"] == "all").to_numpy(bool)]
    facts = {each.name: each for each in study.models}
    is_picked = frame["selector"].isin([selector, SINGLE]).to_numpy(bool)
    is_own = is_picked & frame["model"].isin(list(facts)).to_numpy(
        bool
    )  # others are of unknown compute
    found = []
    for model, group in frame.loc[is_own].groupby("model", sort=False):
        for strategy in group.loc[group["selector"] == selector, "strategy"].unique():
            own = _one_per_k(group, str(strategy), selector)
            found.append(_reading_of_points(study, facts[str(model)], own, selector, axis))
    return found


def _one_per_k(group: pd.DataFrame, strategy: str, selector: str) -> pd.DataFrame:
    """The strategy's points, and a single attempt where it has none with k = 1."""
    is_own = (group["strategy"] == strategy) & (group["selector"] == selector)
    own = group.loc[is_own.to_numpy(bool)]
    if float(own["k"].to_numpy(np.float64).min()) > 1:
        single = group.loc[((group["selector"] == SINGLE) & (group["k"] == 1)).to_numpy(bool)]
        own = pd.concat([single.head(1).assign(strategy=strategy), own])
    return own.sort_values(by="k").drop_duplicates("k")


def _reading_of_points(
    study: Study, facts: ModelFacts, own: pd.DataFrame, selector: str, axis: str
) -> Reading:
    k_K = np.rint(own["k"].to_numpy(np.float64)).astype(np.int64)
    cost_K = own[axis].to_numpy(np.float64) if axis in own else np.full(len(k_K), np.nan)
    sample = cost_K[0] / k_K[0] if len(k_K) == 1 else np.ptp(cost_K) / np.ptp(k_K)
    num_rows = study.resamples.num_rows
    return Reading(
        facts=facts,
        strategy=str(own["strategy"].iloc[-1]),
        selector=selector,
        k_K=k_K,
        accuracy_RK=rows_around(own, study.resamples, study.seed_of(facts)),
        prompt_R=np.full(num_rows, cost_K[0] - k_K[0] * sample),
        sample_R=np.full(num_rows, sample),
    )
