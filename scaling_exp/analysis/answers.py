"""What an analysis says: sentences, plots and tables as plain data. Whoever shows them decides how.

A question is a frozen dataclass (its fields are its settings) that looks at a study and answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import pandas as pd

if TYPE_CHECKING:
    from scaling_exp.analysis.study import Study

Style = Literal["measured", "held_out", "fitted", "extrapolated"]
"""Measured points joined by a line; points kept from a fit; a fit inside the data; a fit beyond it."""


@dataclass(frozen=True)
class Series:
    """One line of a plot, of equally long sequences. `model` gives it that model's colour."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: Style = "measured"
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    model: str | None = None


@dataclass(frozen=True)
class Plot:
    """One plot. `name` is unique in its answer and fit for a file; `caption` says how to read it."""

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    is_log_x: bool = False
    is_log_y: bool = False


@dataclass(frozen=True)
class Answer:
    """What a question found. The first sentence is the answer; one that cannot be given says why. `name` is that of its
    kind, until an analysis calls it what the configuration calls the question: one kind may be asked twice.

    `numbers` is ready for JSON: infinity is "inf", what is missing is None.
    """

    name: str
    question: str
    sentences: Sequence[str]
    plots: Sequence[Plot] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    assumptions: Sequence[str] = ()
    numbers: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class Question(Protocol):
    """Something to ask of a study."""

    def __call__(self, study: Study) -> Answer: ...
