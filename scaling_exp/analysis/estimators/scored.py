"""Scored samples: what a verifier's scores would have chosen among k of them.

Axes: S samples sorted by problem, P problems, K numbers of samples k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from scaling_exp.analysis.estimators.arrays import (
    BoolArray,
    Estimated,
    FloatArray,
    IntArray,
    check_ks,
)


@dataclass(frozen=True)
class Scores:
    """Every sample with its score, sorted by problem (0..P-1, each with at least one sample).

    `answer_S` is the answer's code inside the problem, -1 for one that could not be parsed.
    """

    problem_S: IntArray
    answer_S: IntArray
    is_right_S: BoolArray
    score_S: FloatArray

    @property
    def num_samples_P(self) -> IntArray:
        return np.bincount(self.problem_S)


def best_of_k(scores: Scores, ks: Sequence[int]) -> FloatArray:
    """Probability that the best-scored of k samples is right, shape (P, K)."""
    check_ks(ks, scores.num_samples_P)
    rows = []
    for p in range(len(scores.num_samples_P)):
        own = scores.problem_S == p
        abstains = scores.answer_S[own] < 0
        score = np.where(abstains, -np.inf, scores.score_S[own])
        is_right = scores.is_right_S[own]
        n = len(score)
        _, rank_of = np.unique(score, return_inverse=True)
        up_to = np.cumsum(np.bincount(rank_of))
        share = np.bincount(rank_of, is_right) / np.bincount(rank_of)
        row = []
        for k in ks:
            log_all = gammaln(n + 1) - gammaln(n - k + 1)
            below = np.where(
                up_to >= k,
                np.exp(gammaln(up_to + 1) - gammaln(np.maximum(up_to - k, 0) + 1) - log_all),
                0.0,
            )
            row.append(float(np.diff(below, prepend=0.0) @ share))
        rows.append(row)
    return np.array(rows)


def weighted_vote_at_k(
    scores: Scores, ks: Sequence[int], num_subsets: int = 200, seed: int = 0
) -> Estimated:
    """Probability that the answer with the largest sum of scores among k samples is right."""
    check_ks(ks, scores.num_samples_P)
    rng = np.random.default_rng(seed)
    num_problems = len(scores.num_samples_P)
    drawn_PKB = np.zeros((num_problems, len(ks), num_subsets))
    for p in range(num_problems):
        own = np.flatnonzero(scores.problem_S == p)
        for i, k in enumerate(ks):
            for b in range(num_subsets):
                chosen = rng.permutation(own)[:k]
                chosen = chosen[scores.answer_S[chosen] >= 0]
                drawn_PKB[p, i, b] = _elected(scores, chosen)
    values_PK = drawn_PKB.mean(axis=-1)
    return Estimated(values_PK, drawn_PKB.std(axis=-1, ddof=1) / np.sqrt(num_subsets))


def _elected(scores: Scores, chosen: IntArray) -> float:
    if not len(chosen):
        return 0.0
    key = 2 * scores.answer_S[chosen] + scores.is_right_S[chosen]
    answers, code = np.unique(key, return_inverse=True)
    total = np.bincount(code, scores.score_S[chosen])
    leads = np.isclose(total, total.max(), rtol=1e-12, atol=0)
    return float((leads & (answers % 2 == 1)).sum() / leads.sum())
