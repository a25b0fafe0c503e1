"""What all estimators share: array types, and estimates that may carry a Monte Carlo error.

Axes: P problems, K numbers of samples k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimated:
    """Expected accuracy per problem and k, both (P, K), and the standard error of its computation.

    The error says how far a Monte Carlo part may be from the exact expectation over the samples at
    hand; it is 0 where the value is exact. It says nothing about other samples or other problems.
    """

    values_PK: FloatArray
    standard_error_PK: FloatArray

    def mean_standard_error_K(self) -> FloatArray:
        """Of the mean over problems, whose errors are independent."""
        return np.sqrt((self.standard_error_PK**2).sum(axis=0)) / len(self.standard_error_PK)


def check_ks(ks: Sequence[int], num_samples_P: IntArray) -> None:
    """Raise ValueError for a k outside 1..n of any problem: there the estimators are undefined."""
    fewest = int(num_samples_P.min(initial=np.iinfo(np.int64).max))
    for k in ks:
        if not 1 <= k <= fewest:
            raise ValueError(
                f"k = {k} is undefined for {fewest} samples; it must be in 1..{fewest}"
            )
