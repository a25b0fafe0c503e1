"""The plots as PNG, for a README or a slide: those of every run and those of its answers, drawn with
matplotlib from the same lines as the page."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter
from matplotlib.typing import LineStyleType, RcKeyType

from scaling_exp.analysis import Analysis
from scaling_exp.analysis.answers import Answer, Plot, Series, Style
from scaling_exp.report import charts, ledger, plots
from scaling_exp.report.charts import Gap, Lifetime, Line, Match
from scaling_exp.report.palette import LIGHT, model_colours, named_colours

INK, SOFT, GRID, FAINT = "#1a1d21", "#565c66", "#ecece8", "#8a909a"
DASHES: Mapping[str, LineStyleType] = {
    "single": "-",
    "voting": "-",
    "oracle": (0, (4, 3)),
    "best_of": (0, (1, 1)),
    "best_of_min": (0, (1, 2)),
    "best_of_product": (0, (1, 3)),
    "best_of_mean": (0, (1, 4)),
    "weighted_voting": (0, (6, 2, 1, 2)),
}
LOOKS: Mapping[Style, Mapping[str, object]] = {
    "measured": {"linestyle": "-", "marker": "o", "markersize": 4, "linewidth": 1.6},
    "held_out": {"linestyle": "", "marker": "o", "markersize": 6, "markerfacecolor": "white"},
    "fitted": {"linestyle": "-", "linewidth": 1.1},
    "extrapolated": {"linestyle": (0, (5, 3)), "linewidth": 1.1},
}
BAND_ALPHA: Mapping[Style, float] = {"fitted": 0.16, "extrapolated": 0.08}
MARKERS = ("o", "s", "D", "^")
MAX_LIFETIMES = 4
MAX_LEGEND = 24
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
    "legend.fontsize": 9,
}


@dataclass(frozen=True)
class Ladder:
    """The models that a figure shows, smallest first, and their colours."""

    names: Sequence[str]
    colours: Sequence[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> Ladder:
        return cls(names, model_colours(len(names), LIGHT))


def write_figures(analysis: Analysis, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write what can be drawn of accuracy_inference, accuracy_lifetime, equal_accuracy,
    accuracy_level, selection_gap and ledger, and every plot of every answer, as PNG, in place of
    those that were there; their paths."""
    ladder = Ladder.of(charts.ordered_models(analysis.models))
    return save_figures(_figures(analysis, ladder), folder)


def save_figures(figures: Iterable[tuple[str, Figure]], folder: pathlib.Path) -> list[pathlib.Path]:
    """Save figures by name as PNG, in place of those that were in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    with rc_context(STYLE):
        return [_save(figure, folder / f"{name}.png") for name, figure in figures]


def measured_figures(
    curves: pd.DataFrame, answers: Iterable[Answer], ladder: Ladder
) -> Iterable[tuple[str, Figure]]:
    """What curves and answers alone give: accuracy against cost, the selection gap, every plot of
    every answer."""
    lines = charts.query_lines(curves, ladder.names)
    level = charts.shown_level(lines)
    axis, label = next(iter(charts.known_axes(curves).items()))
    yield "accuracy_inference", _accuracy(lines, level, axis, label, ladder)
    gaps = [gap for gap in charts.gaps(lines) if gap.level == level]
    if gaps:
        yield "selection_gap", _gaps(gaps, ladder)
    for answer in answers:
        for plot in answer.plots:
            yield plots.place(answer.name, plot), plot_figure(plot, ladder)


def _figures(analysis: Analysis, ladder: Ladder) -> Iterable[tuple[str, Figure]]:
    yield from measured_figures(analysis.curves, analysis.answers, ladder)
    lines = charts.query_lines(analysis.curves, ladder.names)
    lifetimes = charts.lifetime_lines(analysis.lifetimes, ladder.names)
    if lifetimes:
        yield "accuracy_lifetime", _lifetime(lifetimes, ladder)
    pretraining = dict(
        zip(analysis.models["model"], analysis.models["pretraining_flops"], strict=True)
    )
    matches = charts.matches(analysis.exchange, pretraining, lines, ladder.names)
    if matches:
        yield "equal_accuracy", _matches(matches, ladder)
    for name, levels in charts.difficulties(lines).items():
        yield f"accuracy_{name}", _levels(charts.by_level(lines, levels), levels, name, ladder)
    if len(analysis.ledger):
        yield "ledger", _ledger(analysis.ledger)


def _save(figure: Figure, path: pathlib.Path) -> pathlib.Path:
    figure.set(dpi=144, facecolor="white")
    FigureCanvasAgg(figure).print_png(path)  # unlike savefig, it draws once
    return path


def _legend(figure: Figure, ladder: Ladder, selectors: Iterable[str]) -> None:
    """Models by colour; of a long ladder every so manieth."""
    step = -(-len(ladder.names) // MAX_LEGEND)
    pairs = list(zip(ladder.names, ladder.colours, strict=True))[::step]
    entries = [
        Line2D([], [], color=colour, marker="o", label=_words(name)) for name, colour in pairs
    ]
    shown = [name for name in charts.SELECTORS if name in set(selectors)]
    entries += [
        Line2D([], [], color=SOFT, linestyle=DASHES[name], label=name.replace("_", " "))
        for name in shown
    ]
    figure.legend(handles=entries, loc="outside right center")


def _words(text: str) -> str:
    """A text from outside: its dollars begin no formula."""
    return text.replace("$", r"\$")


def _share_axis(axes: Axes, label: str = "Accuracy") -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)


def _draw(axes: Axes, line: Line | Lifetime, x: Sequence[float], colour: str) -> None:
    if len(line.k) > 1:
        axes.plot(
            x,
            line.accuracy,
            color=colour,
            linestyle=DASHES[line.selector],
            marker="o",
            markersize=3.5,
            linewidth=1.8,
        )
    else:
        symbol = "D" if line.selector == "single" else "s"
        axes.plot(x, line.accuracy, symbol, color=colour, markersize=7, markeredgecolor="white")


def _accuracy(lines: Sequence[Line], level: str, axis: str, label: str, ladder: Ladder) -> Figure:
    figure = Figure(figsize=(9.4, 4.8), layout="constrained")
    axes = figure.subplots()
    shown = [line for line in lines if line.level == level]
    for line in shown:
        x = line.k if axis == "k" else line.costs[axis]
        colour = ladder.colours[line.model]
        if len(line.k) > 1:
            axes.fill_between(x, line.low, line.high, color=colour, alpha=0.13, linewidth=0)
        _draw(axes, line, x, colour)
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_title("Accuracy against what a query costs")
    _share_axis(axes)
    _legend(figure, ladder, (line.selector for line in shown))
    return figure


def _lifetime(lines: Sequence[Lifetime], ladder: Ladder) -> Figure:
    queries = sorted({line.num_queries for line in lines})
    spread = sorted({round(at) for at in np.linspace(0, len(queries) - 1, MAX_LIFETIMES)})
    figure = Figure(figsize=(1.4 + 3.2 * len(spread), 3.7), layout="constrained")
    panels = figure.subplots(1, len(spread), sharey=True, squeeze=False)[0]
    for axes, at in zip(panels, spread, strict=True):
        for line in lines:
            if line.num_queries == queries[at] and line.selector != "oracle":
                _draw(axes, line, line.flops, ladder.colours[line.model])
        frontier = charts.frontier(lines, queries[at], of_oracle=False)
        axes.plot(*frontier, color=INK, linewidth=2.4, drawstyle="steps-post", zorder=5)
        axes.set_xscale("log")
        axes.set_title(f"{_power_of_ten(queries[at])} queries")
        axes.set_xlabel("Total compute (FLOPs)")
    _share_axis(panels[0], "Accuracy, selected answer")
    _legend(figure, ladder, ())
    return figure


def _power_of_ten(value: float) -> str:
    exponent = np.log10(value) if value > 0 else np.nan
    is_whole = np.isfinite(exponent) and exponent == round(exponent)
    return f"$10^{{{exponent:.0f}}}$" if is_whole else f"{value:.3g}"


def _matches(matches: Sequence[Match], ladder: Ladder) -> Figure:
    figure = Figure(figsize=(8.6, 4.8), layout="constrained")
    axes = figure.subplots()
    colours = ladder.colours
    for larger, selector in sorted({(match.larger, match.selector) for match in matches}):
        pairs = [m for m in matches if (m.larger, m.selector) == (larger, selector)]
        pairs.sort(key=lambda match: match.pretraining_smaller)
        x = [*(m.inference_smaller for m in pairs), pairs[0].inference_larger]
        y = [*(m.pretraining_smaller for m in pairs), pairs[0].pretraining_larger]
        axes.plot(x, y, color=colours[larger], linestyle=DASHES[selector], linewidth=1.8)
        axes.scatter(x[:-1], y[:-1], c=[colours[m.smaller] for m in pairs], s=28, zorder=3)
        axes.scatter(x[-1:], y[-1:], c=[colours[larger]], marker="D", s=50, zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("Inference compute a query (FLOPs)")
    axes.set_ylabel("Pre-training compute (FLOPs)")
    axes.set_title("Equal accuracy, two ways to pay")
    _legend(figure, ladder, (match.selector for match in matches))
    return figure


def _levels(
    groups: Sequence[Sequence[Line]], levels: Sequence[str], name: str, ladder: Ladder
) -> Figure:
    figure = Figure(figsize=(8.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for group in (group for group in groups if len(group[0].k) > 1):
        axes.plot(
            [levels.index(line.level) for line in group],
            [line.accuracy[-1] for line in group],
            color=ladder.colours[group[0].model],
            linestyle=DASHES[group[0].selector],
            marker="o",
            markersize=4,
        )
    axes.set_xticks(range(len(levels)), list(map(_words, levels)))
    axes.set_xlabel(f"Difficulty {name}")
    axes.set_title(f"Accuracy by {name}, all samples drawn")
    _share_axis(axes)
    _legend(figure, ladder, (group[0].selector for group in groups))
    return figure


def _gaps(gaps: Sequence[Gap], ladder: Ladder) -> Figure:
    figure = Figure(figsize=(8.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for gap in gaps:
        colour, dash = ladder.colours[gap.model], DASHES[gap.selector]
        axes.plot(gap.k, gap.gap, color=colour, linestyle=dash, marker="o", markersize=3.5)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:g}"))
    axes.set_xlabel("Samples a query, k")
    axes.set_title("Selection gap: oracle minus selected")
    _share_axis(axes, "Accuracy lost")
    _legend(figure, ladder, (gap.selector for gap in gaps))
    return figure


def _ledger(table: pd.DataFrame) -> Figure:
    """Shares of every model's FLOPs, stacked, the total at the end of its bar."""
    bars = ledger.bars(table)
    figure = Figure(figsize=(9.0, 0.9 + 0.36 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for at, bar in enumerate(reversed(bars)):
        ends = np.cumsum([0.0, *(bar.share(part) for part in ledger.PARTS)])
        for part, (start, end) in zip(ledger.PARTS.values(), pairwise(ends), strict=True):
            axes.barh(at, end - start, left=start, color=part.colour, height=0.62)
        axes.text(1.01, at, f"{bar.total:.2g}", va="center", color=SOFT)
    axes.set_yticks(range(len(bars)), [_words(bar.model) for bar in reversed(bars)])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_title("Where the FLOPs went")
    handles = [Line2D([], [], color=p.colour, lw=6, label=p.label) for p in ledger.PARTS.values()]
    figure.legend(handles=handles, loc="outside right center")
    return figure


def plot_figure(plot: Plot, ladder: Ladder) -> Figure:
    """One plot of an answer."""
    figure = Figure(figsize=(9.4, 4.8), layout="constrained")
    axes = figure.subplots()
    lines = plots.line_names(plot)
    by_name = dict(zip(lines, named_colours(len(lines), LIGHT), strict=True))
    by_model = dict(zip(ladder.names, ladder.colours, strict=True))
    for each, variant in zip(plot.series, plots.variants(plot), strict=True):
        colour = by_model.get(each.model or "", by_name.get(each.name, FAINT))
        _draw_series(axes, each, colour, MARKERS[variant % len(MARKERS)])
    axes.set_xscale("log" if plot.is_log_x else "linear")
    axes.set_yscale("log" if plot.is_log_y else "linear")
    if plots.is_share(plot.y_label, [each.y for each in plot.series]) and not plot.is_log_y:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(_words(plot.x_label))
    axes.set_ylabel(_words(plot.y_label))
    axes.set_title(_words(plot.title))
    _series_legend(figure, axes)
    return figure


def _draw_series(axes: Axes, series: Series, colour: str, marker: str) -> None:
    kept = plots.thinned(len(series.x)) if len(series.x) else []
    x, y = np.asarray(series.x, float)[kept], np.asarray(series.y, float)[kept]
    look = {
        **LOOKS[series.style],
        **({"marker": marker} if "marker" in LOOKS[series.style] else {}),
    }
    axes.plot(x, y, color=colour, label=_words(series.name), **look)
    if series.low is None or series.high is None:
        return
    low, high = np.asarray(series.low, float)[kept], np.asarray(series.high, float)[kept]
    if series.style in BAND_ALPHA:
        alpha = BAND_ALPHA[series.style]
        axes.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)
    else:
        axes.vlines(x, low, high, color=colour, alpha=0.55, linewidth=1.1)


def _series_legend(figure: Figure, axes: Axes) -> None:
    """One entry a name, every so manieth where there are many."""
    handles, labels = axes.get_legend_handles_labels()
    entries = list(dict(zip(labels, handles, strict=True)).items())
    shown = entries[:: -(-len(entries) // MAX_LEGEND) or 1]
    figure.legend(
        [handle for _, handle in shown],
        [label for label, _ in shown],
        loc="outside right center",
    )
