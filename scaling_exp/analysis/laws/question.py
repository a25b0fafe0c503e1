"""Which law holds, and how far may it be trusted? The question, asked of a study.

It puts the parts together and says what was not fitted; what each law is, and how it is judged, is for the modules
beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.laws.fit import MAX_EXTRAPOLATION, NUM_ROWS
from scaling_exp.analysis.laws.parts.accuracy import accuracy
from scaling_exp.analysis.laws.parts.coverage import coverage
from scaling_exp.analysis.laws.parts.downstream import downstream
from scaling_exp.analysis.laws.parts.findings import WIDE, Findings
from scaling_exp.analysis.laws.parts.joint import NUM_JOINT_ROWS, joint
from scaling_exp.analysis.laws.parts.loss import loss
from scaling_exp.analysis.laws.parts.models import Sureness, reading_once, usable
from scaling_exp.analysis.laws.parts.readings import Readings, read
from scaling_exp.analysis.laws.parts.votes import votes
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
        sure = Sureness(study.resamples.confidence, study.seed, self.held_out_share)
        models = usable(study.models, findings)
        coverage(readings, study.seed, findings)
        votes(readings, study.seed, findings)
        accuracy(readings.one_sample, models, sure, findings)
        once = reading_once(models, findings)
        loss(once, sure, findings)
        downstream(readings.one_sample, models, sure, findings)
        joint(readings, once, sure, findings)
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
    told = [_first_sentence(findings), *findings.sentences, *_weakly(findings)]
    if findings.refusals:
        told.append(
            f"Not fitted or not judged: {len(findings.refusals)} cases, with reasons in the table."
        )
    return told


def _first_sentence(findings: Findings) -> str:
    """The winner of each quantity, if any was judged."""
    winners: dict[str, Counter[str]] = {}
    for row in findings.judgements:
        if row["place"] == 1:
            winners.setdefault(str(row["what"]), Counter())[str(row["law"])] += 1
    if not winners:
        return "The data cannot tell which law holds: none could be judged by points that it had not seen."
    told = "; ".join(f"{what}: {laws.most_common(1)[0][0]}" for what, laws in winners.items())
    return (
        f"The laws that came closest to points they had not seen: {told}. None is to be trusted beyond"
        f" {MAX_EXTRAPOLATION:g} times its data, and each only as far as its held-out error says."
    )


def _weakly(findings: Findings) -> list[str]:
    fits: dict[tuple[object, ...], bool] = {}
    for row in findings.parameters:
        key = (row["what"], row["of"], row["law"])
        fits[key] = fits.get(key, False) or row["identified"] != "yes"
    if not any(fits.values()):
        return []
    return [
        f"In {sum(fits.values())} of {len(fits)} fits some parameter is not pinned down (an interval over a factor of"
        f" {WIDE:g}, or a bound): use their forecasts with their bands, not their parameters."
    ]


def _assumptions(readings: Readings) -> list[str]:
    return [
        f"Laws are read from the strategy {readings.strategy!r}.",
        f"A law is not drawn or asked beyond {MAX_EXTRAPOLATION:g} times the range of its data (loss: beyond"
        f" {MAX_EXTRAPOLATION**0.1:.2f} times).",
        f"Intervals come from {NUM_ROWS} resamples ({NUM_JOINT_ROWS} for joint laws): of the problems for laws of"
        " samples, of the models as well for laws of pre-training. Bands hold what the parameters leave open, not the"
        " points' scatter and not a wrong formula.",
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
