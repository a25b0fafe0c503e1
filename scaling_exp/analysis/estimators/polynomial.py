"""Estimators: what one would have scored with k samples, in expectation over which k of the n drawn
they were.

Exact, from the counts of each answer alone: no sample order, no Monte Carlo. What this file does
not know is how sure a mean over problems is (intervals.py) and what the samples cost (cost.py).

Axes: P problems, K numbers of samples k, X power of the generating variable x (samples), T wrong
answers that are tied with the answer in question.
"""

from __future__ import annotations

import math
from collections import Counter
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
    """The samples of one problem as a vote sees them: all that pass@k and maj@k depend on.

    `correct` and `wrong` hold the votes of each right and of each wrong answer, in descending
    order. There is more than one right answer where a task accepts several (or several spellings);
    a vote cannot know that they are the same, so they compete. Unparsable samples abstain.
    """

    correct: tuple[int, ...]
    wrong: tuple[int, ...]
    num_abstaining: int

    def __post_init__(self) -> None:
        if self.num_abstaining < 0 or any(votes < 1 for votes in self.correct + self.wrong):
            raise ValueError(f"{self} has a negative count, or an answer without a vote")
        for votes in (self.correct, self.wrong):
            if list(votes) != sorted(votes, reverse=True):
                raise ValueError(f"{self}: counts must be in descending order")

    @property
    def num_correct(self) -> int:
        return sum(self.correct)

    @property
    def num_samples(self) -> int:
        return self.num_correct + sum(self.wrong) + self.num_abstaining


def old_maj_at_k(counts: Sequence[VoteCounts], ks: Sequence[int]) -> FloatArray:
    """Probability that a plurality vote over k of a problem's samples elects a right answer,
    shape (P, K).

    Exact; ties are broken uniformly, unparsable samples abstain, and a vote without a single ballot
    is wrong. Raises ValueError for a k outside 1..n. Problems with equal counts share one
    evaluation.
    """
    for problem in counts:
        _check_ks(ks, problem.num_samples)
    rows = [_maj_of_counts(problem, tuple(ks)) for problem in counts]
    return np.array(rows, dtype=np.float64).reshape(len(counts), len(ks))


def old_plurality(counts: VoteCounts) -> float:
    """Probability that the vote over all samples elects a right answer: their share of the tied
    leaders."""
    most = max(counts.correct + counts.wrong, default=0)
    num_right, num_wrong = counts.correct.count(most), counts.wrong.count(most)
    return num_right / (num_right + num_wrong) if num_right else 0.0


def _check_ks(ks: Sequence[int], num_samples: int) -> None:
    for k in ks:
        if not 1 <= k <= num_samples:
            raise ValueError(
                f"k = {k} is undefined for {num_samples} samples; it must be in 1..{num_samples}"
            )


@lru_cache(maxsize=1 << 16)
def _maj_of_counts(counts: VoteCounts, ks: tuple[int, ...]) -> tuple[float, ...]:
    num_samples = counts.num_samples
    if num_samples <= MAX_SAMPLES_IN_ONE_PASS:
        return tuple(_any_right_elected(counts, ks, inclusion=0.5).tolist())
    inclusions = [k / (num_samples + 1) for k in ks]
    pairs = zip(ks, inclusions, strict=True)
    return tuple(float(_any_right_elected(counts, (k,), p)[0]) for k, p in pairs)


def _any_right_elected(counts: VoteCounts, ks: tuple[int, ...], inclusion: float) -> FloatArray:
    """Right answers are elected by exclusive events: their probabilities add up. Shape (K,)."""
    binomials = _Binomials(counts.num_samples, inclusion)
    total_K = np.zeros(len(ks))
    for votes, num_alike in Counter(counts.correct).items():
        others = list(counts.correct)
        others.remove(votes)
        total_K += num_alike * _elected(votes, (*others, *counts.wrong), ks, binomials)
    return np.clip(total_K, 0.0, 1.0)


def _elected(
    num_own: int, rivals: tuple[int, ...], ks: tuple[int, ...], binomials: _Binomials
) -> FloatArray:
    """Probability that one answer with `num_own` votes is elected against `rivals`, shape (K,).

    (1 / C(n,k)) sum_{j=1..min(c*,k)} C(c*,j) sum_t 1/(t+1) [x^(k-j) y^t]
    prod_{a != *} ( sum_{i<j} C(c_a,i) x^i + y C(c_a,j) x^j ),   with (1+x)^n_abstaining for those
    that abstain.

    All factors are weighted as if each sample were included with the same probability; the weights
    cancel in the ratio and only keep the terms within the range of a double. Every term is
    positive: nothing cancels.
    """
    max_k = max(ks)
    ks_K = np.array(ks)
    total_K = np.zeros(len(ks))
    num_others = binomials.num_samples - num_own
    for votes in range(1, min(num_own, max_k) + 1):
        ties_TX = _outvoted(rivals, num_others, votes, max_k - votes, binomials)
        share_X = (1.0 / np.arange(1, len(ties_TX) + 1)) @ ties_TX
        reachable_K = ks_K >= votes
        weight = binomials.weights(num_own)[votes]
        total_K[reachable_K] += weight * share_X[ks_K[reachable_K] - votes]
    return total_K / binomials.weights(binomials.num_samples)[ks_K]


def _outvoted(
    rivals: tuple[int, ...], num_others: int, votes: int, max_power: int, binomials: _Binomials
) -> FloatArray:
    """Weights, shape (T, X), of drawing X of the `num_others` samples that are for another answer
    or abstain, so that T of the rivals have exactly `votes` votes and none has more. T stops at the
    ties that fit into max_power."""
    dangerous = [size for size in rivals if size >= votes]
    harmless = num_others - sum(dangerous)
    max_ties = min(len(dangerous), max_power // votes)
    weights_TX = np.zeros((max_ties + 1, max_power + 1))
    start = binomials.weights(harmless)[: max_power + 1]
    weights_TX[0, : len(start)] = start
    for num_met, size in enumerate(dangerous, start=1):
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

    def __init__(self, num_samples: int, inclusion: float) -> None:
        self.num_samples = num_samples
        self._log_factorials = gammaln(np.arange(num_samples + 1) + 1.0)
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
