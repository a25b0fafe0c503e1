"""Where the rows of a data set are: a file on this machine, or a data set of the Hub at a fixed revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """`path` is a local JSONL, JSON, CSV or Parquet file (also compressed); without one the rows come from the Hub."""

    hub: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    path: str | None = None

    def rows(self) -> Sequence[Row]:
        """All rows, in the order of the data set.

        Raises UserError that says which file to put where when they cannot be had.
        """
        raise NotImplementedError
