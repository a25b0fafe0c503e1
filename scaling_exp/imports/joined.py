"""A file with the columns of a second one beside it, found by a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.imports.parsing import as_text
from scaling_exp.imports.rows import Broken, Column, Rows
from scaling_exp.imports.source import Join
from scaling_exp.types import UserError


@dataclass(frozen=True)
class JoinedRows:
    """The rows of `left`; a column that it lacks is that of `right` in the row `at_R`, null where there is none."""

    left: Rows
    right: Rows
    at_R: pa.Array

    @property
    def names(self) -> Sequence[str]:
        return list(dict.fromkeys([*self.left.names, *self.right.names]))

    @property
    def num_rows(self) -> int:
        return self.left.num_rows

    @property
    def broken(self) -> Sequence[Broken]:
        return [*self.left.broken, *self.right.broken]

    def place(self, row: int) -> str:
        return self.left.place(row)

    def columns(self, paths: Sequence[str]) -> dict[str, Column]:
        lacking = set(self.right.names) - set(self.left.names)
        found = self.left.columns([path for path in paths if path not in lacking])
        right = self.right.columns([path for path in paths if path in lacking])
        return found | {
            path: Column(_flat(column, path).take(self.at_R)) for path, column in right.items()
        }


def _flat(column: Column, path: str) -> pa.ChunkedArray:
    if column.lengths_R is not None:
        raise UserError(f"the column {path!r} holds lists; a file cannot be joined by or with it")
    return column.values


def joined(left: Rows, right: Rows, join: Join) -> tuple[Rows, list[str]]:
    """The rows of `left` with the columns of `right`, and a note on those that have none there.

    Raises UserError when a key stands twice in `right` or none is found.
    """
    key_R = _keys(left, join.column)
    keys = _keys(right, join.by) if join.by else as_text(pa.array(range(right.num_rows)))
    repeated = pc.value_counts(keys.drop_null())
    if repeated.field("counts").to_pylist() and pc.max(repeated.field("counts")).as_py() > 1:
        twice = repeated.filter(pc.greater(repeated.field("counts"), 1)).field("values")[0].as_py()
        raise UserError(
            f"{join.file} has {twice!r} twice in {join.by!r}; each key must be there once"
        )
    at_R = pc.index_in(key_R, keys, skip_nulls=True)
    if at_R.null_count == len(at_R):
        raise UserError(
            f"no {join.column!r} of the source is found in {join.by or 'the row numbers'} of {join.file};"
            " see join.column and join.by"
        )
    lost = pc.value_counts(key_R.filter(at_R.is_null())).field("values").to_pylist()
    shown = ", ".join(str(each) for each in lost[:5]) + (" ..." if len(lost) > 5 else "")
    notes = [f"{len(lost):,} keys are not in {join.file}: {shown}"] if lost else []
    return JoinedRows(left, right, at_R), notes


def _keys(rows: Rows, name: str) -> pa.Array:
    return as_text(_flat(rows.columns([name])[name], name).combine_chunks())
