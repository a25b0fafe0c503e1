"""Tradeoff: how much inference compute replaces how much pre-training compute, at equal accuracy.

Three views of the same curves: pairs of models (how many samples of the smaller match one of the
larger), one exchange rate for the whole ladder, and the frontier of total compute over a lifetime
of queries. "Smaller" and "larger" always mean by pre-training FLOPs. Nothing is extrapolated beyond
the numbers of samples that were drawn.

It takes a ladder as it is: whether its models were trained well for their compute is not known
here.

Axes: R rows of the bootstrap (row 0: the data as they are), K numbers of samples, L accuracy
levels, M models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_exp.analysis.cost import lifetime_flops
from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.intervals import Estimate, Resamples, share_defined
from scaling_exp.types import ModelFacts

ACCURACY_LEVELS = np.arange(1, 100) / 100
ACCURACY_TOLERANCE = 1e-9
"""maj@2 = maj@1 exactly, but not to the last bit: a gain below this is none."""
UNKNOWN = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Curve:
    """Accuracy of one model under one selector against the number of samples, for every row of the
    bootstrap.

    A query at k samples costs prefill_R + k sample_R FLOPs; NaN where that is not known. Tokens are means.
    """

    facts: ModelFacts
    ks_K: IntArray
    accuracy_RK: FloatArray
    prefill_R: FloatArray
    sample_R: FloatArray
    prompt_tokens: float
    output_tokens: float

    def query_flops(self, k_R: FloatArray) -> FloatArray:
        return self.prefill_R + k_R * self.sample_R

    def accuracy_at(self, k: float) -> FloatArray:
        """Accuracy at any k between the first and the last, shape (R,), linear in log k between the measured ones."""
        at = np.interp(np.log(k), np.log(self.ks_K), np.arange(len(self.ks_K)))
        left = min(int(at), len(self.ks_K) - 2) if len(self.ks_K) > 1 else 0
        right = min(left + 1, len(self.ks_K) - 1)
        share = at - left
        return (1 - share) * self.accuracy_RK[:, left] + share * self.accuracy_RK[:, right]


@dataclass(frozen=True)
class Match:
    """What the smaller model must spend to be as accurate as one sample of the larger.

    `k_match` is NaN, with the bounds that the resamples give, when the smaller model's curve does
    not reach the target; resamples that do not reach it count as k = inf, an infinite inference
    ratio, and a crossover of 0. Without token counts the ratio and the crossover are NaN, bounds included.
    """

    smaller: ModelFacts
    larger: ModelFacts
    accuracy_target: Estimate
    k_match: Estimate
    share_reached: float
    inference_ratio: Estimate
    pretraining_ratio: float
    crossover_queries: Estimate
    crossover_R: FloatArray

    @property
    def is_reached(self) -> bool:
        return not np.isnan(self.k_match.value)


@dataclass(frozen=True)
class ExchangeRate:
    """Factor of pre-training compute that ten times the inference compute per query replaces at
    equal accuracy.

    Infinite where models with less pre-training need no more inference compute either. `slope` is
    d log C_pretrain / d log C_inference along lines of equal accuracy (negative; -inf for an
    infinite factor).
    A factor beyond `pretraining_span`, the ratio of most to least pre-training among the models
    that meet, was not seen but follows from the slope.
    """

    factor: Estimate
    slope: Estimate
    share_defined: float
    pretraining_span: float
    num_levels: int
    num_models: int


def matching_ks(num_samples: int) -> list[int]:
    """The ks on which matches are looked for: every integer up to 32, then 16 an octave, and all
    powers of two."""
    octaves = np.arange(0, 16 * np.log2(max(num_samples, 1)) + 1) / 16
    ks = {*range(1, 33), *np.rint(2.0**octaves).astype(int).tolist(), num_samples}
    return sorted(k for k in ks if k <= num_samples)


def first_reach(accuracy_RK: FloatArray, ks_K: IntArray, target_RL: FloatArray) -> FloatArray:
    """Smallest k, shape (R, L), at which a curve reaches a target; NaN where it does not within the
    measured ks.

    Between two measured ks the accuracy is taken to be linear in log k. 1 where k = 1 is enough
    already.
    """
    best_so_far_RK = np.maximum.accumulate(accuracy_RK, axis=1)
    is_short_RLK = best_so_far_RK[:, None, :] < target_RL[:, :, None] - ACCURACY_TOLERANCE
    reach_RL = is_short_RLK.sum(axis=2)
    right_RL = np.minimum(reach_RL, len(ks_K) - 1)
    left_RL = np.maximum(right_RL - 1, 0)
    left_accuracy_RL = np.take_along_axis(accuracy_RK, left_RL, axis=1)
    rise_RL = np.take_along_axis(accuracy_RK, right_RL, axis=1) - left_accuracy_RL
    with np.errstate(divide="ignore", invalid="ignore"):
        share_RL = np.clip((target_RL - left_accuracy_RL) / rise_RL, 0.0, 1.0)
    log_k_K = np.log(ks_K)
    log_k_RL = log_k_K[left_RL] + share_RL * (log_k_K[right_RL] - log_k_K[left_RL])
    k_RL = np.where(reach_RL == 0, float(ks_K[0]), np.exp(log_k_RL))
    return np.where(reach_RL == len(ks_K), np.nan, k_RL)


def matches(curves: Sequence[Curve], resamples: Resamples) -> list[Match]:
    """All pairs of models of one selector that differ in pre-training compute, smaller first."""
    return [match(smaller, larger, resamples) for smaller, larger in _pairs(curves)]


def _pairs(curves: Sequence[Curve]) -> Iterator[tuple[Curve, Curve]]:
    """Smaller and larger, of models that differ in pre-training compute."""
    ordered = sorted(curves, key=lambda curve: curve.facts.pretraining_flops)
    for smaller, larger in combinations(ordered, 2):
        if smaller.facts.pretraining_flops < larger.facts.pretraining_flops:
            yield smaller, larger


def match(smaller: Curve, larger: Curve, resamples: Resamples) -> Match:
    """Match one pair at the accuracy of one sample of the larger."""
    return match_target(smaller, larger, larger.accuracy_RK[:, 0], resamples)


def match_target(
    smaller: Curve, larger: Curve, target_R: FloatArray, resamples: Resamples
) -> Match:
    """Match one pair at an accuracy that one answer of the larger model has. Crossover:
    Q* = 6(N_b D_b - N_s D_s) / (c_s(k_match) - c_b(1)), inf for a denominator <= 0."""
    k_R = first_reach(smaller.accuracy_RK, smaller.ks_K, target_R[:, None])[:, 0]
    single_R = larger.query_flops(np.ones_like(k_R))
    matched_R = smaller.query_flops(k_R)
    saved = larger.facts.pretraining_flops - smaller.facts.pretraining_flops
    crossover_R = crossover_queries(saved, matched_R - single_R)
    is_priced = not np.isnan(single_R + smaller.sample_R).any()
    ratio = resamples.estimate(matched_R / single_R, undefined=np.inf)
    crossover = resamples.estimate(crossover_R, undefined=0.0)
    return Match(
        smaller=smaller.facts,
        larger=larger.facts,
        accuracy_target=resamples.estimate(target_R, undefined=0.0),
        k_match=resamples.estimate(k_R, undefined=np.inf),
        share_reached=share_defined(k_R),
        inference_ratio=ratio if is_priced else UNKNOWN,
        pretraining_ratio=larger.facts.pretraining_flops / smaller.facts.pretraining_flops,
        crossover_queries=crossover if is_priced else UNKNOWN,
        crossover_R=np.nan_to_num(crossover_R, nan=0.0, posinf=np.inf),
    )


def crossover_queries(pretraining_saved: float, extra_per_query_R: FloatArray) -> FloatArray:
    """Queries up to which paying `extra_per_query_R` is cheaper than the pre-training saved: none
    where nothing is saved, any number where nothing extra is paid; NaN for NaN."""
    if pretraining_saved <= 0:
        return np.where(
            extra_per_query_R < 0, np.inf, np.where(np.isnan(extra_per_query_R), np.nan, 0.0)
        )
    with np.errstate(divide="ignore"):
        return pretraining_saved / np.maximum(extra_per_query_R, 0.0)


def exchange_rate(curves: Sequence[Curve], resamples: Resamples) -> ExchangeRate | None:
    """Iso-accuracy exchange rate of a ladder, or None when no two models meet at a level of
    accuracy.

    Each model is read at every whole per cent that its curve passes between k = 1 and the last k.
    With log inference compute y and log pre-training compute x, the slope of y on x is pooled over
    levels with one fixed effect per level; x is known exactly, y is measured, so y is what is
    regressed. The rate is its inverse. None as well where a model's inference compute is not known.
    """
    if len(curves) < 2 or any(np.isnan(curve.sample_R).any() for curve in curves):
        return None
    log_inference_RLM = np.stack([_log_flops_at_levels(curve) for curve in curves], axis=2)
    log_pretraining_M = np.log([curve.facts.pretraining_flops for curve in curves])
    slope_R = within_level_slope(log_pretraining_M, log_inference_RLM)
    if np.isnan(slope_R[0]):
        return None
    met_LM = ~np.isnan(log_inference_RLM[0])
    shared_L = met_LM.sum(axis=1) >= 2
    meets_M = met_LM[shared_L].any(axis=0)
    return ExchangeRate(
        factor=_between(_factor_per_tenfold(slope_R), resamples, lowest=1.0, highest=np.inf),
        slope=_between(_inverse(slope_R), resamples, lowest=-np.inf, highest=0.0),
        share_defined=share_defined(slope_R),
        num_levels=int(shared_L.sum()),
        num_models=int(meets_M.sum()),
        pretraining_span=float(np.exp(np.ptp(log_pretraining_M[meets_M]))),
    )


def _log_flops_at_levels(curve: Curve) -> FloatArray:
    """log FLOPs per query, shape (R, L), at which a curve passes each level; NaN where it starts
    above or ends below."""
    num_rows = len(curve.accuracy_RK)
    levels_RL = np.broadcast_to(ACCURACY_LEVELS, (num_rows, len(ACCURACY_LEVELS)))
    k_RL = first_reach(curve.accuracy_RK, curve.ks_K, levels_RL)
    flops_RL = curve.prefill_R[:, None] + k_RL * curve.sample_R[:, None]
    starts_above_RL = curve.accuracy_RK[:, :1] > levels_RL + ACCURACY_TOLERANCE
    return np.log(np.where(starts_above_RL, np.nan, flops_RL))


def within_level_slope(x_M: FloatArray, y_RLM: FloatArray) -> FloatArray:
    """Least-squares slope of y on x with one fixed effect per level, shape (R,); NaN where no level
    has two x."""
    is_met_RLM = ~np.isnan(y_RLM)
    num_RL1 = np.maximum(is_met_RLM.sum(axis=2, keepdims=True), 1)
    y_RLM = np.where(is_met_RLM, y_RLM, 0.0)
    x_RLM = np.where(is_met_RLM, x_M, 0.0)
    x_centred = np.where(is_met_RLM, x_RLM - x_RLM.sum(axis=2, keepdims=True) / num_RL1, 0.0)
    y_centred = np.where(is_met_RLM, y_RLM - y_RLM.sum(axis=2, keepdims=True) / num_RL1, 0.0)
    spread_R = (x_centred**2).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            spread_R > 1e-12, (x_centred * y_centred).sum(axis=(1, 2)) / spread_R, np.nan
        )


def _inverse(slope_R: FloatArray) -> FloatArray:
    """d log C_pretrain / d log C_inference; -inf where less pre-training costs no more inference
    (slope >= 0)."""
    with np.errstate(divide="ignore"):
        return np.where(slope_R >= 0, -np.inf, 1.0 / np.where(slope_R == 0, -1.0, slope_R))


def _factor_per_tenfold(slope_R: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.power(10.0, -_inverse(slope_R))


def _between(values_R: FloatArray, resamples: Resamples, lowest: float, highest: float) -> Estimate:
    """An undefined resample may be anything: it counts as the lowest for the lower bound, the
    highest for the upper."""
    low = resamples.estimate(values_R, undefined=lowest).low
    return Estimate(float(values_R[0]), low, resamples.estimate(values_R, undefined=highest).high)


def exchange_table(matches_by_selector: dict[str, list[Match]]) -> pd.DataFrame:
    """One row per selector and pair; each derived quantity q comes with q_low and q_high."""
    rows = [
        {"selector": selector} | _match_row(pair)
        for selector, pairs in matches_by_selector.items()
        for pair in pairs
    ]
    return pd.DataFrame(rows, columns=pd.Index(["selector", *_match_columns()]))


def _match_columns() -> list[str]:
    columns: list[str] = []
    for field in fields(Match):
        if field.name == "crossover_R":
            continue
        columns.append(field.name)
        if field.type == "Estimate":
            columns += [f"{field.name}_low", f"{field.name}_high"]
    return columns


def _match_row(pair: Match) -> dict[str, str | float]:
    row: dict[str, str | float] = {"smaller": pair.smaller.name, "larger": pair.larger.name}
    row |= {"share_reached": pair.share_reached, "pretraining_ratio": pair.pretraining_ratio}
    for name in ("accuracy_target", "k_match", "inference_ratio", "crossover_queries"):
        estimate: Estimate = getattr(pair, name)
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row


def lifetimes(curves: pd.DataFrame, queries: Sequence[float]) -> pd.DataFrame:
    """Total compute of every measured point over a lifetime of queries, and which points nothing
    beats there.

    A point is on the frontier of its family when no other has at least its accuracy for at most its
    total compute; one whose compute is not known is on none. The families are what a user could run
    (`single` and `voting` points) and, apart, the oracle.
    """
    points = curves.loc[(curves["level"] == "all").to_numpy(bool)]
    kept = ["model", "strategy", "selector", "k", "accuracy", "accuracy_low", "accuracy_high"]
    is_oracle = (points["selector"] == "oracle").to_numpy(bool)
    accuracy = points["accuracy"].to_numpy(np.float64)
    pretraining = points["pretraining_flops"].to_numpy(np.float64)
    per_query = points["inference_flops"].to_numpy(np.float64)
    parts = []
    for num_queries in queries:
        total = lifetime_flops(pretraining, per_query, num_queries)
        part = points.loc[:, kept].assign(total_flops=total)
        on_frontier = np.zeros(len(points), bool)
        for family in (is_oracle, ~is_oracle):
            on_frontier[family] = is_undominated(total[family], accuracy[family])
        part["on_frontier"] = on_frontier & ~np.isnan(total)
        part.insert(0, "num_queries", float(num_queries))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def is_undominated(cost_N: FloatArray, accuracy_N: FloatArray) -> NDArray[np.bool_]:
    """Points that no other beats: at least the accuracy at no more cost, and better in one of the
    two."""
    no_dearer = cost_N[None, :] <= cost_N[:, None]
    no_worse = accuracy_N[None, :] >= accuracy_N[:, None] - ACCURACY_TOLERANCE
    better = (cost_N[None, :] < cost_N[:, None]) | (
        accuracy_N[None, :] > accuracy_N[:, None] + ACCURACY_TOLERANCE
    )
    return np.logical_not((no_dearer & no_worse & better).any(axis=1))


def flops_matched(
    curves: Sequence[Curve], ratios: Sequence[float], resamples: Resamples
) -> pd.DataFrame:
    """Every pair at equal total compute: the larger answers once, the smaller spends what its pre-training saved.

    R = D_inference / D_pretraining of the larger (Snell et al. 2024, arXiv 2408.03314, section 7) fixes the number of
    queries: R D_b / (tokens of a query of the larger). Columns: smaller, larger, ratio R, num_queries, k (affordable
    samples of the smaller), is_capped (more than were drawn: it is read at the last), accuracy_smaller,
    accuracy_larger, and their difference with _low and _high. Pairs without token counts are left out.
    """
    rows = [
        _flops_matched_row(smaller, larger, ratio, resamples)
        for smaller, larger in _pairs(curves)
        if not np.isnan(smaller.sample_R[0] + larger.sample_R[0])
        for ratio in ratios
    ]
    columns = ("smaller", "larger", "ratio", "num_queries", "k", "is_capped", "accuracy_smaller")
    more = ("accuracy_larger", "difference", "difference_low", "difference_high")
    return pd.DataFrame(rows, columns=pd.Index([*columns, *more]))


def _flops_matched_row(
    smaller: Curve, larger: Curve, ratio: float, resamples: Resamples
) -> dict[str, str | float | bool]:
    tokens = larger.prompt_tokens + larger.output_tokens
    num_queries = ratio * larger.facts.pretraining_tokens / tokens
    saved = larger.facts.pretraining_flops - smaller.facts.pretraining_flops
    budget = float(larger.query_flops(np.ones(1))[0]) + saved / num_queries
    k = (budget - float(smaller.prefill_R[0])) / float(smaller.sample_R[0])
    last = float(smaller.ks_K[-1])
    is_affordable = k >= 1
    read_R = smaller.accuracy_at(min(k, last)) if is_affordable else np.zeros(len(larger.sample_R))
    difference = resamples.estimate(read_R - larger.accuracy_RK[:, 0], undefined=np.nan)
    return {
        "smaller": smaller.facts.name,
        "larger": larger.facts.name,
        "ratio": ratio,
        "num_queries": num_queries,
        "k": k,
        "is_capped": k > last,
        "accuracy_smaller": float(read_R[0]),
        "accuracy_larger": float(larger.accuracy_RK[0, 0]),
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


def snell_match(size_ratio: float, inference_to_pretraining: float) -> float:
    """How many times its own inference compute a small model may spend against one `size_ratio`
    times larger on the same data, before the larger is as cheap: M + 3 (M - 1) / R, R = D_inference
    / D_pretraining (Snell et al. 2024, arXiv 2408.03314, section 7). Raises ValueError for a
    non-positive argument."""
    if size_ratio <= 0 or inference_to_pretraining <= 0:
        raise ValueError("both the ratio of sizes and that of tokens must be positive")
    return size_ratio + 3 * (size_ratio - 1) / inference_to_pretraining
