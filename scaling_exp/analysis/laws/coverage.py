"""Coverage against the number of samples: three laws of pass@k, fitted to how often each problem was solved.

The power law is what an average over problems looks like; the two beta laws say why, by a distribution of the chance p
that one sample solves a problem. None dominates (Schaeffer et al. 2025, arXiv 2502.17578), so all are fitted, and
judged by the samples that they have not seen.

Axes: P problems, K numbers of samples, R rows of the bootstrap (row 0: the data), S splits of the samples, Q
parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_exp.analysis.estimators import FloatArray, IntArray, pass_at_k
from scaling_exp.analysis.laws.beta import beta_coverage, beta_table, most_likely
from scaling_exp.analysis.laws.fit import SAMPLES, Fit, Law

NUM_KS = 100
NUM_SPLITS = 20
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


def fit_power(ks_K: FloatArray, coverage_RK: FloatArray, tail: float) -> Fit:
    """Fit `POWER` to mean pass@k. Raises ValueError where fewer than three points lie between 0 and 1."""
    if ((coverage_RK[0] > 0) & (coverage_RK[0] < 1)).sum() < 3:
        raise ValueError(f"the {POWER.name} needs three values of k with coverage between 0 and 1")
    parameters_RQ = _log_line(ks_K, coverage_RK)
    error_K = _power(parameters_RQ[:1], ks_K)[0] - coverage_RK[0]
    return Fit(
        POWER, parameters_RQ, float((error_K**2).sum() / 2), ks_K[None], coverage_RK[0], tail
    )


BETA_BINOMIAL = Law(
    name="beta-binomial",
    formula="pass@k = 1 - B(alpha, beta + k) / B(alpha, beta)",
    variables=(SAMPLES,),
    parameters=("alpha", "beta", "scale"),
    function=beta_coverage,
)
"""Chances p of the problems from Beta(alpha, beta) (arXiv 2502.17578); most likely given the counts. Scale 1."""

SCALED_BETA = Law(
    name="scaled beta",
    formula="pass@k = 1 - E[(1 - scale x)^k], x ~ Beta(alpha, beta)",
    variables=(SAMPLES,),
    parameters=("alpha", "beta", "scale"),
    function=beta_coverage,
)
"""The same where no problem is easy: p = scale x, scale = min(1, (P+1)/P max c/n) (arXiv 2502.17578)."""

COVERAGE_LAWS = (POWER, BETA_BINOMIAL, SCALED_BETA)


def fit_beta(counts: Counts, weights_RP: FloatArray, tail: float, law: Law) -> Fit:
    """Fit `BETA_BINOMIAL` or `SCALED_BETA` by maximum likelihood, every row with its own weights of the problems.

    The points of the fit are the measured pass@k. The objective is the mean log likelihood of a problem's samples.
    """
    is_scaled = law is SCALED_BETA
    table = beta_table(
        counts.num_correct_P[None], counts.num_samples_P[None], weights_RP, is_scaled
    )
    theta_RQ, value_R = most_likely(table)
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
    table = beta_table(correct_SP, np.broadcast_to(kept_P, correct_SP.shape), weights_SP, is_scaled)
    theta_SQ, _ = most_likely(table)
    return np.column_stack([np.exp(theta_SQ), table.scale_R])


def is_beyond_quarter(ks_K: FloatArray) -> NDArray[np.bool_]:
    """Which points are held out where only the curve is known: k beyond a quarter of the largest."""
    return ks_K > ks_K.max() / HELD_OUT_FACTOR
