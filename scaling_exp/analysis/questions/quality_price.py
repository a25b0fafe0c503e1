"""Quality and price: the cheapest way to each accuracy, over all models and strategies, and how many cheap answers make
up for one dear answer.

Prices are whatever axis of cost the run knows: dollars where something was priced. The price of pre-training is not in
them: who buys answers does not pay for it, or pays for it in the answers. The oracle has a frontier of its own, since
nobody can buy it.

Axes: N points, R rows of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.cost import AXES
from scaling_exp.analysis.intervals import Estimate, share_defined
from scaling_exp.analysis.points import rows_around
from scaling_exp.analysis.questions.asking import CannotTell, answered
from scaling_exp.analysis.questions.readings import ORACLE, Reading, readings, usable_selector
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.tradeoff import is_undominated
from scaling_exp.analysis.words import (
    CANNOT_TELL,
    estimate_numbers,
    money,
    percent,
    points_valued,
    short,
    span,
    valued,
)

QUESTION = "What is the cheapest way to each quality, and how many cheap answers equal a dear one?"
ACCURACY_STEPS = np.arange(1, 20) / 20
NUM_RESAMPLES = 200


@dataclass(frozen=True)
class QualityPrice:
    """Priced along `axis`, or along `otherwise` where that is not known; both from `cost.AXES`."""

    axis: str = "dollars"
    otherwise: str = "inference_flops"

    def __post_init__(self) -> None:
        for name in ("axis", "otherwise"):
            if getattr(self, name) not in AXES:
                raise ValueError(
                    f"quality_price.{name} is {getattr(self, name)!r}; it is one of {', '.join(AXES)}"
                )

    def __call__(self, study: Study) -> Answer:
        what = "What the cheapest way to each quality is"
        return answered("quality_price", QUESTION, what, lambda: self._answer(study))

    def _answer(self, study: Study) -> Answer:
        axis = self._known_axis(study.curves)
        points = frontier_table(study, axis)
        swaps = {
            selector: swaps_for_dearest(study, selector, axis)
            for selector in (usable_selector(study), ORACLE)
            if selector is not None
        }
        return Answer(
            name="quality_price",
            question=QUESTION,
            sentences=_sentences(points, swaps, axis),
            plots=[_plot(points, axis)],
            tables={
                "frontier": points.loc[points["on_frontier"].to_numpy(bool)],
                "cheapest_ways": cheapest_ways(points),
                "against_one_dear_answer": _swap_table(swaps),
            },
            assumptions=[
                f"Prices are {AXES[axis]}; that of pre-training is left out.",
                "A point is on the frontier when no other has at least its accuracy for at most its price. Beside it "
                f"stands in which share of {NUM_RESAMPLES} draws from the points' intervals it is.",
                "A vote costs nothing but its samples, and its samples may run side by side: waiting is not priced.",
            ],
            numbers={
                selector: [swap.numbers() for swap in each] for selector, each in swaps.items()
            },
        )

    def _known_axis(self, curves: pd.DataFrame) -> str:
        for axis in (self.axis, self.otherwise):
            if axis in curves and bool(curves[axis].notna().any()):
                return axis
        raise CannotTell(
            f"neither {self.axis} nor {self.otherwise} of any point is known; name a known axis in quality_price.axis"
        )


def frontier_table(study: Study, axis: str) -> pd.DataFrame:
    """Every priced point, cheapest first: whether nothing beats it, and in which share of draws from the intervals.
    What a user could buy and the oracle are two families."""
    frame = study.curves
    is_priced = (frame["level"] == "all").to_numpy(bool) & frame[axis].notna().to_numpy(bool)
    columns = ["model", "strategy", "selector", "k", "accuracy", "accuracy_low", "accuracy_high"]
    points = frame.loc[is_priced, [*columns, axis]].rename(columns={axis: "price"})
    points = points.sort_values(["price", "accuracy"], ignore_index=True)
    rows_RN = rows_around(points, study.resamples, study.seed)[: NUM_RESAMPLES + 1]
    is_oracle_N = (points["selector"] == ORACLE).to_numpy(bool)
    price_N = points["price"].to_numpy(np.float64)
    on_RN = np.zeros(rows_RN.shape, bool)
    for family_N in (is_oracle_N, ~is_oracle_N):
        for row_N, on_N in zip(rows_RN, on_RN, strict=True):
            on_N[family_N] = is_undominated(price_N[family_N], row_N[family_N])
    return points.assign(on_frontier=on_RN[0], share_on_frontier=on_RN[1:].mean(axis=0))


def cheapest_ways(points: pd.DataFrame) -> pd.DataFrame:
    """For every twentieth of accuracy, the cheapest point that has it, and the cheapest whose interval lies above."""
    usable = points.loc[(points["selector"] != ORACLE).to_numpy(bool)]
    rows = []
    for target in ACCURACY_STEPS:
        for sure, column in ((False, "accuracy"), (True, "accuracy_low")):
            reached = usable.loc[(usable[column] >= target).to_numpy(bool)]
            if not reached.empty:
                first = reached.iloc[0]
                rows.append({"target": target, "surely": sure, **first[_SHOWN].to_dict()})
    return pd.DataFrame(rows, columns=pd.Index(["target", "surely", *_SHOWN]))


_SHOWN = ["model", "strategy", "selector", "k", "accuracy", "price"]


@dataclass(frozen=True)
class Swap:
    """Many answers of a cheap model for one of the dearest. `k` and `price_ratio` are inf where they are not reached;
    `at_equal_price` is the difference of accuracy when as much is spent on either."""

    cheap: Reading
    dear: Reading
    k: Estimate
    price_ratio: Estimate
    share_reached: float
    at_equal_price: Estimate

    def numbers(self) -> dict[str, object]:
        return {
            "cheap": self.cheap.facts.name,
            "dear": self.dear.facts.name,
            "share_reached": self.share_reached,
            "k": estimate_numbers(self.k),
            "price_ratio": estimate_numbers(self.price_ratio),
            "accuracy_difference_at_equal_price": estimate_numbers(self.at_equal_price),
        }


def swaps_for_dearest(study: Study, selector: str, axis: str) -> list[Swap]:
    """Each other model against the one whose single answer costs most, the cheapest swap first."""
    found = [r for r in readings(study, selector, axis) if np.isfinite(r.sample_R[0])]
    if len(found) < 2:
        return []
    one = np.ones(study.resamples.num_rows)
    dear = max(found, key=lambda each: each.cost_R(one)[0])
    swaps = [_swap(study, each, dear) for each in found if each is not dear]
    return sorted(swaps, key=lambda s: (s.price_ratio.value, s.cheap.cost_R(one)[0]))


def _swap(study: Study, cheap: Reading, dear: Reading) -> Swap:
    one_R = np.ones(study.resamples.num_rows)
    price_R = dear.cost_R(one_R)
    k_R = cheap.reach_R(dear.one_R)
    affordable_R = np.maximum((price_R - cheap.prompt_R) / cheap.sample_R, 1.0)
    difference_R = cheap.at_R(np.minimum(affordable_R, cheap.k_K[-1])) - dear.one_R
    estimate = study.resamples.estimate
    unreached_R = np.isnan(k_R)
    ratio_R = np.where(unreached_R, np.inf, cheap.cost_R(k_R) / price_R)
    return Swap(
        cheap=cheap,
        dear=dear,
        k=estimate(np.where(unreached_R, np.inf, k_R), undefined=np.inf),
        price_ratio=estimate(ratio_R, undefined=np.inf),
        share_reached=share_defined(k_R),
        at_equal_price=estimate(difference_R, undefined=0.0),
    )


def _sentences(points: pd.DataFrame, swaps: dict[str, list[Swap]], axis: str) -> list[str]:
    sentences = [_swap_words(selector, each, axis) for selector, each in swaps.items() if each]
    if not sentences:
        sentences = [
            f"How many cheap answers equal a dear one, {CANNOT_TELL}, because no two models were sampled several times."
        ]
    return [*sentences, _frontier_words(points, axis)]


def _swap_words(selector: str, swaps: Sequence[Swap], axis: str) -> str:
    best, dear = swaps[0], swaps[0].dear
    one = np.ones(1)
    how = "with an oracle to pick" if selector == ORACLE else f"by {selector.replace('_', ' ')}"
    said = (
        f"One answer of {dear.facts.name} costs {money(float(dear.cost_R(one)[0]), axis)} and is right in "
        f"{percent(float(dear.one_R[0]))}"
    )
    if np.isinf(best.price_ratio.value):
        nearest = max(swaps, key=lambda s: s.cheap.best_R[0])
        return (
            f"{said}; {how}, no number of cheaper answers that was drawn equals it: {short(nearest.cheap.k_K[-1])} of "
            f"{nearest.cheap.facts.name} reach {percent(float(nearest.cheap.best_R[0]))}."
        )
    if np.isinf(best.price_ratio.high):
        return (
            f"{said}; {how}, {CANNOT_TELL} how many cheaper answers equal it, because only "
            f"{percent(best.share_reached)} of the resamples reach it (estimate: {short(best.k.value)} of "
            f"{best.cheap.facts.name} at {short(best.price_ratio.value)} times the price)."
        )
    return (
        f"{said}; {how}, {short(best.k.value)} answers of {best.cheap.facts.name} ({span(best.k)}) equal it at "
        f"{valued(best.price_ratio)} times the price; the same money spent on them changes accuracy by "
        f"{points_valued(best.at_equal_price)}."
    )


def _frontier_words(points: pd.DataFrame, axis: str) -> str:
    is_own = points["on_frontier"].to_numpy(bool) & (points["selector"] != ORACLE).to_numpy(bool)
    own = points.loc[is_own]
    if own.empty:
        return "What can be bought has no frontier: only an oracle's picks were measured."
    ends = [own.iloc[0], own.iloc[-1]]
    first, last = (
        f"{row['model']} ({row['strategy']}, k = {row['k']:.3g}): {percent(row['accuracy'])} for "
        f"{money(row['price'], axis)}"
        for row in ends
    )
    return (
        f"The frontier of what can be bought has {len(own)} points of {own['model'].nunique()} models, from {first}, "
        f"to {last}."
    )


def _swap_table(swaps: dict[str, list[Swap]]) -> pd.DataFrame:
    rows = [
        {
            "selector": selector,
            "cheap": swap.cheap.facts.name,
            "dear": swap.dear.facts.name,
            "share_reached": swap.share_reached,
            **swap.k.columns("k"),
            **swap.price_ratio.columns("price_ratio"),
            **swap.at_equal_price.columns("points_at_equal_price"),
        }
        for selector, each in swaps.items()
        for swap in each
    ]
    return pd.DataFrame(rows)


def _plot(points: pd.DataFrame, axis: str) -> Plot:
    """Curves of every model under its strategies, and the frontier of what can be bought."""
    usable = points.loc[(points["selector"] != ORACLE).to_numpy(bool)]
    series = []
    lines = usable["model"] + ", " + usable["strategy"] + " (" + usable["selector"] + ")"
    for name, own in usable.groupby(lines, sort=False):
        series.append(
            Series(
                name=str(name),
                x=own["price"].tolist(),
                y=own["accuracy"].tolist(),
                low=own["accuracy_low"].tolist(),
                high=own["accuracy_high"].tolist(),
                model=str(own["model"].iloc[0]),
            )
        )
    best = usable.loc[usable["on_frontier"].to_numpy(bool)]
    series.append(Series("frontier", best["price"].tolist(), best["accuracy"].tolist(), "fitted"))
    return Plot(
        name="quality_by_price",
        title="Quality and price",
        caption="Up and to the left is better; the frontier joins the points that nothing beats.",
        x_label=AXES[axis],
        y_label="accuracy",
        series=series,
        is_log_x=True,
    )
