"""Departure: whether held-out points fall off a law that was fitted to the others.

Each difference between what was measured and what was foretold is set against a prediction interval, which holds what
the law's parameters leave open and how the fitted points scatter around it. The points held out are judged by their
mean difference. Points of one group scatter as one, as checkpoints of one training run do, so that many checkpoints of
one model do not pass for many models.

Axes: H held-out points, R rows of a bootstrap, M fitted points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws.fit import Fit


@dataclass(frozen=True)
class Departure:
    """Measured minus foretold, in the unit of the differences: per point, and the mean over all.

    A positive difference is worse than foretold. `half_width` is that of the mean's prediction interval around zero,
    `no_gain` the mean difference of points that would have gained nothing.
    """

    difference_H: FloatArray
    half_width_H: FloatArray
    mean: float
    half_width: float
    no_gain: float

    @property
    def is_worse(self) -> bool:
        """The points lie above the law's interval: higher loss, or more error, than foretold."""
        return self.mean > self.half_width

    @property
    def is_better(self) -> bool:
        return self.mean < -self.half_width

    @property
    def has_power(self) -> bool:
        """Whether points that had gained nothing would have been noticed."""
        return self.is_worse or self.no_gain > self.half_width


@dataclass(frozen=True)
class Foretold:
    """Points that a fit had not seen, what it said of them, and how far off that was."""

    fit: Fit
    x_H: tuple[FloatArray, ...]
    measured_H: FloatArray
    departure: Departure


def foretell(
    fit: Fit,
    x_H: tuple[FloatArray, ...],
    without_gain_H: tuple[FloatArray, ...],
    measured_RH: FloatArray,
    groups: Sequence[object],
    confidence: float,
    scale: Callable[[FloatArray], FloatArray],
) -> Foretold:
    """Judge points held out from a fit, on a `scale` on which higher is worse (log of a loss, minus an accuracy).

    `without_gain_H` is where the points would lie if they were as good as the best fitted ones. `measured_RH` has as
    many rows as the fit, or one where the points are known exactly; `groups` says, point by point, what scatters as
    one.
    """
    foretold_RH = scale(fit.law.function(fit.parameters_RQ, *x_H))
    stalled_H = scale(fit.law.function(fit.parameters_RQ[:1], *without_gain_H))[0]
    difference_RH = scale(measured_RH) - foretold_RH
    fitted_M = scale(fit.law.function(fit.parameters_RQ[:1], *fit.x_VM))[0]
    freedom = len(fit.y_M) - len(fit.law.parameters)
    scatter = float(np.sqrt(np.sum((scale(fit.y_M) - fitted_M) ** 2) / freedom))
    quantile = float(student.ppf((1 + confidence) / 2, freedom))
    found = Departure(
        difference_H=difference_RH[0],
        half_width_H=quantile * np.hypot(_spread(difference_RH), scatter),
        mean=float(difference_RH[0].mean()),
        half_width=float(
            quantile * np.hypot(_spread(difference_RH.mean(axis=1)), scatter * _share_left(groups))
        ),
        no_gain=float((stalled_H - foretold_RH[0]).mean()),
    )
    return Foretold(fit, x_H, measured_RH[0], found)


def _share_left(groups: Sequence[object]) -> float:
    """Of the scatter of one point, how much the mean keeps: 1 for one group, 1/sqrt(H) for groups of one."""
    sizes = np.array(list(Counter(groups).values()))
    return float(np.sqrt(np.sum(sizes**2)) / sizes.sum())


def _spread(values_R: FloatArray) -> FloatArray:
    """Half the distance of the 16th and the 84th percentile: a standard deviation that a wild row does not move."""
    if len(values_R) < 2:
        return np.zeros(values_R.shape[1:])
    low, high = np.quantile(values_R[1:], [0.16, 0.84], axis=0)
    return np.asarray((high - low) / 2)
