"""The marginal rate: what ten times the pre-training, and what ten times the inference, add to accuracy, and so which
factor of the one the other replaces.

The exchange rate of tradeoff.py is read where models reach the same accuracy. Which models do is itself chance: pairs
that look far apart drop out, and those that stay look cheap to match, so with few problems it is too high and its
interval holds the truth too seldom (`bench coverage` has the numbers). Here models are compared where they cost the
same per query, which chance does not choose. Along a line of equal accuracy, d log C_pretrain / d log C_inference =
-(da / d log C_inference) / (da / d log C_pretrain); both are averages over the costs at which two models can be had, so
the rate is one of the whole ladder, flat ends included, and not that of a single accuracy.

Axes: R rows of the bootstrap (row 0: the data as they are), M models, G grid of costs per query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.intervals import Estimate, Resamples
from scaling_exp.analysis.tradeoff import Curve

POINTS_PER_TENFOLD = 24


@dataclass(frozen=True)
class MarginalRate:
    """`factor` of pre-training compute that ten times the inference compute per query replaces: 1 where inference adds
    nothing, infinite where pre-training adds nothing.

    `inference_gain` is the accuracy that ten times the samples of a model add, `pretraining_gain` what ten times the
    pre-training adds at equal inference compute per query. They are averages over costs from `lowest` to `highest`
    FLOPs a query.
    """

    factor: Estimate
    inference_gain: Estimate
    pretraining_gain: Estimate
    lowest: float
    highest: float


def marginal_rate(curves: Sequence[Curve], resamples: Resamples) -> MarginalRate | None:
    """Of a ladder under one selector; None where no two models can be had at the same cost per query, those models do
    not differ in pre-training, or a cost is not known.

    Every model is read at the costs between its first and its last k. The gains are least-squares slopes of accuracy:
    on log pre-training with a fixed effect per cost, and on log cost with one per model. They are linear in accuracies,
    whose noise therefore cancels in the mean.
    """
    if len(curves) < 2 or any(np.isnan(curve.sample_R).any() for curve in curves):
        return None
    grid_G = _grid(curves)
    is_read_MG = np.array([_is_affordable(curve, grid_G) for curve in curves])
    shared_G = is_read_MG.sum(axis=0) >= 2
    grid_G, is_read_MG = grid_G[shared_G], is_read_MG[:, shared_G]
    if not shared_G.any():
        return None
    accuracy_RMG = np.stack([_accuracy_at(curve, grid_G) for curve in curves], axis=1)
    pretraining_M = np.log10([curve.facts.pretraining_flops for curve in curves])
    x_MG = np.broadcast_to(pretraining_M[:, None], is_read_MG.shape)
    y_MG = np.broadcast_to(grid_G, is_read_MG.shape)
    by_pretraining_R = _slope(x_MG, accuracy_RMG, is_read_MG, axis=0)
    by_inference_R = _slope(y_MG, accuracy_RMG, is_read_MG, axis=1)
    if np.isnan(by_pretraining_R[0] + by_inference_R[0]):
        return None
    return MarginalRate(
        factor=resamples.estimate(_factor(by_inference_R, by_pretraining_R), undefined=np.inf),
        inference_gain=resamples.estimate(by_inference_R, undefined=np.nan),
        pretraining_gain=resamples.estimate(by_pretraining_R, undefined=np.nan),
        lowest=float(10 ** grid_G[0]),
        highest=float(10 ** grid_G[-1]),
    )


def _grid(curves: Sequence[Curve]) -> FloatArray:
    """log10 of costs per query, evenly spaced over all that any model can spend; the data decide, not the resamples."""
    ends = np.concatenate([_ends(curve) for curve in curves])
    num_points = int(np.ceil((ends.max() - ends.min()) * POINTS_PER_TENFOLD)) + 1
    return np.linspace(ends.min(), ends.max(), num_points)


def _ends(curve: Curve) -> FloatArray:
    """log10 FLOPs of a query at the first and the last k."""
    return np.log10(curve.prefill_R[0] + curve.ks_K[[0, -1]] * curve.sample_R[0])


def _is_affordable(curve: Curve, grid_G: FloatArray) -> NDArray[np.bool_]:
    first, last = _ends(curve)
    return (grid_G >= first - 1e-9) & (grid_G <= last + 1e-9)


def _accuracy_at(curve: Curve, grid_G: FloatArray) -> FloatArray:
    """Accuracy for a cost per query, shape (R, G), linear in log k between the measured ones; held beyond the ends."""
    spent_RG = (10**grid_G - curve.prefill_R[:, None]) / curve.sample_R[:, None]
    k_RG = np.clip(spent_RG, curve.ks_K[0], curve.ks_K[-1])
    last = len(curve.ks_K) - 1
    at_RG = np.interp(np.log(k_RG), np.log(curve.ks_K), np.arange(last + 1))
    left_RG = np.minimum(at_RG.astype(np.int64), max(last - 1, 0))
    share_RG = at_RG - left_RG
    low_RG = np.take_along_axis(curve.accuracy_RK, left_RG, axis=1)
    high_RG = np.take_along_axis(curve.accuracy_RK, np.minimum(left_RG + 1, last), axis=1)
    return (1 - share_RG) * low_RG + share_RG * high_RG


def _slope(
    x_MG: FloatArray, y_RMG: FloatArray, is_read_MG: NDArray[np.bool_], axis: int
) -> FloatArray:
    """Least-squares slope of y on x, each centred along `axis`, shape (R,); NaN where x does not vary."""
    number = np.maximum(is_read_MG.sum(axis=axis, keepdims=True), 1)
    mean = np.where(is_read_MG, x_MG, 0.0).sum(axis=axis, keepdims=True) / number
    centred_MG = np.where(is_read_MG, x_MG - mean, 0.0)
    spread = float((centred_MG**2).sum())
    if spread < 1e-12:
        return np.full(len(y_RMG), np.nan)
    return np.asarray(np.tensordot(y_RMG, centred_MG, axes=2) / spread, np.float64)


def _factor(by_inference_R: FloatArray, by_pretraining_R: FloatArray) -> FloatArray:
    buys_R = by_pretraining_R > 0
    ratio_R = np.maximum(by_inference_R, 0.0) / np.where(buys_R, by_pretraining_R, 1.0)
    with np.errstate(over="ignore"):
        return np.where(buys_R, 10.0**ratio_R, np.inf)
