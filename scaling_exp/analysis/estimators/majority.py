"""maj@k: what a plurality vote over k of the samples would have elected.

Exact, as a contour integral, where that is affordable. Where it is not (thousands of problems with
hundreds of samples), exact for the first and the last few k, and between them by way of a random
number of voters, with the error of that stated. Which of the two follows from the sizes alone.

Axes: P problems, K numbers of samples k, E elections (right answers), N angles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from scaling_exp.analysis.estimators.arrays import (
    BoolArray,
    Estimated,
    FloatArray,
    IntArray,
    check_ks,
)
from scaling_exp.analysis.estimators.coverage import pass_at_k
from scaling_exp.analysis.estimators.elections import Elections, Precision, elected
from scaling_exp.analysis.estimators.electorate import RandomElectorate
from scaling_exp.analysis.estimators.fewvotes import elected_by_few
from scaling_exp.analysis.estimators.votes import Votes, plurality

T = TypeVar("T")

AFFORDABLE_TERMS = 1e9
"""Terms to be added up for all exact values, at two or three nanoseconds each."""

EXACT = Precision(deviations=7.6, log_error=34.0)
MOST_FEW = 10
"""Up to this k the power series are exact to 1e-9; as many of the last k are cheap as an integral."""
FEWEST_SAMPLES_AT_RANDOM = 64
"""With fewer samples, all k are close to the first or the last and the integral is always cheap."""


def maj_at_k(votes: Votes, ks: Sequence[int]) -> Estimated:
    """Probability that a plurality vote over k of a problem's samples elects a right answer,
    shape (P, K).

    Ties are broken uniformly, unparsable samples abstain, and a vote without a single ballot is
    wrong. Raises ValueError for a k outside 1..n of any problem.
    """
    num_samples_P = votes.num_samples_P
    check_ks(ks, num_samples_P)
    ks_K = np.asarray(ks, np.int64)
    values_PK = np.zeros((votes.num_problems, len(ks)))
    errors_PK = np.zeros_like(values_PK)
    for num_samples in np.unique(num_samples_P).tolist():
        elections = Elections.of(votes, num_samples)
        is_below_K = ks_K < num_samples
        values_EK, errors_EK = _elected(elections, ks_K[is_below_K])
        values_PK[:, is_below_K] += _added(elections, values_EK, votes.num_problems)
        errors_PK[:, is_below_K] += _added(elections, errors_EK, votes.num_problems)
    values_PK += (num_samples_P[:, None] == ks_K) * plurality(votes)[:, None]
    return Estimated(np.clip(values_PK, 0.0, 1.0), errors_PK, has_independent_errors=False)


def _added(elections: Elections, values_EK: FloatArray, num_problems: int) -> FloatArray:
    """The right answers of a problem are elected by exclusive events: their chances add up."""
    added_PK = np.zeros((num_problems, values_EK.shape[1]))
    np.add.at(added_PK, elections.problem_E, values_EK)
    return added_PK


def _elected(elections: Elections, ks_K: IntArray) -> tuple[FloatArray, FloatArray]:
    """Chance of each election and its error, both (E, K), for k below the number of samples."""
    exact_ks = ks_K.tolist()
    if not len(elections) or not exact_ks:
        none_EK = np.zeros((len(elections), len(exact_ks)))
        return none_EK, none_EK
    terms = sum(_num_terms(elections, k) for k in exact_ks)
    if terms <= AFFORDABLE_TERMS or elections.num_samples < FEWEST_SAMPLES_AT_RANDOM:
        values = _in_threads(lambda k: _elected_exactly(elections, k), exact_ks)
        values_EK = np.stack(values, axis=1)
        return values_EK, np.zeros_like(values_EK)
    return _elected_roughly(elections, ks_K)


def _elected_roughly(elections: Elections, ks_K: IntArray) -> tuple[FloatArray, FloatArray]:
    electorate = RandomElectorate.of(elections, margin=MOST_FEW)
    last_ks = range(elections.num_samples - MOST_FEW, elections.num_samples)
    few_EK = elected_by_few(elections, MOST_FEW)
    last = _in_threads(lambda k: _elected_exactly(elections, k), last_ks)
    known_EK = np.column_stack([few_EK, *last, _elected_by_all(elections)])
    random_R3E = np.stack(_in_threads(electorate.elected, electorate.inclusions))
    return electorate.at(ks_K, known_EK, random_R3E)


def _elected_exactly(elections: Elections, k: int) -> FloatArray:
    """By Cauchy's formula on a circle, shape (E,): the coefficient of z^k, exact once the angles are
    so many that the draws k +- their number weigh nothing."""
    inclusion, angles_N, weight_N = _circle(elections.num_samples, k)
    won_E, lost_E = _settled(elections, k)
    values_E = np.where(won_E, _gets_a_vote(elections, k), 0.0)
    for rows in elections.chunks(np.flatnonzero(~won_E & ~lost_E), 256):
        for at in range(0, len(angles_N), 8):
            few = slice(at, at + 8)
            ties = lambda j: (k - j) // j  # noqa: E731
            parts_EN = elected(elections, rows, inclusion, angles_N[few], k, ties, EXACT)
            values_E[rows] += (parts_EN @ weight_N[few]).real
    return values_E


def _settled(elections: Elections, k: int) -> tuple[BoolArray, BoolArray]:
    """Also settled is what the n - k samples left out could not turn."""
    won_E, lost_E = elections.settled(k, EXACT.log_error)
    margin_E, num_left_out = elections.own_E - elections.top_E, elections.num_samples - k
    return won_E | (margin_E > num_left_out), lost_E | (-margin_E > num_left_out)


def _circle(num_samples: int, k: int) -> tuple[float, FloatArray, NDArray[np.complex128]]:
    """Inclusion probability, angles on the upper half circle, and the weight of each that makes
    their sum the chance given k draws.

    M angles on the whole circle see k +- M draws as k, so M is where those weigh below 1e-12. A
    smaller inclusion than k/n thins the tail out for small k.
    """
    inclusion = k / num_samples * (0.3 if k <= 16 else 1.0)
    draws = np.arange(num_samples + 1)
    logs = gammaln(draws + 1.0)
    log_weights = logs[-1] - logs - logs[::-1]
    log_weights += draws * np.log(inclusion) + draws[::-1] * np.log1p(-inclusion)
    matters = log_weights > log_weights[k] - 29.0
    num_angles = int(np.abs(draws - k)[matters].max()) + 1
    half = np.arange(num_angles // 2 + 1)
    angles_N = 2.0 * np.pi * half / num_angles
    times_N = np.where((half == 0) | (2 * half == num_angles), 1.0, 2.0)
    scale = num_angles * np.exp(log_weights[k])
    return inclusion, angles_N, times_N * np.exp(-1j * k * angles_N) / scale


def _num_terms(elections: Elections, k: int) -> float:
    """How many terms the exact chance with k votes adds up, roughly."""
    _, angles_N, _ = _circle(elections.num_samples, k)
    won_E, lost_E = _settled(elections, k)
    is_live_E = ~won_E & ~lost_E
    share = k / elections.num_samples
    spread = np.sqrt(elections.own_E[is_live_E].max(initial=1) * share * (1.0 - share))
    num_votes = min(2.0 * EXACT.deviations * spread + 20.0, 2.0 * k)
    num_rivals = np.diff(elections.rivals_EC.indptr)[is_live_E].sum()
    per_own = num_rivals + 10.0 * is_live_E.sum() + 20.0 * min(num_rivals, len(elections.counts_C))
    return 2.0 * len(angles_N) * num_votes * float(per_own)


def _gets_a_vote(elections: Elections, k: int) -> FloatArray:
    """What a right answer without a dangerous rival needs."""
    return pass_at_k(elections.own_E, np.array(elections.num_samples), [k])[:, 0]


def _elected_by_all(elections: Elections) -> FloatArray:
    own_code_E = np.searchsorted(elections.counts_C, elections.own_E)
    num_equal_E = elections.rivals_EC[np.arange(len(elections)), own_code_E]
    return (elections.own_E >= elections.top_E) / (1.0 + np.asarray(num_equal_E).ravel())


def _in_threads(function: Callable[[T], FloatArray], items: Iterable[T]) -> list[FloatArray]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return list(threads.map(function, items))
