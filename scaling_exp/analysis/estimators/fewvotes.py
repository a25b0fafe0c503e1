"""Elections with few votes: exact for all k up to a dozen at once, as power series in the number of
draws.

Axes: E elections, C distinct numbers of votes, K numbers of samples 1..K, X powers of x (samples).
"""

from __future__ import annotations

import numpy as np

from scaling_exp.analysis.estimators.arrays import FloatArray, IntArray
from scaling_exp.analysis.estimators.elections import Elections, tie_nodes


def elected_by_few(elections: Elections, most: int) -> FloatArray:
    """Chance to be elected with k = 1, 2, ..., `most` samples, shape (E, K).

    (1 / C(n,k)) sum_j C(c*,j) int_0^1 dy [x^(k-j)] (1+x)^(n-c*) prod_a A_a / (1+x)^c_a with
    A_a = sum_{i<j} C(c_a,i) x^i + y C(c_a,j) x^j. The logarithm of the product is a sum over rivals,
    so rivals with equally many votes share it. The series cancel: the error grows like k! and is
    below 1e-9 for k <= 10.
    """
    n = elections.num_samples
    distinct, code_E = np.unique(elections.own_E, return_inverse=True)
    own_EX = _binomial_series(distinct, n, most)[code_E]
    others_EX = _binomial_series(n - distinct, n, most)[code_E]
    series_CX = _binomial_series(elections.counts_C, n, most)
    won_EK: FloatArray = np.zeros((len(elections), most))
    for votes in range(1, most + 1):
        _, nodes, weights = tie_nodes(np.array([votes]), lambda j: (most - j) // j)
        for y, weight in zip(nodes, weights, strict=True):
            rivals_EX = elections.rivals_EC @ _log_outvoted(series_CX, votes, y, most - votes, n)
            drawn_EX = _product(_exp(rivals_EX), others_EX[:, : most - votes + 1])
            won_EK[:, votes - 1 :] += weight * own_EX[:, votes, None] * drawn_EX
    return won_EK / _binomial_series(np.array([n]), n, most)[:, 1:]


def _binomial_series(sizes: IntArray, scale: int, most: int) -> FloatArray:
    """Coefficients C(size, i) / scale^i of (1 + x/scale)^size, i = 0..most."""
    i = np.arange(1, most + 1)
    series = np.ones((len(sizes), most + 1))
    series[:, 1:] = np.cumprod(np.maximum(sizes[:, None] - i + 1, 0) / (i * scale), axis=1)
    return series


def _log_outvoted(
    series_CX: FloatArray, votes: int, y: float, most: int, num_samples: int
) -> FloatArray:
    """log of A / (1+x)^c for each number of votes c, powers 0..most."""
    outvoted_CX = series_CX[:, : most + 1].copy()
    outvoted_CX[:, votes + 1 :] = 0.0
    outvoted_CX[:, votes : votes + 1] *= y
    logs_CX = np.zeros_like(outvoted_CX)
    all_CX = np.zeros_like(outvoted_CX)
    for r in range(1, most + 1):
        earlier = np.arange(1, r)
        carried_C = (earlier * logs_CX[:, earlier] * outvoted_CX[:, r - earlier]).sum(axis=1)
        logs_CX[:, r] = outvoted_CX[:, r] - carried_C / r
        all_CX[:, r] = -((-1.0 / num_samples) ** r) / r
    return logs_CX - np.round(series_CX[:, 1:2] * num_samples) * all_CX


def _exp(logs_EX: FloatArray) -> FloatArray:
    """exp of power series that begin with x."""
    series_EX = np.zeros_like(logs_EX)
    series_EX[:, 0] = 1.0
    for r in range(1, logs_EX.shape[1]):
        powers = np.arange(1, r + 1)
        series_EX[:, r] = (powers * logs_EX[:, powers] * series_EX[:, r - powers]).sum(axis=1) / r
    return series_EX


def _product(left_EX: FloatArray, right_EX: FloatArray) -> FloatArray:
    product_EX = np.zeros_like(left_EX)
    for r in range(left_EX.shape[1]):
        product_EX[:, r] = (left_EX[:, : r + 1] * right_EX[:, r::-1]).sum(axis=1)
    return product_EX
