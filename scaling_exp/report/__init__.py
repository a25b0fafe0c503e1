"""The report of a finished run: one HTML page, the same plots as PNG, the analysis tables as CSV.

Reads the analysis and the sample tables; needs no engine, no accelerator, and no network, now or
when it is read.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from scaling_exp.analysis import Analysis, analyse, record, settings_from
from scaling_exp.report import answers
from scaling_exp.report.browser import embedded_samples
from scaling_exp.report.charts import ordered_models
from scaling_exp.report.figures import write_figures
from scaling_exp.report.page import page_html
from scaling_exp.report.reading import merged, read_ledger, read_measured
from scaling_exp.store import RunFolder
from scaling_exp.store.files import replacing, writing
from scaling_exp.types import UserError

__all__ = ["analysed", "redraw", "write_report"]


def write_report(
    run_dir: pathlib.Path, analysis: Analysis, manifest: Mapping[str, object]
) -> pathlib.Path:
    """Write `report.html`, `figures/*.png`, a CSV of every table, and `answers/*.csv` into
    `run_dir`; the path of the page.

    Samples to browse are read from `samples.parquet` and `problems.parquet` in `run_dir`, where
    they are; `manifest` is the record of the run. What is missing is shown as not recorded. Raises
    StoreError where it cannot be written: then the page that was there is still there.
    """
    embedded = embedded_samples(run_dir, ordered_models(analysis.models))
    html = page_html(analysis, embedded, manifest)
    with writing(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        _write_beside(run_dir, analysis)
    page = run_dir / "report.html"
    with replacing(page) as partial:
        partial.write_text(html, encoding="utf-8")
    return page


def _write_beside(run_dir: pathlib.Path, analysis: Analysis) -> None:
    """The tables and figures."""
    tables = {
        "curves": analysis.curves,
        "lifetimes": analysis.lifetimes,
        "ladder": analysis.models,
        "exchange": analysis.exchange,
        "ledger": analysis.ledger,
        "variance": analysis.variance,
    }
    for name, table in tables.items():
        if len(table.columns):
            table.to_csv(run_dir / f"{name}.csv", index=False)
    answers.write_tables(analysis.answers, run_dir)
    write_figures(analysis, run_dir / "figures")


def analysed(
    folder: RunFolder, changed: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Analysis, dict[str, Any]]:
    """The analysis of a run's tables, and its manifest with the settings `changed`. Writes nothing.

    Raises what `redraw` raises.
    """
    manifest = folder.read_manifest()
    manifest["analysis"] = merged(manifest["analysis"], changed)
    measured = read_measured(folder, manifest)
    try:
        settings = settings_from(manifest["analysis"])
        manifest["analysis"] = record(settings)
        analysis = analyse(measured, settings)
    except ValueError as error:
        raise UserError(f"{folder.path}: {error}") from error
    analysis = replace(
        analysis,
        ledger=read_ledger(folder, measured, settings.pricing),
        sentences=(*analysis.sentences, *_caveats(manifest)),
    )
    return analysis, manifest


def _caveats(manifest: Mapping[str, Any]) -> list[str]:
    """What a reader of scores must know."""
    scorer = manifest.get("scorer") or {}
    return [scorer["caveat"]] if scorer.get("caveat") else []


def redraw(
    folder: RunFolder, changed: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Analysis, pathlib.Path]:
    """Analyse a run's tables and write its verdict, its answers and its report; the analysis and the
    path of the page.

    `changed` are settings of the analysis that replace the recorded ones, and are recorded.
    Raises StoreError when the folder is no run or the run has not finished, UserError for tables
    that cannot be analysed.
    """
    analysis, manifest = analysed(folder, changed)
    folder.write_json("manifest", manifest)
    folder.write_json("verdict", {**analysis.verdict, "sentences": list(analysis.sentences)})
    folder.write_json("answers", answers.record(analysis.answers))
    return analysis, write_report(folder.path, analysis, manifest)
