"""What a study says of accuracy against pre-training compute: all models, and each large family.

Axes: M models, R rows of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scaling_exp.analysis.answers import Plot, Series
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws.accuracy import ACCURACY_LAWS, fit_accuracy
from scaling_exp.analysis.laws.fit import Fit, reweighted
from scaling_exp.analysis.laws.parts.findings import Findings, best_first, lines, points, verdict
from scaling_exp.analysis.laws.parts.models import ALL_MODELS, Sureness, flops_of, groups
from scaling_exp.analysis.laws.parts.readings import Reading
from scaling_exp.types import ModelFacts

WHAT = "accuracy"


def accuracy(
    readings: Sequence[Reading], models: Sequence[ModelFacts], sure: Sureness, findings: Findings
) -> None:
    """One sample's accuracy against 6ND; the models of most compute are held out."""
    of_model = {r.facts.name: r.at(1) for r in readings if r.ks_K[0] == 1}
    known = [m for m in models if m.name in of_model]
    series: list[Series] = []
    named = groups(known)
    for group, own in named.items():
        if len({m.pretraining_flops for m in own}) < 3:
            findings.refuse(f"{WHAT} of {group}: fewer than three different computes")
            continue
        accuracy_RM = np.stack([of_model[m.name] for m in own], axis=1)
        of_group = _series_of_group(group, own, accuracy_RM, sure, findings)
        # Of many models only the families are drawn as points, and all together as a line.
        is_apart = len(named) > 1 and group == ALL_MODELS
        series += [s for s in of_group if not is_apart or s.style in ("fitted", "extrapolated")]
    if series:
        findings.plots.append(_plot(series))


def _series_of_group(
    group: str,
    own: Sequence[ModelFacts],
    accuracy_RM: FloatArray,
    sure: Sureness,
    findings: Findings,
) -> list[Series]:
    flops_M = flops_of(own)
    is_apart_M = sure.is_held_out(flops_M)
    observations = reweighted(accuracy_RM, [m.name for m in own], sure.confidence, sure.seed)
    fits: list[Fit] = []
    for law in ACCURACY_LAWS:
        fits += findings.fit(WHAT, group, lambda law=law: fit_accuracy(flops_M, observations, law))
    laws = [(law, flops_M[None]) for law in ACCURACY_LAWS]
    ranked = findings.judge(WHAT, group, laws, accuracy_RM[0], is_apart_M, "most compute")
    if ranked:
        subject = f"Accuracy of one sample against compute, {group}"
        findings.sentences.append(verdict(subject, ranked, "points", 100))
    series = points(group, flops_M, accuracy_RM[0], is_apart_M, None)
    for best in best_first(fits, ranked)[:1]:
        series += lines(best, f"{group}, {best.law.name}", None)
    return series


def _plot(series: Sequence[Series]) -> Plot:
    return Plot(
        name="laws_accuracy",
        title="Accuracy against pre-training compute",
        caption="One sample per problem. The law is the one that foretold the models held out (the most compute) best,"
        " then fitted to all; its band holds other problems and other models.",
        x_label="pre-training compute 6ND (FLOPs)",
        y_label="accuracy of one sample",
        series=series,
        is_log_x=True,
    )
