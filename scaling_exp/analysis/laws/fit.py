"""A law, and a fit of one: parameters with intervals, predictions with bands, and how far they may be trusted.

A fit keeps every row of its bootstrap, so whatever is derived from it (an optimum, a crossover) has an interval too.
It predicts inside the range of its data, extrapolates when asked to and only to a stated distance, and is judged by
points that it has not seen. It does not know where the points come from.

Axes: M points, V variables, Q parameters, R rows of the bootstrap (row 0: the data as they are), X places to predict
at, S starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.intervals import Estimate, expanded_tail
from scaling_exp.analysis.laws.solver import solve_from_grid, solve_rows

MAX_EXTRAPOLATION = 10.0
"""How many times beyond its data (in N, D, C or k) a fit may be asked. Back-tests in the literature hold over about
one to two orders of magnitude (Gadre et al. 2024, arXiv 2403.08540; Schaeffer et al. 2025, arXiv 2509.24012)."""

NUM_ROWS = 200
"""Resamples of a fit, where each costs a search."""


@dataclass(frozen=True)
class Variable:
    """What a law depends on, positive. A range may be left by a factor of `MAX_EXTRAPOLATION ** stretch`."""

    name: str
    label: str
    stretch: float = 1.0


PARAMETERS = Variable("N", "parameters N")
TOKENS = Variable("D", "pre-training tokens D")
COMPUTE = Variable("C", "pre-training compute 6ND (FLOPs)")
SAMPLES = Variable("k", "samples per problem k")
# A loss falls by about a quarter of itself when compute grows tenfold, so that is as far as tenfold compute reaches.
LOSS = Variable("L", "pre-training loss (nats a token)", stretch=0.1)


@dataclass(frozen=True)
class Law:
    """A formula with free parameters: `function` takes parameters (R, Q) and one array (X,) per variable to (R, X)."""

    name: str
    formula: str
    variables: tuple[Variable, ...]
    parameters: tuple[str, ...]
    function: Callable[..., FloatArray]


@dataclass(frozen=True)
class SearchedLaw(Law):
    """A law whose parameters are searched for by least squares, and where to start.

    `natural` maps what the solver moves (all reals) to the parameters of the formula, both (R, Q); `starts` takes the
    variables (V, M) and the points (M,) to starts (S, Q) of the former. Residuals are taken of log y where
    `is_in_logs`, under Huber's loss with `delta`.
    """

    natural: Callable[[FloatArray], FloatArray]
    starts: Callable[[FloatArray, FloatArray], FloatArray]
    is_in_logs: bool = False
    delta: float = np.inf


@dataclass(frozen=True)
class Observations:
    """What a law is fitted to: points (R, M) and their weights (R, M); row 0 is the data. `tail` is the share of the
    rows that an interval leaves out on either side."""

    y_RM: FloatArray
    weights_RM: FloatArray
    tail: float


def observed(y_RM: FloatArray, tail: float) -> Observations:
    """Points whose every row is a resample already, of the problems that they were measured on; `Resamples.tail`."""
    return Observations(y_RM, np.ones_like(y_RM), tail)


def unresampled(y_M: FloatArray) -> Observations:
    """Points alone: a fit of them has no intervals."""
    return observed(np.asarray(y_M, np.float64)[None], tail=0.5)


def reweighted(
    y_RM: FloatArray, unit_M: Sequence[str], confidence: float, seed: int
) -> Observations:
    """Points whose rows are resamples of the problems, and whose runs are resampled too, by random weights; points of
    one unit (a run at several k) are weighted together.

    Rubin's Bayesian bootstrap (1981) rather than Efron's: few runs drawn with replacement often leave fewer distinct
    ones than a law has parameters, weights never do. Other runs would have given other parameters, and of few runs
    that is most of what is not known.
    """
    names, code_M = np.unique(np.asarray(unit_M), return_inverse=True)
    rng = np.random.default_rng(seed)
    weights_RU = rng.dirichlet(np.ones(len(names)), size=len(y_RM)) * len(names)
    weights_RU[0] = 1.0
    return Observations(y_RM, weights_RU[:, code_M], expanded_tail(confidence, len(names)))


def resampled(
    y_M: FloatArray, confidence: float, seed: int, num_rows: int = NUM_ROWS
) -> Observations:
    """Points without an error of their own, one a run: only the runs are resampled."""
    y_RM = np.tile(np.asarray(y_M, np.float64), (num_rows + 1, 1))
    return reweighted(y_RM, [str(m) for m in range(len(y_M))], confidence, seed)


@dataclass(frozen=True)
class Band:
    """Predictions with their interval, (X,) each. It holds what the parameters leave open, not the points' scatter."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Fit:
    """A law with its parameters found. `parameters_RQ` are natural; `x_VM` and `y_M` are what it was fitted to."""

    law: Law
    parameters_RQ: FloatArray
    objective: float
    x_VM: FloatArray
    y_M: FloatArray
    tail: float

    @property
    def num_rows(self) -> int:
        """Resamples behind the intervals."""
        return len(self.parameters_RQ) - 1

    @property
    def parameters(self) -> dict[str, Estimate]:
        """Each parameter with its interval."""
        band = self._band(self.parameters_RQ)
        columns = zip(self.law.parameters, band.value, band.low, band.high, strict=True)
        return {name: Estimate(float(v), float(low), float(high)) for name, v, low, high in columns}

    @property
    def error(self) -> float:
        """Root mean squared difference from the points that it was fitted to, in their unit."""
        return self.error_at(self.x_VM, self.y_M)

    def error_at(self, x_VM: FloatArray, y_M: FloatArray) -> float:
        """Root mean squared difference from other points."""
        values_M = self.law.function(self.parameters_RQ[:1], *x_VM)[0]
        return float(np.sqrt(np.mean((values_M - y_M) ** 2)))

    def covers(self, *x: FloatArray) -> NDArray[np.bool_]:
        """Where every variable is inside the range of the data."""
        return self._is_within(1.0, x)

    def reaches(self, *x: FloatArray) -> NDArray[np.bool_]:
        """Where every variable is inside what may be extrapolated to."""
        return self._is_within(MAX_EXTRAPOLATION, x)

    def rows(self, *x: FloatArray) -> FloatArray:
        """Predictions of every row, (R, X). Raises ValueError beyond `MAX_EXTRAPOLATION`."""
        if not self.reaches(*x).all():
            raise ValueError(self._refusal(MAX_EXTRAPOLATION))
        return self.law.function(self.parameters_RQ, *np.broadcast_arrays(*map(np.atleast_1d, x)))

    def predict(self, *x: FloatArray) -> Band:
        """Inside the range of the data. Raises ValueError outside."""
        if not self.covers(*x).all():
            raise ValueError(f"{self._refusal(1.0)}; ask it to extrapolate")
        return self._band(self.rows(*x))

    def extrapolate(self, *x: FloatArray) -> Band:
        """Anywhere up to `MAX_EXTRAPOLATION` beyond the data. Raises ValueError farther out."""
        return self._band(self.rows(*x))

    def _band(self, values_RX: FloatArray) -> Band:
        if self.num_rows == 0:
            undefined = np.full(values_RX.shape[1], np.nan)
            return Band(values_RX[0], undefined, undefined)
        # The same ranks as `Resamples.interval`: on the outer side where they are not whole.
        ordered_RX = np.sort(values_RX[1:], axis=0)
        rank = max(math.ceil(self.tail * self.num_rows - 1e-9), 1)
        return Band(values_RX[0], ordered_RX[rank - 1], ordered_RX[-rank])

    def _limits(self, factor: float) -> list[tuple[float, float]]:
        stretches = [factor**variable.stretch for variable in self.law.variables]
        return [
            (float(x_M.min() / stretch), float(x_M.max() * stretch))
            for x_M, stretch in zip(self.x_VM, stretches, strict=True)
        ]

    def _is_within(self, factor: float, x: Sequence[FloatArray]) -> NDArray[np.bool_]:
        slack = 1 + 1e-9
        places = np.broadcast_arrays(*map(np.atleast_1d, x))
        limits = zip(places, self._limits(factor), strict=True)
        return np.all(
            [(x_X >= low / slack) & (x_X <= high * slack) for x_X, (low, high) in limits], axis=0
        )

    def _refusal(self, factor: float) -> str:
        limits = zip(self.law.variables, self._limits(factor), strict=True)
        ranges = ", ".join(f"{v.name} from {low:.4g} to {high:.4g}" for v, (low, high) in limits)
        kind = "is fitted to" if factor == 1 else "may be extrapolated to"
        return f"{self.law.name} {kind} {ranges}"


def fit_law(law: SearchedLaw, x_VM: FloatArray, observations: Observations) -> Fit:
    """Search from the grid of starts on the data as they are; every resample starts from what was found.

    Raises ValueError for fewer points than parameters plus one: such a fit passes through the points, whatever they
    are.
    """
    num_points = x_VM.shape[1]
    if num_points <= len(law.parameters):
        raise ValueError(
            f"{law.name} has {len(law.parameters)} parameters and needs at least "
            f"{len(law.parameters) + 1} points; there are {num_points}"
        )

    def model(theta_RQ: FloatArray) -> FloatArray:
        values_RM = law.function(law.natural(theta_RQ), *x_VM)
        return np.log(np.maximum(values_RM, 1e-300)) if law.is_in_logs else values_RM

    target_RM = np.log(observations.y_RM) if law.is_in_logs else observations.y_RM
    start_SQ = law.starts(x_VM, observations.y_RM[0])
    first = solve_from_grid(model, target_RM[0], start_SQ, law.delta)
    start_RQ = np.broadcast_to(first.parameters_RQ, (len(target_RM) - 1, start_SQ.shape[1]))
    others = solve_rows(model, target_RM[1:], observations.weights_RM[1:], start_RQ, law.delta)
    theta_RQ = np.vstack([first.parameters_RQ, others.parameters_RQ])
    return Fit(
        law=law,
        parameters_RQ=law.natural(theta_RQ),
        objective=float(first.objective_R[0]),
        x_VM=x_VM,
        y_M=observations.y_RM[0],
        tail=observations.tail,
    )


@dataclass(frozen=True)
class Backtest:
    """How well a law, fitted to some of the points, foretold the others. Errors are root mean squares in the points'
    unit; `held_out` says in words which points were kept from it."""

    law: str
    held_out: str
    num_fitted: int
    num_held_out: int
    error_held_out: float
    error_fitted: float


def backtest(
    law: SearchedLaw,
    x_VM: FloatArray,
    y_M: FloatArray,
    is_held_out_M: NDArray[np.bool_],
    held_out: str,
) -> Backtest:
    """Fit the points that are kept, judge by those held out. Raises ValueError when too few are kept."""
    kept = ~is_held_out_M
    fit = fit_law(law, x_VM[:, kept], unresampled(y_M[kept]))
    return Backtest(
        law=law.name,
        held_out=held_out,
        num_fitted=int(kept.sum()),
        num_held_out=int(is_held_out_M.sum()),
        error_held_out=fit.error_at(x_VM[:, is_held_out_M], y_M[is_held_out_M]),
        error_fitted=fit.error,
    )


def rank(backtests: Sequence[Backtest]) -> list[Backtest]:
    """Best first: by the error on held-out points, then by that on fitted ones."""
    return sorted(backtests, key=lambda b: (b.error_held_out, b.error_fitted))


def natural_exp(theta_RQ: FloatArray) -> FloatArray:
    """Positive parameters from any, kept within what a double can hold; what goes below e^-30 is 0."""
    return np.where(theta_RQ > -30, np.exp(np.clip(theta_RQ, -30, 300)), 0.0)


def grid(*axes: Sequence[float]) -> FloatArray:
    """All combinations, (S, Q)."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
