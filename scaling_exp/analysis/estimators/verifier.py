"""What a verifier that errs would have chosen among k samples.

Axes: P problems, K numbers of samples k, J numbers of right ones among them, Q nodes of a quadrature.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from scipy.stats import hypergeom

from scaling_exp.analysis.estimators.arrays import FloatArray, IntArray, check_ks


def verified_at_k(
    num_correct_P: IntArray,
    num_samples_P: IntArray,
    ks: Sequence[int],
    completeness: float,
    soundness: float,
) -> FloatArray:
    """Probability that the choice among k of a problem's samples is right, shape (P, K), when it falls on any of those
    that a verifier accepts, or on any of the k where it accepts none.

    After Stroebl et al. (2024, arXiv 2411.17501, section 3). It accepts right samples with probability `completeness`
    and refuses wrong ones with probability `soundness`, each time anew. Exact. Raises ValueError for a k outside 1..n
    of any problem.
    """
    check_ks(ks, num_samples_P)
    values_PK = np.zeros((len(num_correct_P), len(ks)))
    kinds, kind_P = np.unique([num_samples_P, num_correct_P], axis=1, return_inverse=True)
    for column, k in enumerate(ks):
        right_J = np.arange(k + 1)
        chosen_J = _right_among(right_J, k, completeness, 1 - soundness)
        of_kind = [hypergeom.pmf(right_J, n, c, k) @ chosen_J for n, c in kinds.T]
        values_PK[:, column] = np.array(of_kind)[kind_P.ravel()]
    return values_PK


def _right_among(
    right_J: IntArray, k: int, accepts_right: float, accepts_wrong: float
) -> FloatArray:
    """Probability of a right choice, given how many of the k are right.

    With j right ones and X others accepted it is j a E[1 / (1 + X)], and E[1 / (1 + X)] = int_0^1 E[t^X] dt: the
    integral of a polynomial of degree k - 1, of which Gauss' quadrature with k / 2 nodes is exact. Its Chebyshev
    coefficients of degree n fall like exp(-n^2 / k), so 4 sqrt(k) nodes leave only rounding errors.
    """
    node_Q, weight_Q = np.polynomial.legendre.leggauss(min(k // 2 + 1, 4 * isqrt(k) + 8))
    t_1Q = (node_Q[None] + 1) / 2
    right_J1 = right_J[:, None]
    others_JQ = (1 - accepts_right * (1 - t_1Q)) ** np.maximum(right_J1 - 1, 0)
    others_JQ = others_JQ * (1 - accepts_wrong * (1 - t_1Q)) ** (k - right_J1)
    share_J = right_J * accepts_right * (others_JQ @ (weight_Q / 2))
    none_J = (1 - accepts_right) ** right_J * (1 - accepts_wrong) ** (k - right_J)
    return share_J + none_J * right_J / k
