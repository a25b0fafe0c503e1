"""What a study says of pre-training loss: the laws that its runs allow.

Axes: M runs, V variables, X places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scaling_exp.analysis.answers import Plot, Series
from scaling_exp.analysis.estimators import BoolArray, FloatArray
from scaling_exp.analysis.laws.fit import MAX_EXTRAPOLATION, Fit, SearchedLaw, resampled
from scaling_exp.analysis.laws.loss import (
    COMPUTE_ONLY,
    GADRE,
    HOFFMANN,
    fit_compute_loss,
    fit_loss,
)
from scaling_exp.analysis.laws.parts.findings import (
    MAX_SHOWN,
    Findings,
    best_first,
    line,
    lines,
    points,
    spread_out,
    verdict,
)
from scaling_exp.analysis.laws.parts.models import (
    MIN_MODELS,
    Sureness,
    flops_of,
    largest_family,
    losses_of,
)
from scaling_exp.types import ModelFacts

WHAT = "loss"
NUM_PLACES = 30


def loss(models: Sequence[ModelFacts], sure: Sureness, findings: Findings) -> None:
    """Fit, rank and draw the loss laws of the largest family whose losses are known."""
    of, known = largest_family([m for m in models if m.pretraining_loss is not None])
    if len(known) < MIN_MODELS:
        findings.refuse(
            f"{WHAT}: the pre-training loss of {len(known)} models of one family is known; "
            f"a law needs at least {MIN_MODELS}"
        )
        return
    loss_M, is_apart_M = losses_of(known), sure.is_held_out(flops_of(known))
    fits = _fits(of, known, sure, findings)
    laws: list[tuple[SearchedLaw, FloatArray]] = [(COMPUTE_ONLY, flops_of(known)[None])]
    if any(fit.law is not COMPUTE_ONLY for fit in fits):
        laws += [(law, _sizes_and_tokens(known)) for law in (HOFFMANN, GADRE)]
    ranked = findings.judge(WHAT, of, laws, loss_M, is_apart_M, "most compute")
    if ranked:
        findings.sentences.append(verdict(f"Pre-training loss, {of}", ranked, "nats", 1))
    for best in best_first(fits, ranked)[:1]:
        findings.plots.append(_plot(best, known, is_apart_M))


def _sizes_and_tokens(known: Sequence[ModelFacts]) -> FloatArray:
    pairs = [(m.architecture.num_parameters, m.pretraining_tokens) for m in known]
    return np.array(pairs, np.float64).T


def _fits(of: str, known: Sequence[ModelFacts], sure: Sureness, findings: Findings) -> list[Fit]:
    observations = resampled(losses_of(known), sure.confidence, sure.seed)
    sizes_M, tokens_M = _sizes_and_tokens(known)
    fits: list[Fit] = []
    for law in (HOFFMANN, GADRE):
        fits += findings.fit(
            WHAT, of, lambda law=law: fit_loss(sizes_M, tokens_M, observations, law)
        )
    return fits + findings.fit(WHAT, of, lambda: fit_compute_loss(flops_of(known), observations))


def _plot(fit: Fit, known: Sequence[ModelFacts], is_apart_M: BoolArray) -> Plot:
    """Points by size, and a line for each size or one for all."""
    series = _series_of_sizes(fit, known, is_apart_M)
    if fit.law is COMPUTE_ONLY:
        flops_M = flops_of(known)
        order = np.argsort(flops_M)
        measured = (flops_M[order], losses_of(known)[order], is_apart_M[order])
        series = points("runs", *measured, None) + lines(fit, fit.law.name, None)
    return Plot(
        name="laws_loss",
        title="Pre-training loss, and the law that foretold it best",
        caption="Models held out have the most compute; the law drawn is then fitted to all. Beyond the data the line"
        " is an extrapolation.",
        x_label="pre-training compute 6ND (FLOPs)",
        y_label="loss (nats a token)",
        series=series,
        is_log_x=True,
        is_log_y=True,
    )


def _series_of_sizes(fit: Fit, known: Sequence[ModelFacts], is_apart_M: BoolArray) -> list[Series]:
    if fit.law is COMPUTE_ONLY:
        return []
    (sizes_M, tokens_M), loss_M = _sizes_and_tokens(known), losses_of(known)
    series: list[Series] = []
    for size in spread_out(np.unique(sizes_M).tolist(), MAX_SHOWN):
        own = np.flatnonzero(sizes_M == size)
        own = own[np.argsort(tokens_M[own])]
        name = f"N = {size:.3g}"
        series += points(name, 6 * size * tokens_M[own], loss_M[own], is_apart_M[own], None)
        series += _lines_of_size(fit, float(size), name)
    return series


def _lines_of_size(fit: Fit, size: float, name: str) -> list[Series]:
    low, high = float(fit.x_VM[1].min()), float(fit.x_VM[1].max())
    drawn = []
    for first, last, is_beyond in ((low, high, False), (high, high * MAX_EXTRAPOLATION, True)):
        tokens_X = np.geomspace(first, last, NUM_PLACES)
        band = fit.extrapolate(np.full(NUM_PLACES, size), tokens_X)
        label = f"{name}, {fit.law.name}" + (", extrapolated" if is_beyond else "")
        drawn.append(line(label, 6 * size * tokens_X, band, is_beyond, None))
    return drawn
