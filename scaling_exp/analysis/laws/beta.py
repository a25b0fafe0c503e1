"""Beta distributions of the chance that one sample solves a problem: the most likely one, and the coverage it implies.

Chances are p = scale x, x ~ Beta(alpha, beta). At scale 1 everything is in closed form; below it integrals over x are
taken on nodes that are the same for every row of a bootstrap, so that a search is a few products of matrices.

Axes: P problems, U distinct (correct, samples) pairs, R rows, T nodes of the quadrature, X places (k), Q parameters
(alpha, beta).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import betaln, digamma, log_expit, zeta

from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.laws.solver import Slope, ascend_rows

SMALLEST_PARAMETER = 1e-3
EDGE = 9.5
"""Nodes reach from -EDGE to EDGE in u: 2 sinh 9.5 is 13,000, where x is 1e-5800."""
STEP = 0.05
NEWTON_STEPS = 8
COVERAGE_SAMPLES = 1000.0
"""Nodes for coverage are as dense as for the likelihood of so many samples."""


@dataclass(frozen=True)
class BetaTable:
    """Distinct pairs (U,), how much each row has of them (R, U), and the scale that a row is fitted with (R,)."""

    num_correct_U: IntArray
    num_samples_U: IntArray
    weights_RU: FloatArray
    scale_R: FloatArray

    @property
    def largest_parameter(self) -> float:
        """Beyond it a beta distribution is narrower than what a problem's samples can tell, or the nodes resolve."""
        return 4.0 * float(self.num_samples_U.max())


def beta_table(
    num_correct_RP: IntArray, num_samples_RP: IntArray, weights_RP: FloatArray, is_scaled: bool
) -> BetaTable:
    """Problems with equal counts are one pair. Rows may have counts of their own."""
    codes_RP = num_correct_RP * (num_samples_RP.max() + 1) + num_samples_RP
    codes_U, inverse_RP = np.unique(codes_RP, return_inverse=True)
    inverse_RP = np.broadcast_to(inverse_RP.reshape(codes_RP.shape), weights_RP.shape)
    num_pairs, num_rows = len(codes_U), len(weights_RP)
    flat = (np.arange(num_rows)[:, None] * num_pairs + inverse_RP).ravel()
    weights_RU = np.bincount(flat, weights_RP.ravel(), num_rows * num_pairs)
    base = num_samples_RP.max() + 1
    scale_R = np.ones(num_rows)
    if is_scaled:
        num_problems = weights_RP.shape[1]
        rate_RP = np.where(weights_RP > 0, num_correct_RP / num_samples_RP, 0.0)
        scale_R = np.minimum(1.0, (num_problems + 1) / num_problems * rate_RP.max(axis=1))
        scale_R = np.where(scale_R > 0, scale_R, 1.0)
    return BetaTable(
        codes_U // base,
        codes_U % base,
        weights_RU.reshape(num_rows, num_pairs).astype(np.float64),
        scale_R,
    )


class _Likelihood(Protocol):
    """How likely the counts are under a beta distribution of the chances."""

    def slope(self, table: BetaTable, theta_RQ: FloatArray, rows: IntArray) -> Slope:
        """Mean over a row's problems, up to a constant, by log alpha and log beta."""
        ...


class _ClosedForm:
    """Scale 1: B(alpha + c, beta + n - c) / B(alpha, beta)."""

    def slope(self, table: BetaTable, theta_RQ: FloatArray, rows: IntArray) -> Slope:
        a_R1, b_R1 = np.exp(theta_RQ[:, :1]), np.exp(theta_RQ[:, 1:])
        weights_RU = table.weights_RU[rows]
        num_correct_U = table.num_correct_U.astype(np.float64)
        right_RU = a_R1 + num_correct_U
        wrong_RU = b_R1 + table.num_samples_U.astype(np.float64) - num_correct_U
        log_RU = betaln(right_RU, wrong_RU) - betaln(a_R1, b_R1)
        both_RU = digamma(right_RU + wrong_RU) - digamma(a_R1 + b_R1)
        bend_RU = _trigamma(right_RU + wrong_RU) - _trigamma(a_R1 + b_R1)
        first = (digamma(right_RU) - digamma(a_R1), digamma(wrong_RU) - digamma(b_R1))
        second = (
            _trigamma(right_RU) - _trigamma(a_R1) - bend_RU,
            -bend_RU,
            _trigamma(wrong_RU) - _trigamma(b_R1) - bend_RU,
        )
        return _in_logs(
            theta_RQ,
            (weights_RU * log_RU).sum(axis=1),
            np.stack([(weights_RU * (each - both_RU)).sum(axis=1) for each in first], axis=1),
            [(weights_RU * each).sum(axis=1) for each in second],
        )


def _trigamma(x: FloatArray) -> FloatArray:
    """The derivative of digamma: Hurwitz's zeta function at 2."""
    return np.asarray(zeta(2.0, x), np.float64)


def _in_logs(
    theta_RQ: FloatArray, value_R: FloatArray, gradient_RQ: FloatArray, second: list[FloatArray]
) -> Slope:
    """Derivatives by alpha and beta, turned into those by their logarithms."""
    natural_RQ = np.exp(theta_RQ)
    aa, ab, bb = second
    hessian_RQQ = np.stack([aa, ab, ab, bb], axis=1).reshape(-1, 2, 2)
    hessian_RQQ = hessian_RQQ * natural_RQ[:, :, None] * natural_RQ[:, None, :]
    gradient_RQ = gradient_RQ * natural_RQ
    hessian_RQQ += gradient_RQ[:, :, None] * np.eye(2)
    return Slope(value_R, gradient_RQ, hessian_RQQ)


@dataclass(frozen=True)
class _Nodes:
    """Nodes x = expit(2 sinh u): integrals of x^(alpha-1) (1-x)^(beta-1) f(x) by the trapezoid rule, exact to rounding
    for alpha as small as 1e-3. `log_step_T` holds the logarithm of dx / (x (1-x)).

    Nodes are even in v = u / STEP + 4 sqrt(n) asin sqrt x: every `STEP` of u, and twice for every standard deviation
    of the likelihood of n samples, which is 1 / (2 sqrt n) wide in asin sqrt x wherever it lies.
    """

    log_x_T: FloatArray
    log_rest_T: FloatArray
    log_step_T: FloatArray

    @classmethod
    def spaced(cls, num_samples: float) -> _Nodes:
        u_T = np.arange(-EDGE, EDGE + STEP, STEP, dtype=np.float64)
        v_T = _nodes_until(u_T, num_samples)
        wanted_T = np.linspace(v_T[0], v_T[-1], int(np.ceil(v_T[-1] - v_T[0])) + 1)
        u_T = np.interp(wanted_T, v_T, u_T)
        for _ in range(NEWTON_STEPS):
            u_T -= (_nodes_until(u_T, num_samples) - wanted_T) / _nodes_per_u(u_T, num_samples)
        t_T = 2 * np.sinh(u_T)
        step_T = (wanted_T[1] - wanted_T[0]) * 2 * np.cosh(u_T) / _nodes_per_u(u_T, num_samples)
        return cls(log_expit(t_T), log_expit(-t_T), np.log(step_T))

    @property
    def x_T(self) -> FloatArray:
        return np.exp(self.log_x_T)

    def density(self, alpha_R: FloatArray, beta_R: FloatArray) -> FloatArray:
        """Weights of the nodes under Beta(alpha, beta), (R, T), adding up to 1."""
        log_RT = (
            alpha_R[:, None] * self.log_x_T + beta_R[:, None] * self.log_rest_T + self.log_step_T
        )
        density_RT = np.exp(log_RT - log_RT.max(axis=1, keepdims=True))
        return density_RT / density_RT.sum(axis=1, keepdims=True)


def _nodes_until(u_T: FloatArray, num_samples: float) -> FloatArray:
    """v, the number of nodes up to u but for a constant."""
    angle_T = np.arcsin(np.exp(log_expit(2 * np.sinh(u_T)) / 2))
    return u_T / STEP + 4 * np.sqrt(num_samples) * angle_T


def _nodes_per_u(u_T: FloatArray, num_samples: float) -> FloatArray:
    """dv/du."""
    t_T = 2 * np.sinh(u_T)
    root_T = np.exp((log_expit(t_T) + log_expit(-t_T)) / 2)
    return 1 / STEP + 4 * np.sqrt(num_samples) * root_T * np.cosh(u_T)


@dataclass(frozen=True)
class _Kernel:
    """The likelihood of each pair at each node, (T, U), each pair's scaled to a largest value of 1."""

    nodes: _Nodes
    likelihood_TU: FloatArray
    log_largest_U: FloatArray

    @classmethod
    def of(cls, table: BetaTable, scale: float) -> _Kernel:
        nodes = _Nodes.spaced(float(table.num_samples_U.max()))
        log_p_T1 = (np.log(scale) + nodes.log_x_T)[:, None]
        wrong_U = table.num_samples_U - table.num_correct_U
        log_TU = table.num_correct_U * log_p_T1 + wrong_U * np.log1p(-np.exp(log_p_T1))
        largest_U = log_TU.max(axis=0)
        return cls(nodes, np.exp(log_TU - largest_U), largest_U)

    def slope(self, table: BetaTable, theta_RQ: FloatArray, rows: IntArray) -> Slope:
        """Mean log of the integral of the likelihood under Beta(alpha, beta), and its derivatives: means and
        covariances of log x and log (1-x) under the posterior, less those under the prior."""
        density_RT = self.nodes.density(np.exp(theta_RQ[:, 0]), np.exp(theta_RQ[:, 1]))
        weights_RU = table.weights_RU[rows]
        log_x_T, log_rest_T = self.nodes.log_x_T, self.nodes.log_rest_T
        integral_RU = np.maximum(density_RT @ self.likelihood_TU, 1e-300)
        value_R = (weights_RU * (np.log(integral_RU) + self.log_largest_U)).sum(axis=1)

        def mean(values_T: FloatArray) -> tuple[FloatArray, FloatArray]:
            return (density_RT * values_T) @ self.likelihood_TU / integral_RU, (
                density_RT @ values_T
            )[:, None]

        x, x_prior = mean(log_x_T)
        rest, rest_prior = mean(log_rest_T)
        pairs = (
            (mean(log_x_T**2), (x, x), (x_prior, x_prior)),
            (mean(log_x_T * log_rest_T), (x, rest), (x_prior, rest_prior)),
            (mean(log_rest_T**2), (rest, rest), (rest_prior, rest_prior)),
        )
        second = [
            (weights_RU * (after - a * b - (before - c * d))).sum(axis=1)
            for (after, before), (a, b), (c, d) in pairs
        ]
        gradient_RQ = np.stack(
            [
                (weights_RU * (x - x_prior)).sum(axis=1),
                (weights_RU * (rest - rest_prior)).sum(axis=1),
            ],
            axis=1,
        )
        return _in_logs(theta_RQ, value_R, gradient_RQ, second)


def beta_coverage(parameters_RQ: FloatArray, ks_X: FloatArray) -> FloatArray:
    """1 - B(alpha, beta + k) / B(alpha, beta) at scale 1, else by quadrature."""
    coverage_RX = np.empty((len(parameters_RQ), len(ks_X)))
    is_closed_R = parameters_RQ[:, 2] == 1
    a_R1, b_R1 = parameters_RQ[is_closed_R, :1], parameters_RQ[is_closed_R, 1:2]
    coverage_RX[is_closed_R] = -np.expm1(betaln(a_R1, b_R1 + ks_X) - betaln(a_R1, b_R1))
    nodes = _Nodes.spaced(COVERAGE_SAMPLES)
    for scale in np.unique(parameters_RQ[~is_closed_R, 2]):
        rows = parameters_RQ[:, 2] == scale
        solved_TX = -np.expm1(ks_X * np.log1p(-scale * nodes.x_T[:, None]))
        coverage_RX[rows] = nodes.density(*parameters_RQ[rows, :2].T) @ solved_TX
    return coverage_RX


def most_likely(table: BetaTable) -> tuple[FloatArray, FloatArray]:
    """log alpha and log beta (R, 2) and the mean log likelihood (R,); rows of one scale are searched together."""
    theta_RQ = np.empty((len(table.scale_R), 2))
    value_R = np.empty(len(theta_RQ))
    for scale in np.unique(table.scale_R).tolist():
        rows = np.flatnonzero(table.scale_R == scale)
        theta_RQ[rows], value_R[rows] = _most_likely_at(scale, table, rows)
    return theta_RQ, value_R


def _most_likely_at(
    scale: float, table: BetaTable, rows: IntArray
) -> tuple[FloatArray, FloatArray]:
    likelihood: _Likelihood = _ClosedForm() if scale == 1 else _Kernel.of(table, scale)
    bounds = (np.log(SMALLEST_PARAMETER), np.log(table.largest_parameter))
    return ascend_rows(
        lambda theta_RQ, among: likelihood.slope(table, theta_RQ, rows[among]),
        _moments(table, rows, scale, bounds),
        bounds,
    )


def _moments(
    table: BetaTable, rows: IntArray, scale: float, bounds: tuple[float, float]
) -> FloatArray:
    """Where to start: the beta distribution with the mean and variance of c / (n scale)."""
    rate_U = table.num_correct_U / table.num_samples_U / scale
    mean_R = np.clip(table.weights_RU[rows] @ rate_U, 1e-4, 1 - 1e-4)
    variance_R = table.weights_RU[rows] @ rate_U**2 - mean_R**2
    size_R = np.maximum(mean_R * (1 - mean_R) / np.maximum(variance_R, 1e-9) - 1, 0.2)
    start_RQ = np.log(np.column_stack([mean_R * size_R, (1 - mean_R) * size_R]))
    return np.clip(start_RQ, *bounds)
