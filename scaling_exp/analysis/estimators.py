"""Estimators: what one would have scored with k samples, in expectation over which k of the n drawn
they were.

Exact, from the counts of each answer alone: no sample order, no Monte Carlo. What this file does
not know is how sure a mean over problems is (intervals.py) and what the samples cost (cost.py).

Axes: P problems, K numbers of samples k, X power of the generating variable x (samples), T wrong
answers that are tied with the right one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import gammaln

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_SAMPLES_IN_ONE_PASS = 1000
"""Above it C(n, k) leaves the range of a double (C(1030, 515) overflows), so each k gets its own
scaling."""


@dataclass(frozen=True)
class VoteCounts:
    """The samples of one problem as a vote sees them: it is all that pass@k and maj@k depend on.

    `wrong` holds the number of votes of each wrong answer, in descending order; unparsable samples
    abstain.
    """

    num_correct: int
    wrong: tuple[int, ...]
    num_abstaining: int

    def __post_init__(self) -> None:
        if self.num_correct < 0 or self.num_abstaining < 0 or any(c < 1 for c in self.wrong):
            raise ValueError(f"{self} has a negative count, or a wrong answer without a vote")
        if list(self.wrong) != sorted(self.wrong, reverse=True):
            raise ValueError(f"{self}: wrong counts must be in descending order")

    @property
    def num_samples(self) -> int:
        return self.num_correct + sum(self.wrong) + self.num_abstaining


def pass_at_k(num_correct_P: IntArray, num_samples: int, ks: Sequence[int]) -> FloatArray:
    """Probability that at least one of k samples is correct, per problem: 1 - C(n-c, k) / C(n, k),
    shape (P, K).

    Evaluated as 1 - prod_{j=n-c+1..n} (1 - k/j), without cancellation (Chen et al. 2021, arXiv
    2107.03374, eq. 1). Raises ValueError for a k outside 1..n: beyond n the estimator is undefined.
    """
    _check_ks(ks, num_samples)
    if num_correct_P.size and not 0 <= num_correct_P.min() <= num_correct_P.max() <= num_samples:
        raise ValueError(f"a number of correct samples lies outside 0..{num_samples}")
    descending = np.arange(num_samples, 0, -1)
    columns = []
    for k in ks:
        factors = np.maximum(1.0 - k / descending, 0.0)
        with np.errstate(divide="ignore"):
            log_all_wrong = np.concatenate([[0.0], np.cumsum(np.log(factors))])
        columns.append(-np.expm1(log_all_wrong)[num_correct_P])
    return np.stack(columns, axis=-1)


def maj_at_k(counts: Sequence[VoteCounts], ks: Sequence[int]) -> FloatArray:
    """Probability that a plurality vote over k of a problem's samples elects the right answer,
    shape (P, K).

    Exact; ties are broken uniformly, unparsable samples abstain, and a vote without a single ballot
    is wrong. Raises ValueError for a k outside 1..n. Problems with equal counts share one
    evaluation.
    """
    for problem in counts:
        _check_ks(ks, problem.num_samples)
    rows = [_maj_of_counts(problem, tuple(ks)) for problem in counts]
    return np.array(rows, dtype=np.float64).reshape(len(counts), len(ks))


def plurality(counts: VoteCounts) -> float:
    """Probability that the vote over all samples elects the right answer: 1 / (number of tied
    leaders), or 0."""
    leader = max(counts.wrong, default=0)
    if counts.num_correct == 0 or counts.num_correct < leader:
        return 0.0
    return 1.0 / (1 + counts.wrong.count(counts.num_correct))


def _check_ks(ks: Sequence[int], num_samples: int) -> None:
    for k in ks:
        if not 1 <= k <= num_samples:
            raise ValueError(
                f"k = {k} is undefined for {num_samples} samples; it must be in 1..{num_samples}"
            )


@lru_cache(maxsize=1 << 16)
def _maj_of_counts(counts: VoteCounts, ks: tuple[int, ...]) -> tuple[float, ...]:
    if counts.num_correct == 0:
        return (0.0,) * len(ks)
    if counts.num_samples <= MAX_SAMPLES_IN_ONE_PASS:
        return tuple(_elected(counts, ks, inclusion=0.5).tolist())
    inclusions = [k / (counts.num_samples + 1) for k in ks]
    return tuple(float(_elected(counts, (k,), p)[0]) for k, p in zip(ks, inclusions, strict=True))


def _elected(counts: VoteCounts, ks: tuple[int, ...], inclusion: float) -> FloatArray:
    """The generating-function formula of maj@k for one problem, shape (K,).

    (1 / C(n,k)) sum_{j=1..min(c*,k)} C(c*,j) sum_t 1/(t+1) [x^(k-j) y^t]
    prod_{a != *} ( sum_{i<j} C(c_a,i) x^i + y C(c_a,j) x^j ),   abstaining samples contribute
    (1+x)^n_abstaining.

    All factors are weighted as if each sample were included with probability `inclusion`; the
    weights cancel in the ratio and only keep the terms within the range of a double. Every term is
    positive: nothing cancels.
    """
    max_k = max(ks)
    binomials = _Binomials(counts.num_samples, inclusion)
    total_K = np.zeros(len(ks))
    ks_K = np.array(ks)
    for votes in range(1, min(counts.num_correct, max_k) + 1):
        ties_TX = _outvoted(counts, votes, max_k - votes, binomials)
        share_X = (1.0 / np.arange(1, len(ties_TX) + 1)) @ ties_TX
        reachable_K = ks_K >= votes
        weight = binomials.weights(counts.num_correct)[votes]
        total_K[reachable_K] += weight * share_X[ks_K[reachable_K] - votes]
    return np.clip(total_K / binomials.weights(counts.num_samples)[ks_K], 0.0, 1.0)


def _outvoted(counts: VoteCounts, votes: int, max_power: int, binomials: _Binomials) -> FloatArray:
    """Weights, shape (T, X), of drawing X samples that are not correct, T of whose answers have
    exactly `votes` votes and none of which has more. T stops at the number of ties that fit into
    max_power samples."""
    rivals = [c for c in counts.wrong if c >= votes]
    harmless = counts.num_samples - counts.num_correct - sum(rivals)
    max_ties = min(len(rivals), max_power // votes)
    weights_TX = np.zeros((max_ties + 1, max_power + 1))
    start = binomials.weights(harmless)[: max_power + 1]
    weights_TX[0, : len(start)] = start
    for num_met, size in enumerate(rivals, start=1):
        size_weights = binomials.weights(size)
        top = min(num_met, max_ties)
        before_TX = weights_TX[:top].copy()
        weights_TX[: top + 1] = _times(weights_TX[: top + 1], size_weights[:votes])
        tied_TX = size_weights[votes] * before_TX[:, : max(max_power + 1 - votes, 0)]
        weights_TX[1 : top + 1, votes:] += tied_TX
    return weights_TX


def _times(polynomials_TX: FloatArray, factor: FloatArray) -> FloatArray:
    """Each row times one polynomial in x, cut at the rows' length, as one product with a Toeplitz
    matrix."""
    length = polynomials_TX.shape[1]
    if len(factor) == 1:
        return polynomials_TX * factor[0]
    kept = factor[:length]
    padded = np.zeros(2 * length - 1)
    padded[length - len(kept) : length] = kept[::-1]
    toeplitz_XX = sliding_window_view(padded, length)[::-1].T
    return polynomials_TX @ toeplitz_XX


class _Binomials:
    """Rows of binomial probabilities C(c, i) p^i (1-p)^(c-i), each computed once."""

    def __init__(self, max_size: int, inclusion: float) -> None:
        self._log_factorials = gammaln(np.arange(max_size + 1) + 1.0)
        self._log_in, self._log_out = math.log(inclusion), math.log1p(-inclusion)
        self._rows: dict[int, FloatArray] = {}

    def weights(self, size: int) -> FloatArray:
        if size not in self._rows:
            i = np.arange(size + 1)
            log_choose = (
                self._log_factorials[size]
                - self._log_factorials[i]
                - self._log_factorials[size - i]
            )
            self._rows[size] = np.exp(log_choose + i * self._log_in + (size - i) * self._log_out)
        return self._rows[size]
