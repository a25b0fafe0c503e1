"""Coverage against the number of samples: three laws of pass@k, fitted to how often each problem was solved.

The power law is what an average over problems looks like; the two beta laws say why, by a distribution of the chance p
that one sample solves a problem. None dominates (Schaeffer et al. 2025, arXiv 2502.17578), so all are fitted, and
judged by the samples that they have not seen.

Axes: P problems, U distinct (correct, samples) pairs, K numbers of samples, R rows of the bootstrap (row 0: the data),
S splits of the samples, T nodes of the quadrature, Q parameters (alpha, beta).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma, log_expit, polygamma

from scaling_exp.analysis.estimators import FloatArray, IntArray, pass_at_k
from scaling_exp.analysis.laws.fit import SAMPLES, Fit, Law
from scaling_exp.analysis.laws.solver import Slope, ascend_rows

NUM_KS = 100
NUM_SPLITS = 20
SMALLEST_PARAMETER = 1e-3
NUM_BETA_ROWS = 200
HELD_OUT_FACTOR = 4
"""Laws are judged from a quarter of each problem's samples."""


@dataclass(frozen=True)
class Counts:
    """How often each problem was solved, of how many samples; both (P,)."""

    num_correct_P: IntArray
    num_samples_P: IntArray

    def __post_init__(self) -> None:
        if self.num_samples_P.min() < 2:
            raise ValueError("a law of coverage needs at least two samples of every problem")
        if not 0 < self.num_correct_P.sum() < self.num_samples_P.sum():
            raise ValueError("every sample is right, or every one is wrong: coverage is constant")

    @property
    def max_k(self) -> int:
        """The largest k at which pass@k of all problems is defined."""
        return int(self.num_samples_P.min())


def spaced_ks(max_k: int, num_ks: int = NUM_KS) -> IntArray:
    """About `num_ks` whole numbers from 1 to `max_k`, evenly spaced in logs."""
    return np.unique(np.round(np.geomspace(1, max_k, num_ks)).astype(np.int64))


# ---- the power law -------------------------------------------------------------------------------


def _power(parameters_RQ: FloatArray, ks_X: FloatArray) -> FloatArray:
    scale, exponent = (column[:, None] for column in parameters_RQ.T)
    return np.exp(-scale * ks_X**-exponent)


def _log_line(ks_K: FloatArray, coverage_RK: FloatArray) -> FloatArray:
    """a and b by least squares of log(-log pass@k) on log k, dropping 0 and 1; (R, 2).

    Rows with fewer than two points left keep b = 0 and a value that they have.
    """
    is_used_RK = (coverage_RK > 0) & (coverage_RK < 1)
    y_RK = np.log(-np.log(np.where(is_used_RK, coverage_RK, 0.5)))
    weight_RK = is_used_RK / np.maximum(is_used_RK.sum(axis=1, keepdims=True), 1)
    log_k_K = np.log(ks_K)
    mean_x_R = weight_RK @ log_k_K
    mean_y_R = (weight_RK * y_RK).sum(axis=1)
    offset_RK = log_k_K - mean_x_R[:, None]
    variance_R = (weight_RK * offset_RK**2).sum(axis=1)
    covariance_R = (weight_RK * offset_RK * y_RK).sum(axis=1)
    slope_R = np.divide(
        covariance_R, variance_R, out=np.zeros_like(variance_R), where=variance_R > 0
    )
    return np.column_stack([np.exp(mean_y_R - slope_R * mean_x_R), -slope_R])


POWER = Law(
    name="power law",
    formula="-log pass@k = a k^-b",
    variables=(SAMPLES,),
    parameters=("a", "b"),
    function=_power,
)
"""Brown et al. 2024 (arXiv 2407.21787), section 3.1; least squares in logs."""


def fit_power(ks_K: IntArray, coverage_RK: FloatArray, tail: float) -> Fit:
    """Fit `POWER` to mean pass@k. Raises ValueError where fewer than three points lie between 0 and 1."""
    ks = np.asarray(ks_K, np.float64)
    if ((coverage_RK[0] > 0) & (coverage_RK[0] < 1)).sum() < 3:
        raise ValueError(f"the {POWER.name} needs three values of k with coverage between 0 and 1")
    parameters_RQ = _log_line(ks, coverage_RK)
    error_K = _power(parameters_RQ[:1], ks)[0] - coverage_RK[0]
    return Fit(POWER, parameters_RQ, float((error_K**2).sum() / 2), ks[None], coverage_RK[0], tail)


# ---- the beta laws -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """Distinct pairs (U,), how much each row has of them (R, U), and the scale that a row is fitted with (R,)."""

    num_correct_U: IntArray
    num_samples_U: IntArray
    weights_RU: FloatArray
    scale_R: FloatArray

    @property
    def largest_parameter(self) -> float:
        """Beyond it a beta distribution is narrower than what a problem's samples can tell, or the nodes resolve."""
        return 4.0 * float(self.num_samples_U.max())


def _table(
    num_correct_RP: IntArray, num_samples_RP: IntArray, weights_RP: FloatArray, is_scaled: bool
) -> _Table:
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
    return _Table(codes_U // base, codes_U % base, weights_RU.reshape(num_rows, num_pairs), scale_R)


class _Likelihood(Protocol):
    """How likely the counts are under a beta distribution of the chances."""

    def slope(self, table: _Table, theta_RQ: FloatArray, rows: IntArray) -> Slope:
        """Mean over a row's problems, up to a constant, by log alpha and log beta."""
        ...


class _ClosedForm:
    """Scale 1: B(alpha + c, beta + n - c) / B(alpha, beta)."""

    def slope(self, table: _Table, theta_RQ: FloatArray, rows: IntArray) -> Slope:
        a_R1, b_R1 = np.exp(theta_RQ[:, :1]), np.exp(theta_RQ[:, 1:])
        weights_RU = table.weights_RU[rows]
        right_RU = a_R1 + table.num_correct_U
        wrong_RU = b_R1 + table.num_samples_U - table.num_correct_U
        log_RU = betaln(right_RU, wrong_RU) - betaln(a_R1, b_R1)
        both_RU = digamma(right_RU + wrong_RU) - digamma(a_R1 + b_R1)
        bend_RU = polygamma(1, right_RU + wrong_RU) - polygamma(1, a_R1 + b_R1)
        first = (digamma(right_RU) - digamma(a_R1), digamma(wrong_RU) - digamma(b_R1))
        second = (
            polygamma(1, right_RU) - polygamma(1, a_R1) - bend_RU,
            -bend_RU,
            polygamma(1, wrong_RU) - polygamma(1, b_R1) - bend_RU,
        )
        return _in_logs(
            theta_RQ,
            (weights_RU * log_RU).sum(axis=1),
            np.stack([(weights_RU * (each - both_RU)).sum(axis=1) for each in first], axis=1),
            [(weights_RU * each).sum(axis=1) for each in second],
        )


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
    """Nodes x = expit(2 sinh u), u evenly spaced: integrals of x^(alpha-1) (1-x)^(beta-1) f(x) by the trapezoid rule,
    exact to rounding for alpha as small as 1e-3. `log_step_T` holds the logarithm of dx / (x (1-x))."""

    log_x_T: FloatArray
    log_rest_T: FloatArray
    log_step_T: FloatArray

    @classmethod
    def spaced(cls, step: float) -> _Nodes:
        u_T = np.arange(-9.5, 9.5 + step, step)
        t_T = 2 * np.sinh(u_T)
        return cls(log_expit(t_T), log_expit(-t_T), np.log(2 * np.cosh(u_T) * step))

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


@dataclass(frozen=True)
class _Kernel:
    """The likelihood of each pair at each node, (T, U), each pair's scaled to a largest value of 1."""

    nodes: _Nodes
    likelihood_TU: FloatArray
    log_largest_U: FloatArray

    @classmethod
    def of(cls, table: _Table, scale: float) -> _Kernel:
        # The likelihood of n samples is at least 1 / sqrt(n) wide on the axis 2 sinh u.
        nodes = _Nodes.spaced(min(0.05, 0.5 / np.sqrt(table.num_samples_U.max())))
        log_p_T1 = (np.log(scale) + nodes.log_x_T)[:, None]
        wrong_U = table.num_samples_U - table.num_correct_U
        log_TU = table.num_correct_U * log_p_T1 + wrong_U * np.log1p(-np.exp(log_p_T1))
        largest_U = log_TU.max(axis=0)
        return cls(nodes, np.exp(log_TU - largest_U), largest_U)

    def slope(self, table: _Table, theta_RQ: FloatArray, rows: IntArray) -> Slope:
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


def _beta(parameters_RQ: FloatArray, ks_X: FloatArray) -> FloatArray:
    """1 - B(alpha, beta + k) / B(alpha, beta) at scale 1, else by quadrature."""
    coverage_RX = np.empty((len(parameters_RQ), len(ks_X)))
    is_closed_R = parameters_RQ[:, 2] == 1
    a_R1, b_R1 = parameters_RQ[is_closed_R, :1], parameters_RQ[is_closed_R, 1:2]
    coverage_RX[is_closed_R] = -np.expm1(betaln(a_R1, b_R1 + ks_X) - betaln(a_R1, b_R1))
    nodes = _Nodes.spaced(0.02)
    for scale in np.unique(parameters_RQ[~is_closed_R, 2]):
        rows = parameters_RQ[:, 2] == scale
        solved_TX = -np.expm1(ks_X * np.log1p(-scale * nodes.x_T[:, None]))
        coverage_RX[rows] = nodes.density(*parameters_RQ[rows, :2].T) @ solved_TX
    return coverage_RX


BETA_BINOMIAL = Law(
    name="beta-binomial",
    formula="pass@k = 1 - B(alpha, beta + k) / B(alpha, beta)",
    variables=(SAMPLES,),
    parameters=("alpha", "beta", "scale"),
    function=_beta,
)
"""Chances p of the problems from Beta(alpha, beta) (arXiv 2502.17578); most likely given the counts. Scale 1."""

SCALED_BETA = Law(
    name="scaled beta",
    formula="pass@k = 1 - E[(1 - scale x)^k], x ~ Beta(alpha, beta)",
    variables=(SAMPLES,),
    parameters=("alpha", "beta", "scale"),
    function=_beta,
)
"""The same where no problem is easy: p = scale x, scale = min(1, (P+1)/P max c/n) (arXiv 2502.17578)."""

COVERAGE_LAWS = (POWER, BETA_BINOMIAL, SCALED_BETA)


def fit_beta(counts: Counts, weights_RP: FloatArray, tail: float, law: Law) -> Fit:
    """Fit `BETA_BINOMIAL` or `SCALED_BETA` by maximum likelihood, every row with its own weights of the problems.

    The points of the fit are the measured pass@k. The objective is the mean log likelihood of a problem's samples.
    """
    is_scaled = law is SCALED_BETA
    table = _table(counts.num_correct_P[None], counts.num_samples_P[None], weights_RP, is_scaled)
    theta_RQ, value_R = _most_likely(table)
    ks_K = spaced_ks(counts.max_k)
    measured_PK = pass_at_k(counts.num_correct_P, counts.num_samples_P, ks_K.tolist())
    return Fit(
        law=law,
        parameters_RQ=np.column_stack([np.exp(theta_RQ), table.scale_R]),
        objective=float(value_R[0]),
        x_VM=ks_K[None].astype(np.float64),
        y_M=weights_RP[0] @ measured_PK,
        tail=tail,
    )


def _most_likely(table: _Table) -> tuple[FloatArray, FloatArray]:
    """log alpha and log beta (R, 2) and the mean log likelihood (R,); rows of one scale are searched together."""
    theta_RQ = np.empty((len(table.scale_R), 2))
    value_R = np.empty(len(theta_RQ))
    for scale in np.unique(table.scale_R).tolist():
        rows = np.flatnonzero(table.scale_R == scale)
        theta_RQ[rows], value_R[rows] = _most_likely_at(scale, table, rows)
    return theta_RQ, value_R


def _most_likely_at(scale: float, table: _Table, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    likelihood: _Likelihood = _ClosedForm() if scale == 1 else _Kernel.of(table, scale)
    bounds = (np.log(SMALLEST_PARAMETER), np.log(table.largest_parameter))
    return ascend_rows(
        lambda theta_RQ, among: likelihood.slope(table, theta_RQ, rows[among]),
        _moments(table, rows, scale, bounds),
        bounds,
    )


def _moments(
    table: _Table, rows: IntArray, scale: float, bounds: tuple[float, float]
) -> FloatArray:
    """Where to start: the beta distribution with the mean and variance of c / (n scale)."""
    rate_U = table.num_correct_U / table.num_samples_U / scale
    mean_R = np.clip(table.weights_RU[rows] @ rate_U, 1e-4, 1 - 1e-4)
    variance_R = table.weights_RU[rows] @ rate_U**2 - mean_R**2
    size_R = np.maximum(mean_R * (1 - mean_R) / np.maximum(variance_R, 1e-9) - 1, 0.2)
    start_RQ = np.log(np.column_stack([mean_R * size_R, (1 - mean_R) * size_R]))
    return np.clip(start_RQ, *bounds)


# ---- judged by samples that were not seen --------------------------------------------------------


@dataclass(frozen=True)
class HeldOut:
    """What a quarter of the samples foretells, and what all of them show; `predicted_SK` for each law.

    Each split takes a quarter of every problem's samples at random, the same for all laws; `ks_K` are beyond them.
    """

    ks_K: IntArray
    measured_K: FloatArray
    predicted_SK: Mapping[str, FloatArray]
    misfit_S: Mapping[str, FloatArray]

    def fitted_errors(self, law: Law) -> FloatArray:
        """Root mean squared difference from the quarter's own coverage, (S,)."""
        return self.misfit_S[law.name]

    def errors(self, law: Law) -> FloatArray:
        """Root mean squared difference in coverage, (S,)."""
        return np.sqrt(((self.predicted_SK[law.name] - self.measured_K) ** 2).mean(axis=1))

    def best_share(self, law: Law) -> float:
        """Share of the splits in which no other law came closer."""
        errors = np.array([self.errors(each) for each in COVERAGE_LAWS])
        own = [each.name for each in COVERAGE_LAWS].index(law.name)
        return float(np.mean(errors.argmin(axis=0) == own))


def hold_out(counts: Counts, seed: int) -> HeldOut:
    """Fit every law to a quarter of the samples and predict from there to all of them.

    Raises ValueError for fewer than 16 samples of a problem, or when some quarter holds nothing to fit.
    """
    if counts.max_k < 4 * HELD_OUT_FACTOR:
        raise ValueError(
            f"{counts.max_k} samples of a problem are too few to hold three quarters out; "
            f"draw at least {4 * HELD_OUT_FACTOR}"
        )
    kept_P = counts.num_samples_P // HELD_OUT_FACTOR
    rng = np.random.default_rng(seed)
    wrong_P = counts.num_samples_P - counts.num_correct_P
    correct_SP = rng.hypergeometric(
        counts.num_correct_P, wrong_P, kept_P, size=(NUM_SPLITS, len(kept_P))
    )
    if not ((correct_SP > 0).any(axis=1) & (correct_SP < kept_P).any(axis=1)).all():
        raise ValueError("a quarter of the samples holds only right or only wrong ones")
    max_kept = int(kept_P.min())
    ks_K = spaced_ks(counts.max_k)
    ks_K = ks_K[ks_K > max_kept]
    measured_PK = pass_at_k(counts.num_correct_P, counts.num_samples_P, ks_K.tolist())
    own_K, own_SK = _coverage_of_splits(correct_SP, kept_P, max_kept)
    parameters = {
        POWER: _log_line(own_K, own_SK),
        BETA_BINOMIAL: _beta_of_splits(correct_SP, kept_P, is_scaled=False),
        SCALED_BETA: _beta_of_splits(correct_SP, kept_P, is_scaled=True),
    }
    predicted = {
        law.name: law.function(found, ks_K.astype(np.float64)) for law, found in parameters.items()
    }
    misfit = {
        law.name: np.sqrt(((law.function(found, own_K) - own_SK) ** 2).mean(axis=1))
        for law, found in parameters.items()
    }
    return HeldOut(ks_K, measured_PK.mean(axis=0), predicted, misfit)


def _coverage_of_splits(
    correct_SP: IntArray, kept_P: IntArray, max_kept: int
) -> tuple[FloatArray, FloatArray]:
    ks_K = spaced_ks(max_kept)
    table_PK = pass_at_k(correct_SP.ravel(), np.tile(kept_P, len(correct_SP)), ks_K.tolist())
    coverage_SK = table_PK.reshape(*correct_SP.shape, len(ks_K)).mean(axis=1)
    return ks_K.astype(np.float64), coverage_SK


def _beta_of_splits(correct_SP: IntArray, kept_P: IntArray, is_scaled: bool) -> FloatArray:
    weights_SP = np.full(correct_SP.shape, 1.0 / correct_SP.shape[1])
    table = _table(correct_SP, np.broadcast_to(kept_P, correct_SP.shape), weights_SP, is_scaled)
    theta_SQ, _ = _most_likely(table)
    return np.column_stack([np.exp(theta_SQ), table.scale_R])


def is_beyond_quarter(ks_K: FloatArray) -> NDArray[np.bool_]:
    """Which points are held out where only the curve is known: k beyond a quarter of the largest."""
    return ks_K > ks_K.max() / HELD_OUT_FACTOR
