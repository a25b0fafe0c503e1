"""Accuracy against pre-training compute, and the accuracy of votes against their number.

Axes: M models, K numbers of samples, R rows of the bootstrap, Q parameters, B exponents tried.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws.fit import (
    COMPUTE,
    SAMPLES,
    Fit,
    Law,
    Observations,
    SearchedLaw,
    fit_law,
    grid,
    natural_exp,
)


def _sigmoid(parameters_RQ: FloatArray, flops_X: FloatArray) -> FloatArray:
    floor, ceiling, middle, slope = (column[:, None] for column in parameters_RQ.T)
    with np.errstate(divide="ignore"):
        return floor + (ceiling - floor) * expit(slope * (np.log10(flops_X) - np.log10(middle)))


def _share(theta: FloatArray) -> FloatArray:
    """Between 0 and 1, and exactly so where a search runs out there."""
    return np.where(theta < -30, 0.0, np.where(theta > 30, 1.0, expit(theta)))


def _sigmoid_natural(theta_RQ: FloatArray) -> FloatArray:
    """Floor and ceiling stay in order and within 0 and 1."""
    floor_R = _share(theta_RQ[:, 0])
    ceiling_R = floor_R + (1 - floor_R) * _share(theta_RQ[:, 1])
    return np.column_stack([floor_R, ceiling_R, natural_exp(theta_RQ[:, 2:])])


def _middles(x_VM: FloatArray) -> FloatArray:
    """Half-way points to try: inside the data and a decade to either side."""
    low, high = np.log(x_VM[0].min()), np.log(x_VM[0].max())
    return np.linspace(low - np.log(10), high + np.log(10), 7)


def _sigmoid_starts(x_VM: FloatArray, accuracy_M: FloatArray) -> FloatArray:
    floor = min(max(float(accuracy_M.min()) - 0.01, 0.002), 0.9)
    shares = [
        min(max((float(accuracy_M.max()) + e - floor) / (1 - floor), 0.01), 0.99)
        for e in (0.02, 0.2)
    ]
    floors = [logit(floor), logit(0.002)]
    slopes = np.log([0.5, 1.0, 2.0, 4.0])
    return grid(floors, list(logit(shares)), _middles(x_VM).tolist(), slopes.tolist())


SIGMOID = SearchedLaw(
    name="sigmoid with floor and ceiling",
    formula="accuracy = floor + (ceiling - floor) / (1 + (C/C_half)^(-slope/ln 10))",
    variables=(COMPUTE,),
    parameters=("floor", "ceiling", "C_half", "slope"),
    function=_sigmoid,
    natural=_sigmoid_natural,
    starts=_sigmoid_starts,
)
"""`slope` is per decade of compute. Floor and ceiling lie within 0 and 1."""


def _logistic(parameters_RQ: FloatArray, flops_X: FloatArray) -> FloatArray:
    middle, slope = (column[:, None] for column in parameters_RQ.T)
    with np.errstate(divide="ignore"):
        return expit(slope * (np.log10(flops_X) - np.log10(middle)))


def _logistic_starts(x_VM: FloatArray, accuracy_M: FloatArray) -> FloatArray:
    del accuracy_M
    return grid(_middles(x_VM).tolist(), np.log([0.25, 0.5, 1.0, 2.0, 4.0]).tolist())


LOGISTIC = SearchedLaw(
    name="sigmoid from 0 to 1",
    formula="accuracy = 1 / (1 + (C/C_half)^(-slope/ln 10))",
    variables=(COMPUTE,),
    parameters=("C_half", "slope"),
    function=_logistic,
    natural=natural_exp,
    starts=_logistic_starts,
)
"""The same with nothing to be said of floor and ceiling."""


def _log_power(parameters_RQ: FloatArray, flops_X: FloatArray) -> FloatArray:
    scale, exponent = (column[:, None] for column in parameters_RQ.T)
    with np.errstate(divide="ignore", over="ignore"):
        return np.exp(-np.exp(np.log(scale) - exponent * np.log(flops_X)))


def _log_power_starts(x_VM: FloatArray, accuracy_M: FloatArray) -> FloatArray:
    middle = np.log(-np.log(np.clip(accuracy_M, 1e-3, 1 - 1e-3))).mean()
    exponents = np.array([0.03, 0.1, 0.2, 0.4, 0.8])
    return np.column_stack([middle + exponents * np.log(x_VM[0]).mean(), np.log(exponents)])


LOG_POWER = SearchedLaw(
    name="power law of -log accuracy",
    formula="-log accuracy = a C^-b",
    variables=(COMPUTE,),
    parameters=("a", "b"),
    function=_log_power,
    natural=natural_exp,
    starts=_log_power_starts,
)
"""Schaeffer et al. 2025 (arXiv 2509.24012), without a floor; least squares of the accuracy."""

ACCURACY_LAWS = (SIGMOID, LOGISTIC, LOG_POWER)


def fit_accuracy(
    pretraining_flops_M: FloatArray, observations: Observations, law: SearchedLaw = SIGMOID
) -> Fit:
    """Fit one of `ACCURACY_LAWS` to accuracies. Raises ValueError for too few models."""
    return fit_law(law, np.array([pretraining_flops_M], np.float64), observations)


def _saturating(parameters_RQ: FloatArray, ks_X: FloatArray) -> FloatArray:
    limit, first, exponent = (column[:, None] for column in parameters_RQ.T)
    return limit + (first - limit) * ks_X**-exponent


VOTING = Law(
    name="saturating votes",
    formula="maj@k = limit - (limit - maj@1) k^-b",
    variables=(SAMPLES,),
    parameters=("limit", "maj@1", "b"),
    function=_saturating,
)
"""Only b is fitted: the limit is computed from the votes, and maj@1 is measured."""


def _searched_natural(theta_RQ: FloatArray) -> FloatArray:
    return np.column_stack([_share(theta_RQ[:, :2]), natural_exp(theta_RQ[:, 2:])])


def _searched_starts(x_VM: FloatArray, accuracy_M: FloatArray) -> FloatArray:
    del x_VM
    last = float(accuracy_M[-1])
    limits = [logit(last + (0.999 - last) * share + 1e-3) for share in (0.0, 0.1, 0.4, 0.9)]
    first = logit(np.clip(accuracy_M[0], 1e-3, 1 - 1e-3))
    return grid(limits, [first], np.log([0.03, 0.1, 0.3, 0.6, 1.0, 2.0]).tolist())


SEARCHED_VOTING = SearchedLaw(
    name="votes with a limit searched for",
    formula=VOTING.formula,
    variables=VOTING.variables,
    parameters=VOTING.parameters,
    function=_saturating,
    natural=_searched_natural,
    starts=_searched_starts,
)
"""The rival: limit, maj@1 and b all from the curve."""


NUM_EXPONENTS = 600


def fit_votes(ks_K: FloatArray, accuracy_RK: FloatArray, limit_R: FloatArray, tail: float) -> Fit:
    """Fit `VOTING` to maj@k, k from 1, given its limit (`vote_limit`). Least squares over a grid of exponents.

    Raises ValueError when the first k is not 1.
    """
    if ks_K[0] != 1:
        raise ValueError(f"{VOTING.name} needs maj@1; the first k is {ks_K[0]:.0f}")
    exponent_B = np.geomspace(0.02, 20, NUM_EXPONENTS)
    gap_R = limit_R - accuracy_RK[:, 0]
    square_R = ((limit_R[:, None] - accuracy_RK) ** 2).sum(axis=1)
    decay_BK = ks_K ** -exponent_B[:, None]
    cross_RB = (limit_R[:, None] - accuracy_RK) @ decay_BK.T
    error_RB = square_R[:, None] - 2 * gap_R[:, None] * cross_RB
    error_RB += gap_R[:, None] ** 2 * (decay_BK**2).sum(axis=1)
    best_R = error_RB.argmin(axis=1)
    return Fit(
        law=VOTING,
        parameters_RQ=np.column_stack([limit_R, accuracy_RK[:, 0], exponent_B[best_R]]),
        objective=float(error_RB[0, best_R[0]] / 2),
        x_VM=ks_K[None],
        y_M=accuracy_RK[0],
        tail=tail,
    )
