"""Estimators: what one would have scored with k samples, in expectation over which k of the n drawn
they were.

How sure a mean over problems is, is for intervals.py; what the samples cost, for cost.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scaling_exp.analysis.estimators.arrays import BoolArray, Estimated, FloatArray, IntArray
from scaling_exp.analysis.estimators.coverage import pass_at_k
from scaling_exp.analysis.estimators.polynomial import (
    VoteCounts,
    old_maj_at_k,
    old_plurality,
)
from scaling_exp.analysis.estimators.scored import Scores, best_of_k, weighted_vote_at_k
from scaling_exp.analysis.estimators.votes import ABSTAINS, Votes, vote_limit
from scaling_exp.analysis.estimators.votes import plurality as _plurality

__all__ = [
    "ABSTAINS",
    "BoolArray",
    "Estimated",
    "FloatArray",
    "IntArray",
    "Scores",
    "VoteCounts",
    "Votes",
    "best_of_k",
    "maj_at_k",
    "pass_at_k",
    "plurality",
    "vote_limit",
    "weighted_vote_at_k",
]


def maj_at_k(votes, ks: Sequence[int]):
    """Of `Votes` an `Estimated`; of a sequence of `VoteCounts` an array, until callers have moved."""
    if not isinstance(votes, Votes):
        return old_maj_at_k(votes, ks)
    counts = [[[], []] for _ in range(votes.num_problems)]
    rows = (votes.problem_A.tolist(), votes.is_right_A.tolist(), votes.votes_A.tolist())
    for problem, is_right, number in zip(*rows, strict=True):
        counts[problem][is_right].append(number)
    problems = [
        VoteCounts(
            tuple(sorted(right, reverse=True)), tuple(sorted(wrong, reverse=True)), abstaining
        )
        for (wrong, right), abstaining in zip(counts, votes.num_abstaining_P.tolist(), strict=True)
    ]
    values_PK = old_maj_at_k(problems, ks)
    return Estimated(values_PK, np.zeros_like(values_PK))


def plurality(votes):
    """Of `Votes` an array; of `VoteCounts` a number, until callers have moved."""
    return _plurality(votes) if isinstance(votes, Votes) else old_plurality(votes)
