"""Findings: what the parts of the question about laws collect - fits, judgements, refusals - for one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Plot, Series
from scaling_exp.analysis.estimators import BoolArray, FloatArray
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.laws.fit import (
    MAX_EXTRAPOLATION,
    Backtest,
    Band,
    Fit,
    SearchedLaw,
    backtest,
    rank,
)

T = TypeVar("T")
MAX_SHOWN = 5
NUM_PLACES = 60
WIDE = 10.0
"""An interval wider than this factor leaves a parameter open."""


@dataclass
class Findings:
    """Filled part by part; `refusals` say what was not fitted, and why."""

    sentences: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    parameters: list[dict[str, object]] = field(default_factory=list)
    judgements: list[dict[str, object]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def fit(self, what: str, of: str, make: Callable[[], Fit]) -> list[Fit]:
        """The fit with its parameters noted; none, with the refusal noted, where the data do not allow it."""
        try:
            fit = make()
        except ValueError as refusal:
            self.refuse(f"{what} of {of}: {refusal}")
            return []
        for name, estimate in fit.parameters.items():
            self.parameters.append(
                {
                    "what": what,
                    "of": of,
                    "law": fit.law.name,
                    "formula": fit.law.formula,
                    "parameter": name,
                    "value": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "error": fit.error,
                    "identified": identified(name, estimate),
                    "num_points": len(fit.y_M),
                    "num_resamples": fit.num_rows,
                }
            )
        return [fit]

    def judge(
        self,
        what: str,
        of: str,
        laws: Sequence[tuple[SearchedLaw, FloatArray]],
        y_M: FloatArray,
        is_held_out_M: BoolArray,
        held_out: str,
    ) -> list[Backtest]:
        """Laws, each with its variables (V, M), ranked by the points that they have not seen."""
        tested = []
        for law, x_VM in laws:
            try:
                tested.append(backtest(law, x_VM, y_M, is_held_out_M, held_out))
            except ValueError as refusal:
                self.refuse(f"Held-out {what} of {of}: {refusal}")
        return self.note(what, of, rank(tested))

    def note(self, what: str, of: str, ranked: Sequence[Backtest]) -> list[Backtest]:
        """Back-tests, best first, as rows of the table."""
        for place, each in enumerate(ranked, start=1):
            self.judgements.append(
                {
                    "what": what,
                    "of": of,
                    "place": place,
                    "law": each.law,
                    "held_out": each.held_out,
                    "num_fitted": each.num_fitted,
                    "num_held_out": each.num_held_out,
                    "error_held_out": each.error_held_out,
                    "error_fitted": each.error_fitted,
                }
            )
        return list(ranked)

    def refuse(self, refusal: str) -> None:
        if refusal not in self.refusals:
            self.refusals.append(refusal)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Those that have rows."""
        tables = {
            "parameters": pd.DataFrame(self.parameters),
            "held_out": pd.DataFrame(self.judgements),
            "not_fitted": pd.DataFrame({"refusal": self.refusals}),
        }
        return {name: table for name, table in tables.items() if len(table)}


def identified(name: str, estimate: Estimate) -> str:
    """Whether an interval pins a parameter down. At a bound: the data ask for a simpler law. A scale is computed."""
    low, high = sorted((abs(estimate.low), abs(estimate.high)))
    if name != "scale" and (estimate.value == 0 or low == high):
        return "at a bound"
    return "weakly" if high > WIDE * low else "yes"


def line(name: str, x_X: FloatArray, band: Band, is_beyond: bool, model: str | None) -> Series:
    """A fit as a line with its band, inside its data or beyond them."""
    has_band = bool(np.isfinite(band.low).all())
    return Series(
        name=name,
        x=x_X.tolist(),
        y=band.value.tolist(),
        style="extrapolated" if is_beyond else "fitted",
        low=band.low.tolist() if has_band else None,
        high=band.high.tolist() if has_band else None,
        model=model,
    )


def lines(fit: Fit, name: str, model: str | None) -> list[Series]:
    """A law of one variable: over its data, and beyond their upper end as far as it may be extrapolated."""
    low, high = float(fit.x_VM[0].min()), float(fit.x_VM[0].max())
    inside_X = np.geomspace(low, high, NUM_PLACES)
    beyond_X = np.geomspace(high, high * MAX_EXTRAPOLATION, NUM_PLACES // 2)
    return [
        line(name, inside_X, fit.predict(inside_X), False, model),
        line(f"{name}, extrapolated", beyond_X, fit.extrapolate(beyond_X), True, model),
    ]


def points(
    name: str, x_X: FloatArray, y_X: FloatArray, is_held_out_X: BoolArray, model: str | None
) -> list[Series]:
    """Measured points, those held out from the back-test apart."""
    parts = []
    if (~is_held_out_X).any():
        kept = (x_X[~is_held_out_X].tolist(), y_X[~is_held_out_X].tolist())
        parts.append(Series(name, *kept, style="measured", model=model))
    if is_held_out_X.any():
        apart = (x_X[is_held_out_X].tolist(), y_X[is_held_out_X].tolist())
        parts.append(Series(f"{name}, held out", *apart, style="held_out", model=model))
    return parts


def spread_out(items: Sequence[T], number: int) -> list[T]:
    """At most `number` of them, evenly spaced, with the first and the last."""
    if len(items) <= number:
        return list(items)
    return [items[round(i * (len(items) - 1) / (number - 1))] for i in range(number)]


def best_first(fits: Sequence[Fit], ranked: Sequence[Backtest]) -> list[Fit]:
    """Fits in the order of their laws' back-tests; those that were not judged come last."""
    place: dict[str, int] = {}
    for each in ranked:
        place.setdefault(each.law, len(place))
    return sorted(fits, key=lambda fit: place.get(fit.law.name, len(place)))


def mean_error(tested: Sequence[Sequence[Backtest]]) -> dict[str, float]:
    """Of each law, the root mean square of its held-out errors; smallest first."""
    errors: dict[str, list[float]] = {}
    for ranked in tested:
        for each in ranked:
            errors.setdefault(each.law, []).append(each.error_held_out)
    means = {law: float(np.sqrt(np.mean(np.square(own)))) for law, own in errors.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def verdict(subject: str, ranked: Sequence[Backtest], unit: str, factor: float) -> str:
    """Which law foretold the points held out best, in one sentence; `factor` turns errors into `unit`."""
    best = ranked[0]
    others = "; ".join(f"{b.law}: {factor * b.error_held_out:.3g}" for b in ranked[1:])
    weak = ", a weak test" if best.num_held_out == 1 else ""
    return (
        f"{subject}: fitted to {best.num_fitted} models, {best.law} foretells the {best.num_held_out} of"
        f" {best.held_out} best{weak}: {factor * best.error_held_out:.3g} {unit} off"
        + (f" ({others})." if others else ".")
    )
