"""Effective data: what tokens are worth that are read again.

A corpus of U tokens that is read D/U times is worth D' = U + U R* (1 - exp(-R/R*)) fresh tokens, where R = D/U - 1 is
the number of repetitions and R* says how many of them are worth something (Muennighoff et al. 2023, arXiv 2305.16264,
equation 5; they found R* = 15.4). With D' in the place of D, Hoffmann's law holds.

It is fitted like any other law. It has no term for overfitting: where a model's loss rises with further epochs, or
repetition hurts large models and not small ones, the law misses the points, and its error says so.
"""

from __future__ import annotations

import numpy as np

from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws.fit import (
    PARAMETERS,
    TOKENS,
    Fit,
    Observations,
    SearchedLaw,
    Variable,
    fit_law,
    natural_exp,
)
from scaling_exp.analysis.laws.loss import HOFFMANN

UNIQUE_TOKENS = Variable("U", "unique tokens U")
STARTING_REPETITIONS = (1.0, 5.0, 25.0)


def effective_tokens(
    tokens: FloatArray, unique_tokens: FloatArray, worth_repetitions: FloatArray
) -> FloatArray:
    """D' of arrays that broadcast."""
    worth_repetitions = np.clip(worth_repetitions, 1e-9, 1e12)  # a search goes anywhere
    repetitions = np.maximum(tokens / unique_tokens - 1, 0.0)
    saturating = -worth_repetitions * np.expm1(-repetitions / worth_repetitions)
    return np.minimum(tokens, unique_tokens) + unique_tokens * saturating


def _effective(
    parameters_RQ: FloatArray, sizes_X: FloatArray, tokens_X: FloatArray, unique_X: FloatArray
) -> FloatArray:
    floor, a, b, alpha, beta, worth = (column[:, None] for column in parameters_RQ.T)
    tokens_RX = effective_tokens(tokens_X, unique_X, worth)
    with np.errstate(over="ignore"):
        return floor + a * sizes_X**-alpha + b * tokens_RX**-beta


def _starts(x_VM: FloatArray, loss_M: FloatArray) -> FloatArray:
    """Every third of Hoffmann's starts, with a few numbers of repetitions each."""
    known_SQ = HOFFMANN.starts(x_VM[:2], loss_M)[::3]
    return np.vstack(
        [
            np.column_stack([known_SQ, np.full(len(known_SQ), np.log(worth))])
            for worth in STARTING_REPETITIONS
        ]
    )


EFFECTIVE_DATA = SearchedLaw(
    name="the law of effective data",
    formula="L = E + A/N^alpha + B/D'^beta, D' = U + U R* (1 - exp(-(D/U - 1)/R*))",
    variables=(PARAMETERS, TOKENS, UNIQUE_TOKENS),
    parameters=("E", "A", "B", "alpha", "beta", "R*"),
    function=_effective,
    natural=natural_exp,
    starts=_starts,
    is_in_logs=True,
    delta=HOFFMANN.delta,
)
"""Muennighoff et al. 2023 (arXiv 2305.16264), but for their correction of N for excess parameters."""


def fit_effective_data(
    num_parameters_M: FloatArray,
    tokens_M: FloatArray,
    unique_tokens_M: FloatArray,
    observations: Observations,
) -> Fit:
    """Fit `EFFECTIVE_DATA` to losses (nats). `unique_tokens_M` is D itself where nothing was repeated.

    Raises ValueError for fewer than seven runs, or where none differ in how often they were repeated.
    """
    repetitions_M = tokens_M / unique_tokens_M - 1
    if len(np.unique(repetitions_M[repetitions_M > 0])) < 2:
        raise ValueError(
            f"{EFFECTIVE_DATA.name} needs runs that were repeated to different numbers of times"
        )
    x_VM = np.array([num_parameters_M, tokens_M, unique_tokens_M], np.float64)
    return fit_law(EFFECTIVE_DATA, x_VM, observations)
