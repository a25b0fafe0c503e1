"""Plateau: has pre-training scaling broken down?

It can fail in two ways, which call for different remedies. The loss law may stop holding beyond a size: the largest
models fall off the law fitted to the smaller ones. Or it holds, and accuracy no longer follows the loss. Both are the
same test: fit what is smaller, foretell what is largest, and ask whether it lies outside the prediction interval. It
has no power where even a model that gained nothing would lie inside, and then it says that it cannot tell.

Axes: M models, H those held out, R rows of a bootstrap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws.accuracy import fit_accuracy
from scaling_exp.analysis.laws.downstream import fit_downstream
from scaling_exp.analysis.laws.fit import NUM_ROWS, Observations, observed, resampled
from scaling_exp.analysis.laws.loss import fit_loss
from scaling_exp.analysis.questions.asking import CannotTell, answered, fitted
from scaling_exp.analysis.questions.departure import Departure, Foretold, foretell
from scaling_exp.analysis.questions.readings import single_attempts
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import CANNOT_TELL, number, percent, short
from scaling_exp.types import ModelFacts

QUESTION = "Has pre-training scaling broken down?"
WHAT = "Whether pre-training scaling has broken down"
MIN_MODELS = 8
"""A law of five parameters, two degrees of freedom, and one model to foretell."""
ASSUMPTIONS = (
    "Loss follows L = E + A/N^alpha + B/D^beta and error follows eps - k exp(-gamma L) over the models that are "
    "fitted; what scatters around them scatters alike beyond, and as one for all checkpoints held out.",
    "The models differ in size and data only: a learning-rate schedule that had not ended, or a setting that suits "
    "some sizes better, looks like a departure.",
    "A breakdown smaller than the prediction interval is not seen. Distilled and pruned models are left out.",
)


@dataclass(frozen=True)
class Plateau:
    """`num_sizes`: how many of the largest sizes are foretold by the others. `held_out_share`: where no loss is known,
    the share of the models, those with most compute, that is."""

    num_sizes: int = 1
    held_out_share: float = 0.2

    def __post_init__(self) -> None:
        if self.num_sizes < 1:
            raise ValueError(f"plateau.num_sizes is {self.num_sizes}; it must be at least 1")
        if not 0 < self.held_out_share < 1:
            raise ValueError(
                f"plateau.held_out_share is {self.held_out_share}; it must be in (0, 1)"
            )

    def __call__(self, study: Study) -> Answer:
        return answered("plateau", QUESTION, WHAT, lambda: self._answer(study))

    def _answer(self, study: Study) -> Answer:
        accuracies = single_attempts(study)
        with_loss = [
            m for m in study.models if m.pretraining_loss is not None and not m.is_distilled
        ]
        if not with_loss:
            return self._by_compute(study, accuracies)
        tests = [self._test(family, accuracies, study) for family in _families(with_loss)]
        return Answer(
            name="plateau",
            question=QUESTION,
            sentences=[sentence for test in tests for sentence in sentences_of(test)],
            plots=[plot for test in tests for plot in _plots(test)],
            tables={"held_out_models": pd.concat([_table(test) for test in tests])},
            assumptions=ASSUMPTIONS,
            numbers={test.name: _numbers(test) for test in tests},
        )

    def _test(
        self, models: Sequence[ModelFacts], accuracies: Mapping[str, FloatArray], study: Study
    ) -> Test:
        is_largest_M = self._largest(models)
        loss = loss_test(models, is_largest_M, study)
        downstream = downstream_test(models, is_largest_M, loss, accuracies, study)
        return Test(models[0].family, models, is_largest_M, loss, downstream)

    def _largest(self, models: Sequence[ModelFacts]) -> NDArray[np.bool_]:
        size_M = _sizes(models)
        sizes = sorted(set(size_M.tolist()))
        if len(sizes) <= self.num_sizes:
            raise CannotTell(f"there are {len(sizes)} sizes, too few to foretell the largest from")
        return size_M >= sizes[-self.num_sizes]

    def _by_compute(self, study: Study, accuracies: Mapping[str, FloatArray]) -> Answer:
        """Without losses only the second way can be looked at, with compute in the place of the loss."""
        models = [m for m in study.models if m.name in accuracies and not m.is_distilled]
        if len(models) < MIN_MODELS:
            raise CannotTell("no model's pre-training loss is known, nor enough accuracies")
        flops_M = np.array([m.pretraining_flops for m in models])
        is_largest_M = flops_M >= np.quantile(flops_M, 1 - self.held_out_share)
        foretold = compute_test(models, is_largest_M, [accuracies[m.name] for m in models], study)
        return Answer(
            name="plateau",
            question=QUESTION,
            sentences=_compute_sentences(foretold, len(models)),
            plots=[_compute_plot(foretold)],
            assumptions=ASSUMPTIONS[1:],
            numbers={"accuracy by compute": _departure_numbers(foretold.departure)},
        )


@dataclass(frozen=True)
class Test:
    """What the smaller models of a family foretell of the largest: their loss, and from their loss their accuracy
    (None where too few were measured on a task)."""

    __test__ = False  # not one of pytest's

    name: str
    models: Sequence[ModelFacts]
    is_largest_M: NDArray[np.bool_]
    loss: Foretold
    downstream: Foretold | None

    @property
    def smaller(self) -> str:
        return short(float(_sizes(self.models)[~self.is_largest_M].max()))

    @property
    def largest(self) -> str:
        return short(float(_sizes(self.models).max()))


def _families(models: Sequence[ModelFacts]) -> list[list[ModelFacts]]:
    """Families with enough models to test, the one with most first; all models together where no family has."""
    sizes = Counter(m.family for m in models)
    names = [name for name, num in sizes.most_common() if num >= MIN_MODELS]
    if names:
        return [[m for m in models if m.family == name] for name in names]
    if len(models) >= MIN_MODELS:
        return [list(models)]
    raise CannotTell(
        f"{len(models)} models with a known loss are too few: {MIN_MODELS} are needed, and every checkpoint counts "
        "(ladder.include=all)"
    )


def _sizes(models: Sequence[ModelFacts]) -> FloatArray:
    return np.array([m.architecture.num_parameters for m in models], np.float64)


def loss_test(
    models: Sequence[ModelFacts], is_largest_M: NDArray[np.bool_], study: Study
) -> Foretold:
    """Whether the largest models lie on the loss law of the smaller ones."""
    size_M = _sizes(models)
    tokens_M = np.array([m.pretraining_tokens for m in models], np.float64)
    loss_M = np.array([m.pretraining_loss for m in models], np.float64)
    kept_M, confidence = ~is_largest_M, study.resamples.confidence
    points = resampled(loss_M[kept_M], confidence, study.seed)
    fit = fitted(lambda: fit_loss(size_M[kept_M], tokens_M[kept_M], points))
    x_H = (size_M[is_largest_M], tokens_M[is_largest_M])
    if not fit.reaches(*x_H).all():
        raise CannotTell("the largest models lie more than ten times beyond the others")
    stalled_H = (np.full_like(x_H[0], size_M[kept_M].max()), x_H[1])
    measured_RH = loss_M[None, is_largest_M]
    return foretell(fit, x_H, stalled_H, measured_RH, x_H[0].tolist(), confidence, np.log)


def downstream_test(
    models: Sequence[ModelFacts],
    is_largest_M: NDArray[np.bool_],
    loss: Foretold,
    accuracies: Mapping[str, FloatArray],
    study: Study,
) -> Foretold | None:
    """Whether the largest models' error is what their measured loss foretells."""
    is_known_M = np.array([m.name in accuracies for m in models])
    kept_M, held_M = is_known_M & ~is_largest_M, is_known_M & is_largest_M
    if kept_M.sum() < MIN_MODELS - 2 or not held_M.any():
        return None
    loss_M = np.array([m.pretraining_loss for m in models], np.float64)
    known = [accuracies[m.name] for m in models if m.name in accuracies]
    error_RM = np.full((min(len(known[0]), NUM_ROWS + 1), len(models)), np.nan)
    error_RM[:, is_known_M] = 1 - np.stack(known, axis=1)[: len(error_RM)]
    fit = fitted(lambda: fit_downstream(loss_M[kept_M], _observations(error_RM[:, kept_M], study)))
    is_known_H = held_M[is_largest_M]
    size_of_smaller = float(_sizes(models)[~is_largest_M].max())
    tokens_H = loss.x_H[1][is_known_H]
    stalled = np.full_like(tokens_H, size_of_smaller)
    stalled_loss_H = loss.fit.law.function(loss.fit.parameters_RQ[:1], stalled, tokens_H)[0]
    x_H = (loss_M[held_M],)
    measured_RH, confidence = error_RM[:, held_M], study.resamples.confidence
    groups = _sizes(models)[held_M].tolist()
    return foretell(fit, x_H, (stalled_loss_H,), measured_RH, groups, confidence, _same)


def compute_test(
    models: Sequence[ModelFacts],
    is_largest_M: NDArray[np.bool_],
    accuracies: Sequence[FloatArray],
    study: Study,
) -> Foretold:
    """Whether accuracy still follows compute, where no loss is known. Models of one family scatter as one."""
    flops_M = np.array([m.pretraining_flops for m in models])
    accuracy_RM = np.stack(accuracies, axis=1)[: NUM_ROWS + 1]
    kept_M = ~is_largest_M
    fit = fitted(
        lambda: fit_accuracy(flops_M[kept_M], _observations(accuracy_RM[:, kept_M], study))
    )
    held_M = is_largest_M & fit.reaches(flops_M)
    if not held_M.any():
        raise CannotTell("the largest models lie more than ten times beyond the others")
    x_H = (flops_M[held_M],)
    stalled_H = (np.full_like(x_H[0], flops_M[kept_M].max()),)
    confidence = study.resamples.confidence
    held = [m for m, is_held in zip(models, held_M, strict=True) if is_held]
    groups = [m.family or m.name for m in held]
    measured_RH = accuracy_RM[:, held_M]
    return foretell(fit, x_H, stalled_H, measured_RH, groups, confidence, np.negative)


def _observations(y_RM: FloatArray, study: Study) -> Observations:
    """The bootstrap's rows; where points came without an error, so that all rows are one, a bootstrap over points."""
    if np.ptp(y_RM, axis=0).any():
        return observed(y_RM, study.resamples.tail)
    return resampled(y_RM[0], study.resamples.confidence, study.seed, len(y_RM) - 1)


def _same(values: FloatArray) -> FloatArray:
    return values


def sentences_of(test: Test) -> list[str]:
    """The verdict on one family, and what it stands on."""
    where = f" ({test.name})" if test.name else ""
    steps = _step_words(test.models)
    return [f"{_verdict(test)}{where}.", _loss_words(test), *steps, _downstream_words(test)]


def _verdict(test: Test) -> str:
    loss = test.loss.departure
    off, width = percent(float(np.expm1(loss.mean))), percent(float(np.expm1(loss.half_width)))
    if loss.is_worse:
        return (
            f"Pre-training scaling has broken down beyond {test.smaller} parameters: the largest models' loss is {off} "
            f"above what the smaller ones foretell, outside the prediction interval (+/- {width})"
        )
    if not loss.has_power:
        return (
            f"{WHAT} by {test.largest} parameters, {CANNOT_TELL}, because the prediction interval of the loss "
            f"(+/- {width}) is so wide that a model which gained nothing from its size would lie inside"
        )
    held = (
        f"up to {test.largest} parameters the loss law holds (the largest models are {off} off what smaller ones "
        f"foretell, prediction interval +/- {width})"
    )
    return _with_downstream(held, test.downstream)


def _with_downstream(held: str, foretold: Foretold | None) -> str:
    if foretold is None:
        return f"Pre-training loss has not reached a plateau: {held}"
    error = foretold.departure
    interval = f"prediction interval +/- {100 * error.half_width:.1f}"
    if error.is_worse:
        return (
            f"Accuracy has stopped following the loss: {held}, but accuracy is {100 * error.mean:.1f} points below "
            f"what that loss foretells ({interval})"
        )
    if not error.has_power:
        return (
            f"Pre-training loss has not reached a plateau: {held}; whether accuracy follows it, {CANNOT_TELL}, because "
            f"its {interval} points is wider than the gain foretold ({100 * error.no_gain:.1f})"
        )
    return (
        f"Pre-training scaling has not broken down: {held}, and accuracy follows the loss ({-100 * error.mean:+.1f} "
        f"points off, {interval})"
    )


def _loss_words(test: Test) -> str:
    law = test.loss.fit.parameters
    exponents = ", ".join(
        f"{name} {law[name].value:.3g} ({law[name].low:.3g} to {law[name].high:.3g})"
        for name in ("E", "alpha", "beta")
    )
    return (
        f"The loss law was fitted to {len(test.loss.fit.y_M)} models of up to {test.smaller} parameters ({exponents}) "
        f"and foretold {len(test.loss.measured_H)}; had the larger size brought nothing, their loss would have been "
        f"{percent(float(np.expm1(test.loss.departure.no_gain)))} above it."
    )


def _step_words(models: Sequence[ModelFacts]) -> list[str]:
    """What the last two steps in size brought at equal tokens, whatever the law; nothing where sizes share none."""
    sizes = sorted(set(_sizes(models).tolist()))
    steps = [_gain_of_step(models, small, large) for small, large in pairwise(sizes[-3:])]
    if len(steps) < 2 or np.isnan(steps).any():
        return []
    return [
        f"Whatever the law, at equal tokens {short(sizes[-1])} parameters have {percent(steps[1])} less loss than "
        f"{short(sizes[-2])}, and these {percent(steps[0])} less than {short(sizes[-3])}."
    ]


def _gain_of_step(models: Sequence[ModelFacts], small: float, large: float) -> float:
    """Mean share of the loss that goes from one size to another, over the numbers of tokens that both saw."""
    loss = {
        (m.architecture.num_parameters, m.pretraining_tokens): m.pretraining_loss or np.nan
        for m in models
        if m.unique_tokens is None
    }
    ratios = [
        loss[large, tokens] / loss[small, tokens]
        for size, tokens in loss
        if size == large and (small, tokens) in loss
    ]
    return 1 - float(np.exp(np.mean(np.log(ratios)))) if ratios else np.nan


def _downstream_words(test: Test) -> str:
    if test.downstream is None:
        return f"Whether accuracy follows the loss, {CANNOT_TELL}, because too few were measured on a task."
    fit, error = test.downstream.fit, test.downstream.departure
    return (
        f"Error as a function of loss was fitted to {len(fit.y_M)} of the smaller models and foretold "
        f"{len(test.downstream.measured_H)}; had the larger size brought nothing, they would have been "
        f"{100 * error.no_gain:.1f} points short."
    )


def _compute_sentences(foretold: Foretold, num_models: int) -> list[str]:
    found = foretold.departure
    interval = f"prediction interval +/- {100 * found.half_width:.1f} points"
    if found.is_worse:
        seen = f"accuracy has stopped following compute: {100 * found.mean:.1f} points below ({interval})"
    elif not found.has_power:
        seen = f"nor can it be told of accuracy, whose {interval} is wider than the gain foretold"
    else:
        seen = f"accuracy still follows compute: the largest are {-100 * found.mean:+.1f} points off ({interval})"
    return [
        f"Whether the loss law holds, {CANNOT_TELL}, because no model's pre-training loss is known; {seen}.",
        f"Accuracy of one attempt against 6ND, a sigmoid fitted to {len(foretold.fit.y_M)} of {num_models} models, "
        f"foretold the {len(foretold.measured_H)} with most compute (those within ten times of the others).",
    ]


def _departure_numbers(found: Departure) -> dict[str, object]:
    return {
        "difference": number(found.mean),
        "half_width": number(found.half_width),
        "no_gain": number(found.no_gain),
        "is_worse": found.is_worse,
        "has_power": found.has_power,
    }


def _numbers(test: Test) -> dict[str, object]:
    """Differences of log loss, and of error."""
    downstream = test.downstream
    return {
        "loss": _departure_numbers(test.loss.departure),
        "downstream": None if downstream is None else _departure_numbers(downstream.departure),
    }


def _table(test: Test) -> pd.DataFrame:
    """One row a model held out: its loss beside the law's."""
    held = [m for m, is_largest in zip(test.models, test.is_largest_M, strict=True) if is_largest]
    found = test.loss.departure
    return pd.DataFrame(
        {
            "family": test.name,
            "model": [m.name for m in held],
            "loss": test.loss.measured_H,
            "foretold": test.loss.measured_H / np.exp(found.difference_H),
            "difference": np.expm1(found.difference_H),
            "half_width": np.expm1(found.half_width_H),
        }
    )


def _plots(test: Test) -> list[Plot]:
    plots = [_loss_plot(test)]
    return plots if test.downstream is None else [*plots, _downstream_plot(test)]


def _loss_plot(test: Test) -> Plot:
    """Measured losses of each size, and the law along each: fitted for smaller sizes, extrapolated for the largest."""
    series = []
    for size in sorted(set(_sizes(test.models).tolist())):
        own = [m for m in test.models if m.architecture.num_parameters == size]
        own.sort(key=lambda m: m.pretraining_tokens)
        tokens = np.array([m.pretraining_tokens for m in own], np.float64)
        compute = (6 * size * tokens).tolist()
        band = test.loss.fit.extrapolate(np.full_like(tokens, size), tokens)
        is_held_out = size in test.loss.x_H[0]
        loss = [m.pretraining_loss or np.nan for m in own]
        name = f"{short(size)} parameters"
        series += [
            Series(name, compute, loss, style="held_out" if is_held_out else "measured"),
            Series(
                f"{name}, law",
                compute,
                band.value.tolist(),
                style="extrapolated" if is_held_out else "fitted",
                low=band.low.tolist() if is_held_out else None,
                high=band.high.tolist() if is_held_out else None,
            ),
        ]
    return Plot(
        name=_slug("loss", test.name),
        title="Pre-training loss, and what smaller models foretell",
        caption="The law is fitted to all sizes but those held out; a plateau would lie above its extrapolation.",
        x_label="pre-training compute 6ND (FLOPs)",
        y_label="held-out loss (nats a token)",
        series=series,
        is_log_x=True,
        is_log_y=True,
    )


def _downstream_plot(test: Test) -> Plot:
    assert test.downstream is not None
    return _curve_plot(
        test.downstream,
        name=_slug("error_by_loss", test.name),
        title="Error against loss, and what smaller models foretell",
        x_label="held-out loss (nats a token)",
        y_label="error of one attempt",
        is_log_x=False,
    )


def _compute_plot(foretold: Foretold) -> Plot:
    return _curve_plot(
        foretold,
        name="accuracy_by_compute",
        title="Accuracy against compute, and what smaller models foretell",
        x_label="pre-training compute 6ND (FLOPs)",
        y_label="accuracy of one attempt",
        is_log_x=True,
    )


def _curve_plot(
    foretold: Foretold, name: str, title: str, x_label: str, y_label: str, is_log_x: bool
) -> Plot:
    fit = foretold.fit
    inside, beyond = (np.sort(x) for x in (fit.x_VM[0], foretold.x_H[0]))
    line = np.geomspace(inside[0], inside[-1], 60)
    farther = np.geomspace(beyond[0], beyond[-1], 60)
    farther = farther[fit.reaches(farther)]
    band, ahead = fit.extrapolate(line), fit.extrapolate(farther)
    series = [
        Series("fitted models", *_sorted(fit.x_VM[0], fit.y_M)),
        Series("largest models", *_sorted(foretold.x_H[0], foretold.measured_H), style="held_out"),
        Series("law", line.tolist(), band.value.tolist(), "fitted"),
        Series(
            "law, foretold",
            farther.tolist(),
            ahead.value.tolist(),
            "extrapolated",
            low=ahead.low.tolist(),
            high=ahead.high.tolist(),
        ),
    ]
    caption = (
        "The law is fitted without the largest models; the band holds its parameters' uncertainty."
    )
    return Plot(name, title, caption, x_label, y_label, series, is_log_x=is_log_x)


def _sorted(x_M: FloatArray, y_M: FloatArray) -> tuple[list[float], list[float]]:
    order = np.argsort(x_M)
    return x_M[order].tolist(), y_M[order].tolist()


def _slug(name: str, family: str) -> str:
    letters = "".join(c if c.isalnum() else "_" for c in family.lower())
    return f"{name}_{letters}" if family else name
