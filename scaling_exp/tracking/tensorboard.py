"""TensorBoard: a card is a folder of event files in the run's own `tensorboard/`, for `tensorboard --logdir runs`.

Its x-axis is a whole number, so points stand at the card's index. An interval is drawn as a band on the page "Custom
scalars". It has no artifacts: files are named in text.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_exp.tracking.shown import Artifact, Card, Cell, Content, Point, Table

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

ESTIMATE, ENDS = "/estimate", ("/low", "/high")
"""Three metrics that make an interval: one name and these endings."""


@dataclass(frozen=True)
class TensorBoard:
    """Event files in the run's folder."""

    def open(self, card: Card, folder: str) -> TensorBoardPage:
        """Raises OSError where nothing can be written."""
        from tensorboardX import SummaryWriter

        # A model is called what its user likes, and what is there goes: it must be below the run's folder.
        parts = [part for part in card.name.split("/") if part not in ("", ".", "..")]
        logdir = Path(folder, "tensorboard", card.job_type, *parts)
        shutil.rmtree(logdir, ignore_errors=True)  # a second file would draw every line twice
        writer = SummaryWriter(str(logdir))
        writer.add_text("config", _code(f"{name}: {value}" for name, value in card.config.items()))
        return TensorBoardPage(writer, card.index)


@dataclass(frozen=True)
class TensorBoardPage:
    """A writer of event files."""

    writer: SummaryWriter
    index: str

    def add(self, point: Point) -> None:
        step = round(point[self.index])
        for metric, value in point.items():
            self.writer.add_scalar(metric, value, step)

    def finish(self, content: Content) -> None:
        if bands := _bands(content.points):
            self.writer.add_custom_scalars({"intervals": bands})
        for name, table in content.tables.items():
            self.writer.add_text(name, _markdown(table))
        for name, file in content.figures.items():
            self.writer.add_image(name, _pixels(file), dataformats="HWC")
        told = {**content.summary, **content.pages}
        if told:
            self.writer.add_text("summary", _code(f"{name}: {it}" for name, it in told.items()))
        for role, artifacts in (("uses", content.uses), ("makes", content.makes)):
            if artifacts:
                self.writer.add_text(role, _code(_lines(artifacts)))
        self.writer.close()


def _bands(points: Sequence[Point]) -> dict[str, list]:
    """The layout of a band for every interval among the metrics."""
    named = {
        metric.removesuffix(ESTIMATE)
        for point in points
        for metric in point
        if metric.endswith(ESTIMATE)
    }
    return {
        name: ["Margin", [f"{name}{ESTIMATE}", *(f"{name}{end}" for end in ENDS)]]
        for name in sorted(named)
    }


def _code(lines: Iterable[str]) -> str:
    """Lines as they are: Markdown takes four spaces for that."""
    return "\n".join(f"    {line}" for each in lines for line in each.splitlines())


def _lines(artifacts: Sequence[Artifact]) -> list[str]:
    return [
        f"{each.kind} {each.name} {uri}".rstrip()
        for each in artifacts
        for uri in each.references.values() or ("",)
    ]


def _markdown(table: Table) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)


def _cell(cell: Cell) -> str:
    return (
        f"{cell:.6g}"
        if isinstance(cell, float)
        else " ".join(str(cell).split()).replace("|", "\\|")
    )


def _pixels(file: str):
    """The figure as an array of heights, widths and three colours."""
    import numpy as np
    from PIL import Image

    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
