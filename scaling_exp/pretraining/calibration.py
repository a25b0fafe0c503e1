"""How good scores are, as numbers: do they tell right from wrong, do they mean what they say, what do they buy?

Pure functions of arrays; they know neither models nor tasks. A score is the probability, in [0, 1], that an answer will
be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from scipy.stats import rankdata

# Axis suffixes: S scores, K samples of one problem, A its distinct answers.

NUM_BINS = 10


@dataclass(frozen=True)
class Quality:
    """Of some scores. NaN where it is not defined, as the AUC of answers that are all wrong."""

    scores: str
    """Which they are."""
    num_scores: int
    share_correct: float
    auc: float
    """Probability that a right answer's score is above a wrong one's."""
    auc_within: float
    """The same between answers to one problem, averaged over the problems that have both."""
    brier: float
    """Mean squared error (Brier 1950)."""
    calibration_error: float
    """Expected calibration error, over ten bins of equal width (Naeini et al. 2015)."""


@dataclass(frozen=True)
class Bin:
    """Scores in [low, low + 0.1), with the share of right answers among them: equal when well calibrated."""

    low: float
    num_scores: int
    mean_score: float
    share_correct: float


@dataclass(frozen=True)
class Selection:
    """Accuracy of ways to choose one of `num_samples` answers to a problem, averaged over problems."""

    generator: str
    num_samples: int
    first: float
    majority: float
    best_last: float
    """Best of N by the score of the whole answer."""
    best_min: float
    """Best of N by the least score of a step."""
    weighted_last: float
    """Vote weighted by the score of the whole answer."""
    weighted_min: float
    any_correct: float


def quality(
    scores: str, score_S: np.ndarray, is_correct_S: np.ndarray, problem_S: np.ndarray
) -> Quality:
    """Of scores whose answers turned out as `is_correct_S`; `problem_S` tells problems apart."""
    bins = reliability(score_S, is_correct_S)
    gaps = [each.num_scores * abs(each.mean_score - each.share_correct) for each in bins]
    return Quality(
        scores,
        num_scores=len(score_S),
        share_correct=float(is_correct_S.mean()),
        auc=auc(score_S, is_correct_S),
        auc_within=auc_within(score_S, is_correct_S, problem_S),
        brier=float(np.mean((score_S - is_correct_S) ** 2)),
        calibration_error=sum(gaps) / len(score_S),
    )


def auc(score_S: np.ndarray, is_correct_S: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half (Mann and Whitney 1947); NaN without both kinds."""
    num_right = int(is_correct_S.sum())
    num_wrong = len(score_S) - num_right
    if not num_right or not num_wrong:
        return nan
    above = rankdata(score_S)[is_correct_S].sum() - num_right * (num_right + 1) / 2
    return float(above / (num_right * num_wrong))


def auc_within(score_S: np.ndarray, is_correct_S: np.ndarray, problem_S: np.ndarray) -> float:
    """Mean AUC of the problems that have right and wrong answers: knowing a hard problem is no help here."""
    order = np.argsort(problem_S, kind="stable")
    cuts = np.flatnonzero(np.diff(problem_S[order])) + 1
    each = [auc(score_S[ix], is_correct_S[ix]) for ix in np.split(order, cuts)]
    found = [value for value in each if value == value]
    return float(np.mean(found)) if found else nan


def reliability(score_S: np.ndarray, is_correct_S: np.ndarray) -> list[Bin]:
    """The bins that hold any score, lowest first."""
    bin_S = np.minimum((score_S * NUM_BINS).astype(int), NUM_BINS - 1)
    return [
        Bin(
            low=number / NUM_BINS,
            num_scores=int(inside_S.sum()),
            mean_score=float(score_S[inside_S].mean()),
            share_correct=float(is_correct_S[inside_S].mean()),
        )
        for number in range(NUM_BINS)
        if (inside_S := bin_S == number).any()
    ]


def selection(
    generator: str,
    answers: Sequence[Sequence[str | None]],
    is_correct_PK: np.ndarray,
    last_PK: np.ndarray,
    min_PK: np.ndarray,
) -> Selection:
    """Of as many groups of K samples as there are rows. An answer that is None takes no part in a vote."""
    rows = [
        choices(list(given), right_K, last_K, min_K)
        for given, right_K, last_K, min_K in zip(
            answers, is_correct_PK, last_PK, min_PK, strict=True
        )
    ]
    means = [float(mean) for mean in np.mean(rows, axis=0)]
    return Selection(generator, is_correct_PK.shape[1], *means)


def choices(
    answers: list[str | None], is_correct_K: np.ndarray, last_K: np.ndarray, min_K: np.ndarray
) -> list[float]:
    """For one problem, whether each way of `Selection` chooses a right answer; a majority's ties share."""
    kept = [k for k, answer in enumerate(answers) if answer is not None]
    if not kept:
        return [0.0] * 7
    right_K, last_K, min_K = is_correct_K[kept], last_K[kept], min_K[kept]
    _, answer_K = np.unique([str(answers[k]) for k in kept], return_inverse=True)
    num_A = np.bincount(answer_K)
    right_A = np.bincount(answer_K, right_K) > 0
    leads_A = num_A == num_A.max()
    return [
        float(is_correct_K.mean()),
        float(right_A[leads_A].mean()),
        float(right_K[last_K.argmax()]),
        float(right_K[min_K.argmax()]),
        float(right_A[np.bincount(answer_K, last_K).argmax()]),
        float(right_A[np.bincount(answer_K, min_K).argmax()]),
        float(right_K.any()),
    ]
