"""What the plots of every run draw, as plain lists: lines cut out of the analysis tables, read by
both the page and the PNGs.

Knows the analysis columns and nothing of how a line looks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.cost import AXES

SELECTORS = (
    "voting",
    "weighted_voting",
    "best_of",
    "best_of_min",
    "best_of_product",
    "best_of_mean",
    "oracle",
)
"""How one answer is chosen among several, in the order in which the page offers them. A single
answer ("single") needs no selector."""
OTHER_AXES = {"k": "samples a query, k", "pretraining_flops": "pre-training FLOPs, 6ND"}
"""Axes beside the costs of a query."""
MAX_MATCHES = 300
NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class Line:
    """One model under one strategy and selector at one level: parallel lists over k, ascending.

    `costs` has a list for every axis that is known for at least one point. A single point is a
    marker.
    """

    model: int
    strategy: str
    selector: str
    level: str
    k: list[float]
    accuracy: list[float]
    low: list[float]
    high: list[float]
    costs: dict[str, list[float]]


@dataclass(frozen=True)
class Lifetime:
    """A line over the lifetime of a number of queries: total FLOPs, pre-training included."""

    model: int
    strategy: str
    selector: str
    num_queries: float
    k: list[float]
    accuracy: list[float]
    low: list[float]
    high: list[float]
    flops: list[float]
    is_frontier: list[bool]


@dataclass(frozen=True)
class Gap:
    """By how much an oracle is ahead of a selector, over k."""

    model: int
    strategy: str
    selector: str
    level: str
    k: list[float]
    gap: list[float]


@dataclass(frozen=True)
class Match:
    """Two models at one accuracy: `smaller` with k samples, `larger` as it is. FLOPs per query and
    of pre-training.

    Values that the analysis could not measure are NaN, those that are never reached infinite.
    """

    smaller: int
    larger: int
    selector: str
    accuracy: float
    k: float
    inference_smaller: float
    inference_smaller_low: float
    inference_smaller_high: float
    inference_larger: float
    pretraining_smaller: float
    pretraining_larger: float


def ordered_models(models: pd.DataFrame) -> list[str]:
    """Names from the smallest model to the largest; checkpoints of one size by their
    pre-training."""
    return list(models.sort_values(["num_parameters", "pretraining_flops", "model"])["model"])


def curves_data(curves: pd.DataFrame, names: Sequence[str]) -> dict[str, object]:
    """What the page's script draws of curves: lines and gaps, and what can be chosen among them."""
    lines = query_lines(curves, names)
    return {
        "axes": known_axes(curves),
        "selectors": [name for name in SELECTORS if name in set(curves["selector"])],
        "strategies": sorted({line.strategy for line in lines if len(line.k) > 1}),
        "level": shown_level(lines),
        "levels": ordered_levels(lines),
        "difficulties": difficulties(lines),
        "curves": [asdict(line) for line in lines],
        "gaps": [asdict(gap) for gap in gaps(lines)],
    }


def known_axes(curves: pd.DataFrame) -> dict[str, str]:
    """The axes along which at least one point is known, with their labels, the best first: what a
    query costs, then the number of samples where lines run over it, or else pre-training."""
    lines = curves.groupby(["model", "strategy", "selector", "level"])["k"]
    is_over_k = bool((lines.nunique().to_numpy() > 1).any())
    others = sorted(OTHER_AXES.items(), reverse=not is_over_k)
    return {
        name: _capital(label)
        for name, label in (*AXES.items(), *others)
        if name in curves and np.isfinite(curves[name].to_numpy(np.float64)).any()
    }


def _capital(label: str) -> str:
    return label[:1].upper() + label[1:]


def query_lines(curves: pd.DataFrame, names: Sequence[str]) -> list[Line]:
    """Accuracy and costs per query: one line per model, strategy, selector and level."""
    axes = [axis for axis in known_axes(curves) if axis != "k"]
    grouped = curves.groupby(["model", "strategy", "selector", "level"])
    lines = [
        Line(
            model=names.index(str(model)),
            strategy=str(strategy),
            selector=str(selector),
            level=str(level),
            **_accuracies(rows),
            costs={axis: _column(rows, axis) for axis in axes},
        )
        for (model, strategy, selector, level), rows in _ascending(grouped)
    ]
    return sorted(lines, key=lambda line: (line.model, line.strategy, line.selector, line.level))


def lifetime_lines(lifetimes: pd.DataFrame, names: Sequence[str]) -> list[Lifetime]:
    """Accuracy against total FLOPs: one line per number of queries, model, strategy and selector;
    points of unknown cost are left out."""
    known = lifetimes.loc[np.isfinite(lifetimes["total_flops"].to_numpy(np.float64))]
    grouped = known.groupby(["model", "strategy", "selector", "num_queries"])
    lines = [
        Lifetime(
            model=names.index(str(model)),
            strategy=str(strategy),
            selector=str(selector),
            num_queries=float(num_queries),
            **_accuracies(rows),
            flops=_column(rows, "total_flops"),
            is_frontier=[bool(on) for on in rows["on_frontier"]],
        )
        for (model, strategy, selector, num_queries), rows in _ascending(grouped)
    ]
    return sorted(lines, key=lambda line: (line.model, line.strategy, line.selector))


def _ascending(grouped) -> list[tuple[tuple, pd.DataFrame]]:
    return [(key, rows.sort_values("k")) for key, rows in grouped]


def _accuracies(rows: pd.DataFrame) -> dict[str, list[float]]:
    columns = {"k": "k", "accuracy": "accuracy", "low": "accuracy_low", "high": "accuracy_high"}
    return {name: _column(rows, column) for name, column in columns.items()}


def _column(rows: pd.DataFrame, name: str) -> list[float]:
    return [float(value) for value in rows[name]]


def shown_level(lines: Sequence[Line]) -> str:
    """The level to show first: all problems together, or the first level where there is no such
    mean."""
    levels = {line.level for line in lines}
    return "all" if "all" in levels or not levels else ordered_levels(lines)[0]


def gaps(lines: Sequence[Line]) -> list[Gap]:
    """The selection gap, oracle minus selected, wherever both were measured with several samples."""
    oracle = {
        (line.model, line.strategy, line.level): dict(zip(line.k, line.accuracy, strict=True))
        for line in lines
        if line.selector == "oracle"
    }
    found = []
    for line in lines:
        best = oracle.get((line.model, line.strategy, line.level), {})
        if line.selector == "oracle" or len(line.k) < 2:
            continue
        points = [(k, best[k] - a) for k, a in zip(line.k, line.accuracy, strict=True) if k in best]
        if points:
            k, gap = (list(column) for column in zip(*points, strict=True))
            found.append(Gap(line.model, line.strategy, line.selector, line.level, k, gap))
    return found


def matches(
    exchange: pd.DataFrame,
    pretraining: Mapping[str, float],
    lines: Sequence[Line],
    names: Sequence[str],
) -> list[Match]:
    """The pairs of the exchange table that the smaller model reaches, as points of the iso-accuracy
    plot: those of the largest models where there are more than `MAX_MATCHES`.

    FLOPs at `k_match` are read off the smaller model's curve: they are linear in k (prompt once,
    decode k times).
    """
    flops = _flops_of_k(lines)
    found = []
    for row in exchange.to_dict("records"):
        smaller, larger = names.index(row["smaller"]), names.index(row["larger"])
        selector = str(row["selector"])
        own, other = flops.get((smaller, selector)), flops.get((larger, selector))
        if own is None or other is None or not np.isfinite(row["k_match"]):
            continue
        at = [float(np.interp(row[f"k_match{end}"], *own)) for end in ("", "_low", "_high")]
        found.append(
            Match(
                smaller=smaller,
                larger=larger,
                selector=selector,
                accuracy=float(row["accuracy_target"]),
                k=float(row["k_match"]),
                inference_smaller=at[0],
                inference_smaller_low=at[1],
                inference_smaller_high=at[2],
                inference_larger=float(np.interp(1.0, *other)),
                pretraining_smaller=float(pretraining[row["smaller"]]),
                pretraining_larger=float(pretraining[row["larger"]]),
            )
        )
    found.sort(key=lambda match: (-match.larger, match.selector, match.smaller))
    return found[:MAX_MATCHES]


def _flops_of_k(
    lines: Sequence[Line],
) -> dict[tuple[int, str], tuple[list[float], list[float]]]:
    """k and FLOPs per query of the longest curve over all problems, by model and selector."""
    longest: dict[tuple[int, str], tuple[list[float], list[float]]] = {}
    for line in lines:
        flops = line.costs.get("inference_flops", [])
        if line.level != "all" or not flops or not np.isfinite(flops).all():
            continue
        before = longest.get((line.model, line.selector), ([], []))
        if len(line.k) > len(before[0]):
            longest[line.model, line.selector] = (line.k, flops)
    return longest


def frontier(
    lines: Sequence[Lifetime], num_queries: float, *, of_oracle: bool
) -> tuple[list[float], list[float]]:
    """Total FLOPs and accuracy on the compute-optimal frontier, cheapest first: of what a user
    could run, or of the oracle apart."""
    points = sorted(
        (flops, accuracy)
        for line in lines
        if line.num_queries == num_queries and (line.selector == "oracle") == of_oracle
        for flops, accuracy, on in zip(line.flops, line.accuracy, line.is_frontier, strict=True)
        if on
    )
    return [flops for flops, _ in points], [accuracy for _, accuracy in points]


def ordered_levels(lines: Sequence[Line]) -> list[str]:
    """The levels apart from "all": by their number where they differ in nothing else, or those first
    at which the models are right most often."""
    accuracies: dict[str, list[float]] = {}
    for line in lines:
        accuracies.setdefault(line.level, []).append(line.accuracy[0])
    levels = accuracies.keys() - {"all"}
    found = {level: NUMBER.search(level) for level in levels}
    numbers = {level: float(each[0]) for level, each in found.items() if each}
    words = {NUMBER.sub("", level, count=1) for level in levels}
    if len(numbers) == len(levels) and len(words) <= 1:
        return sorted(levels, key=lambda level: numbers[level])
    return sorted(levels, key=lambda level: (-float(np.mean(accuracies[level])), level))


def difficulties(lines: Sequence[Line]) -> dict[str, list[str]]:
    """The ways in which problems are sorted by difficulty: the task's own levels, and quintiles of
    how often the models are right; each with its levels in order, where there are several."""
    levels = ordered_levels(lines)
    quintiles = [level for level in levels if level.startswith("quintile")]
    own = [level for level in levels if level not in quintiles]
    return {name: of for name, of in (("level", own), ("quintile", quintiles)) if len(of) > 1}


def by_level(lines: Sequence[Line], levels: Sequence[str]) -> list[list[Line]]:
    """Lines cut by level: a group for each model, strategy and selector, its levels in order."""
    groups: dict[tuple[int, str, str], list[Line]] = {}
    for line in lines:
        if line.level in levels:
            groups.setdefault((line.model, line.strategy, line.selector), []).append(line)
    return [sorted(group, key=lambda line: levels.index(line.level)) for group in groups.values()]
