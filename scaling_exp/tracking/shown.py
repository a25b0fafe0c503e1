"""What a tracker is given to show, as plain data: no W&B, no TensorBoard, no table library.

A run of the program is shown as several `Card`s: one while it samples, one for every curve, one for the report. Also
the interface that a tracker has to fill, in two methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal, Protocol

JobType = Literal["curve", "sampling", "report"]
Cell = str | float | bool | None
Point = Mapping[str, float]
"""Numbers by metric, all of them finite: what is not known is left out."""


@dataclass(frozen=True)
class Card:
    """One thing that is shown, before any of its numbers. `run_id` names the run of the program that it belongs to."""

    run_id: str
    name: str
    job_type: JobType
    config: Mapping[str, object]
    axes: Mapping[str, str]
    """Metric, or `prefix/*`, to the metric that it is drawn against."""
    index: str
    """The metric that counts its points in whole numbers, for a tracker that has no other axis."""

    @property
    def id(self) -> str:
        """The same whenever the run is shown again, and no other run's."""
        return sha256(f"{self.run_id}/{self.name}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Table:
    """Rows of equally many cells."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Artifact:
    """Something that is made by one run and used by others. What is referenced stays where it is."""

    name: str
    kind: str
    references: Mapping[str, str] = field(default_factory=dict)
    """Name to URI. What lies there never changes, so the URI stands for its content."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """File name to content."""
    facts: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """All that is shown of a card in the end. `pages` are HTML files, `figures` PNG files."""

    points: Sequence[Point] = ()
    summary: Mapping[str, Cell] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    uses: Sequence[Artifact] = ()
    makes: Sequence[Artifact] = ()


class Page(Protocol):
    """A card that is being shown."""

    def add(self, point: Point) -> None:
        """One more point."""
        ...

    def finish(self, content: Content) -> None:
        """What stands beside the points, which are not added again; then nothing more comes."""
        ...


class Tracker(Protocol):
    """Where runs are shown: a frozen dataclass whose fields are its settings."""

    def open(self, card: Card, folder: str) -> Page:
        """Begin to show a card in place of what was shown under its id. `folder` is the run's."""
        ...


def show(tracker: Tracker, folder: str, card: Card, content: Content) -> None:
    """Show a card from its first point to its last."""
    page = tracker.open(card, folder)
    for point in content.points:
        page.add(point)
    page.finish(content)
