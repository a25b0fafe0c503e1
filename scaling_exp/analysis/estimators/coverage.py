"""pass@k: what an oracle that recognises a right answer would have scored with k samples.

Axes: P problems, K numbers of samples k, C numbers of correct samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scaling_exp.analysis.estimators.arrays import FloatArray, IntArray, check_ks


def pass_at_k(num_correct_P: IntArray, num_samples_P: IntArray, ks: Sequence[int]) -> FloatArray:
    """Probability that at least one of k samples is correct, per problem: 1 - C(n-c, k) / C(n, k),
    shape (P, K). Problems may differ in their number of samples n.

    Evaluated as 1 - prod_{j=n-c+1..n} (1 - k/j), without cancellation (Chen et al. 2021, arXiv
    2107.03374, eq. 1). Raises ValueError for a k outside 1..n of any problem: beyond n the
    estimator is undefined.
    """
    num_correct_P = np.asarray(num_correct_P)
    num_samples_P = np.broadcast_to(num_samples_P, num_correct_P.shape)
    check_ks(ks, num_samples_P)
    if ((num_correct_P < 0) | (num_correct_P > num_samples_P)).any():
        raise ValueError("a number of correct samples lies outside 0..n")
    values_PK = np.zeros((len(num_correct_P), len(ks)))
    for num_samples in np.unique(num_samples_P):
        alike = np.flatnonzero(num_samples_P == num_samples)
        table_CK = _by_number_correct(num_samples, num_correct_P[alike].max(), ks)
        values_PK[alike] = table_CK[num_correct_P[alike]]
    return values_PK


def _by_number_correct(num_samples: int, most_correct: int, ks: Sequence[int]) -> FloatArray:
    """pass@k of n samples of which 0, 1, ... are correct, shape (C, K)."""
    descending_C1 = np.arange(num_samples, num_samples - most_correct, -1.0)[:, None]
    with np.errstate(divide="ignore"):
        log_factors_CK = np.log1p(-np.minimum(np.asarray(ks) / descending_C1, 1.0))
    return np.vstack([np.zeros(len(ks)), -np.expm1(np.cumsum(log_factors_CK, axis=0))])
