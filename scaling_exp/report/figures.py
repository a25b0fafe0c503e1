"""The plots as PNG, for a README or a slide: the page's four, drawn with matplotlib from the same
lines."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from matplotlib.typing import RcKeyType

from scaling_exp.analysis import Analysis
from scaling_exp.report import charts
from scaling_exp.report.charts import Line, Match
from scaling_exp.report.palette import LIGHT_SPAN, model_colours

INK, SOFT, GRID = "#1a1d21", "#565c66", "#ecece8"
DASHES = {"voting": "-", "oracle": (0, (4, 3)), "single": "-"}
MAX_LIFETIMES = 4
STYLE: dict[RcKeyType, object] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": "#c9cac6",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
}


def write_figures(analysis: Analysis, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write accuracy_inference, accuracy_lifetime, equal_accuracy and accuracy_level as PNG; their
    paths."""
    folder.mkdir(parents=True, exist_ok=True)
    names = charts.ordered_models(analysis.models)
    colours = model_colours(len(names), LIGHT_SPAN)
    lines = charts.query_lines(analysis.curves, names)
    with rc_context(STYLE):
        drawn = {
            "accuracy_inference": _inference(lines, names, colours),
            "accuracy_lifetime": _lifetime(
                charts.lifetime_lines(analysis.lifetimes, names), names, colours
            ),
            "equal_accuracy": _matches(charts.matches(analysis, names), names, colours),
            "accuracy_level": _levels(lines, names, colours),
        }
        return [_save(figure, folder / f"{name}.png") for name, figure in drawn.items()]


def _save(figure: Figure, path: pathlib.Path) -> pathlib.Path:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=160, facecolor="white", bbox_inches="tight")
    return path


def _legend(figure: Figure, names: Sequence[str], colours: Sequence[str]) -> None:
    entries = [
        Line2D([], [], color=c, marker="o", label=n) for n, c in zip(names, colours, strict=True)
    ]
    entries += [
        Line2D([], [], color=SOFT, linestyle=DASHES["voting"], label="voting"),
        Line2D([], [], color=SOFT, linestyle=DASHES["oracle"], label="oracle"),
    ]
    figure.legend(handles=entries, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _share_axis(axes: Axes, label: str = "Accuracy") -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)


def _draw(axes: Axes, line: Line, colour: str) -> None:
    if len(line.k) > 1:
        marker = {
            "linestyle": DASHES[line.selector],
            "marker": "o",
            "markersize": 3.5,
            "linewidth": 1.8,
        }
        axes.plot(line.flops, line.accuracy, color=colour, **marker)
    else:
        symbol = "D" if line.selector == "single" else "s"
        axes.plot(
            line.flops, line.accuracy, symbol, color=colour, markersize=7, markeredgecolor="white"
        )


def _inference(lines: Sequence[Line], names: Sequence[str], colours: Sequence[str]) -> Figure:
    figure = Figure(figsize=(8.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        if line.level != "all":
            continue
        if len(line.k) > 1:
            axes.fill_between(
                line.flops, line.low, line.high, color=colours[line.model], alpha=0.13, linewidth=0
            )
        _draw(axes, line, colours[line.model])
    axes.set_xscale("log")
    axes.set_xlabel("Inference compute per query (FLOPs)")
    axes.set_title("Accuracy against inference compute")
    _share_axis(axes)
    _legend(figure, names, colours)
    return figure


def _lifetime(lines: Sequence[Line], names: Sequence[str], colours: Sequence[str]) -> Figure:
    queries = sorted({line.num_queries for line in lines})
    spread = (
        sorted({round(at) for at in np.linspace(0, len(queries) - 1, MAX_LIFETIMES)})
        if queries
        else []
    )
    num_panels = max(1, len(spread))
    figure = Figure(figsize=(3.4 * num_panels, 3.7), layout="constrained")
    panels = figure.subplots(1, num_panels, sharey=True, squeeze=False)[0]
    for axes, at in zip(panels, spread, strict=False):
        for line in charts.of_selector(lines, "voting", queries[at]):
            _draw(axes, line, colours[line.model])
        frontier = charts.frontier(charts.of_selector(lines, "voting", queries[at]))
        axes.plot(*frontier, color=INK, linewidth=2.4, drawstyle="steps-post", zorder=5)
        axes.set_xscale("log")
        axes.set_title(f"{_power_of_ten(queries[at])} queries")
        axes.set_xlabel("Total compute (FLOPs)")
    _share_axis(panels[0], "Accuracy by voting")
    _legend(figure, names, colours)
    return figure


def _power_of_ten(value: float) -> str:
    exponent = np.log10(value) if value > 0 else np.nan
    return (
        f"$10^{{{exponent:.0f}}}$"
        if np.isfinite(exponent) and exponent == round(exponent)
        else f"{value:.3g}"
    )


def _matches(matches: Sequence[Match], names: Sequence[str], colours: Sequence[str]) -> Figure:
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for larger, selector in sorted({(match.larger, match.selector) for match in matches}):
        pairs = [m for m in matches if (m.larger, m.selector) == (larger, selector)]
        pairs.sort(key=lambda match: match.pretraining_smaller)
        x = [*(m.inference_smaller for m in pairs), pairs[0].inference_larger]
        y = [*(m.pretraining_smaller for m in pairs), pairs[0].pretraining_larger]
        axes.plot(x, y, color=colours[larger], linestyle=DASHES[selector], linewidth=1.8)
        axes.scatter(x[:-1], y[:-1], c=[colours[m.smaller] for m in pairs], s=28, zorder=3)
        axes.scatter(x[-1:], y[-1:], c=[colours[larger]], marker="D", s=50, zorder=3)
    if matches:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("Inference compute per query (FLOPs)")
    axes.set_ylabel("Pre-training compute (FLOPs)")
    axes.set_title("Equal accuracy, two ways to pay")
    _legend(figure, names, colours)
    return figure


def _levels(lines: Sequence[Line], names: Sequence[str], colours: Sequence[str]) -> Figure:
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    levels = charts.ordered_levels(lines)
    for group in charts.by_level(lines):
        at = [levels.index(line.level) for line in group]
        accuracy = [line.accuracy[-1] for line in group]
        style = DASHES[group[0].selector]
        axes.plot(
            at, accuracy, color=colours[group[0].model], linestyle=style, marker="o", markersize=4
        )
    axes.set_xticks(range(len(levels)), levels)
    axes.set_xlabel("Difficulty level")
    axes.set_title("Accuracy by level, all samples drawn")
    _share_axis(axes)
    _legend(figure, names, colours)
    return figure
