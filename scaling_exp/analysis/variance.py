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
    """Variance of one problem's accuracy: `total`, and what of it is `within` a problem, by the
    samples drawn of it; NaN where no problem has two samples.

    `within_one` is what `within` would be for a single sample of each problem.
    """

    num_problems: int
    total: float
    within: float
    within_one: float

    @property
    def between(self) -> float:
        """What no number of samples takes away."""
        return self.total - self.within

    @property
    def share_within(self) -> float:
        """Share of the variance that more samples would take away."""
        return self.within / self.total if self.total else 0.0

    @property
    def standard_error(self) -> float:
        """Of the mean accuracy, as measured."""
        return math.sqrt(self.total / self.num_problems)

    def standard_error_of(self, times_problems: float, times_samples: float) -> float:
        """Of the mean accuracy, for that many times the problems, and times the samples of each."""
        variance = self.between + self.within / times_samples
        return math.sqrt(variance / (times_problems * self.num_problems))


def split(num_correct_P: IntArray, num_samples_P: IntArray) -> Split:
    """Both parts, from counts: the second is the mean of p(1-p)/(n-1), which corrects for the p
    being estimated from n samples; the first is what it leaves of the variance of p.

    Numbers of samples may differ between problems. All is NaN for a single problem.
    """
    num_problems = len(num_correct_P)
    if num_problems < 2:
        return Split(num_problems, math.nan, math.nan, math.nan)
    share_P = num_correct_P / num_samples_P
    total = float(share_P.var(ddof=1))
    one_P = sample_variance(num_correct_P, num_samples_P)
    if np.isnan(one_P).all():
        return Split(num_problems, total, math.nan, math.nan)
    within_one = float(np.nanmean(one_P))
    within_P = np.where(np.isnan(one_P), within_one, one_P) / num_samples_P
    return Split(num_problems, total, min(float(within_P.mean()), total), within_one)


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
            "standard_error": parts.standard_error,
            "standard_error_2x_samples": parts.standard_error_of(times_problems=1, times_samples=2),
            "standard_error_2x_problems": parts.standard_error / math.sqrt(2),
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
