"""The next unit of compute: what ten times the pre-training adds to accuracy, and what ten times the inference does.

Both are averages along the ladder, at equal cost per query (marginal.py says how); which models happen to meet at one
accuracy does not matter to them, so they are steadier with few problems than the exchange rate of the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.marginal import MarginalRate, marginal_rate
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import valued

QUESTION = "What does the next tenfold of compute add, in pre-training and in inference?"
WORDS = {
    "voting": "By majority voting",
    "oracle": "With an oracle selector, which no user has",
}


@dataclass(frozen=True)
class NextUnit:
    """It has no settings."""

    def __call__(self, study: Study) -> Answer:
        rates = {
            selector: rate
            for selector in WORDS
            if (rate := marginal_rate(study.matching.get(selector, ()), study.resamples))
        }
        if not rates:
            reason = "no two models of known compute can be had at the same cost per query"
            return untold("next_unit", QUESTION, reason)
        return Answer(
            name="next_unit",
            question=QUESTION,
            sentences=[_sentence(WORDS[selector], rate) for selector, rate in rates.items()],
            tables={"next_unit": _table(rates)},
            assumptions=[
                "Gains are means over the whole ladder and all costs per query at which two models can be had, flat"
                " ends of curves included: more samples than help make inference look weaker.",
            ],
        )


def _sentence(words: str, rate: MarginalRate) -> str:
    pretraining, inference = (
        _points(gain) for gain in (rate.pretraining_gain, rate.inference_gain)
    )
    return (
        f"{words}, ten times the pre-training adds {pretraining} at equal inference compute per query, and ten times"
        f" the inference compute adds {inference} at equal pre-training, so that it replaces a factor"
        f" {valued(rate.factor)} of pre-training compute."
    )


def _points(gain: Estimate) -> str:
    value, low, high = (f"{100 * end:.1f}" for end in (gain.value, gain.low, gain.high))
    return f"{value} ({low} to {high}) points of accuracy"


def _table(rates: Mapping[str, MarginalRate]) -> pd.DataFrame:
    rows = []
    for selector, rate in rates.items():
        row: dict[str, str | float] = {"selector": selector}
        for name in ("pretraining_gain", "inference_gain", "factor"):
            estimate: Estimate = getattr(rate, name)
            row |= estimate.columns(name)
        rows.append(row | {"least_flops": rate.lowest, "most_flops": rate.highest})
    return pd.DataFrame(rows)
