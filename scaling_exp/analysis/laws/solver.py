"""Least squares for many rows at once: the resamples of a bootstrap are fitted together, from one start.

It knows neither laws nor data: it moves parameters downhill. Every row has weights and a target of its own.

Axes: R rows, M points, Q parameters, S starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scaling_exp.analysis.estimators import FloatArray, IntArray

Model = Callable[[FloatArray], FloatArray]
"""Parameters (R, Q) to predictions (R, M), each row by itself."""

NUM_STEPS = 300
FIRST_DAMPING = 1e-2
LAST_DAMPING = 1e12
STEP = 1e-5  # of central differences; the error is its square
TOLERANCE = 1e-10  # of the objective, relative
NUM_ASCENTS = 100


@dataclass(frozen=True)
class Solution:
    """`parameters_RQ` and what is left: the weighted sum of the losses of the residuals."""

    parameters_RQ: FloatArray
    objective_R: FloatArray


def huber(residual: FloatArray, delta: float) -> FloatArray:
    """r^2/2 up to delta, delta (|r| - delta/2) beyond (Huber 1964). An infinite delta: least squares."""
    size = np.abs(residual)
    if math.isinf(delta):
        return 0.5 * size**2
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def solve_rows(
    model: Model, target_RM: FloatArray, weights_RM: FloatArray, start_RQ: FloatArray, delta: float
) -> Solution:
    """Levenberg-Marquardt on every row; Huber's loss by reweighting. A row never ends above its start.

    Rows stop when a step gains less than `TOLERANCE` of the objective, or when no step gains at all.
    """
    theta_RQ = np.array(start_RQ, np.float64)
    value_R = _objective(model, theta_RQ, target_RM, weights_RM, delta)
    damping_R = np.full(len(theta_RQ), FIRST_DAMPING)
    num_idle_R = np.zeros(len(theta_RQ), np.int64)
    for _ in range(NUM_STEPS):
        open_R = np.flatnonzero((num_idle_R < 3) & (damping_R < LAST_DAMPING))
        if len(open_R) == 0:
            break
        target, weights = target_RM[open_R], weights_RM[open_R]
        trial = theta_RQ[open_R] + _steps(
            model, theta_RQ[open_R], target, weights, damping_R[open_R], delta
        )
        value = _objective(model, trial, target, weights, delta)
        is_better = value < value_R[open_R]
        gain = value_R[open_R] - value
        is_idle = is_better & (gain <= TOLERANCE * value_R[open_R])
        better_R = open_R[is_better]
        theta_RQ[better_R], value_R[better_R] = trial[is_better], value[is_better]
        damping_R[open_R] *= np.where(is_better, 0.2, 5.0)
        num_idle_R[open_R] = np.where(is_idle, num_idle_R[open_R] + 1, num_idle_R[open_R])
        num_idle_R[open_R[is_better & ~is_idle]] = 0
    return Solution(theta_RQ, value_R)


def solve_from_grid(
    model: Model, target_M: FloatArray, start_SQ: FloatArray, delta: float, num_kept: int = 16
) -> Solution:
    """The best local minimum over the starts that look best; one row."""
    target_SM = np.broadcast_to(target_M, (len(start_SQ), len(target_M)))
    value_S = _objective(model, start_SQ, target_SM, np.ones_like(target_SM), delta)
    kept_SQ = start_SQ[np.argsort(value_S)[:num_kept]]
    target_SM = target_SM[: len(kept_SQ)]
    local = solve_rows(model, target_SM, np.ones_like(target_SM), kept_SQ, delta)
    best = int(np.argmin(local.objective_R))
    return Solution(local.parameters_RQ[best : best + 1], local.objective_R[best : best + 1])


def _objective(
    model: Model, theta_RQ: FloatArray, target_RM: FloatArray, weights_RM: FloatArray, delta: float
) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):
        value_R = (weights_RM * huber(model(theta_RQ) - target_RM, delta)).sum(axis=1)
    return np.where(np.isfinite(value_R), value_R, np.inf)


def _steps(
    model: Model,
    theta_RQ: FloatArray,
    target_RM: FloatArray,
    weights_RM: FloatArray,
    damping_R: FloatArray,
    delta: float,
) -> FloatArray:
    residual_RM = model(theta_RQ) - target_RM
    jacobian_RMQ = _jacobian(model, theta_RQ)
    if not math.isinf(delta):
        weights_RM = weights_RM * np.minimum(1.0, delta / np.maximum(np.abs(residual_RM), 1e-300))
    weighted_RMQ = weights_RM[:, :, None] * jacobian_RMQ
    turned_RQM = weighted_RMQ.transpose(0, 2, 1)
    gradient_RQ = (turned_RQM @ residual_RM[:, :, None])[:, :, 0]
    curvature_RQQ = turned_RQM @ jacobian_RMQ
    diagonal_RQ = np.einsum("rqq->rq", curvature_RQQ).copy()
    floor_R1 = 1e-12 * diagonal_RQ.max(axis=1, keepdims=True) + 1e-300
    ridge_RQ = damping_R[:, None] * np.maximum(diagonal_RQ, floor_R1)
    damped_RQQ = curvature_RQQ + ridge_RQ[:, :, None] * np.eye(theta_RQ.shape[1])
    return -np.linalg.solve(damped_RQQ, gradient_RQ[:, :, None])[:, :, 0]


def _jacobian(model: Model, theta_RQ: FloatArray) -> FloatArray:
    columns = []
    for q in range(theta_RQ.shape[1]):
        step = np.zeros(theta_RQ.shape[1])
        step[q] = STEP
        columns.append((model(theta_RQ + step) - model(theta_RQ - step)) / (2 * STEP))
    return np.stack(columns, axis=2)


@dataclass(frozen=True)
class Slope:
    """A function to be made large, with its gradient and its matrix of second derivatives, for every row."""

    value_R: FloatArray
    gradient_RQ: FloatArray
    hessian_RQQ: FloatArray


def ascend_rows(
    slope: Callable[[FloatArray, IntArray], Slope],
    start_RQ: FloatArray,
    bounds: tuple[float, float],
) -> tuple[FloatArray, FloatArray]:
    """Newton's method uphill, damped where a step does not gain; parameters stay within the bounds.

    `slope` takes parameters and the numbers of their rows. Returns parameters (R, Q) and values (R,).
    """
    theta_RQ = np.array(start_RQ, np.float64)
    everything = np.arange(len(theta_RQ))
    now = slope(theta_RQ, everything)
    value_R, gradient_RQ, hessian_RQQ = now.value_R, now.gradient_RQ, now.hessian_RQQ
    damping_R = np.full(len(theta_RQ), 1e-3)
    is_open_R = np.ones(len(theta_RQ), bool)
    for _ in range(NUM_ASCENTS):
        rows = everything[is_open_R]
        if not len(rows):
            break
        step_RQ = _uphill(gradient_RQ[rows], hessian_RQQ[rows], damping_R[rows])
        trial_RQ = np.clip(theta_RQ[rows] + np.clip(step_RQ, -2, 2), *bounds)
        tried = slope(trial_RQ, rows)
        is_better = tried.value_R >= value_R[rows]
        moved_R = np.abs(trial_RQ - theta_RQ[rows]).max(axis=1)
        better = rows[is_better]
        theta_RQ[better], value_R[better] = trial_RQ[is_better], tried.value_R[is_better]
        gradient_RQ[better] = tried.gradient_RQ[is_better]
        hessian_RQQ[better] = tried.hessian_RQQ[is_better]
        damping_R[rows] *= np.where(is_better, 0.1, 10.0)
        is_open_R[rows[(moved_R < 1e-6) | (damping_R[rows] > LAST_DAMPING)]] = False
    return theta_RQ, value_R


def _uphill(gradient_RQ: FloatArray, hessian_RQQ: FloatArray, damping_R: FloatArray) -> FloatArray:
    """The Newton step on a curvature made positive by taking its eigenvalues' sizes."""
    curvature_RQ, basis_RQQ = np.linalg.eigh(-hessian_RQQ)
    size_RQ = np.maximum(np.abs(curvature_RQ), 1e-12) * (1 + damping_R[:, None])
    along_RQ = np.einsum("rqp,rq->rp", basis_RQQ, gradient_RQ) / size_RQ
    return np.einsum("rqp,rp->rq", basis_RQQ, along_RQ)
