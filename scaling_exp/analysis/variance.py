"""Variance: how much of an accuracy's error comes from which problems were asked, and how much from
which samples were drawn.

The law of total variance, Var(s) = Var_x E[s | x] + E_x Var(s | x), over problems x (Miller 2024,
arXiv 2411.00640, section 3). Only more problems reduce the first part; more samples of each reduce
the second. It speaks of accuracies of a single sample (pass@1), where the second part is known from
counts; the value of a vote has one reading per problem and cannot be split.

Axes: P problems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.estimators import FloatArray, IntArray


@dataclass(frozen=True)
class Split:
    """Variance of one problem's accuracy: `between` problems, and `within` one by the samples drawn
    of it. The latter is NaN, and all is counted as `between`, where no problem has two samples.

    `within_one` is what `within` would be for a single sample of each problem.
    """

    num_problems: int
    between: float
    within: float
    within_one: float

    @property
    def share_within(self) -> float:
        """Share of the variance that more samples would take away."""
        total = self.between + self.within
        return self.within / total if total else 0.0

    def standard_error(self, times_problems: float = 1.0, times_samples: float = 1.0) -> float:
        """Of the mean, for that many times the problems and samples of each."""
        within = 0.0 if math.isnan(self.within) else self.within
        variance = self.between + within / times_samples
        return math.sqrt(variance / (times_problems * self.num_problems))


def split(num_correct_P: IntArray, num_samples_P: IntArray) -> Split:
    """Both parts, from counts: the second is the mean of p(1-p)/(n-1), which corrects for the p
    being estimated from n samples; the first is what it leaves of the variance of p.

    Numbers of samples may differ between problems. Raises ValueError for fewer than two problems.
    """
    if len(num_correct_P) < 2:
        raise ValueError("variance between problems needs at least two problems")
    share_P = num_correct_P / num_samples_P
    total = float(share_P.var(ddof=1))
    one_P = sample_variance(num_correct_P, num_samples_P)
    if np.isnan(one_P).all():
        return Split(len(share_P), total, math.nan, math.nan)
    within_P = np.where(np.isnan(one_P), np.nanmean(one_P), one_P) / num_samples_P
    within = min(float(within_P.mean()), total)
    return Split(len(share_P), total - within, within, float(np.nanmean(one_P)))


def sample_variance(num_correct_P: IntArray, num_samples_P: IntArray) -> FloatArray:
    """Unbiased variance of one sample's correctness, p(1-p) n/(n-1), per problem; NaN for a single
    sample."""
    share_P = num_correct_P / num_samples_P
    with np.errstate(divide="ignore", invalid="ignore"):
        factor_P = np.where(num_samples_P > 1, num_samples_P / (num_samples_P - 1), np.nan)
    return share_P * (1 - share_P) * factor_P


def variance_table(
    names: Sequence[str], counts: Sequence[tuple[IntArray, IntArray]]
) -> pd.DataFrame:
    """One row a name, of (correct, drawn) counts per problem: both variances, the share of the
    samples in it, and the standard error now, with twice the samples and with twice the
    problems."""
    splits = [split(num_correct_P, num_samples_P) for num_correct_P, num_samples_P in counts]
    rows = [
        {
            "model": name,
            "accuracy": float((num_correct_P / num_samples_P).mean()),
            "num_problems": parts.num_problems,
            "between_problems": parts.between,
            "within_problems": parts.within,
            "share_within": parts.share_within,
            "standard_error": parts.standard_error(),
            "standard_error_2x_samples": parts.standard_error(times_samples=2),
            "standard_error_2x_problems": parts.standard_error(times_problems=2),
        }
        for name, (num_correct_P, num_samples_P), parts in zip(names, counts, splits, strict=True)
    ]
    return pd.DataFrame(rows)


def clustered_standard_error(values_P: FloatArray, clusters: Sequence[str]) -> float:
    """Standard error of a mean over problems that come in clusters: the independent one squared,
    s^2 / P, plus (1 / P^2) sum over clusters of all products of two different problems' deviations
    (Miller 2024, section 2.2).

    Problems that are clusters of their own give the usual standard error.
    """
    num_problems = len(values_P)
    _, cluster_P = np.unique(np.asarray(clusters), return_inverse=True)
    deviation_P = values_P - values_P.mean()
    sum_C = np.bincount(cluster_P, deviation_P)
    between_two = float((sum_C**2).sum() - (deviation_P**2).sum())
    independent = float(values_P.var(ddof=1)) / num_problems
    return math.sqrt(max(independent + between_two / num_problems**2, 0.0))
