"""Joint laws of pre-training and sampling: -log pass@k from parameters N, tokens D and samples k.

The published one is additive: what a sample takes off the loss does not depend on the model. Where models differ much
that is wrong, so a product is fitted beside it, and held-out points decide.

Axes: M points (a model at some k), P problems, K numbers of samples, R rows of the bootstrap, Q parameters, S starts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.laws.fit import (
    COMPUTE,
    PARAMETERS,
    SAMPLES,
    TOKENS,
    Fit,
    Observations,
    SearchedLaw,
    fit_law,
    grid,
    natural_exp,
)


def log_loss_at_k(
    num_correct_P: IntArray, num_samples_P: IntArray, ks: Sequence[int]
) -> FloatArray:
    """-log pass@k of every problem, shape (P, K), with p = (c + 1/2) / (n + 1).

    The mean of Jeffreys' posterior keeps it finite for a problem that no sample solved, at a loss that depends on n;
    the mean over problems therefore leans on the hardest ones, as E[-log pass@k] does.
    """
    rate_P1 = ((num_correct_P + 0.5) / (num_samples_P + 1.0))[:, None]
    return -np.log(-np.expm1(np.asarray(ks) * np.log1p(-rate_P1)))


def _powers(parameters_RQ: FloatArray, *x: FloatArray) -> FloatArray:
    """E + sum_v A_v x_v^-alpha_v; parameters E, then every scale, then every exponent."""
    num_variables = len(x)
    total_RX = np.repeat(parameters_RQ[:, :1], len(x[0]), axis=1)
    with np.errstate(over="ignore", divide="ignore"):
        for v, x_X in enumerate(x):
            scale, exponent = parameters_RQ[:, 1 + v], parameters_RQ[:, 1 + num_variables + v]
            total_RX += np.exp(np.log(scale)[:, None] - exponent[:, None] * np.log(x_X))
    return total_RX


def _starts(x_VM: FloatArray, y_M: FloatArray) -> FloatArray:
    """Exponents and the floor from a grid; the rest of the mean is divided evenly among the variables."""
    num_variables = len(x_VM)
    exponents = grid(*[(0.1, 0.3, 0.6, 1.2)] * num_variables)
    middle = float(np.exp(np.log(y_M).mean()))
    rows = []
    for floor_share in (0.01, 0.3, 0.8):
        floor = floor_share * float(y_M.min())
        scale = np.log((middle - floor) / num_variables) + exponents * np.log(x_VM).mean(axis=1)
        rows.append(
            np.hstack([np.full((len(exponents), 1), np.log(floor)), scale, np.log(exponents)])
        )
    return np.vstack(rows)


JOINT = SearchedLaw(
    name="the joint law",
    formula="E[-log pass@k] = E + A/N^alpha + B/D^beta + G/k^gamma",
    variables=(PARAMETERS, TOKENS, SAMPLES),
    parameters=("E", "A", "B", "G", "alpha", "beta", "gamma"),
    function=_powers,
    natural=natural_exp,
    starts=_starts,
)
"""Roberts et al. 2026 (arXiv 2604.01411); least squares."""

JOINT_COMPUTE = SearchedLaw(
    name="the joint law of compute",
    formula="E[-log pass@k] = E + A/C^alpha + G/k^gamma",
    variables=(COMPUTE, SAMPLES),
    parameters=("E", "A", "G", "alpha", "gamma"),
    function=_powers,
    natural=natural_exp,
    starts=_starts,
)
"""The same for models that differ in one direction only."""


def _product(parameters_RQ: FloatArray, *x: FloatArray) -> FloatArray:
    """A prod_v x_v^-alpha_v; parameters A, then every exponent."""
    with np.errstate(divide="ignore"):
        log_RX = np.repeat(np.log(parameters_RQ[:, :1]), len(x[0]), axis=1)
    for v, x_X in enumerate(x):
        log_RX -= parameters_RQ[:, 1 + v : 2 + v] * np.log(x_X)
    return np.exp(np.minimum(log_RX, 700))


def _product_starts(x_VM: FloatArray, y_M: FloatArray) -> FloatArray:
    """Exponents from a grid, through the mean of the logarithms."""
    exponents = grid(*[(0.1, 0.5)] * len(x_VM))
    scale = np.log(y_M).mean() + exponents @ np.log(x_VM).mean(axis=1)
    return np.column_stack([scale, np.log(exponents)])


PRODUCT = SearchedLaw(
    name="the product law",
    formula="E[-log pass@k] = A / (N^alpha D^beta k^gamma)",
    variables=(PARAMETERS, TOKENS, SAMPLES),
    parameters=("A", "alpha", "beta", "gamma"),
    function=_product,
    natural=natural_exp,
    starts=_product_starts,
    is_in_logs=True,
)
"""The joint law's rival: every sample takes the same share of what is left, whatever the model; a line in logs."""

PRODUCT_COMPUTE = SearchedLaw(
    name="the product law of compute",
    formula="E[-log pass@k] = A / (C^alpha k^gamma)",
    variables=(COMPUTE, SAMPLES),
    parameters=("A", "alpha", "gamma"),
    function=_product,
    natural=natural_exp,
    starts=_product_starts,
    is_in_logs=True,
)
"""The same for models that differ in one direction only."""


def fit_joint(
    num_parameters_M: FloatArray,
    num_tokens_M: FloatArray,
    num_samples_M: FloatArray,
    observations: Observations,
    law: SearchedLaw = JOINT,
) -> Fit:
    """Fit `JOINT` or `PRODUCT` to -log pass@k (positive). Raises ValueError for too few points, or where N or D takes
    fewer than three values."""
    for name, values_M in (("N", num_parameters_M), ("D", num_tokens_M)):
        if len(np.unique(values_M)) < 3:
            raise ValueError(f"{law.name} needs three different values of {name}")
    x_VM = np.array([num_parameters_M, num_tokens_M, num_samples_M], np.float64)
    return fit_law(law, x_VM, observations)


def fit_joint_compute(
    pretraining_flops_M: FloatArray,
    num_samples_M: FloatArray,
    observations: Observations,
    law: SearchedLaw = JOINT_COMPUTE,
) -> Fit:
    """Fit `JOINT_COMPUTE` or `PRODUCT_COMPUTE`."""
    x_VM = np.array([pretraining_flops_M, num_samples_M], np.float64)
    return fit_law(law, x_VM, observations)
