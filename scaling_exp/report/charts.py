"""What the plots draw, as plain lists: lines cut out of the analysis tables, read by both the page
and the PNGs.

Knows the analysis columns and nothing of how a line looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis import Analysis

SELECTORS = ("voting", "oracle")


@dataclass(frozen=True)
class Line:
    """One model under one strategy and selector: parallel lists over k, ascending. A single point
    is a marker.

    `flops` is per query, or over the lifetime where `num_queries` is set. `is_frontier` is empty
    per query.
    """

    model: int
    strategy: str
    selector: str
    level: str
    num_queries: float
    k: list[float]
    accuracy: list[float]
    low: list[float]
    high: list[float]
    flops: list[float]
    output_tokens: list[float]
    is_frontier: list[bool]


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


def query_lines(curves: pd.DataFrame, names: Sequence[str]) -> list[Line]:
    """Accuracy against inference FLOPs per query: one line per model, strategy, selector and
    level."""
    grouped = curves.groupby(["model", "strategy", "selector", "level"])
    lines = [_line(rows, names, "inference_flops") for _, rows in grouped]
    return sorted(lines, key=_place)


def lifetime_lines(lifetimes: pd.DataFrame, names: Sequence[str]) -> list[Line]:
    """Accuracy against total FLOPs: one line per number of queries, model, strategy and
    selector."""
    grouped = lifetimes.groupby(["model", "strategy", "selector", "num_queries"])
    lines = [_line(rows, names, "total_flops") for _, rows in grouped]
    return sorted(lines, key=_place)


def _place(line: Line) -> tuple[int, str, str, str]:
    return (line.model, line.strategy, line.selector, line.level)


def _line(rows: pd.DataFrame, names: Sequence[str], flops: str) -> Line:
    rows = rows.sort_values("k")
    first = rows.to_dict("records")[0]

    def column(name: str) -> list[float]:
        return [float(value) for value in rows[name]] if name in rows else []

    return Line(
        model=names.index(str(first["model"])),
        strategy=str(first["strategy"]),
        selector=str(first["selector"]),
        level=str(first.get("level", "all")),
        num_queries=float(first.get("num_queries", np.nan)),
        k=column("k"),
        accuracy=column("accuracy"),
        low=column("accuracy_low"),
        high=column("accuracy_high"),
        flops=column(flops),
        output_tokens=column("output_tokens"),
        is_frontier=[value > 0 for value in column("on_frontier")],
    )


def matches(analysis: Analysis, names: Sequence[str]) -> list[Match]:
    """The pairs of the exchange table that the smaller model reaches, as points of the iso-accuracy
    plot.

    FLOPs at `k_match` are read off the smaller model's curve: they are linear in k (prompt once,
    decode k times).
    """
    pretraining = dict(
        zip(analysis.models["model"], analysis.models["pretraining_flops"], strict=True)
    )
    lines = [line for line in query_lines(analysis.curves, names) if line.level == "all"]
    found = []
    for row in analysis.exchange.to_dict("records"):
        smaller, larger, selector = (str(row[name]) for name in ("smaller", "larger", "selector"))
        flops = {
            name: _flops_of_k(lines, names.index(name), selector) for name in (smaller, larger)
        }
        if not np.isfinite(row["k_match"]) or any(len(ks) == 0 for ks, _ in flops.values()):
            continue
        at = {
            end: float(np.interp(row.get(f"k_match{end}", np.nan), *flops[smaller]))
            for end in ("", "_low", "_high")
        }
        found.append(
            Match(
                smaller=names.index(smaller),
                larger=names.index(larger),
                selector=selector,
                accuracy=float(row["accuracy_target"]),
                k=float(row["k_match"]),
                inference_smaller=at[""],
                inference_smaller_low=at["_low"],
                inference_smaller_high=at["_high"],
                inference_larger=float(np.interp(1.0, *flops[larger])),
                pretraining_smaller=float(pretraining[smaller]),
                pretraining_larger=float(pretraining[larger]),
            )
        )
    return found


def _flops_of_k(
    lines: Sequence[Line], model: int, selector: str
) -> tuple[list[float], list[float]]:
    """k and FLOPs per query of the longest curve of a model under a selector; empty without one."""
    own = [line for line in lines if line.model == model and line.selector == selector]
    longest = max(own, key=lambda line: len(line.k), default=None)
    return ([], []) if longest is None else (longest.k, longest.flops)


def of_selector(lines: Sequence[Line], selector: str, num_queries: float) -> list[Line]:
    """The lifetime lines of one frontier: what a user could run (voting and single answers), or the
    oracle apart."""
    family = ("oracle",) if selector == "oracle" else ("voting", "single")
    return [line for line in lines if line.selector in family and line.num_queries == num_queries]


def frontier(lines: Sequence[Line]) -> tuple[list[float], list[float]]:
    """Total FLOPs and accuracy of the points on the compute-optimal frontier, cheapest first."""
    points = sorted(
        (flops, accuracy)
        for line in lines
        for flops, accuracy, on in zip(line.flops, line.accuracy, line.is_frontier, strict=True)
        if on
    )
    return [flops for flops, _ in points], [accuracy for _, accuracy in points]


def ordered_levels(lines: Sequence[Line]) -> list[str]:
    """The levels apart from "all": numbers by value, then names by letter."""

    def place(level: str) -> tuple[int, float, str]:
        try:
            return (0, float(level), level)
        except ValueError:
            return (1, 0.0, level)

    return sorted({line.level for line in lines} - {"all"}, key=place)


def by_level(lines: Sequence[Line]) -> list[list[Line]]:
    """Curves over k cut by level: a group for each model, strategy and selector, its levels in
    order."""
    levels = ordered_levels(lines)
    groups: dict[tuple[int, str, str], list[Line]] = {}
    for line in lines:
        if line.level != "all" and len(line.k) > 1:
            groups.setdefault((line.model, line.strategy, line.selector), []).append(line)
    return [sorted(group, key=lambda line: levels.index(line.level)) for group in groups.values()]
