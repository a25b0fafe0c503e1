"""Elections: one right answer of a problem against its rivals, and the sum that decides who wins.

Give every sample the same chance p of being drawn. The votes of different answers are then
independent binomials, and with z marking the number of draws the answer in question is elected with

    sum_k P(k draws) f(k) z^k  =  sum_j b(own, j) z^j  int_0^1 dy  prod_a ( sum_{i<j} b(c_a, i) z^i + y b(c_a, j) z^j )

where b(c, j) = C(c, j) p^j (1-p)^(c-j). Integrating over y breaks ties uniformly: t rivals with
just as many votes leave 1 / (t+1). (Independent counts given their sum: Levin 1981, "A
representation for multinomial cumulative distribution functions", Annals of Statistics 9.)
How f(k), the chance with exactly k draws, is taken out of the sum is not known here.

Axes: E elections, C distinct numbers of votes, V pairs of own votes j and a node y, N angles of z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse
from scipy.special import gammaln

from scaling_exp.analysis.estimators.arrays import BoolArray, FloatArray, IntArray
from scaling_exp.analysis.estimators.votes import Votes

MOST_TIE_NODES = 8
"""Gauss nodes for y: exact for ties of up to 16 answers. Larger ties happen only when a few votes go
to as many answers, with weights that hide the rest below 1e-9."""


@dataclass(frozen=True)
class Elections:
    """The elections of all right answers of problems with the same number of samples, in ascending
    order of their own votes.

    `rivals_EC` says how many rivals have as many votes as `counts_C`.
    """

    num_samples: int
    problem_E: IntArray
    own_E: IntArray
    counts_C: IntArray
    rivals_EC: sparse.csr_array

    @classmethod
    def of(cls, votes: Votes, num_samples: int) -> Elections:
        """Those of the problems that have `num_samples` samples. Right answers of one problem are
        elected by exclusive events, so their chances add up."""
        here_A = votes.num_samples_P[votes.problem_A] == num_samples
        problem_A, votes_A = votes.problem_A[here_A], votes.votes_A[here_A]
        counts_C, code_A = np.unique(votes_A, return_inverse=True)
        shape = (votes.num_problems, len(counts_C))
        answers_PC = sparse.csr_array((np.ones(len(code_A)), (problem_A, code_A)), shape=shape)
        right = np.flatnonzero(votes.is_right_A[here_A])
        right = right[np.argsort(votes_A[right], kind="stable")]
        rows = np.arange(len(right))
        own_EC = sparse.csr_array(
            (np.ones(len(right)), (rows, code_A[right])), shape=(len(right), len(counts_C))
        )
        rivals_EC = answers_PC[problem_A[right]] - own_EC
        rivals_EC.eliminate_zeros()
        rivals_EC.sort_indices()
        return cls(num_samples, problem_A[right], votes_A[right], counts_C, rivals_EC)

    def __len__(self) -> int:
        return len(self.own_E)

    @cached_property
    def top_E(self) -> IntArray:
        """Votes of the strongest rival, 0 where there is none."""
        last_E = self.rivals_EC.indptr[1:] - 1
        has_rival_E = np.diff(self.rivals_EC.indptr) > 0
        codes = (
            self.rivals_EC.indices[np.where(has_rival_E, last_E, 0)] if self.rivals_EC.nnz else 0
        )
        return np.where(has_rival_E, self.counts_C[codes], 0)

    @cached_property
    def num_rivals_E(self) -> IntArray:
        return np.asarray(self.rivals_EC.sum(axis=1)).astype(np.int64)

    @cached_property
    def log_factorials(self) -> FloatArray:
        return gammaln(np.arange(self.num_samples + 1) + 1.0)

    def binomials(self, counts: IntArray, drawn: IntArray, inclusion: float) -> FloatArray:
        """b(c, j) for every count c and every j, shape (counts, drawn); 0 where j > c."""
        logs = self.log_factorials
        left = counts[:, None] - drawn
        log_weights = logs[counts][:, None] - logs[drawn] - logs[np.maximum(left, 0)]
        log_weights += drawn * np.log(inclusion) + left * np.log1p(-inclusion)
        return np.where(left >= 0, np.exp(log_weights), 0.0)

    def chunks(self, rows: IntArray, size: int) -> Iterator[IntArray]:
        """The rows in groups of elections with similar votes of their own, which share a window."""
        at = 0
        while at < len(rows):
            most = 1.2 * self.own_E[rows[at]] + 20.0
            similar = int(np.searchsorted(self.own_E[rows], most, side="right"))
            yield rows[at : min(at + size, similar)]
            at = min(at + size, similar)

    def settled(self, num_draws: float, log_error: float) -> tuple[BoolArray, BoolArray]:
        """Elections that are won, and those that are lost, but for a chance below exp(-log_error).

        A weaker answer with c' votes gets as many of k draws as one with c with a probability below
        exp(-k/n (sqrt(c) - sqrt(c'))^2) (Chernoff; smaller still without replacement, by Hoeffding).
        """
        share = num_draws / self.num_samples
        exponent_E = share * (np.sqrt(self.own_E) - np.sqrt(self.top_E)) ** 2
        won_E = exponent_E - np.log(np.maximum(self.num_rivals_E, 1)) > log_error
        won_E = (self.own_E > self.top_E) & (won_E | (self.num_rivals_E == 0))
        return won_E, (self.own_E < self.top_E) & (exponent_E > log_error)


@dataclass(frozen=True)
class Precision:
    """Which terms of the sum may be left out: own votes further than `deviations` from their mean,
    and rivals that catch up with a probability below exp(-log_error)."""

    deviations: float
    log_error: float


def elected(
    elections: Elections,
    rows: IntArray,
    inclusion: float,
    angles_N: FloatArray,
    most_votes: int,
    most_ties: Callable[[int], int],
    precision: Precision,
) -> FloatArray:
    """The sum above for consecutive elections at z = exp(i angle), shape (E, N); real when the only
    angle is 0. `most_ties(j)` is the largest number of rivals with j votes to be told apart."""
    own_E = elections.own_E[rows]
    low, high = _window(int(own_E[0]), int(own_E[-1]), inclusion, precision.deviations)
    votes_V, y_V, weight_V = tie_nodes(np.arange(low, min(high, most_votes) + 1), most_ties)
    phases = _phases(np.arange(votes_V[-1] + 1), angles_N)
    rivals_EC = elections.rivals_EC[rows]
    is_dangerous_C = _dangerous(elections.counts_C, low, int(own_E[0]), inclusion, precision)
    is_dangerous_C &= np.bincount(rivals_EC.indices, minlength=len(is_dangerous_C)) > 0
    rivals_EC = rivals_EC[:, np.flatnonzero(is_dangerous_C)]
    counts_C = elections.counts_C[is_dangerous_C]
    terms_ = (
        elections.binomials(counts_C, np.arange(votes_V[-1] + 1), inclusion)[..., None] * phases
    )
    fewer_or_tied = np.cumsum(terms_, axis=1)[:, votes_V - 1] + y_V[:, None] * terms_[:, votes_V]
    with np.errstate(divide="ignore"):
        logs_CW = np.log(fewer_or_tied, order="C").reshape(
            len(counts_C), len(votes_V) * len(angles_N)
        )
    summed = rivals_EC @ logs_CW.view(np.float64)
    summed_EVN = summed.view(logs_CW.dtype).reshape(len(rows), len(votes_V), len(angles_N))
    if angles_N.any():
        harmless_E = elections.num_samples - own_E - rivals_EC @ counts_C
        rest_N = np.log(1.0 - inclusion + inclusion * np.exp(1j * angles_N))
        summed_EVN += harmless_E[:, None, None] * rest_N
    np.exp(summed_EVN, out=summed_EVN)
    distinct, code_E = np.unique(own_E, return_inverse=True)
    own_EV = (elections.binomials(distinct, votes_V, inclusion) * weight_V)[code_E]
    summed_EVN *= phases[votes_V]
    return np.einsum("ev,evn->en", own_EV, summed_EVN)


def _window(fewest: int, most: int, inclusion: float, deviations: float) -> tuple[int, int]:
    """Own votes j that weigh something, for own counts fewest..most. The second term is the skewness
    of a binomial far from 1/2."""
    skew = (1.0 - 2.0 * inclusion) * deviations**2 / 6.0
    variance = inclusion * (1.0 - inclusion)
    low = fewest * inclusion - deviations * np.sqrt(fewest * variance) + min(skew, 0.0)
    high = most * inclusion + deviations * np.sqrt(most * variance) + max(skew, 0.0)
    return max(1, int(low)), min(max(1, int(high) + 1), most)


def _dangerous(
    counts_C: IntArray, low: int, own: int, inclusion: float, precision: Precision
) -> BoolArray:
    """Answers that can have as many votes as the weakest of the elections, but for a probability
    that is neglected."""
    gap_C = np.maximum(np.sqrt(own) - np.sqrt(counts_C), 0.0)
    return (counts_C >= low) & (inclusion * gap_C**2 <= precision.log_error)


def _phases(exponents: IntArray, angles_N: FloatArray) -> np.ndarray:
    if not angles_N.any():
        return np.ones((len(exponents), len(angles_N)))
    return np.exp(1j * np.outer(exponents, angles_N))


def tie_nodes(
    votes: IntArray, most_ties: Callable[[int], int]
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Each j with as many Gauss nodes as a polynomial in y of degree `most_ties(j)` needs."""
    numbers = [min((most_ties(int(j)) + 2) // 2, MOST_TIE_NODES) for j in votes]
    nodes = [_gauss(number) for number in numbers]
    return (
        np.repeat(votes, numbers),
        np.concatenate([y for y, _ in nodes]),
        np.concatenate([weight for _, weight in nodes]),
    )


@lru_cache
def _gauss(number: int) -> tuple[FloatArray, FloatArray]:
    x, weight = np.polynomial.legendre.leggauss(number)
    return (x + 1.0) / 2.0, weight / 2.0
