"""Rows that cannot be taken as they are: which, where they stand, what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaling_exp.imports.rows import IntArray, Rows
from scaling_exp.types import UserError

SHOWN = 5
"""Faults that are told in full."""


@dataclass(eq=False)
class Faults:
    """R rows of a file. `said` holds the first few faults, in the order in which they were found."""

    rows: Rows
    is_bad_R: NDArray[np.bool_] = field(init=False)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_bad_R = np.zeros(self.rows.num_rows, bool)
        self.said += [f"{each.place} {each.reason}" for each in self.rows.broken[:SHOWN]]

    @property
    def count(self) -> int:
        """Rows that something is wrong with."""
        return int(self.is_bad_R.sum()) + len(self.rows.broken)

    def mark(self, rows: IntArray, why: Callable[[int], str]) -> None:
        """Say what is wrong with some rows; `why` tells it of the i-th. What is bad already is not told again."""
        for at, row in enumerate(rows):
            if len(self.said) >= SHOWN:
                break
            if not self.is_bad_R[row]:
                self.said.append(f"{self.rows.place(int(row))}, {why(at)}")
                self.is_bad_R[row] = True
        self.is_bad_R[rows] = True

    def summary(self) -> list[str]:
        """Every fault that is told, and how many are not."""
        more = self.count - len(self.said)
        return [*self.said, *([f"and {more:,} more rows"] if more > 0 else [])]

    def refuse_beyond(self, max_bad_rows: int) -> None:
        """Raises UserError when there are more bad rows than allowed."""
        if self.count > max_bad_rows:
            rest = f" (and {self.count - 1:,} more)" if self.count > 1 else ""
            raise UserError(
                f"{self.said[0]}{rest}; correct it, or leave out up to that many rows with"
                f" max_bad_rows={self.count}"
            )
