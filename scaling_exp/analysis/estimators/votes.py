"""Votes: the answers of every problem, counted; and what a vote over all of them elects.

What a vote over k of them would have elected is for plurality.py.

Axes: P problems, S samples, A distinct answers of a problem, sorted by problem.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from scaling_exp.analysis.estimators.arrays import BoolArray, FloatArray, IntArray

ABSTAINS = -1
"""Code of an answer that could not be parsed."""


@dataclass(frozen=True)
class Votes:
    """How often each answer of each problem was given: all that pass@k and maj@k depend on.

    There may be more than one right answer, where a task accepts several (or several spellings);
    a vote cannot know that they are the same, so they compete. Unparsable samples abstain.
    `answer_A` are the answers' codes.
    """

    num_problems: int
    problem_A: IntArray
    votes_A: IntArray
    is_right_A: BoolArray
    num_abstaining_P: IntArray
    answer_A: IntArray

    @classmethod
    def of(
        cls, num_problems: int, problem_S: IntArray, answer_S: IntArray, is_right_S: BoolArray
    ) -> Votes:
        """From samples in any order. Equal answers of a problem have equal codes >= 0; ABSTAINS
        marks one that could not be parsed.

        Samples of one code of which some are right and some are wrong count as two answers. Raises
        ValueError for an unparsable sample that is marked right.
        """
        num_codes = int(np.max(answer_S, initial=ABSTAINS)) + 2
        code_S = np.multiply(problem_S, num_codes, dtype=np.int64)
        code_S += answer_S
        code_S += 1
        code_S *= 2
        code_S += is_right_S
        code_A, votes_A = _counted(code_S, 2 * num_codes * num_problems)
        problem_A, kind_A = np.divmod(code_A, 2 * num_codes)
        is_right_A, abstains_A = kind_A % 2 == 1, kind_A < 2
        if (abstains_A & is_right_A).any():
            raise ValueError("a sample without an answer is marked correct")
        num_abstaining_P = np.zeros(num_problems, np.int64)
        num_abstaining_P[problem_A[abstains_A]] = votes_A[abstains_A]
        kept = ~abstains_A
        return cls(
            num_problems,
            problem_A[kept],
            votes_A[kept],
            is_right_A[kept],
            num_abstaining_P,
            kind_A[kept] // 2 - 1,
        )

    def some(self, num_kept_P: IntArray, rng: np.random.Generator) -> Votes:
        """So many of each problem's samples, drawn without replacement."""
        starts = np.searchsorted(self.problem_A, np.arange(self.num_problems + 1))
        kept_A = np.zeros_like(self.votes_A)
        abstaining_P = np.zeros_like(self.num_abstaining_P)
        for p, (first, last) in enumerate(pairwise(starts.tolist())):
            every = np.append(self.votes_A[first:last], self.num_abstaining_P[p])
            drawn = rng.multivariate_hypergeometric(every, num_kept_P[p])
            kept_A[first:last], abstaining_P[p] = drawn[:-1], drawn[-1]
        some_A = kept_A > 0
        return replace(
            self,
            problem_A=self.problem_A[some_A],
            votes_A=kept_A[some_A],
            is_right_A=self.is_right_A[some_A],
            num_abstaining_P=abstaining_P,
            answer_A=self.answer_A[some_A],
        )

    @property
    def num_samples_P(self) -> IntArray:
        return self._added(self.votes_A) + self.num_abstaining_P

    @property
    def num_correct_P(self) -> IntArray:
        return self._added(self.votes_A * self.is_right_A)

    def _added(self, number_A: IntArray) -> IntArray:
        added_P = np.bincount(self.problem_A, number_A, minlength=self.num_problems)
        return added_P.astype(np.int64)


def _counted(code_S: IntArray, num_codes: int) -> tuple[IntArray, IntArray]:
    """Distinct codes, ascending, and how often each occurs."""
    if num_codes > 4 * len(code_S):
        return np.unique(code_S, return_counts=True)
    number_ = np.bincount(code_S, minlength=num_codes)
    code_A = np.flatnonzero(number_)
    return code_A, number_[code_A]


def plurality(votes: Votes) -> FloatArray:
    """Probability that the vote over all samples elects a right answer, shape (P,): the share of
    right ones among the tied leaders. 0 where all abstain."""
    most_P = np.zeros(votes.num_problems, np.int64)
    np.maximum.at(most_P, votes.problem_A, votes.votes_A)
    leads_A = votes.votes_A == most_P[votes.problem_A]
    num_leaders_P = np.bincount(votes.problem_A, leads_A, minlength=votes.num_problems)
    right_A = leads_A & votes.is_right_A
    num_right_P = np.bincount(votes.problem_A, right_A, minlength=votes.num_problems)
    return num_right_P / np.maximum(num_leaders_P, 1)


def vote_limit(votes: Votes) -> FloatArray:
    """Where maj@k goes as k grows without end, shape (P,), if answers kept coming with the observed
    frequencies: 1 where the most frequent answer is right, 0 where it is wrong, the share of right
    ones where several are equally frequent.

    Of the observed frequencies it is the same number as the vote over all samples: more voters
    cannot change which answer is the most frequent one. So a vote saturates, and its limit is
    computed and not extrapolated.
    """
    return plurality(votes)
