"""What a study says of joint laws of pre-training and sampling, judged by larger k and by models of more compute.

Axes: M points (a model at some k), V variables, K numbers of samples, R rows of the bootstrap, X places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_exp.analysis.answers import Plot, Series
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws.coverage import is_beyond_quarter
from scaling_exp.analysis.laws.fit import (
    MAX_EXTRAPOLATION,
    Backtest,
    Fit,
    SearchedLaw,
    fit_law,
    reweighted,
)
from scaling_exp.analysis.laws.joint import (
    JOINT,
    JOINT_COMPUTE,
    PRODUCT,
    PRODUCT_COMPUTE,
    log_loss_at_k,
)
from scaling_exp.analysis.laws.parts.findings import (
    MAX_SHOWN,
    Findings,
    best_first,
    line,
    mean_error,
    points,
    spread_out,
)
from scaling_exp.analysis.laws.parts.models import ALL_MODELS, MIN_MODELS, Sureness
from scaling_exp.analysis.laws.parts.readings import Reading, Readings
from scaling_exp.types import ModelFacts

WHAT = "-log pass@k"
NUM_KS = 8
NUM_JOINT_ROWS = 100
"""Resamples: many points make a search slow."""
NUM_PLACES = 30


@dataclass(frozen=True)
class _Grid:
    """-log pass@k of every model at every k, as points."""

    sizes_M: FloatArray
    tokens_M: FloatArray
    ks_M: FloatArray
    names: tuple[str, ...]
    loss_RM: FloatArray

    @property
    def flops_M(self) -> FloatArray:
        return 6 * self.sizes_M * self.tokens_M

    def laws(self) -> tuple[tuple[SearchedLaw, ...], FloatArray]:
        """Those of N and D where both take three values, else those of compute; and their variables (V, M)."""
        if min(len(np.unique(self.sizes_M)), len(np.unique(self.tokens_M))) >= 3:
            return (JOINT, PRODUCT), np.array([self.sizes_M, self.tokens_M, self.ks_M])
        return (JOINT_COMPUTE, PRODUCT_COMPUTE), np.array([self.flops_M, self.ks_M])


def joint(
    readings: Readings, models: Sequence[ModelFacts], sure: Sureness, findings: Findings
) -> None:
    """Fit, rank and draw the joint laws."""
    names = {m.name for m in models}
    own = [r for r in readings.coverage if r.facts.name in names and len(r.ks_K) >= 3]
    if len(own) < MIN_MODELS:
        findings.refuse(
            f"joint laws: {len(own)} models have their coverage at three k or more; "
            f"they need at least {MIN_MODELS}"
        )
        return
    grid = _grid(own, readings)
    loss_RM = grid.loss_RM[: NUM_JOINT_ROWS + 1]
    observations = reweighted(loss_RM, grid.names, sure.confidence, sure.seed)
    laws, x_VM = grid.laws()
    fits: list[Fit] = []
    for law in laws:
        fits += findings.fit(WHAT, ALL_MODELS, lambda law=law: fit_law(law, x_VM, observations))
    judged = [(law, x_VM) for law in laws]
    tested: list[list[Backtest]] = []
    for is_apart_M, held_out in (
        (is_beyond_quarter(grid.ks_M), "larger k"),
        (sure.is_held_out(grid.flops_M), "models of more compute"),
    ):
        ranked = findings.judge(WHAT, ALL_MODELS, judged, grid.loss_RM[0], is_apart_M, held_out)
        tested += [ranked] if ranked else []
    if tested:
        findings.sentences.append(_verdict(tested, float(np.std(grid.loss_RM[0]))))
    ranked = [b for each in tested for b in each]
    ranked.sort(key=lambda b: b.error_held_out)
    for best in best_first(fits, ranked)[:1]:
        findings.plots.append(_plot(best, grid))


def _verdict(tested: Sequence[Sequence[Backtest]], spread: float) -> str:
    errors = mean_error(tested)
    listed = ", ".join(f"{law} {error:.2g}" for law, error in errors.items())
    held_out = " and ".join(ranked[0].held_out for ranked in tested)
    return (
        f"Pre-training and sampling in one law: on {held_out}, {next(iter(errors))} comes closest to the mean of"
        f" -log pass@k (root mean square error: {listed}; the points themselves spread by {spread:.2g})."
    )


def _grid(own: Sequence[Reading], readings: Readings) -> _Grid:
    columns: list[tuple[ModelFacts, float, FloatArray]] = []
    for reading in own:
        ks_K, loss_RK = _log_losses(reading, readings)
        columns += [(reading.facts, k, loss_RK[:, i]) for i, k in enumerate(ks_K.tolist())]
    return _Grid(
        sizes_M=np.array([float(f.architecture.num_parameters) for f, _, _ in columns]),
        tokens_M=np.array([float(f.pretraining_tokens) for f, _, _ in columns]),
        ks_M=np.array([k for _, k, _ in columns]),
        names=tuple(f.name for f, _, _ in columns),
        loss_RM=np.stack([loss_R for _, _, loss_R in columns], axis=1),
    )


def _log_losses(reading: Reading, readings: Readings) -> tuple[FloatArray, FloatArray]:
    """Of counts, the mean over problems; of a curve, -log of the mean, without points at 0 and 1."""
    ks_K = _spaced(reading.ks_K)
    for attempts in reading.attempts:
        counts = (attempts.num_correct_P, attempts.num_samples_P)
        return ks_K, readings.weights_RP @ log_loss_at_k(*counts, ks_K.astype(int).tolist())
    accuracy_RK = np.stack([reading.at(k) for k in ks_K], axis=1)
    is_inner_K = (accuracy_RK[0] > 0) & (accuracy_RK[0] < 1)
    inner_RK = np.clip(accuracy_RK[:, is_inner_K], 1e-6, 1 - 1e-6)
    return ks_K[is_inner_K], -np.log(inner_RK)


def _spaced(ks_K: FloatArray) -> FloatArray:
    """At most `NUM_KS` of the k, evenly spaced in logs."""
    targets = np.geomspace(ks_K.min(), ks_K.max(), NUM_KS)
    nearest = np.abs(np.log(ks_K)[:, None] - np.log(targets)).argmin(axis=0)
    return ks_K[np.unique(nearest)]


def _plot(fit: Fit, grid: _Grid) -> Plot:
    series: list[Series] = []
    for model in spread_out(list(dict.fromkeys(grid.names)), MAX_SHOWN):
        own = np.array([name == model for name in grid.names])
        ks_K = grid.ks_M[own]
        series += points(model, ks_K, grid.loss_RM[0, own], is_beyond_quarter(ks_K), model)
        series += _lines(fit, [float(x_M[own][0]) for x_M in fit.x_VM[:-1]], ks_K, model)
    return Plot(
        name="laws_joint",
        title="One law for pre-training and sampling",
        caption="The law that came closest to the points held out, then fitted to all. Lines of one law cannot cross:"
        " where the measured ones do, it is wrong.",
        x_label="samples per problem k",
        y_label="mean of -log pass@k",
        series=series,
        is_log_x=True,
        is_log_y=True,
    )


def _lines(fit: Fit, at: Sequence[float], ks_K: FloatArray, model: str) -> list[Series]:
    drawn = []
    low, high = float(ks_K.min()), float(ks_K.max())
    for first, last, is_beyond in ((low, high, False), (high, high * MAX_EXTRAPOLATION, True)):
        ks_X = np.geomspace(first, last, NUM_PLACES)
        band = fit.extrapolate(*(np.full(NUM_PLACES, x) for x in at), ks_X)
        label = f"{model}, {fit.law.name}" + (", extrapolated" if is_beyond else "")
        drawn.append(line(label, ks_X, band, is_beyond, model))
    return drawn
