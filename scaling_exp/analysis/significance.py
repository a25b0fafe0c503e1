"""Significance: what difference a design can resolve, and which design resolves a difference.

A design is a number of problems P and of samples n of each. The difference of two systems has the
standard error sqrt((omega^2 + (sigma_a^2 + sigma_b^2) / n) / P), and is resolved when a two-sided
test finds it with the power asked for: it is z_{1-alpha/2} + z_power standard errors (Miller 2024,
arXiv 2411.00640, section 5). Normal quantiles: for fewer than about 30 problems it promises a
little too much.

It knows variances only; where they come from (earlier draws, a worst case) the caller says.

Axes: P problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.variance import sample_variance, split


@dataclass(frozen=True)
class Spread:
    """Variance of the difference of two systems on one problem.

    `between` is omega^2, that of the difference in expected accuracy from problem to problem;
    `within` is sigma_a^2 + sigma_b^2, that of one sample of each, which n samples divide by n.
    """

    between: float
    within: float

    def standard_error(self, num_problems: int, num_samples: int) -> float:
        """Of the difference of mean accuracies."""
        return math.sqrt((self.between + self.within / num_samples) / num_problems)


WORST_CASE = Spread(between=0.5, within=0.0)
"""Two systems that know nothing of each other, each certain of its answer and right on half of the
problems. More samples do not help; only systems that fail on each other's successes are worse."""


@dataclass(frozen=True)
class Criterion:
    """A two-sided test at level 1 - `confidence` that should find what is there with probability
    `power`."""

    confidence: float = 0.95
    power: float = 0.8

    def __post_init__(self) -> None:
        for name in ("confidence", "power"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in (0, 1)")

    @property
    def num_standard_errors(self) -> float:
        """How many standard errors a difference must have: 2.80 for 95 % and 80 %."""
        return float(norm.ppf((1 + self.confidence) / 2) + norm.ppf(self.power))

    def smallest_difference(self, spread: Spread, num_problems: int, num_samples: int) -> float:
        """That a design resolves, as a difference of accuracies; above 1: nothing is resolved."""
        return self.num_standard_errors * spread.standard_error(num_problems, num_samples)

    def problems_needed(self, spread: Spread, difference: float, num_samples: int) -> int:
        """Fewest problems, each with `num_samples` samples, that resolve `difference`."""
        variance = spread.between + spread.within / num_samples
        needed = (self.num_standard_errors / _positive(difference)) ** 2 * variance
        return max(2, math.ceil(needed - 1e-9))

    def samples_needed(self, spread: Spread, difference: float, num_problems: int) -> float:
        """Fewest samples of each problem that resolve `difference`; inf where no number does,
        because the problems alone leave too much open."""
        allowed = num_problems * (_positive(difference) / self.num_standard_errors) ** 2
        room = allowed - spread.between
        if room <= 0:
            return math.inf
        return float(max(1, math.ceil(spread.within / room - 1e-9)))


def _positive(difference: float) -> float:
    if difference <= 0:
        raise ValueError(f"the difference to resolve is {difference}; it must be above 0")
    return difference


def unpaired(a: tuple[IntArray, IntArray], b: tuple[IntArray, IntArray]) -> Spread:
    """Of two systems on problems of their own, P of each, from (correct, drawn) counts. With one
    sample of each problem, all variance counts as between them."""
    splits = split(*a), split(*b)
    within = float(np.nansum([each.within for each in splits]))
    return Spread(
        between=sum(each.total for each in splits) - within,
        within=float(np.nansum([each.within_one for each in splits])),
    )


def paired(a: tuple[IntArray, IntArray], b: tuple[IntArray, IntArray]) -> Spread:
    """Of two systems on the same problems, in the same order: what makes a problem hard for both
    cancels.

    A system with one sample of each problem (greedy decoding) has no variance within them: drawn
    again it would say the same. Raises ValueError for fewer than two problems.
    """
    (correct_a, drawn_a), (correct_b, drawn_b) = a, b
    difference_P = correct_a / drawn_a - correct_b / drawn_b
    within_a, within_b = sample_variance(correct_a, drawn_a), sample_variance(correct_b, drawn_b)
    one_a, one_b = np.nan_to_num(within_a), np.nan_to_num(within_b)
    sampling = float((one_a / drawn_a + one_b / drawn_b).mean())
    return Spread(
        between=max(_variance(difference_P) - sampling, 0.0), within=float((one_a + one_b).mean())
    )


def of_values(values_a_P: FloatArray, values_b_P: FloatArray) -> Spread:
    """Of values that are read once per problem, such as votes: nothing is left to average over."""
    return Spread(between=_variance(values_a_P - values_b_P), within=0.0)


def _variance(values_P: FloatArray) -> float:
    if len(values_P) < 2:
        raise ValueError("variance between problems needs at least two problems")
    return float(values_P.var(ddof=1))
