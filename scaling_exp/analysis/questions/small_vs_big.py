"""Small against big: by which factor in size can a small model that was trained on more, or that thinks longer, stand
in for a bigger one?

A small model's accuracy is read off the ladder of sizes: the size whose single attempt is as accurate, between two
sizes linear in log N, is the size that it stands in for. Better trained: the small model saw the most tokens that any
did, the ladder the fewest. Thinking longer: both saw the most, and the small model draws samples. Both: it saw the most
and draws samples, the ladder saw the fewest and does not. Beyond the largest size of a ladder nothing is read: a factor
is then at least what the ladder spans.

Axes: R rows of the bootstrap, N sizes of a ladder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.intervals import Estimate, share_defined
from scaling_exp.analysis.questions.asking import CannotTell, answered
from scaling_exp.analysis.questions.readings import ORACLE, Reading, readings, usable_selector
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.tradeoff import first_reach
from scaling_exp.analysis.words import (
    CANNOT_TELL,
    estimate_numbers,
    short,
    valued,
)

QUESTION = "By which factor in size can a small model stand in for a big one?"
Route = Literal["more data", "more samples", "both"]
ROUTES: tuple[Route, ...] = ("more data", "more samples", "both")


@dataclass(frozen=True)
class Rungs:
    """Models of one family and one number of tokens, by size."""

    readings_N: Sequence[Reading]

    @property
    def tokens(self) -> float:
        return self.readings_N[0].facts.pretraining_tokens

    @property
    def sizes_N(self) -> IntArray:
        sizes = [r.facts.architecture.num_parameters for r in self.readings_N]
        return np.array(sizes, np.int64)

    def of_size(self, size: float) -> Reading | None:
        sizes = self.sizes_N.tolist()
        return self.readings_N[sizes.index(size)] if size in sizes else None

    def size_R(self, accuracy_R: FloatArray) -> FloatArray:
        """Size whose single attempt has an accuracy; NaN above the largest, the smallest below it."""
        one_RN = np.stack([r.one_R for r in self.readings_N], axis=1)
        return first_reach(one_RN, self.sizes_N, accuracy_R[:, None])[:, 0]

    def cost_R(self, size_R: FloatArray) -> FloatArray:
        """Of a query with one sample, between two sizes linear in logs; that of the largest beyond it."""
        one = np.ones(len(size_R))
        costs_RN = np.stack([r.cost_R(one) for r in self.readings_N], axis=1)
        rows = zip(np.log(size_R), np.log(costs_RN), strict=True)
        return np.exp([np.interp(size, np.log(self.sizes_N), cost_N) for size, cost_N in rows])


@dataclass(frozen=True)
class StandIn:
    """A small model that stands in for a size by one route. `factor` is infinite beyond the ladder, which spans
    `at_least`; there the ratios, the small model's compute over the big one's, are against the largest size.
    `total_ratios` has one for each number of queries asked for."""

    route: Route
    selector: str
    small: Reading
    k: float
    data_ratio: float
    factor: Estimate
    at_least: float
    share_on_ladder: float
    inference_ratio: Estimate
    training_ratio: Estimate
    total_ratios: tuple[Estimate, ...]


@dataclass(frozen=True)
class SmallVsBig:
    """`num_queries` are the lifetimes over which training and inference are added up."""

    num_queries: tuple[float, ...] = (1e3, 1e6, 1e9)

    def __post_init__(self) -> None:
        if any(queries < 0 for queries in self.num_queries):
            raise ValueError(
                f"small_vs_big.num_queries is {self.num_queries}; none may be negative"
            )

    def __call__(self, study: Study) -> Answer:
        what = "By which factor in size a small model can stand in for a big one"
        return answered("small_vs_big", QUESTION, what, lambda: self._answer(study))

    def _answer(self, study: Study) -> Answer:
        known = [s for s in (usable_selector(study), ORACLE) if s in set(study.curves["selector"])]
        found = [
            each
            for selector in known
            if selector is not None
            for each in stand_ins(study, selector, self.num_queries)
        ]
        if not found:
            raise CannotTell(
                "no two sizes of one family were trained on the same number of tokens and sampled several times"
            )
        return Answer(
            name="small_vs_big",
            question=QUESTION,
            sentences=_sentences(found),
            plots=[
                _plot(mine)
                for selector in known
                if (mine := [each for each in found if each.selector == selector])
            ],
            tables={"stand_ins": pd.DataFrame([_row(f, self.num_queries) for f in found])},
            assumptions=ASSUMPTIONS,
            numbers={"stand_ins": [_numbers(each) for each in found]},
        )


ASSUMPTIONS = (
    "A size between two that were trained is as accurate as a line in log N says; nothing is read beyond the largest.",
    "Sizes differ in nothing else: a size that was trained badly makes the others look big. Checkpoints of one run, "
    "whose learning rate had not decayed, understate what little data can do, and so overstate what more data does.",
    "Compute is FLOPs: 6ND of training and every sample drawn; the selector is free.",
)


def stand_ins(study: Study, selector: str, num_queries: Sequence[float]) -> list[StandIn]:
    """Every small model by every route that was measured, the largest size of each ladder left out."""
    ladders = rungs(readings(study, selector, "inference_flops"))
    if not ladders:
        return []
    first, last = ladders[0], ladders[-1]
    found = []
    for small in last.readings_N:
        size = small.facts.architecture.num_parameters
        if size >= last.sizes_N.max():
            continue
        found.append(_stand_in("more samples", small, last, small.best_R, study, num_queries))
        if first is not last and size in first.sizes_N and size < first.sizes_N.max():
            found.append(_stand_in("more data", small, first, small.one_R, study, num_queries))
            found.append(_stand_in("both", small, first, small.best_R, study, num_queries))
    return found


def rungs(found: Sequence[Reading]) -> list[Rungs]:
    """Ladders of the family that has most models, fewest tokens first: all that have as many sizes as the fullest has.
    Models that saw data repeatedly, or that were distilled, are left out."""
    fresh = [
        r
        for r in found
        if r.facts.unique_tokens is None and not r.facts.is_distilled and r.k_K[0] == 1
    ]
    families = Counter(r.facts.family for r in fresh)
    family = max(families, key=lambda name: families[name], default=None)
    own = [r for r in fresh if r.facts.family == family]
    by_tokens: dict[float, list[Reading]] = {}
    for reading in sorted(own, key=lambda r: r.facts.architecture.num_parameters):
        by_tokens.setdefault(reading.facts.pretraining_tokens, []).append(reading)
    fullest = max((len(each) for each in by_tokens.values()), default=0)
    if fullest < 2:
        return []
    return [
        Rungs(by_tokens[tokens])
        for tokens in sorted(by_tokens)
        if len(by_tokens[tokens]) == fullest
    ]


def _stand_in(
    route: Route,
    small: Reading,
    ladder: Rungs,
    accuracy_R: FloatArray,
    study: Study,
    num_queries: Sequence[float],
) -> StandIn:
    k = 1.0 if route == "more data" else float(small.k_K[-1])
    size = float(small.facts.architecture.num_parameters)
    size_R = ladder.size_R(accuracy_R)
    known_R = np.where(np.isnan(size_R), ladder.sizes_N.max(), size_R)
    cost_R = small.cost_R(np.full(len(size_R), k))
    big_cost_R = ladder.cost_R(known_R)
    training = small.facts.pretraining_flops
    big_training_R = 6.0 * known_R * ladder.tokens
    estimate = study.resamples.estimate
    factor_R = np.where(np.isnan(size_R), np.inf, size_R / size)
    return StandIn(
        route=route,
        selector=small.selector,
        small=small,
        k=k,
        data_ratio=small.facts.pretraining_tokens / ladder.tokens,
        factor=estimate(factor_R, undefined=np.inf),
        at_least=float(ladder.sizes_N.max() / size),
        share_on_ladder=share_defined(size_R),
        inference_ratio=estimate(cost_R / big_cost_R, undefined=np.inf),
        training_ratio=estimate(training / big_training_R, undefined=np.inf),
        total_ratios=tuple(
            estimate(
                (training + queries * cost_R) / (big_training_R + queries * big_cost_R),
                undefined=np.inf,
            )
            for queries in num_queries
        ),
    )


def _sentences(found: Sequence[StandIn]) -> list[str]:
    """One size speaks for the ladder, chosen by its place and not by what came out: the middle one."""
    sentences = []
    for selector in dict.fromkeys(f.selector for f in found):
        own = [f for f in found if f.selector == selector]
        sizes = sorted({f.small.facts.architecture.num_parameters for f in own})
        middle = sizes[(len(sizes) - 1) // 2]
        shown = [f for f in own if f.small.facts.architecture.num_parameters == middle]
        sentences += _size_sentences(shown, middle, selector)
    return sentences


def _size_sentences(shown: Sequence[StandIn], size: float, selector: str) -> list[str]:
    by_route = {f.route: f for f in shown}
    how = "an oracle" if selector == ORACLE else selector.replace("_", " ")
    ways: dict[Route, str] = {
        "more samples": f"by {short(by_route['more samples'].k)} samples and {how}"
    }
    if "more data" in by_route:
        ways["more data"] = f"by {short(by_route['more data'].data_ratio)} times the data"
        ways["both"] = "by both"
    factors = ", ".join(f"{way} {_factor_words(by_route[route])}" for route, way in ways.items())
    prices = "; ".join(f"{way} {_price_words(by_route[route])}" for route, way in ways.items())
    sentences = [
        f"A model of {short(size)} parameters stands in for one larger than itself {factors}.",
        f"It costs, over the bigger model that it stands in for, {prices}.",
    ]
    if "more data" not in by_route:
        sentences.append(
            f"What more data would do, {CANNOT_TELL}, because no sizes were trained on two numbers of tokens."
        )
    return sentences


def _price_words(found: StandIn) -> str:
    training = f"{valued(found.training_ratio)} times the training"
    if np.isnan(found.inference_ratio.value):
        return f"{training} (what inference costs is not known)"
    return f"{valued(found.inference_ratio)} times the inference and {training}"


def _factor_words(found: StandIn) -> str:
    factor = found.factor
    if np.isinf(factor.low):
        return f"more than {short(found.at_least)} times (the ladder ends there)"
    if np.isinf(factor.high):
        return f"at least {short(factor.low)} times (the ladder ends at {short(found.at_least)})"
    return f"{valued(factor)} times"


def _row(found: StandIn, num_queries: Sequence[float]) -> dict[str, object]:
    row: dict[str, object] = {
        "selector": found.selector,
        "route": found.route,
        "small": found.small.facts.name,
        "k": found.k,
        "data_ratio": found.data_ratio,
        "share_on_ladder": found.share_on_ladder,
    }
    ratios = {
        "factor": found.factor,
        "inference_ratio": found.inference_ratio,
        "training_ratio": found.training_ratio,
    }
    totals = zip(num_queries, found.total_ratios, strict=True)
    ratios |= {f"total_ratio_{queries:.0e}_queries": each for queries, each in totals}
    for name, each in ratios.items():
        row |= each.columns(name)
    return row


def _numbers(found: StandIn) -> dict[str, object]:
    return {
        "selector": found.selector,
        "route": found.route,
        "small": found.small.facts.name,
        "k": found.k,
        "data_ratio": found.data_ratio,
        "factor": estimate_numbers(found.factor),
        "ladder_spans": found.at_least,
        "inference_ratio": estimate_numbers(found.inference_ratio),
        "training_ratio": estimate_numbers(found.training_ratio),
    }


def _plot(found: Sequence[StandIn]) -> Plot:
    """The factor by size and route; one that lies beyond the ladder is left out."""
    series = []
    for route in ROUTES:
        own = [f for f in found if f.route == route and np.isfinite(f.factor.value)]
        if own:
            series.append(
                Series(
                    name=route,
                    x=[float(f.small.facts.architecture.num_parameters) for f in own],
                    y=[f.factor.value for f in own],
                    low=[f.factor.low for f in own],
                    high=[min(f.factor.high, f.at_least) for f in own],
                )
            )
    selector = found[0].selector
    return Plot(
        name=f"stands_in_for_{selector}",
        title=f"How many times its size a small model stands in for ({selector.replace('_', ' ')})",
        caption="Intervals end where the ladder does; what stands in for more than the largest size has no point.",
        x_label="parameters of the small model",
        y_label="size that it stands in for, over its own",
        series=series,
        is_log_x=True,
        is_log_y=True,
    )
