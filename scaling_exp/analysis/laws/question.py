"""Which law holds, and how far may it be trusted? The question, asked of a study.

It puts the parts together and says what was not fitted; what each law is, and how it is judged, is for the modules
beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.laws import sampling, training
from scaling_exp.analysis.laws.findings import Findings
from scaling_exp.analysis.laws.fit import MAX_EXTRAPOLATION, NUM_ROWS
from scaling_exp.analysis.laws.readings import Readings, read
from scaling_exp.analysis.study import Study


@dataclass(frozen=True)
class Laws:
    """`held_out_share` of the models, those of most compute, are kept from a fit and judge it."""

    held_out_share: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.held_out_share <= 0.5:
            raise ValueError(
                f"held_out_share is {self.held_out_share}; it must be above 0 and at most 0.5"
            )

    def __call__(self, study: Study) -> Answer:
        """Fit, judge and draw every law that the study allows."""
        findings = Findings()
        readings = read(study)
        sure = training.Sureness(study.resamples.confidence, study.seed, self.held_out_share)
        models = training.usable(study.models, findings)
        sampling.coverage(readings, study.seed, findings)
        sampling.votes(readings, study.seed, findings)
        training.accuracy(readings.one_sample, models, sure, findings)
        training.loss(models, sure, findings)
        training.downstream(readings.one_sample, models, sure, findings)
        training.joint(readings, models, sure, findings)
        return Answer(
            name="laws",
            question="Which law holds, and how far may it be trusted?",
            sentences=_sentences(findings),
            plots=findings.plots,
            tables=findings.tables(),
            assumptions=_assumptions(readings),
            numbers=_numbers(findings),
        )


def _sentences(findings: Findings) -> list[str]:
    if not findings.parameters:
        reasons = "; ".join(findings.refusals[:3]) or "nothing was measured under one strategy"
        return [f"The data cannot tell which law holds: {reasons}."]
    told = findings.sentences or [
        "Laws were fitted, but none could be judged by points that it had not seen: do not extrapolate from them."
    ]
    refused = len(findings.refusals)
    if refused:
        told = [*told, f"Not fitted or not judged, with the reason in the table: {refused} cases."]
    return told


def _assumptions(readings: Readings) -> list[str]:
    return [
        f"Laws are read from the strategy {readings.strategy!r}.",
        f"A law is not drawn or asked beyond {MAX_EXTRAPOLATION:g} times the range of its data (loss: beyond"
        f" {MAX_EXTRAPOLATION**0.1:.2f} times).",
        f"Intervals come from {NUM_ROWS} resamples; bands hold what the parameters leave open, not the points' scatter"
        " and not a wrong formula. Resampled are the problems for laws of samples, and the models as well for laws of"
        " pre-training.",
        "Compute is 6ND of all parameters. Losses are comparable only within a family and a corpus.",
        "E[-log pass@k] takes (c + 1/2) / (n + 1) for a problem solved c times of n, so that an unsolved one stays"
        " finite; where only a curve is known it is -log of the mean.",
    ]


def _numbers(findings: Findings) -> Mapping[str, object]:
    """Parameters and judgements, ready for JSON."""
    return {
        "parameters": [_plain(row) for row in findings.parameters],
        "held_out": [_plain(row) for row in findings.judgements],
        "not_fitted": list(findings.refusals),
    }


def _plain(row: Mapping[str, object]) -> dict[str, object]:
    return {key: _plain_value(value) for key, value in row.items()}


def _plain_value(value: object) -> object:
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
