"""A finished run as cards: one for its sampling, one for every curve, one for its report, and what each is made from.

Pure reading: it takes the analysis and the run's files, and knows no tracker. Lineage goes from the pool of draws to
the curves to the report.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scaling_exp.analysis import Analysis
from scaling_exp.analysis.cost import AXES
from scaling_exp.analysis.curves import ALL_LEVELS
from scaling_exp.store import Pool, RunFolder, uri_of
from scaling_exp.tracking import metrics
from scaling_exp.tracking.pulse import Pulse
from scaling_exp.tracking.shown import Artifact, Card, Cell, Content, Point, Table

CURVE = ["model", "strategy", "selector"]
"""Columns of the curves table that tell one curve from another; task and seed are the run's."""
SAMPLE_COLUMNS = (
    *("model", "strategy", "problem", "level", "sample", "answer", "is_correct", "truncated"),
    *("num_prompt_tokens", "num_output_tokens", "text"),
)
NUM_SAMPLE_ROWS = 200
NUM_TABLE_ROWS = 5000
NUM_TEXT_CHARACTERS = 2000
NUM_REFERENCES = 1000
"""More parts of a pool than this are only counted."""
MODEL_FACTS = ("pretraining_flops", "num_parameters")


def sampling_card(run_id: str, config: Mapping[str, Any]) -> Card:
    """The card that grows while a run draws."""
    axes = {"sampling/*": metrics.SECONDS, metrics.throughput("*"): metrics.SECONDS}
    return Card(run_id, "sampling", "sampling", config, axes, metrics.SECONDS)


@dataclass(frozen=True)
class Cards:
    """What a run shows in the end."""

    folder: RunFolder
    analysis: Analysis
    config: Mapping[str, Any]

    def all(self) -> list[tuple[Card, Content]]:
        """Sampling, if the run drew, then every curve, then the report."""
        return [*self._sampling(), *self._curves(), self._report()]

    @property
    def run_id(self) -> str:
        return self.folder.path.name

    @cached_property
    def draws(self) -> Artifact:
        """The pool by reference: the parts that can hold draws of this run's models. A part never changes."""
        models = self.folder.read_manifest().get("models", ())
        fingerprints = [each["fingerprint"] for each in models if "fingerprint" in each]
        store = self.folder.path.parent
        parts = Pool(store, "").parts
        mine = [part.path for part in parts if any(map(part.groups_of, fingerprints))]
        references = {
            str(path.relative_to(store)): uri_of(path, store) for path in mine[:NUM_REFERENCES]
        }
        return Artifact(f"draws-{self.run_id}", "draws", references, facts={"num_parts": len(mine)})

    def _sampling(self) -> Iterator[tuple[Card, Content]]:
        pulse = Pulse.of(self.folder.path)
        if pulse.points:
            content = Content(pulse.points, makes=[self.draws])
            yield sampling_card(self.run_id, self.config), content

    def _curves(self) -> Iterator[tuple[Card, Content]]:
        for names, points in self.curves.items():
            own: dict[str, object] = dict(zip(CURVE, names, strict=True))
            card = Card(
                run_id=self.run_id,
                name="/".join(names),
                job_type="curve",
                config={**own, **self.config},
                axes={"accuracy/*": metrics.COMPUTE, "cost/*": metrics.COMPUTE},
                index=metrics.SAMPLES,
            )
            shown = [self._point(row) for row in points.to_dict("records")]
            made = _curve_artifact(card, points)
            yield card, Content(shown, uses=[self.draws], makes=[made])

    @cached_property
    def curves(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """The points of every curve over all levels, by model, strategy and selector, fewest samples first."""
        table = self.analysis.curves
        is_whole = (table["level"] == ALL_LEVELS).to_numpy(bool)
        grouped = table.loc[is_whole].sort_values("k").groupby(CURVE, sort=False, observed=True)
        return {(str(a), str(b), str(c)): points for (a, b, c), points in grouped}  # type: ignore[misc]

    def _point(self, row: Mapping[Any, Any]) -> Point:
        axes = {
            **{axis: row.get(axis, math.nan) for axis in AXES},
            **{name: row[name] for name in MODEL_FACTS},
            **{
                metrics.lifetime(float(num_queries)): row["pretraining_flops"]
                + float(num_queries) * row["inference_flops"]
                for num_queries in self.analysis.lifetimes["num_queries"].unique()
            },
        }
        point = {
            metrics.SAMPLES: row["k"],
            metrics.ACCURACY: row["accuracy"],
            metrics.LOW: row["accuracy_low"],
            metrics.HIGH: row["accuracy_high"],
            metrics.cost("inference_flops_low"): row["inference_flops_low"],
            metrics.cost("inference_flops_high"): row["inference_flops_high"],
            **{metrics.cost(axis): value for axis, value in axes.items()},
            **{metrics.log10_cost(axis): _log10(value) for axis, value in axes.items()},
        }
        return _known(point)

    def _report(self) -> tuple[Card, Content]:
        frontiers = self._frontiers()
        card = Card(
            run_id=self.run_id,
            name="report",
            job_type="report",
            config=self.config,
            axes={
                metrics.frontier(num_queries, "*"): metrics.frontier(
                    num_queries, "log10_total_flops"
                )
                for num_queries in frontiers
            },
            index="frontier_point",
        )
        folder = self.folder.path
        page = folder / "report.html"
        figures = sorted((folder / "figures").glob("*.png"))
        content = Content(
            points=[point for points in frontiers.values() for point in points],
            summary={**self._exchange(), "verdict": " ".join(self.analysis.sentences)},
            tables={
                "tables/curves": _table(self.analysis.curves),
                "tables/exchange": _table(self.analysis.exchange),
                "tables/models": _table(self.analysis.models),
                **self._samples(),
            },
            pages={"report": str(page)} if page.is_file() else {},
            figures={f"figures/{file.stem}": str(file) for file in figures},
            uses=[made for _, content in self._curves() for made in content.makes],
            makes=[self._report_artifact()],
        )
        return card, content

    def _frontiers(self) -> dict[float, list[Point]]:
        """What nothing that a user could run beats, cheapest first, by the number of queries."""
        table = self.analysis.lifetimes
        is_shown = table["on_frontier"].to_numpy(bool) & (table["selector"] != "oracle").to_numpy()
        best = table.loc[is_shown].sort_values("total_flops")
        return {
            float(num_queries): [  # type: ignore[arg-type]
                _known(
                    {
                        "frontier_point": at,
                        metrics.frontier(num_queries, "estimate"): row["accuracy"],
                        metrics.frontier(num_queries, "low"): row["accuracy_low"],
                        metrics.frontier(num_queries, "high"): row["accuracy_high"],
                        metrics.frontier(num_queries, "log10_total_flops"): _log10(
                            row["total_flops"]
                        ),
                    }
                )
                for at, row in enumerate(points.to_dict("records"))
            ]
            for num_queries, points in best.groupby("num_queries")
        }

    def _exchange(self) -> dict[str, float]:
        """The rates that are known and finite, with their ends."""
        selectors: Any = self.analysis.verdict["selectors"]
        rates = {name: each["exchange_rate"] for name, each in selectors.items()}
        return {
            metrics.exchange(selector, name): rate[key]
            for selector, rate in rates.items()
            if rate is not None
            for name, key in (("estimate", "value"), ("low", "low"), ("high", "high"))
            if isinstance(rate[key], float)
        }

    def _samples(self) -> dict[str, Table]:
        """The first samples of every model and strategy, a bounded number of rows."""
        if not self.folder.has_table("samples"):
            return {}
        names = [name for name in SAMPLE_COLUMNS if name in self.folder.column_names("samples")]
        groups = {names[:2] for names in self.curves}
        most = max(1, NUM_SAMPLE_ROWS // max(1, len(groups)))
        file = self.folder.path / "samples.parquet"
        rows = list(_first_rows(file, names, most, len(groups)))
        return {"tables/samples": Table(tuple(names), rows[:NUM_SAMPLE_ROWS])}

    def _report_artifact(self) -> Artifact:
        folder = self.folder.path
        texts = {
            name: (folder / name).read_text()
            for name in ("verdict.json", "manifest.json")
            if (folder / name).is_file()
        }
        return Artifact(f"report-{self.run_id}", "report", texts=texts)


def _curve_artifact(card: Card, points: pd.DataFrame) -> Artifact:
    """A curve's points as a file; the same points are the same artifact."""
    text = points.to_csv(index=False)
    return Artifact(
        f"curve-{card.id}", "curve", texts={"curve.csv": text}, facts={"curve": card.name}
    )


def _first_rows(
    file: Path, names: Sequence[str], most: int, num_groups: int
) -> Iterator[list[Cell]]:
    """At most so many rows of each (model, strategy), reading no further than these take."""
    seen: Counter[tuple[Any, Any]] = Counter()
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(batch_size=2000, columns=list(names)):
            for row in pa.Table.from_batches([batch]).to_pylist():
                group = (row["model"], row["strategy"])
                if seen[group] < most:
                    seen[group] += 1
                    yield [_cell(row[name]) for name in names]
            if len(seen) >= num_groups and min(seen.values()) >= most:
                return


def _table(frame: pd.DataFrame) -> Table:
    """The first rows of a table."""
    rows = [[_cell(cell) for cell in row] for row in frame.head(NUM_TABLE_ROWS).to_numpy(object)]
    return Table(tuple(map(str, frame.columns)), rows)


def _cell(value: Any) -> Cell:
    """What JSON can say: no NaN, no infinity, and of a long text the beginning."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)[:NUM_TEXT_CHARACTERS]


def _known(point: Mapping[str, float]) -> Point:
    return {name: float(value) for name, value in point.items() if math.isfinite(value)}


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan
