"""What a study says of accuracy against pre-training loss, within one family.

Axes: M models, R rows of the bootstrap, X places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scaling_exp.analysis.answers import Plot
from scaling_exp.analysis.estimators import BoolArray
from scaling_exp.analysis.laws.downstream import DOWNSTREAM, fit_downstream
from scaling_exp.analysis.laws.fit import MAX_EXTRAPOLATION, Band, Fit, reweighted
from scaling_exp.analysis.laws.parts.findings import Findings, line, points, verdict
from scaling_exp.analysis.laws.parts.models import (
    MIN_MODELS,
    Sureness,
    flops_of,
    largest_family,
    losses_of,
)
from scaling_exp.analysis.laws.parts.readings import Reading
from scaling_exp.types import ModelFacts

WHAT = "error from loss"
NUM_PLACES = 40


def downstream(
    readings: Sequence[Reading], models: Sequence[ModelFacts], sure: Sureness, findings: Findings
) -> None:
    """The error of one sample; the models of most compute are held out."""
    of_model = {r.facts.name: r.at(1) for r in readings if r.ks_K[0] == 1}
    with_loss = [m for m in models if m.pretraining_loss is not None and m.name in of_model]
    of, known = largest_family(with_loss)
    if len(known) < MIN_MODELS:
        findings.refuse(
            f"{WHAT}: the pre-training loss of {len(known)} measured models of one family is known; "
            f"a law needs at least {MIN_MODELS}"
        )
        return
    loss_M, is_apart_M = losses_of(known), sure.is_held_out(flops_of(known))
    error_RM = 1 - np.stack([of_model[m.name] for m in known], axis=1)
    observations = reweighted(error_RM, [m.name for m in known], sure.confidence, sure.seed)
    fits = findings.fit(WHAT, of, lambda: fit_downstream(loss_M, observations))
    laws = [(DOWNSTREAM, loss_M[None])]
    ranked = findings.judge(WHAT, of, laws, error_RM[0], is_apart_M, "most compute")
    if ranked:
        subject = f"Error of one sample from pre-training loss, {of}"
        findings.sentences.append(verdict(subject, ranked, "points", 100))
    findings.plots += [_plot(fit, of, is_apart_M) for fit in fits]


def _plot(fit: Fit, of: str, is_apart_M: BoolArray) -> Plot:
    """Errors turned back into accuracies."""
    order = np.argsort(fit.x_VM[0])
    loss_M, error_M = fit.x_VM[0][order], fit.y_M[order]
    lowest, highest = float(loss_M[0]), float(loss_M[-1])
    reach = MAX_EXTRAPOLATION ** fit.law.variables[0].stretch
    series = points(of, loss_M, 1 - error_M, is_apart_M[order], None)
    for low, high, is_beyond in ((lowest, highest, False), (lowest / reach, lowest, True)):
        loss_X = np.linspace(low, high, NUM_PLACES)
        error = fit.extrapolate(loss_X)
        flipped = Band(1 - error.value, 1 - error.high, 1 - error.low)
        label = f"{of}, {fit.law.name}" + (", extrapolated" if is_beyond else "")
        series.append(line(label, loss_X, flipped, is_beyond, None))
    return Plot(
        name="laws_downstream",
        title="From pre-training loss to accuracy",
        caption="One sample per problem. To the left of the data the line is an extrapolation to lower losses.",
        x_label="pre-training loss (nats a token)",
        y_label="accuracy of one sample",
        series=series,
    )
