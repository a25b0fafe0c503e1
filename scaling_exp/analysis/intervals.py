"""Intervals: a bootstrap over problems, or over clusters of them, with the whole pipeline inside.

A bootstrap here is one matrix of weights. Row 0 weights all problems alike and gives the estimate;
every other row is a resample of the problems (or clusters) with replacement. What follows (curves,
matches, exchange rates) is computed for all rows by the same code, so a derived quantity has an
interval as a matter of course. All models answer the same problems, so they share the matrix:
comparisons are paired. Resampling problems, each with its own samples, carries the variance between
problems and that of the sampling within them (Miller 2024, arXiv 2411.00640).

Intervals are percentiles, so they stay what they are under any monotone change of scale and take
infinities in their stride. Percentiles alone are too narrow for few problems; they are taken
further out, as far as Student's t lies beyond the normal distribution (Hesterberg 2015, The
American Statistician 69(4), section 3.3, "expanded percentile").

It does not know about seeds of training: an interval says how the numbers would move with other
problems and other samples of these models, never with other training runs.

Axes: R rows (1 + number of resamples), P problems, C clusters, N points, ... anything.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from scaling_exp.analysis.estimators import FloatArray, IntArray


@dataclass(frozen=True)
class Estimate:
    """A value with its interval. `value` is NaN where the data never reach it; bounds may be
    infinite."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """As columns of a table: `name`, with _low and _high."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    @classmethod
    def of_columns(cls, row: Mapping[Hashable, Any], name: str) -> Estimate:
        """What `columns` made a row of."""
        return cls(*(float(row[f"{name}{end}"]) for end in ("", "_low", "_high")))


@dataclass(frozen=True)
class Resamples:
    """Weights of the problems, shape (R, P), rows adding up to 1; row 0 is the data as they are.

    `num_units` is how many things were drawn independently: problems, clusters, or inf where rows
    come from a known standard error and no problem is known (P = 0).
    """

    weights_RP: FloatArray
    confidence: float
    num_units: float

    @property
    def num_rows(self) -> int:
        """R, the data included."""
        return len(self.weights_RP)

    @property
    def tail(self) -> float:
        """Share of the resamples that an interval leaves out on either side."""
        return expanded_tail(self.confidence, self.num_units)

    def means(self, values_P: FloatArray) -> FloatArray:
        """Weighted means over problems: (P, ...) to (R, ...)."""
        return np.asarray(np.tensordot(self.weights_RP, values_P, axes=(1, 0)), np.float64)

    def interval(self, values_R: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Expanded percentile interval over the resamples: (R, ...) to two arrays (...). Infinities
        are ordered like numbers.

        NaN bounds for a single problem or cluster, from which nothing can be resampled. Raises
        ValueError for a NaN among the values: what an undefined resample means (inf? zero?) is the
        caller's to say, never this function's to drop.
        """
        if np.isnan(values_R[1:]).any():
            raise ValueError(
                "a resample is undefined (NaN); say where it belongs before taking an interval"
            )
        if self.num_units < 2:
            undefined = np.full(values_R.shape[1:], np.nan)
            return undefined, undefined
        ordered = np.sort(values_R[1:], axis=0)
        rank = max(math.ceil(self.tail * len(ordered) - 1e-9), 1)
        return ordered[rank - 1], ordered[len(ordered) - rank]

    def accuracy_interval(self, values_R: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`interval` of accuracies. Where all problems are wrong, or all right, resamples cannot
        differ, and the bound is the exact one of a binomial: 1 - tail^(1/U) of the rest (Clopper
        and Pearson 1934); for 100 problems all wrong, at most 3.6 % at 95 % confidence."""
        low, high = self.interval(values_R)
        if self.num_units < 2:
            return low, high
        unseen = -math.expm1(math.log((1 - self.confidence) / 2) / self.num_units)
        low = np.where((values_R > 1 - 1e-9).all(axis=0), 1 - unseen, low)
        return low, np.where((values_R < 1e-9).all(axis=0), unseen, high)

    def estimate(self, values_R: FloatArray, undefined: float) -> Estimate:
        """One number with its interval; undefined resamples (NaN) count as `undefined`, the
        estimate keeps its NaN."""
        low, high = self.interval(np.where(np.isnan(values_R), undefined, values_R))
        return Estimate(float(values_R[0]), float(low), float(high))

    def accuracy_estimate(self, values_R: FloatArray) -> Estimate:
        """`estimate` of an accuracy that every resample has, with `accuracy_interval`."""
        low, high = self.accuracy_interval(values_R)
        return Estimate(float(values_R[0]), float(low), float(high))

    def around(
        self, accuracies_N: FloatArray, standard_errors_N: FloatArray, seed: int
    ) -> FloatArray:
        """Rows, shape (R, N), for accuracies of which only a standard error is known.

        Row 0 is the accuracies; the others are drawn from beta distributions with that mean and
        standard deviation, so they stay within 0 and 1 and lean inwards near the ends. Points are
        drawn independently: what was measured on the same problems is treated as if it was not,
        which makes differences look less sure than they are. Raises ValueError for a standard error
        that is missing, negative, or larger than any distribution on [0, 1] with that mean has.
        """
        variance_N = standard_errors_N**2
        room_N = accuracies_N * (1 - accuracies_N)
        if not ((standard_errors_N >= 0) & ((variance_N < room_N) | (variance_N == 0))).all():
            raise ValueError(
                "a standard error is missing, negative or too large for its accuracy; "
                "give one below sqrt(accuracy (1 - accuracy)) or leave the point out"
            )
        is_drawn_N = variance_N > 0
        size_N = room_N[is_drawn_N] / variance_N[is_drawn_N] - 1
        mean_N = accuracies_N[is_drawn_N]
        rows_RN = np.tile(np.asarray(accuracies_N, np.float64), (self.num_rows, 1))
        rng = np.random.default_rng(seed)
        rows_RN[1:, is_drawn_N] = rng.beta(
            mean_N * size_N, (1 - mean_N) * size_N, size=(self.num_rows - 1, len(mean_N))
        )
        return rows_RN


def expanded_tail(confidence: float, num_units: float) -> float:
    """Tail of the percentiles that makes up for few units: Phi(-sqrt(U / (U-1)) t_{U-1}), which is
    (1 - confidence) / 2 for many.

    The root undoes that resamples of U units vary less than fresh ones would, by (U-1)/U; Student's
    quantile that their spread is itself an estimate.
    """
    if num_units < 2 or math.isinf(num_units):
        return (1 - confidence) / 2
    quantile = student.ppf((1 + confidence) / 2, num_units - 1)
    return float(norm.cdf(-math.sqrt(num_units / (num_units - 1)) * quantile))


def share_defined(values_R: FloatArray) -> float:
    """Share of the resamples in which a derived quantity is defined at all."""
    return float(np.mean(~np.isnan(values_R[1:])))


def resample_problems(
    num_problems: int,
    num_resamples: int,
    confidence: float,
    seed: int,
    clusters: Sequence[str] | None = None,
) -> Resamples:
    """A bootstrap over problems (Efron 1979): multinomial weights, the same for everything measured
    on them.

    `clusters` names, for each problem, what it shares with others (a passage, a template): then
    whole clusters are resampled, since problems of one cluster tell less than as many of different
    ones. A resample of clusters of unequal size holds more or fewer problems; its weights add up to
    1 all the same.
    """
    if num_problems < 1:
        raise ValueError("there is no problem to resample")
    cluster_P = _codes(clusters) if clusters is not None else np.arange(num_problems)
    if len(cluster_P) != num_problems:
        raise ValueError(f"{len(cluster_P)} clusters are named for {num_problems} problems")
    num_clusters = int(cluster_P.max()) + 1
    rng = np.random.default_rng(seed)
    rows_RP = np.ones((1 + num_resamples, num_problems))
    for row_P in rows_RP[1:]:
        drawn = rng.integers(num_clusters, size=num_clusters)
        row_P[:] = np.bincount(drawn, minlength=num_clusters)[cluster_P]
    rows_RP /= rows_RP.sum(axis=1, keepdims=True)
    return Resamples(rows_RP, confidence, float(num_clusters))


def _codes(names: Sequence[str]) -> IntArray:
    """Equal names to equal whole numbers, from 0."""
    return np.unique(np.asarray(names), return_inverse=True)[1]


def resample_nothing(num_resamples: int, confidence: float) -> Resamples:
    """Rows for data of which no problem is known: `around` fills them from standard errors."""
    return Resamples(np.zeros((1 + num_resamples, 0)), confidence, math.inf)
