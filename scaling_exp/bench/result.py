"""What a benchmark gives: a table of figures, the hardware it ran on, and the sentence to read from it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path as FilePath
from statistics import median
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

from scaling_exp.engines import EngineConfig
from scaling_exp.environment import describe_environment, hardware
from scaling_exp.models import Model
from scaling_exp.tasks import Task
from scaling_exp.types import UserError

RESAMPLES = 2000
"""Of the bootstrap."""
Row = Mapping[str, str | int | float | None]
"""Column heading -> value; all rows of a table have the same columns. None is shown as a dash."""


@dataclass(frozen=True)
class Setup:
    """What a benchmark may use of the configuration."""

    models: tuple[Model, ...]
    task: Task
    engine: EngineConfig

    def model(self, name: str) -> Model:
        """The model of that name. Raises UserError when the ladder has none."""
        for model in self.models:
            if model.name == name:
                return model
        names = ", ".join(model.name for model in self.models)
        raise UserError(f"bench.model is {name!r}; the ladder has {names}")


@dataclass(frozen=True)
class Result:
    """Rows of one table and notes on how to read them."""

    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left")
        for name in self.rows[0]:
            table.add_column(name, justify="right")
        for row in self.rows:
            table.add_row(*map(_cell, row.values()))
        text = StringIO()
        Console(width=140, file=text, markup=False).print(table)
        return "\n".join([text.getvalue().rstrip(), *self.notes])

    def write_json(self, file: FilePath, command: str, settings: Mapping[str, object]) -> None:
        """The same with hardware, versions, date, command and settings."""
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "title": self.title,
            "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": command,
            "settings": settings,
            "rows": list(self.rows),
            "notes": list(self.notes),
            **describe_environment(),
        }
        file.write_text(json.dumps(content, indent=2, default=str) + "\n")


class Bench(Protocol):
    """A frozen dataclass whose fields are the benchmark's settings."""

    def run(self, setup: Setup) -> Result: ...


@dataclass(frozen=True)
class Benchmark:
    """A benchmark to run, what it may use, and the file that its result goes to."""

    bench: Bench
    setup: Setup
    output: FilePath
    settings: Mapping[str, object]


def check_positive(bench: object, *names: str) -> None:
    """Raise ValueError for a setting, or an item of one, that is not above 0."""
    for name in names:
        value = getattr(bench, name)
        items = value if isinstance(value, tuple) else (value,)
        if not items or min(items) <= 0:
            raise ValueError(f"bench.{name} is {value}; it must be above 0")


def hardware_line() -> str:
    """One line: cores, processor, memory, accelerators."""
    found = hardware()
    gpus = ", ".join(found["gpus"]) or "no GPU"
    return f"{found['num_cpus']} cores of {found['processor']}, {found['memory_gib']} GiB, {gpus}"


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float | str]:
    """Columns of a row: median of `ours` over median of `theirs`, and its 95 % interval.

    Both are given by round. Rounds are drawn again with both of their values (paired bootstrap, percentiles), because
    what slows one path down on a shared machine slows down the other that runs beside it too.
    """
    num_rounds = len(ours)
    drawn_RN = np.random.default_rng(0).integers(num_rounds, size=(RESAMPLES, num_rounds))
    ours_R, theirs_R = (np.median(np.array(each)[drawn_RN], axis=1) for each in (ours, theirs))
    low, high = np.percentile(ours_R / theirs_R, (2.5, 97.5))
    return {"ratio": median(ours) / median(theirs), "95 %": f"{low:.3f}-{high:.3f}"}


def alternate(rounds: int, names: Sequence[str]) -> list[tuple[int, str]]:
    """(round, name) pairs; round 0 warms up, and the order turns every round, so that drift hits all alike."""
    return [
        (index, name)
        for index in range(rounds + 1)
        for name in (names if index % 2 == 0 else names[::-1])
    ]
