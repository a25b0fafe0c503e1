"""Intervals: a bootstrap over problems, with the whole pipeline inside.

A bootstrap here is one matrix of weights. Row 0 weights all problems alike and gives the estimate;
every other row is a resample of the problems with replacement. What follows (curves, matches,
exchange rates) is computed for all rows by the same code, so a derived quantity has an interval as
a matter of course. All models answer the same problems, so they share the matrix: comparisons are
paired. Resampling problems, each with its own samples, carries the variance between problems and
that of the sampling within them (Miller 2024, arXiv 2411.00640).

It does not know about seeds of training: an interval says how the numbers would move with other
problems and other samples of these models, never with other training runs.

Axes: R rows (1 + number of resamples), P problems, ... anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scaling_exp.analysis.estimators import FloatArray


@dataclass(frozen=True)
class Estimate:
    """A value with its interval. `value` is NaN where the data never reach it; bounds may be
    infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resamples:
    """Weights of the problems, shape (R, P), rows adding up to 1; row 0 is the data as they are."""

    weights_RP: FloatArray
    confidence: float

    def means(self, values_P: FloatArray) -> FloatArray:
        """Weighted means over problems: (P, ...) to (R, ...)."""
        return np.asarray(np.tensordot(self.weights_RP, values_P, axes=(1, 0)), np.float64)

    def interval(self, values_R: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Percentile interval over the resamples: (R, ...) to two arrays (...). Infinities are
        ordered like numbers.

        NaN bounds for a single problem, from which nothing can be resampled. Raises ValueError for
        a NaN among the values: what an undefined resample means (inf? zero?) is the caller's to
        say, never this function's to drop.
        """
        if np.isnan(values_R[1:]).any():
            raise ValueError(
                "a resample is undefined (NaN); say where it belongs before taking an interval"
            )
        if self.weights_RP.shape[1] < 2:
            undefined = np.full(values_R.shape[1:], np.nan)
            return undefined, undefined
        ordered = np.sort(values_R[1:], axis=0)
        rank = max(math.ceil((1 - self.confidence) / 2 * len(ordered) - 1e-9), 1)
        return ordered[rank - 1], ordered[len(ordered) - rank]

    def estimate(self, values_R: FloatArray, undefined: float) -> Estimate:
        """One number with its interval; undefined resamples (NaN) count as `undefined`, the
        estimate keeps its NaN."""
        low, high = self.interval(np.where(np.isnan(values_R), undefined, values_R))
        return Estimate(float(values_R[0]), float(low), float(high))


def share_defined(values_R: FloatArray) -> float:
    """Share of the resamples in which a derived quantity is defined at all."""
    return float(np.mean(~np.isnan(values_R[1:])))


def resample_problems(
    num_problems: int, num_resamples: int, confidence: float, seed: int
) -> Resamples:
    """A bootstrap over problems (Efron 1979): multinomial weights, the same for everything measured
    on them."""
    if num_problems < 1:
        raise ValueError("there is no problem to resample")
    rng = np.random.default_rng(seed)
    uniform_P = np.full(num_problems, 1.0 / num_problems)
    counts_BP = rng.multinomial(num_problems, uniform_P, size=num_resamples)
    return Resamples(np.vstack([uniform_P, counts_BP / num_problems]), confidence)
