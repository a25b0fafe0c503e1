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
    """Expected accuracy per problem and k, and how far its computation may be off, both (P, K).

    `standard_error_PK` says how far from the exact expectation over the samples at hand a value is
    where that was too much to compute; it is 0 where the value is exact. It says nothing about other
    samples or other problems. Errors of different problems are independent where they come from
    random subsets, and may share a sign where they come from an approximation.
    """

    values_PK: FloatArray
    standard_error_PK: FloatArray
    has_independent_errors: bool = True

    def mean_standard_error_K(self) -> FloatArray:
        """Of the mean over problems; a bound where errors may share a sign. Shape (K,)."""
        if self.has_independent_errors:
            return np.sqrt((self.standard_error_PK**2).sum(axis=0)) / len(self.standard_error_PK)
        return self.standard_error_PK.mean(axis=0)


def check_ks(ks: Sequence[int], num_samples_P: IntArray) -> None:
    """Raise ValueError for a k outside 1..n of any problem: there the estimators are undefined."""
    fewest = int(num_samples_P.min(initial=np.iinfo(np.int64).max))
    for k in ks:
        if not 1 <= k <= fewest:
            raise ValueError(
                f"k = {k} is undefined for {fewest} samples; it must be in 1..{fewest}"
            )
