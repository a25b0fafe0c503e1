"""The rows of a file, whatever its format: columns by name or by path, and where a row stands.

JSON and CSV cells are text until somebody knows what they mean; Parquet's keep their types. A row that cannot be read
at all is `broken`; nothing else is judged here.

R rows of the file, in its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.types import UserError

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """One value a row, or, where `lengths_R` is given, as many as it says, all in a row."""

    values: pa.ChunkedArray
    lengths_R: IntArray | None = None


@dataclass(frozen=True)
class Broken:
    """A row that is none, and why."""

    place: str
    reason: str


class Rows(Protocol):
    """What a file holds."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def broken(self) -> Sequence[Broken]: ...
    def place(self, row: int, /) -> str: ...
    def columns(self, paths: Sequence[str]) -> dict[str, Column]:
        """Columns by the names or paths that they are asked for. Raises UserError when there is none."""
        ...


def listed(lists: pa.ChunkedArray) -> Column:
    """A column of lists; a missing list is empty."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return Column(pc.list_flatten(lists), lengths.to_numpy().astype(np.int64))


def no_column(path: str, names: Sequence[str]) -> UserError:
    """The mistake of naming a column that is not there."""
    near = get_close_matches(path, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return UserError(
        f"there is no column {path!r}; {f'did you mean {near[0]!r}?' if near else f'there are {shown}'}"
    )
