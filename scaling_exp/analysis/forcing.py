"""Forcing: how well a method controls and uses thinking of a given length (Muennighoff et al. 2025, arXiv 2501.19393,
section 3.2): its three metrics over a set of evaluations at different budgets.

Axes: A evaluations; for each the mean number of thinking tokens and the accuracy.
"""

from __future__ import annotations

import numpy as np

from scaling_exp.analysis.estimators import FloatArray


def control(tokens_A: FloatArray, least_A: FloatArray, most_A: FloatArray) -> float:
    """Share of the evaluations whose thinking stayed within its budget (eq. 1)."""
    return float(np.mean((least_A <= tokens_A) & (tokens_A <= most_A)))


def scaling(tokens_A: FloatArray, accuracy_A: FloatArray) -> float:
    """Mean slope over all pairs of evaluations, accuracy a token (eq. 2); of a method that is worth anything above 0.

    Raises ValueError for fewer than two different numbers of tokens.
    """
    order = np.argsort(tokens_A, kind="stable")
    tokens_A, accuracy_A = tokens_A[order], accuracy_A[order]
    left, right = np.triu_indices(len(tokens_A), k=1)
    longer = tokens_A[right] - tokens_A[left]
    if not (longer > 0).any():
        raise ValueError("scaling wants evaluations with different numbers of thinking tokens")
    is_pair = longer > 0
    return float(np.mean((accuracy_A[right] - accuracy_A[left])[is_pair] / longer[is_pair]))


def performance(accuracy_A: FloatArray) -> float:
    """The best accuracy at any budget (eq. 3)."""
    return float(np.max(accuracy_A))
