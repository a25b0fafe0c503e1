"""From pre-training loss to error on tasks.

Axes: M models, R rows of the bootstrap, Q parameters.
"""

from __future__ import annotations

import numpy as np

from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws.fit import LOSS, Fit, Observations, SearchedLaw, fit_law, natural_exp


def _decay(parameters_RQ: FloatArray, loss_X: FloatArray) -> FloatArray:
    k, gamma, eps = (column[:, None] for column in parameters_RQ.T)
    with np.errstate(over="ignore"):
        return eps - k * np.exp(-gamma * loss_X)


def _starts(x_VM: FloatArray, error_M: FloatArray) -> FloatArray:
    """The drop at the lowest loss and the decay from a grid; the highest error seen is near eps."""
    highest, lowest = error_M.max(), max(float(error_M.min()), 1e-3)
    rows = []
    for gamma in (0.2, 0.5, 1.0, 2.0, 4.0, 8.0):
        for factor in (1.0, 1.05, 1.3):
            eps = factor * highest
            drop = max(eps - lowest, 1e-3)
            rows.append([np.log(drop) + gamma * x_VM[0].min(), np.log(gamma), np.log(eps)])
    return np.array(rows)


DOWNSTREAM = SearchedLaw(
    name="exponential decay in loss",
    formula="error = eps - k exp(-gamma L)",
    variables=(LOSS,),
    parameters=("k", "gamma", "eps"),
    function=_decay,
    natural=natural_exp,
    starts=_starts,
)
"""Gadre et al. 2024 (arXiv 2403.08540), equation 5: least squares of the error."""


def fit_downstream(loss_M: FloatArray, observations: Observations) -> Fit:
    """Fit error (1 - accuracy) to pre-training loss (nats). Raises ValueError for fewer than four models."""
    return fit_law(DOWNSTREAM, np.array([loss_M], np.float64), observations)
