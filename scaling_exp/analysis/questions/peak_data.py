"""Peak data: when no more unique data can be had, how much does inference compute buy?

A capped corpus can be read again, or given to a bigger model, and either helps less and less. Sampling is set against
three things: against the last further epochs, against the last step in size, and against the fresh data that there are
not (where a model was trained on them, too). Each is the number of samples with which the model that lacks it draws
level with one attempt of the model that has it.

What repeated tokens are worth is said twice: by the fresh tokens that give the same loss, read off the same size's own
uncapped runs, and by the law of effective data.

Axes: R rows of the bootstrap, M models, D tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.intervals import Estimate, share_defined
from scaling_exp.analysis.laws.fit import Fit, resampled
from scaling_exp.analysis.questions.asking import CannotTell, answered, fitted
from scaling_exp.analysis.questions.effective_data import fit_effective_data
from scaling_exp.analysis.questions.readings import ORACLE, Reading, readings, usable_selector
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import (
    CANNOT_TELL,
    estimate_numbers,
    number,
    percent,
    points_valued,
    short,
    valued,
)
from scaling_exp.types import ModelFacts

QUESTION = "When unique data cannot grow, how much does inference compute buy?"
Lack = Literal["epochs", "size", "fresh data"]
LACKS: dict[Lack, str] = {
    "epochs": "the last further epochs",
    "size": "the last step in size",
    "fresh data": "the fresh data that are lacking",
}
ASSUMPTIONS = (
    "Models that are compared differ in nothing but what they are compared for; each was trained once, and intervals "
    "hold other problems and samples, not other training runs.",
    "More epochs and more parameters are measured as far as they were trained; regularisation that would make more of "
    "repeated data was not tried.",
    "The law of effective data knows no overfitting and no difference between sizes in how they bear repetition.",
)


@dataclass(frozen=True)
class PeakData:
    """Nothing to set: it looks at the models that saw data repeatedly."""

    def __call__(self, study: Study) -> Answer:
        what = "How much inference compute buys when unique data cannot grow"
        return answered("peak_data", QUESTION, what, lambda: _answer(study))


def _answer(study: Study) -> Answer:
    capped = [m for m in study.models if m.unique_tokens is not None]
    if not capped:
        raise CannotTell(
            "no model was trained on repeated data (or how much of it was unique is not known)"
        )
    known = [s for s in (usable_selector(study), ORACLE) if s in set(study.curves["selector"])]
    gains = [gain for selector in known if selector for gain in gains_at_caps(study, selector)]
    if not gains:
        raise CannotTell("none of the models that saw data repeatedly was sampled several times")
    worths = worth_of_repetition(study.models)
    law, law_words = _law(study)
    return Answer(
        name="peak_data",
        question=QUESTION,
        sentences=[
            *[words for gain in gains for words in _gain_sentences(gain)],
            *_worth_sentences(worths),
            law_words,
        ],
        plots=[*[_accuracy_plot(study, str(s)) for s in known], *_loss_plots(study.models)],
        tables={
            "samples_against_what_lacks": pd.DataFrame(
                [_swap_row(gain, swap) for gain in gains for swap in gain.swaps]
            ),
            "worth_of_repeated_tokens": pd.DataFrame([vars(worth) for worth in worths]),
        },
        assumptions=ASSUMPTIONS,
        numbers={
            "gains": [_gain_numbers(gain) for gain in gains],
            "law": None
            if law is None
            else {k: estimate_numbers(v) for k, v in law.parameters.items()},
        },
    )


@dataclass(frozen=True)
class Swap:
    """Samples of a model that lacks something for one attempt of the model that has it; inf where not reached."""

    lack: Lack
    poorer: ModelFacts
    richer: ModelFacts
    k: Estimate
    share_reached: float
    inference_ratio: Estimate
    training_ratio: float
    without_samples: Estimate
    """Accuracy of one attempt of the richer model minus that of the poorer."""


@dataclass(frozen=True)
class Gain:
    """What sampling buys at one cap: of the largest size and the most epochs, and its swaps."""

    reading: Reading
    accuracy_one: Estimate
    accuracy_best: Estimate
    difference: Estimate
    swaps: tuple[Swap, ...]


def gains_at_caps(study: Study, selector: str) -> list[Gain]:
    """One gain a cap, the tightest first."""
    found = [r for r in readings(study, selector, "inference_flops") if r.k_K[0] == 1]
    caps = sorted({r.facts.unique_tokens for r in found if r.facts.unique_tokens is not None})
    return [_gain(study, found, cap) for cap in caps]


def _gain(study: Study, found: Sequence[Reading], cap: int) -> Gain:
    own = [r for r in found if r.facts.unique_tokens == cap]
    peak = max(own, key=lambda r: (r.facts.architecture.num_parameters, r.facts.pretraining_tokens))
    estimate = study.resamples.estimate
    return Gain(
        reading=peak,
        accuracy_one=estimate(peak.one_R, undefined=0.0),
        accuracy_best=estimate(peak.best_R, undefined=0.0),
        difference=estimate(peak.best_R - peak.one_R, undefined=0.0),
        swaps=tuple(_swaps(study, found, own, peak)),
    )


def _swaps(
    study: Study, found: Sequence[Reading], own: Sequence[Reading], peak: Reading
) -> list[Swap]:
    size, tokens = peak.facts.architecture.num_parameters, peak.facts.pretraining_tokens
    shorter = [r for r in own if _size(r) == size and r.facts.pretraining_tokens < tokens]
    smaller = [r for r in own if _size(r) < size and r.facts.pretraining_tokens == tokens]
    fresh = [
        r
        for r in found
        if r.facts.unique_tokens is None
        and _size(r) == size
        and r.facts.pretraining_tokens == tokens
    ]
    swaps = []
    if shorter:
        last = max(shorter, key=lambda r: r.facts.pretraining_tokens)
        swaps.append(_swap(study, "epochs", last, peak))
    if smaller:
        swaps.append(_swap(study, "size", max(smaller, key=_size), peak))
    if fresh:
        swaps.append(_swap(study, "fresh data", peak, fresh[0]))
    return swaps


def _size(reading: Reading) -> float:
    return reading.facts.architecture.num_parameters


def _swap(study: Study, lack: Lack, poorer: Reading, richer: Reading) -> Swap:
    k_R = poorer.reach_R(richer.one_R)
    unreached_R = np.isnan(k_R)
    ratio_R = poorer.cost_R(k_R) / richer.cost_R(np.ones_like(k_R))
    estimate = study.resamples.estimate
    return Swap(
        lack=lack,
        poorer=poorer.facts,
        richer=richer.facts,
        k=estimate(np.where(unreached_R, np.inf, k_R), undefined=np.inf),
        share_reached=share_defined(k_R),
        inference_ratio=estimate(np.where(unreached_R, np.inf, ratio_R), undefined=np.inf),
        training_ratio=richer.facts.pretraining_flops / poorer.facts.pretraining_flops,
        without_samples=estimate(richer.one_R - poorer.one_R, undefined=0.0),
    )


@dataclass(frozen=True)
class Worth:
    """What a capped run's tokens are worth: as many fresh ones give the same loss at the same size. NaN where the loss
    lies outside that of the uncapped runs."""

    model: str
    num_parameters: float
    tokens: float
    unique_tokens: int
    epochs: float
    loss: float
    fresh_loss: float
    fresh_tokens: float


def worth_of_repetition(models: Sequence[ModelFacts]) -> list[Worth]:
    """Of every capped run whose size has uncapped ones, read off these, linear in log tokens and log loss."""
    known = [m for m in models if m.pretraining_loss is not None]
    return [
        _worth(m, fresh)
        for m in known
        if m.unique_tokens is not None
        if len(fresh := _fresh_runs(known, m.architecture.num_parameters)) > 1
    ]


def _fresh_runs(models: Sequence[ModelFacts], size: float) -> list[ModelFacts]:
    own = [m for m in models if m.unique_tokens is None and m.architecture.num_parameters == size]
    return sorted(own, key=lambda m: m.pretraining_tokens)


def _worth(capped: ModelFacts, fresh: Sequence[ModelFacts]) -> Worth:
    assert capped.unique_tokens is not None
    assert capped.pretraining_loss is not None
    tokens_D = np.array([m.pretraining_tokens for m in fresh], np.float64)
    loss_D = np.array([m.pretraining_loss for m in fresh], np.float64)
    order = np.argsort(loss_D)
    log_tokens = np.interp(
        np.log(capped.pretraining_loss),
        np.log(loss_D[order]),
        np.log(tokens_D[order]),
        left=np.nan,
        right=np.nan,
    )
    same = tokens_D == capped.pretraining_tokens
    return Worth(
        model=capped.name,
        num_parameters=capped.architecture.num_parameters,
        tokens=capped.pretraining_tokens,
        unique_tokens=capped.unique_tokens,
        epochs=capped.pretraining_tokens / capped.unique_tokens,
        loss=capped.pretraining_loss,
        fresh_loss=float(loss_D[same][0]) if same.any() else np.nan,
        fresh_tokens=float(np.exp(log_tokens)),
    )


def _law(study: Study) -> tuple[Fit | None, str]:
    """The law of effective data, and what it says of R*; no law where the runs do not allow one."""
    try:
        fit = _fit(study)
    except CannotTell as reason:
        return (
            None,
            f"How many repetitions are worth something (R*), {CANNOT_TELL}, because {reason}.",
        )
    worth = fit.parameters["R*"]
    misses = f"the law misses the losses by {fit.error:.2g} nats (root mean square)"
    if worth.high > 1e3 * worth.value:
        return fit, (
            f"How many repetitions are worth something, {CANNOT_TELL} from above: R* is at least {short(worth.low)} "
            f"(estimate {short(worth.value)}), because {misses}: it has no term for sizes that bear repetition "
            "differently. Muennighoff et al. found 15.4 for language models."
        )
    return fit, (
        f"By the law of effective data R* = {valued(worth)} repetitions are worth something (Muennighoff et al. found "
        f"15.4 for language models); {misses}."
    )


def _fit(study: Study) -> Fit:
    known = [m for m in study.models if m.pretraining_loss is not None]
    if not known:
        raise CannotTell("no model's pre-training loss is known")
    tokens_M = np.array([m.pretraining_tokens for m in known], np.float64)
    unique_M = np.array([m.unique_tokens or m.pretraining_tokens for m in known], np.float64)
    loss_M = np.array([m.pretraining_loss for m in known], np.float64)
    points = resampled(loss_M, study.resamples.confidence, study.seed)
    sizes_M = np.array([m.architecture.num_parameters for m in known], np.float64)
    return fitted(lambda: fit_effective_data(sizes_M, tokens_M, unique_M, points))


def _gain_sentences(gain: Gain) -> list[str]:
    facts, selector = gain.reading.facts, gain.reading.selector
    assert facts.unique_tokens is not None
    how = "an oracle" if selector == ORACLE else selector.replace("_", " ")
    epochs = facts.pretraining_tokens / facts.unique_tokens
    first = (
        f"With {short(facts.unique_tokens)} unique tokens, read {short(epochs)} times by "
        f"{short(facts.architecture.num_parameters)} parameters, {short(gain.reading.k_K[-1])} samples and {how} lift "
        f"accuracy from {percent(gain.accuracy_one.value)} to {percent(gain.accuracy_best.value)} "
        f"({points_valued(gain.difference)})"
    )
    swaps = [_swap_words(swap) for swap in gain.swaps]
    level = f"Of these samples, {'; '.join(swaps)}."
    return [f"{first}.", level] if swaps else [f"{first}."]


def _swap_words(swap: Swap) -> str:
    lacking = f"{LACKS[swap.lack]} ({_step_words(swap)}: {points_valued(swap.without_samples)})"
    if swap.k.high <= 1:
        return f"none are needed for {lacking}"
    if np.isinf(swap.k.low):
        return f"no number makes up for {lacking}"
    if np.isinf(swap.k.high):
        return (
            f"how many make up for {lacking}, {CANNOT_TELL}: at least {short(swap.k.low)}, and they do in "
            f"{percent(swap.share_reached)} of the resamples"
        )
    return f"{valued(swap.k)} make up for {lacking}"


def _step_words(swap: Swap) -> str:
    if swap.lack == "epochs":
        return f"{short(swap.richer.pretraining_tokens / swap.poorer.pretraining_tokens)} times as many"
    if swap.lack == "size":
        ratio = swap.richer.architecture.num_parameters / swap.poorer.architecture.num_parameters
        return f"{short(ratio)} times as large"
    return f"{short(swap.richer.pretraining_tokens)} tokens"


def _worth_sentences(worths: Sequence[Worth]) -> list[str]:
    """The longest run of the largest size at every cap."""
    if not worths:
        return []
    size = max(w.num_parameters for w in worths)
    tokens = max(w.tokens for w in worths if w.num_parameters == size)
    shown = [w for w in worths if w.num_parameters == size and w.tokens == tokens]
    return [_worth_words(each) for each in sorted(shown, key=lambda w: w.unique_tokens)]


def _worth_words(worth: Worth) -> str:
    said = (
        f"To {short(worth.num_parameters)} parameters, {short(worth.unique_tokens)} tokens read {short(worth.epochs)} "
        f"times ({short(worth.tokens)} in all) are worth "
    )
    loss = f"(loss {worth.loss:.3f}; {worth.fresh_loss:.3f} if all were fresh)"
    if np.isnan(worth.fresh_tokens):
        seen = (
            "no less than as many fresh ones"
            if worth.loss <= worth.fresh_loss
            else "less than any fresh run here"
        )
        return f"{said}{seen} {loss}."
    return f"{said}{short(worth.fresh_tokens)} fresh ones, {percent(worth.fresh_tokens / worth.tokens)} {loss}."


def _swap_row(gain: Gain, swap: Swap) -> dict[str, object]:
    row: dict[str, object] = {
        "selector": gain.reading.selector,
        "unique_tokens": gain.reading.facts.unique_tokens,
        "lacks": swap.lack,
        "poorer": swap.poorer.name,
        "richer": swap.richer.name,
        "share_reached": swap.share_reached,
        "training_ratio": swap.training_ratio,
    }
    for name in ("k", "inference_ratio", "without_samples"):
        each: Estimate = getattr(swap, name)
        row |= each.columns(name)
    return row


def _gain_numbers(gain: Gain) -> dict[str, object]:
    return {
        "selector": gain.reading.selector,
        "model": gain.reading.facts.name,
        "unique_tokens": gain.reading.facts.unique_tokens,
        "accuracy_one": estimate_numbers(gain.accuracy_one),
        "accuracy_best": estimate_numbers(gain.accuracy_best),
        "difference": estimate_numbers(gain.difference),
        "swaps": {
            swap.lack: estimate_numbers(swap.k) | {"share_reached": number(swap.share_reached)}
            for swap in gain.swaps
        },
    }


def _corpus(unique_tokens: int | None) -> str:
    return "fresh tokens" if unique_tokens is None else f"{short(unique_tokens)} unique tokens"


def _accuracy_plot(study: Study, selector: str) -> Plot:
    """Accuracy of the largest size against training compute, for each corpus: one attempt, and all samples."""
    found = readings(study, selector, "inference_flops")
    size = max(_size(r) for r in found if r.facts.unique_tokens is not None)
    own = sorted((r for r in found if _size(r) == size), key=lambda r: r.facts.pretraining_tokens)
    series = []
    for unique in dict.fromkeys(r.facts.unique_tokens for r in own):
        group = [r for r in own if r.facts.unique_tokens == unique]
        for many, what in ((False, "one attempt"), (True, f"{short(group[0].k_K[-1])} samples")):
            rows = [r.best_R if many else r.one_R for r in group]
            low, high = study.resamples.interval(np.stack(rows, axis=1))
            series.append(
                Series(
                    name=f"{_corpus(unique)}, {what}",
                    x=[float(r.facts.pretraining_tokens) for r in group],
                    y=[float(row[0]) for row in rows],
                    low=low.tolist(),
                    high=high.tolist(),
                )
            )
    return Plot(
        name=f"accuracy_at_the_cap_{selector}",
        title=f"What more epochs and more samples buy at {short(size)} parameters ({selector.replace('_', ' ')})",
        caption="Where a corpus is capped, further training flattens; the distance to the line of samples does not.",
        x_label="tokens of training, repeated ones included",
        y_label="accuracy",
        series=series,
        is_log_x=True,
    )


def _loss_plots(models: Sequence[ModelFacts]) -> list[Plot]:
    known = [m for m in models if m.pretraining_loss is not None]
    if not known:
        return []
    size = max(m.architecture.num_parameters for m in known if m.unique_tokens is not None)
    own = sorted(
        (m for m in known if m.architecture.num_parameters == size),
        key=lambda m: m.pretraining_tokens,
    )
    series = [
        Series(
            name=_corpus(unique),
            x=[float(m.pretraining_tokens) for m in own if m.unique_tokens == unique],
            y=[m.pretraining_loss or np.nan for m in own if m.unique_tokens == unique],
        )
        for unique in dict.fromkeys(m.unique_tokens for m in own)
    ]
    plot = Plot(
        name="loss_at_the_cap",
        title=f"Loss of {short(size)} parameters, by how many tokens are unique",
        caption="Every run has its own learning-rate schedule.",
        x_label="tokens of training, repeated ones included",
        y_label="held-out loss (nats a token)",
        series=series,
        is_log_x=True,
        is_log_y=True,
    )
    return [plot]
