"""Pre-training loss as a function of parameters N and tokens D, and the size that inference demand makes best.

Three laws, by how much they need: compute alone, Gadre's (one exponent for both), Hoffmann's (two). It knows nothing
of tasks: from loss to accuracy is for downstream.py.

Axes: M runs, R rows of the bootstrap, Q parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws.fit import (
    COMPUTE,
    PARAMETERS,
    TOKENS,
    Fit,
    Observations,
    SearchedLaw,
    fit_law,
    grid,
    natural_exp,
)

HUBER_DELTA = 1e-3
ABSOLUTE_DELTA = 1e-6
"""Huber's loss with so small a delta is least absolute deviations to a millionth of log L."""


def _hoffmann(parameters_RQ: FloatArray, sizes_X: FloatArray, tokens_X: FloatArray) -> FloatArray:
    floor, a, b, alpha, beta = (column[:, None] for column in parameters_RQ.T)
    with np.errstate(over="ignore"):
        return floor + a * sizes_X**-alpha + b * tokens_X**-beta


def _hoffmann_starts(x_VM: FloatArray, loss_M: FloatArray) -> FloatArray:
    """Exponents from a grid; E, and how the rest of the loss at the mean run divides between N and D, too."""
    return _starts(x_VM, loss_M, exponents=grid(*[(0.1, 0.2, 0.35, 0.5, 0.8, 1.2)] * 2))


def _starts(x_VM: FloatArray, loss_M: FloatArray, exponents: FloatArray) -> FloatArray:
    log_x_V = np.log(x_VM).mean(axis=1)
    lowest, middle = loss_M.min(), np.exp(np.log(loss_M).mean())
    rows = []
    for floor_share in (0.02, 0.3, 0.6, 0.85, 0.97):
        floor = floor_share * lowest
        for share in (0.2, 0.5, 0.8):
            rest = (middle - floor) * np.array([share, 1 - share])
            scale = np.log(rest) + exponents * log_x_V
            first = np.full((len(exponents), 1), np.log(floor))
            rows.append(np.hstack([first, scale, np.log(exponents)]))
    return np.vstack(rows)


HOFFMANN = SearchedLaw(
    name="Hoffmann's law",
    formula="L = E + A/N^alpha + B/D^beta",
    variables=(PARAMETERS, TOKENS),
    parameters=("E", "A", "B", "alpha", "beta"),
    function=_hoffmann,
    natural=natural_exp,
    starts=_hoffmann_starts,
    is_in_logs=True,
    delta=HUBER_DELTA,
)
"""Hoffmann et al. 2022 (arXiv 2203.15556), equation 10 and section D.2: Huber's loss of log L with delta 1e-3."""


def _gadre(parameters_RQ: FloatArray, sizes_X: FloatArray, tokens_X: FloatArray) -> FloatArray:
    """6^(b/2) (MN)^b with M = D/N is (sqrt(6) D)^b."""
    a, c, b, floor = (column[:, None] for column in parameters_RQ.T)
    with np.errstate(over="ignore"):
        return floor + a * sizes_X**b + c * (np.sqrt(6.0) * tokens_X) ** b


def _gadre_natural(theta_RQ: FloatArray) -> FloatArray:
    return natural_exp(theta_RQ) * np.array([1.0, 1.0, -1.0, 1.0])


def _gadre_starts(x_VM: FloatArray, loss_M: FloatArray) -> FloatArray:
    exponents = np.repeat([[0.1], [0.2], [0.35], [0.5], [0.8]], 2, axis=1)
    floor, scale_n, scale_d, exponent, _ = _starts(x_VM, loss_M, exponents).T
    scale_d = scale_d - np.exp(exponent) * np.log(6.0) / 2
    return np.stack([scale_n, scale_d, exponent, floor], axis=1)


GADRE = SearchedLaw(
    name="Gadre's law",
    formula="L = E + a N^b + c 6^(b/2) D^b",
    variables=(PARAMETERS, TOKENS),
    parameters=("a", "c", "b", "E"),
    function=_gadre,
    natural=_gadre_natural,
    starts=_gadre_starts,
)
"""Gadre et al. 2024 (arXiv 2403.08540), equation 4, with D = MN: least squares of L."""


def _compute(parameters_RQ: FloatArray, flops_X: FloatArray) -> FloatArray:
    floor, a, b = (column[:, None] for column in parameters_RQ.T)
    with np.errstate(over="ignore"):
        return floor + a * flops_X**-b


def _compute_starts(x_VM: FloatArray, loss_M: FloatArray) -> FloatArray:
    doubled = np.vstack([x_VM, x_VM])
    exponents = np.repeat([[0.03], [0.06], [0.12], [0.2], [0.35], [0.6]], 2, axis=1)
    floor, scale, _, exponent, _ = _starts(doubled, loss_M, exponents).T
    return np.stack([floor, scale, exponent], axis=1)


COMPUTE_ONLY = SearchedLaw(
    name="the compute law",
    formula="L = E + A/C^b",
    variables=(COMPUTE,),
    parameters=("E", "A", "b"),
    function=_compute,
    natural=natural_exp,
    starts=_compute_starts,
    is_in_logs=True,
    delta=HUBER_DELTA,
)
"""For runs that differ in one direction only (Kaplan et al. 2020, arXiv 2001.08361, with a floor)."""


def fit_loss(
    num_parameters_M: FloatArray,
    num_tokens_M: FloatArray,
    observations: Observations,
    law: SearchedLaw = HOFFMANN,
) -> Fit:
    """Fit `HOFFMANN` or `GADRE` to losses (nats) of runs.

    Raises ValueError for too few runs, or for runs in which N or D takes fewer than three values: then nothing tells
    the floor from the exponent.
    """
    for name, values_M in (("N", num_parameters_M), ("D", num_tokens_M)):
        if len(np.unique(values_M)) < 3:
            raise ValueError(
                f"{law.name} needs three different values of {name}; see the compute law"
            )
    x_VM = np.array([num_parameters_M, num_tokens_M], np.float64)
    return fit_law(law, x_VM, observations)


def fit_compute_loss(pretraining_flops_M: FloatArray, observations: Observations) -> Fit:
    """Fit `COMPUTE_ONLY`."""
    return fit_law(COMPUTE_ONLY, np.array([pretraining_flops_M], np.float64), observations)


@dataclass(frozen=True)
class LossLaw:
    """Hoffmann's law with known parameters."""

    floor: float  # E
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, num_parameters: float, num_tokens: float) -> float:
        """Nats a token."""
        return self.floor + self.a * num_parameters**-self.alpha + self.b * num_tokens**-self.beta

    def tokens_for(self, num_parameters: float, loss: float) -> float:
        """Tokens at which a model of this size reaches a loss; infinite when it never does."""
        rest = loss - self.floor - self.a * num_parameters**-self.alpha
        return float("inf") if rest <= 0 else (self.b / rest) ** (1 / self.beta)

    def optimal_tokens(self, num_parameters: float) -> float:
        """Tokens with which this size is the best use of 6ND: alpha A/N^alpha = beta B/D^beta."""
        share = self.alpha * self.a / (self.beta * self.b) * num_parameters**-self.alpha
        return share ** (-1 / self.beta)

    def optimal_size(self, pretraining_flops: float) -> float:
        """N that reaches the lowest loss with 6ND = C: G (C/6)^(beta / (alpha + beta)) (arXiv 2203.15556, eq. 4)."""
        both = self.alpha + self.beta
        scale = (self.alpha * self.a / (self.beta * self.b)) ** (1 / both)
        return scale * (pretraining_flops / 6) ** (self.beta / both)


HOFFMANN_PUBLISHED = LossLaw(
    floor=float(np.exp(0.5267228)),
    a=float(np.exp(6.0073404)),
    b=float(np.exp(6.0179186)),
    alpha=0.33917084,
    beta=0.2849083,
)
"""Unrounded, from the TeX source of arXiv 2203.15556, by way of Besiroglu et al. 2024 (arXiv 2404.10102)."""

BESIROGLU_PUBLISHED = LossLaw(floor=1.8172, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658)
"""Besiroglu et al. 2024 (arXiv 2404.10102): the same law refitted to 240 of Hoffmann's runs."""


@dataclass(frozen=True)
class LifetimeOptimum:
    """The model that reaches a loss for the least training plus inference."""

    num_parameters: float
    num_tokens: float
    total_flops: float


def lifetime_optimum(law: LossLaw, loss: float, num_inference_tokens: float) -> LifetimeOptimum:
    """Least 6ND + 2N D_inf over models with this loss (Sardana et al. 2023, arXiv 2401.00448, equation 3).

    Raises ValueError for a loss that no model reaches.
    """
    if loss <= law.floor:
        raise ValueError(f"loss {loss:.4g} is below the law's floor E = {law.floor:.4g}")
    smallest = (law.a / (loss - law.floor)) ** (1 / law.alpha)

    def log_total(log_n: float) -> float:
        num_parameters = float(np.exp(log_n))
        tokens = law.tokens_for(num_parameters, loss)
        return float(
            np.log(6 * num_parameters * tokens + 2 * num_parameters * num_inference_tokens)
        )

    bounds = (np.log(smallest) + 1e-6, np.log(smallest) + 20)
    found = minimize_scalar(log_total, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    num_parameters = float(np.exp(found.x))
    tokens = law.tokens_for(num_parameters, loss)
    return LifetimeOptimum(num_parameters, tokens, float(np.exp(found.fun)))
