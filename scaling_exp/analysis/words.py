"""Words: how a verdict and an answer say numbers, in sentences and in JSON. It knows no question."""

from __future__ import annotations

import math

from scaling_exp.analysis.intervals import Estimate
from scaling_exp.types import ModelFacts

CANNOT_TELL = "the data cannot tell"

SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def cannot_tell(what: str, because: str) -> str:
    """The first sentence of an answer that cannot be given."""
    return f"{what}, {CANNOT_TELL}, because {because}."


def short(value: float) -> str:
    """Three significant digits: 29.4K, 1.7e+22."""
    if math.isinf(value):
        return "unbounded"
    for scale, suffix in SCALES:
        if 1e15 > abs(value) >= scale * 0.9995:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:.3g}"


def money(price: float, axis: str) -> str:
    """A price along an axis of cost: $0.0021, 2.1M inference FLOPs."""
    if axis == "dollars":
        return f"${price:.3g}"
    return f"{short(price)} {axis.replace('_', ' ').replace('flops', 'FLOPs')}"


def percent(share: float) -> str:
    """One decimal: 62.5 %."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of two accuracies: +3.1 points; never -0.0."""
    return f"{round(100 * difference, 1) + 0.0:+.1f} points"


def span(estimate: Estimate) -> str:
    """An interval: 1.2 to 3.4."""
    return _told(estimate, f"{short(estimate.low)} to {short(estimate.high)}")


def _told(estimate: Estimate, interval: str) -> str:
    """The interval, where there is one: a single problem, or cluster, gives none."""
    is_known = not (math.isnan(estimate.low) or math.isnan(estimate.high))
    return interval if is_known else "no interval from a single problem"


def valued(estimate: Estimate) -> str:
    """A value with its interval: 2.1 (1.2 to 3.4)."""
    return f"{short(estimate.value)} ({span(estimate)})"


def percent_valued(estimate: Estimate) -> str:
    """A share with its interval: 62.5 % (60.1 to 64.9 %)."""
    interval = f"{100 * estimate.low:.1f} to {percent(estimate.high)}"
    return f"{percent(estimate.value)} ({_told(estimate, interval)})"


def points_valued(estimate: Estimate) -> str:
    """A difference of accuracies with its interval: +3.1 points (+1.2 to +5.0)."""
    interval = f"{100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}"
    return f"{points(estimate.value)} ({_told(estimate, interval)})"


def model_words(facts: ModelFacts) -> str:
    """A model by what it is: 29.2K parameters on 4M tokens."""
    size, tokens = short(facts.architecture.num_parameters), short(facts.pretraining_tokens)
    if facts.unique_tokens is None:
        return f"{size} parameters on {tokens} tokens"
    return f"{size} parameters on {tokens} tokens ({short(facts.unique_tokens)} of them unique)"


def number(value: float) -> float | str | None:
    """A number as JSON can hold it."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)


def estimate_numbers(estimate: Estimate) -> dict[str, float | str | None]:
    """An estimate as JSON can hold it."""
    return {
        "value": number(estimate.value),
        "low": number(estimate.low),
        "high": number(estimate.high),
    }
