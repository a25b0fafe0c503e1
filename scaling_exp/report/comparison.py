"""The page that shows runs side by side: their curves in one plot, paired differences on the problems
that they share, and what differed in their configuration.

A run is a hue and its models are shades of it, the smallest the palest. Curves are those of the
runs' own reports; nothing is analysed here but the differences.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis import settings_from
from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.comparison import Certainty, Comparison, Run, compare
from scaling_exp.report import answers, charts, figures, tables
from scaling_exp.report.document import Section, document, resource
from scaling_exp.report.palette import DARK, LIGHT, run_colours
from scaling_exp.report.reading import read_measured
from scaling_exp.report.wording import sentence, text
from scaling_exp.store import RunFolder
from scaling_exp.store.files import replacing, writing
from scaling_exp.types import UserError

SCRIPTS = ("base", "plots", "accuracy", "answers", "tables", "start")
ROUNDED = 9
"""Decimals of a difference: below is rounding, which a plot would blow up."""
MAX_LINES = 30
"""Differences over k that a plot draws: the largest ones."""


@dataclass(frozen=True)
class Shown:
    """A run on the page: its name, the curves of its own report, where that report lies as seen from
    the page, and when the run was made."""

    name: str
    curves: pd.DataFrame
    page: str
    created: str


def compare_runs(
    folders: Sequence[RunFolder], output: pathlib.Path
) -> tuple[Comparison, pathlib.Path]:
    """Compare finished runs that have been reported, and write the page into the folder `output`;
    what was found and the path of the page. Intervals are those of the first run's settings.

    Raises StoreError for a folder that is no run, UserError for one without a report or for runs
    that cannot be compared.
    """
    manifests = {folder.path.name: folder.read_manifest() for folder in folders}
    if len(manifests) < len(folders):
        raise UserError("two of the runs have the same name; give each once")
    settings = settings_from(next(iter(manifests.values()))["analysis"])
    runs = []
    for folder in folders:
        measured = read_measured(folder, manifests[folder.path.name])
        attempts = (
            ()
            if measured.has_points
            else measured.attempts(settings.pricing, settings.confidence_window)
        )
        runs.append(Run(folder.path.name, manifests[folder.path.name], attempts))
    certainty = Certainty(settings.confidence, settings.num_bootstrap, settings.seed)
    try:
        found = compare(runs, certainty)
    except ValueError as error:
        raise UserError(str(error)) from error
    shown = [_shown(folder, manifests[folder.path.name], output) for folder in folders]
    return found, write_comparison(found, shown, output)


def _shown(folder: RunFolder, manifest: Mapping[str, object], output: pathlib.Path) -> Shown:
    file = folder.path / "curves.csv"
    if not file.is_file():
        raise UserError(f"{folder.path} has no curves.csv; draw its report first")
    curves = pd.read_csv(file, dtype={"level": str, "model": str, "strategy": str})
    page = (folder.path / "report.html").resolve()
    link = pathlib.Path(*[".."] * len(output.resolve().parts), *page.parts[1:]).as_posix()
    return Shown(folder.path.name, curves, link, str(manifest.get("created", "")))


def write_comparison(
    comparison: Comparison, runs: Sequence[Shown], output: pathlib.Path
) -> pathlib.Path:
    """Write `comparison.html`, `figures/*.png`, `curves.csv` and `answers/*.csv` into the folder
    `output`; the path of the page. Raises StoreError where it cannot be written."""
    curves = _curves(runs)
    found = (_differences(comparison), _configuration(comparison))
    names = _names(curves)
    ladder = figures.Ladder(names, _colours(names, runs, is_dark=False))
    html = comparison_html(comparison, runs)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        curves.to_csv(output / "curves.csv", index=False)
        answers.write_tables(found, output)
        figures.save_figures(figures.measured_figures(curves, found, ladder), output / "figures")
    page = output / "comparison.html"
    with replacing(page) as partial:
        partial.write_text(html, encoding="utf-8")
    return page


def comparison_html(comparison: Comparison, runs: Sequence[Shown]) -> str:
    """The whole page as one string."""
    curves = _curves(runs)
    names = _names(curves)
    found = (_differences(comparison), _configuration(comparison))
    sections = list(_sections(comparison, runs, curves, names, found))
    title = " and ".join(run.name for run in runs)
    said = "".join(f"<p>{sentence(each)}</p>" for each in comparison.sentences)
    opening = (
        '<section id="summary" aria-labelledby="question"><p class="eyebrow">Runs side by side</p>'
        f'<h1 id="question">{text(title)}</h1><div class="sentences even">{said}</div></section>'
    )
    return document(
        title=f"scaling_exp: {title}",
        run_line="comparison",
        opening=opening,
        first=("summary", "Summary"),
        sections=sections,
        data=_data(curves, names, runs, found),
        scripts=SCRIPTS,
    )


def _sections(
    comparison: Comparison,
    runs: Sequence[Shown],
    curves: pd.DataFrame,
    names: list[str],
    found: Sequence[Answer],
) -> Iterator[Section]:
    group = "Compared"
    yield Section(group, "runs", "Runs", "The runs", _run_table(comparison, runs))
    accuracy = resource("accuracy.html").replace("$confidence", "")
    yield Section(group, "accuracy", "Accuracy and cost", "Accuracy against cost", accuracy)
    if charts.gaps(charts.query_lines(curves, names)):
        gap = resource("gap.html")
        yield Section(group, "gap", "Selection gap", "What the selectors leave on the table", gap)
    yield from (answers.answer_section(answer, names, group) for answer in found)


def _run_table(comparison: Comparison, runs: Sequence[Shown]) -> str:
    created = {run.name: run.created for run in runs}
    table = comparison.runs.assign(created=[created[name] for name in comparison.runs["run"]])
    links = "".join(f'<li><a href="{text(run.page)}">{text(run.name)}</a></li>' for run in runs)
    return (
        '<p class="lead">Each run has a hue, its models are shades of it. Their own reports:</p>'
        f'<ul class="bullets">{links}</ul>{tables.frame(table, ())}'
    )


def _data(
    curves: pd.DataFrame, names: list[str], runs: Sequence[Shown], found: Sequence[Answer]
) -> dict[str, object]:
    light, dark = (_colours(names, runs, is_dark=is_dark) for is_dark in (False, True))
    models = zip(names, light, dark, strict=True)
    return {
        **charts.curves_data(curves, names),
        "models": [{"name": name, "light": one, "dark": other} for name, one, other in models],
        "lifetimes": [],
        "queries": [],
        "frontiers": [],
        "matches": [],
        "answers": answers.answers_data(found, names),
        "line_colours": answers.line_colours(found),
    }


def _label(run: str, model: str) -> str:
    return f"{run} · {model}"


def _curves(runs: Sequence[Shown]) -> pd.DataFrame:
    """The curves of all runs; a model is named with its run."""
    parts = [
        run.curves.assign(
            run=at, model=[_label(run.name, str(model)) for model in run.curves["model"]]
        )
        for at, run in enumerate(runs)
    ]
    return pd.concat(parts, ignore_index=True)


def _names(curves: pd.DataFrame) -> list[str]:
    """Models run by run, each run's smallest first."""
    order = ["run", "num_parameters", "pretraining_flops", "model"]
    return list(curves.drop_duplicates("model").sort_values(order)["model"])


def _colours(names: Sequence[str], runs: Sequence[Shown], *, is_dark: bool) -> list[str]:
    sizes = [sum(name.startswith(f"{run.name} · ") for name in names) for run in runs]
    return run_colours(sizes, DARK if is_dark else LIGHT)


def _differences(comparison: Comparison) -> Answer:
    table = comparison.differences
    counted = f"{len(table)} paired differences, the second run less the first."
    return Answer(
        name="differences",
        question="Do the runs differ on the problems that they share?",
        sentences=(counted if len(table) else "Nothing could be paired.",),
        plots=[_plot(str(name), rows) for name, rows in _over_k(table).groupby("selector")],
        tables={"differences": table} if len(table) else {},
        assumptions=(
            "A difference is taken problem by problem on the problems that both runs have; equal "
            "names are taken to mean equal problems.",
            "Adjusted p-values are corrected for the number of differences (Holm).",
        ),
    )


def _over_k(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[np.isfinite(table["k"].to_numpy(np.float64))]


def _plot(selector: str, rows: pd.DataFrame) -> Plot:
    keys = ["run_a", "model_a", "strategy_a", "run_b", "model_b", "strategy_b"]
    lines = [_line(of) for _, of in rows.groupby(keys)]
    largest = sorted(lines, key=lambda line: -abs(line.y[-1]))[:MAX_LINES]
    cut = f" The {MAX_LINES} largest of {len(lines)} are drawn." if len(lines) > MAX_LINES else ""
    return Plot(
        name=selector,
        title=f"Difference in accuracy, {selector.replace('_', ' ')}",
        caption=f"Above zero the second run is better. Bars: paired intervals.{cut}",
        x_label="samples a query, k",
        y_label="difference in accuracy",
        series=[line for line in lines if line in largest],
        is_log_x=True,
    )


def _line(rows: pd.DataFrame) -> Series:
    rows = rows.sort_values("k")
    key = {str(name): str(value) for name, value in rows.to_dict("records")[0].items()}
    sides = [_side(key, side) for side in ("b", "a")]
    is_same = key["model_a"] == key["model_b"] and key["strategy_a"] == key["strategy_b"]
    runs = f"{key['run_b']} less {key['run_a']}"
    name = f"{key['model_b']}, {key['strategy_b']}: {runs}" if is_same else " less ".join(sides)
    return Series(
        name=name,
        x=rows["k"].tolist(),
        y=rows["difference"].round(ROUNDED).tolist(),
        low=rows["difference_low"].round(ROUNDED).tolist(),
        high=rows["difference_high"].round(ROUNDED).tolist(),
        model=_label(key["run_b"], key["model_b"]),
    )


def _side(key: Mapping[str, str], side: str) -> str:
    return f"{key[f'run_{side}']} · {key[f'model_{side}']}, {key[f'strategy_{side}']}"


def _configuration(comparison: Comparison) -> Answer:
    table = comparison.configuration
    return Answer(
        name="configuration",
        question="What differed in what was asked for, and in what it ran on?",
        sentences=(f"{len(table)} keys differ." if len(table) else "Nothing differs.",),
        tables={"configuration": table} if len(table) else {},
    )
