"""Scored samples: what a verifier's scores would have chosen among k of them.

Axes: S samples sorted by problem, P problems, K numbers of samples k, G groups of a problem's samples
with equal scores, B random subsets, A answers of one problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from scaling_exp.analysis.estimators.arrays import (
    BoolArray,
    Estimated,
    FloatArray,
    IntArray,
    check_ks,
)
from scaling_exp.analysis.estimators.coverage import pass_at_k

TIED = 1e-9
"""Sums of scores that differ by less, relative to the largest, are equal but for the order in which
they were added."""


@dataclass(frozen=True)
class Scores:
    """Every sample with its score, sorted by problem (0..P-1, each with at least one sample).

    `answer_S` is the answer's code inside the problem, negative for one that could not be parsed. As
    in `Votes`, samples of one code of which some are right and some are wrong are two answers. Raises
    ValueError where samples are out of order, or a parsed one has no score.
    """

    problem_S: IntArray
    answer_S: IntArray
    is_right_S: BoolArray
    score_S: FloatArray

    def __post_init__(self) -> None:
        if (np.diff(self.problem_S, prepend=-1) > 1).any() or (np.diff(self.problem_S) < 0).any():
            raise ValueError("scores must be sorted by problem, 0..P-1, each with a sample")
        if np.isnan(self.score_S[self.answer_S >= 0]).any():
            raise ValueError("a sample with an answer has no score; score it or leave it out")
        if (self.is_right_S & (self.answer_S < 0)).any():
            raise ValueError("a sample without an answer is marked correct")

    @property
    def num_samples_P(self) -> IntArray:
        return np.bincount(self.problem_S)


def best_of_k(scores: Scores, ks: Sequence[int]) -> FloatArray:
    """Probability that the best-scored of k of a problem's samples is right, shape (P, K).

    Exact: with scores ascending, the sample of rank r is the best of k with weight
    C(r-1, k-1) / C(n, k); equal scores share theirs equally. A sample that could not be parsed loses
    against every other, whatever its score, so it is chosen, and wrong, only among its like. Raises
    ValueError for a k outside 1..n of any problem.
    """
    num_samples_P = scores.num_samples_P
    check_ks(ks, num_samples_P)
    score_S = np.where(scores.answer_S < 0, -np.inf, scores.score_S)
    order_S = np.lexsort((score_S, scores.problem_S))
    problem_S, score_S = scores.problem_S[order_S], score_S[order_S]
    is_first_S = np.ones(len(score_S), bool)
    is_first_S[1:] = (problem_S[1:] != problem_S[:-1]) | (score_S[1:] != score_S[:-1])
    starts_G = np.flatnonzero(is_first_S)
    problem_G = problem_S[starts_G]
    sizes_G = np.diff(starts_G, append=len(score_S))
    right_G = np.add.reduceat(scores.is_right_S[order_S].astype(np.float64), starts_G)
    above_G = num_samples_P.cumsum()[problem_G] - starts_G
    num_samples_G = num_samples_P[problem_G]
    columns = []
    for k in ks:
        from_here_G = pass_at_k(above_G, num_samples_G, [k])[:, 0]
        from_above_G = pass_at_k(above_G - sizes_G, num_samples_G, [k])[:, 0]
        chosen_G = (from_here_G - from_above_G) * right_G / sizes_G
        columns.append(np.bincount(problem_G, chosen_G))
    return np.stack(columns, axis=-1)


def best_of_all(scores: Scores) -> FloatArray:
    """Probability that the best-scored of all of a problem's samples is right, shape (P,); as `best_of_k`, for numbers
    of samples that differ."""
    score_S = np.where(scores.answer_S < 0, -np.inf, scores.score_S)
    starts_P = np.flatnonzero(np.diff(scores.problem_S, prepend=-1))
    is_best_S = score_S == np.maximum.reduceat(score_S, starts_P)[scores.problem_S]
    right_P = np.bincount(scores.problem_S, is_best_S & scores.is_right_S)
    return right_P / np.bincount(scores.problem_S, is_best_S)


def weighted_plurality(scores: Scores) -> FloatArray:
    """Probability that the answer with the largest sum of all scores is right, shape (P,); as `weighted_vote_at_k`."""
    ends = scores.num_samples_P.cumsum()
    rows = np.split(np.arange(ends[-1]), ends[:-1])
    elected = [Ballots.of(scores, each).elect(np.arange(len(each))[None]) for each in rows]
    return np.concatenate(elected)


def weighted_vote_at_k(
    scores: Scores, ks: Sequence[int], num_subsets: int = 200, seed: int = 0
) -> Estimated:
    """Probability that the answer with the largest sum of scores among k of a problem's samples is
    right, both (P, K).

    Exact where a problem has no more than `num_subsets` subsets of size k (or k = 1). Elsewhere the
    mean over that many random subsets without replacement, with its Monte Carlo standard error; the
    first k of one shuffle serve all k, so a curve is smoother than its errors. Ties are broken
    uniformly, unparsable samples abstain, a vote without a ballot is wrong. Scores are added as they
    are: a negative one counts against its answer, so map logits to weights first where that is not
    meant. Raises ValueError for a k outside 1..n of any problem.
    """
    check_ks(ks, scores.num_samples_P)
    rng = np.random.default_rng(seed)
    ends = scores.num_samples_P.cumsum()
    values_PK = np.zeros((len(ends), len(ks)))
    variances_PK = np.zeros_like(values_PK)
    for problem, rows in enumerate(np.split(np.arange(ends[-1]), ends[:-1])):
        ballots = Ballots.of(scores, rows)
        shuffled_BS = rng.permuted(np.tile(np.arange(len(rows)), (num_subsets, 1)), axis=1)
        for column, k in enumerate(ks):
            if comb(len(rows), k) <= max(num_subsets, len(rows) * (k == 1)):
                subsets = np.array(list(combinations(range(len(rows)), k)))
                values_PK[problem, column] = ballots.elect(subsets).mean()
            else:
                elected_B = ballots.elect(shuffled_BS[:, :k])
                values_PK[problem, column] = elected_B.mean()
                variances_PK[problem, column] = _variance(elected_B)
    return Estimated(values_PK, np.sqrt(variances_PK / num_subsets))


def _variance(elected_B: FloatArray) -> float:
    """Of one subset. Subsets that all agree leave room for rarer ones (Laplace's rule)."""
    if np.ptp(elected_B) > 0.0:
        return float(elected_B.var(ddof=1))
    share = 1.0 / (len(elected_B) + 2.0)
    return share * (1.0 - share)


@dataclass(frozen=True)
class Ballots:
    """The samples of one problem, each with a weight; its answers are numbered 0..A-1, and A is what abstains."""

    answer_S: IntArray
    score_S: FloatArray
    is_right_A: BoolArray

    @classmethod
    def of(cls, scores: Scores, rows: IntArray) -> Ballots:
        code_S = 2 * scores.answer_S[rows] + scores.is_right_S[rows]
        parsed_S = scores.answer_S[rows] >= 0
        distinct, code_of_parsed = np.unique(code_S[parsed_S], return_inverse=True)
        answer_S = np.full(len(rows), len(distinct))
        answer_S[parsed_S] = code_of_parsed
        score_S = np.where(parsed_S, scores.score_S[rows], 0.0)
        return cls(answer_S, score_S, distinct % 2 == 1)

    def elect(self, subsets_BS: IntArray) -> FloatArray:
        """Share of right answers among the tied leaders of every subset, shape (B,)."""
        num_subsets, num_answers = len(subsets_BS), len(self.is_right_A)
        shape = (num_subsets, num_answers + 1)
        cells = np.arange(num_subsets)[:, None] * (num_answers + 1) + self.answer_S[subsets_BS]
        weights = self.score_S[subsets_BS].ravel()
        total_BA = np.bincount(cells.ravel(), weights, minlength=np.prod(shape)).reshape(shape)
        drawn_BA = np.bincount(cells.ravel(), minlength=np.prod(shape)).reshape(shape) > 0
        total_BA = np.where(drawn_BA, total_BA, -np.inf)[:, :num_answers]
        most_B1 = total_BA.max(axis=1, initial=-np.inf, keepdims=True)
        with np.errstate(invalid="ignore"):
            leads_BA = most_B1 - total_BA <= TIED * np.abs(most_B1)
        num_right_B = (leads_BA & self.is_right_A).sum(axis=1)
        return num_right_B / np.maximum(leads_BA.sum(axis=1), 1)
