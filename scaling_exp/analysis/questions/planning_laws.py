"""The laws that a plan may stand on, in the one form that a planner asks for.

Axes: R rows of the law's parameters, X places, M points (a model at some k), K numbers of samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling_exp.analysis.answers import Style
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.laws.fit import (
    MAX_EXTRAPOLATION,
    NUM_ROWS,
    Backtest,
    Fit,
    backtest,
    observed,
)
from scaling_exp.analysis.laws.joint import JOINT, fit_joint
from scaling_exp.analysis.laws.loss import BESIROGLU_PUBLISHED, HOFFMANN_PUBLISHED, LossLaw
from scaling_exp.analysis.questions.asking import CannotTell, fitted
from scaling_exp.analysis.questions.planner import Grid, LawFunction, Plans
from scaling_exp.analysis.questions.readings import ORACLE, Reading, readings, usable_selector
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import estimate_numbers, short

MAX_PUBLISHED_EXTRAPOLATION = 1000.0
"""Clusters of today lie far beyond the runs of 2022: a plan says how far, and farther than this there is none."""
HELD_OUT_SHARE = 0.25
MIN_ACCURACY = 1e-3
"""A model below it at some k says nothing of a law of -log accuracy: one right answer would move it by units."""


@dataclass(frozen=True)
class Range:
    """Where a law has data, per variable."""

    sizes: tuple[float, float]
    tokens: tuple[float, float]
    samples: tuple[float, float]

    def beyond(self, plans: Plans) -> float:
        """How many times beyond the data the plan is, in the variable in which it is farthest; 1 inside."""
        places = (
            (self.sizes, plans.size_R[0]),
            (self.tokens, plans.tokens_R[0]),
            (self.samples, plans.samples_R[0]),
        )
        return max(max(low / at, at / high, 1.0) for (low, high), at in places)

    def widened(self, factor: float) -> Range:
        """A factor wider at either end, but never below one sample."""
        wider = [
            (low / factor, high * factor) for low, high in (self.sizes, self.tokens, self.samples)
        ]
        return Range(wider[0], wider[1], (max(1.0, wider[2][0]), wider[2][1]))


@dataclass(frozen=True)
class PlanningLaw:
    """A law as a planner needs it: what it is called, what it foretells, where it may be asked and where it has data.

    `tail` is the share of rows beyond either end of an interval: 0 where the rows are a few published fits.
    """

    name: str
    slug: str
    loss_name: str
    function: LawFunction
    central: LawFunction
    """The first row of `function` alone."""
    grid: Grid
    data: Range
    allowed: Range
    tail: float
    knows_samples: bool
    assumption: str

    def estimate(self, values_R: FloatArray) -> Estimate:
        """The first row, with the interval of the others."""
        low, high = np.quantile(values_R[1:], [self.tail, 1 - self.tail])
        return Estimate(float(values_R[0]), float(low), float(high))

    def estimates(self, plans: Plans) -> dict[str, Estimate]:
        """All that a plan says."""
        return {
            "inference_share": self.estimate(plans.inference_share_R),
            "num_parameters": self.estimate(plans.size_R),
            "pretraining_tokens": self.estimate(plans.tokens_R),
            "num_samples": self.estimate(plans.samples_R),
            "loss": self.estimate(plans.loss_R),
        }

    def row(self, plans: Plans) -> dict[str, object]:
        """A row of a table: each quantity with _low and _high."""
        row: dict[str, object] = {"law": self.name}
        for name, estimate in self.estimates(plans).items():
            row |= estimate.columns(name)
        return row | {"times_beyond_data": self.data.beyond(plans)}

    def numbers(self, plans: Plans) -> dict[str, object]:
        """What a plan says, as JSON can hold it; nothing where the best plan is not known."""
        if not plans.is_inside:
            return {}
        return {name: estimate_numbers(each) for name, each in self.estimates(plans).items()}

    def style(self, plans: Plans) -> Style:
        return "fitted" if self.data.beyond(plans) <= 1 + 1e-9 else "extrapolated"

    def beyond_words(self, plans: Plans) -> str:
        """A warning, where the plan is outside the data."""
        times = self.data.beyond(plans)
        if times <= 1 + 1e-9:
            return ""
        return (
            f", an extrapolation to {short(times)} times beyond the runs that the law was fitted to"
        )

    @property
    def range_words(self) -> str:
        sizes, tokens, samples = self.allowed.sizes, self.allowed.tokens, self.allowed.samples
        words = f"N from {short(sizes[0])} to {short(sizes[1])}, D from {short(tokens[0])} to {short(tokens[1])}"
        return words + (
            f", k from {short(samples[0])} to {short(samples[1])}" if self.knows_samples else ""
        )


def published_law() -> PlanningLaw:
    """Hoffmann et al. 2022 (arXiv 2203.15556), unrounded; its uncertainty is how far the refit of Besiroglu et al. 2024
    (arXiv 2404.10102) to the same runs is from it. Fitted to 70M to 16B parameters and 5B to 500B tokens."""
    laws = (HOFFMANN_PUBLISHED, HOFFMANN_PUBLISHED, BESIROGLU_PUBLISHED)
    data = Range((7e7, 1.6e10), (5e9, 5e11), (1.0, 1.0))
    allowed = replace(data.widened(MAX_PUBLISHED_EXTRAPOLATION), samples=(1.0, 1.0))
    return PlanningLaw(
        name="the law of Hoffmann et al.",
        slug="hoffmann",
        loss_name="loss",
        function=lambda sizes, tokens, _: _published(laws, sizes, tokens),
        central=lambda sizes, tokens, _: _published(laws[:1], sizes, tokens),
        grid=Grid.of(allowed.sizes, allowed.tokens, allowed.samples, num_sizes=400),
        data=data,
        allowed=allowed,
        tail=0.0,
        knows_samples=False,
        assumption=(
            "The range in brackets is between two published fits of the same 240 to 400 runs (Hoffmann et al.; "
            "Besiroglu et al. 2024), which is less than the uncertainty of either. The law foretells loss, not what "
            "a model can do, and knows nothing of samples, so a query is one answer."
        ),
    )


def _published(laws: tuple[LossLaw, ...], sizes_X: FloatArray, tokens_X: FloatArray) -> FloatArray:
    return np.stack(
        [
            law.floor + law.a * sizes_X**-law.alpha + law.b * np.asarray(tokens_X) ** -law.beta
            for law in laws
        ]
    )


def fitted_law(study: Study) -> list[PlanningLaw]:
    """The study's joint law: of a selector that a user could run where there is one, and of the oracle."""
    known = set(study.curves["selector"])
    selectors = [s for s in (usable_selector(study), ORACLE) if s is not None and s in known]
    if not selectors:
        raise CannotTell("no model was measured with several samples")
    laws, reasons = [], []
    for selector in selectors:
        try:
            laws.append(_fitted_law(study, selector))
        except CannotTell as reason:
            reasons.append(str(reason))
    if not laws:
        raise CannotTell("; ".join(reasons))
    return laws


def _fitted_law(study: Study, selector: str) -> PlanningLaw:
    fit = _joint_fit(readings(study, selector, "inference_flops"), study)
    judged = _judged(fit, selector)
    data = Range(*[(float(x_M.min()), float(x_M.max())) for x_M in fit.x_VM])
    allowed = data.widened(MAX_EXTRAPOLATION)
    name = selector.replace("_", " ")
    return PlanningLaw(
        name=f"the joint law fitted to {name} here",
        slug=selector,
        loss_name="-log accuracy",
        function=lambda *x: fit.law.function(fit.parameters_RQ, *x),
        central=lambda *x: fit.law.function(fit.parameters_RQ[:1], *x),
        grid=Grid.of(allowed.sizes, allowed.tokens, allowed.samples),
        data=data,
        allowed=allowed,
        tail=fit.tail,
        knows_samples=True,
        assumption=(
            f"-log accuracy under {name} is a sum of powers of N, D and k; fitted without the "
            f"{judged.num_held_out} points of most compute, it misses those by {judged.error_held_out:.2g}. The "
            "interval holds other problems and samples, not that the law may be wrong."
        ),
    )


def _judged(fit: Fit, selector: str) -> Backtest:
    """How well the law foretells the models of most compute. Cannot tell where that is no better than their mean."""
    compute_M = fit.x_VM[0] * fit.x_VM[1]
    is_held_out_M = compute_M >= np.quantile(compute_M, 1 - HELD_OUT_SHARE)
    found = fitted_backtest(fit, is_held_out_M)
    spread = float(fit.y_M[is_held_out_M].std())
    if found.error_held_out >= spread:
        raise CannotTell(
            f"under {selector.replace('_', ' ')} {fit.law.name}, fitted without the models of most compute, misses "
            f"their -log accuracy by {found.error_held_out:.2g} where it spreads by {spread:.2g}: it foretells nothing"
        )
    return found


def fitted_backtest(fit: Fit, is_held_out_M: NDArray[np.bool_]) -> Backtest:
    """The same law, fitted to some of its points and judged by the others."""
    try:
        return backtest(JOINT, fit.x_VM, fit.y_M, is_held_out_M, "models of most compute")
    except ValueError as error:
        raise CannotTell(str(error)) from error


def _joint_fit(found: list[Reading], study: Study) -> Fit:
    sizes, tokens, samples, columns = [], [], [], []
    for each in found:
        for at, k in enumerate(each.k_K):
            is_power_of_two = float(np.log2(k)).is_integer()
            if is_power_of_two and each.accuracy_RK[0, at] >= MIN_ACCURACY:
                sizes.append(each.facts.architecture.num_parameters)
                tokens.append(each.facts.pretraining_tokens)
                samples.append(k)
                columns.append(each.accuracy_RK[: NUM_ROWS + 1, at])
    if not columns:
        raise CannotTell("no model has an accuracy above nought")
    accuracy_RM = np.clip(np.stack(columns, axis=1), MIN_ACCURACY / 2, 1 - MIN_ACCURACY)
    points = observed(-np.log(accuracy_RM), study.resamples.tail)
    x_VM = np.array([sizes, tokens, samples], np.float64)
    return fitted(lambda: fit_joint(x_VM[0], x_VM[1], x_VM[2], points))
