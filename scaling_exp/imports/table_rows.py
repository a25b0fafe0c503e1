"""Rows of a table: CSV, of which every cell is text, and Parquet, which may hold lists and nested fields.

R rows of the file, in its order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.imports.json_rows import extracted, laid_out, query
from scaling_exp.imports.rows import Broken, Column, IntArray, listed, no_column
from scaling_exp.types import UserError

DELIMITERS = (",", ";", "\t", "|")
FIRST_RECORD = 2
"""The number that Arrow gives to the first row below the header."""


@dataclass(frozen=True)
class TableRows:
    """The rows of an Arrow table."""

    table: pa.Table
    place: Callable[[int], str]
    broken: Sequence[Broken] = ()

    @property
    def names(self) -> Sequence[str]:
        return self.table.column_names

    @property
    def num_rows(self) -> int:
        return self.table.num_rows

    def columns(self, paths: Sequence[str]) -> dict[str, Column]:
        return {path: self._column(path) for path in paths}

    def _column(self, path: str) -> Column:
        first = path if path in self.names else re.split(r"[.\[]", path)[0]
        if first not in self.names:
            raise no_column(path, self.names)
        values = self.table[first]
        if first != path:
            texts = query(
                "SELECT to_json(it.cell)::VARCHAR AS text FROM it", pa.table({"cell": values})
            )
            inside = "$" + path.removeprefix(first)
            return (
                laid_out(texts, inside) if "[*]" in inside else extracted(texts, [inside])[inside]
            )
        values = _without_oddities(values, path)
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            inside = listed(values)
            return Column(_without_oddities(inside.values, path), inside.lengths_R)
        return Column(values)


def _without_oddities(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Values of a type that can be computed with. Raises UserError for bytes and for fields without a path."""
    kind = values.type
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        raise UserError(
            f"the column {name!r} holds fields; name one of them, e.g. {name}.FIELD or {name}[*].FIELD"
        )
    if pa.types.is_list_view(kind) or pa.types.is_fixed_size_list(kind):
        return values.cast(pa.list_(kind.value_type))
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return values
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        raise UserError(f"the column {name!r} holds bytes that are no UTF-8 text") from None


def read_csv(file: FilePath, content: bytes) -> TableRows:
    content = content.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    table, odd = _parsed(file, content)
    line_R, odd_lines = _lines(table, odd)
    is_blank_R = np.logical_and.reduce([column.is_null().to_numpy() for column in table.columns])
    table, line_R = table.filter(pa.array(~is_blank_R)), line_R[~is_blank_R]
    broken = [
        Broken(
            f"{file} line {line}",
            f"has {each.actual_columns} cells where the header has {each.expected_columns}",
        )
        for line, each in zip(odd_lines, odd, strict=True)
        if each.text.strip()
    ]
    if not table.num_rows and not broken:
        raise UserError(f"{file} has a header and no rows; there is nothing to import")
    return TableRows(table, lambda row: f"{file} line {line_R[row]}", broken)


def _parsed(file: FilePath, content: bytes) -> tuple[pa.Table, list[pcsv.InvalidRow]]:
    """All cells as text, and the rows that have more or fewer of them than the header."""
    header = content.partition(b"\n")[0].decode()
    delimiter = max(DELIMITERS, key=header.count)
    odd: list[pcsv.InvalidRow] = []

    def set_aside(row: pcsv.InvalidRow) -> str:
        odd.append(row)
        return "skip"

    parsing = pcsv.ParseOptions(
        delimiter=delimiter,
        newlines_in_values=True,
        ignore_empty_lines=False,
        invalid_row_handler=set_aside,
    )
    reading = pcsv.ReadOptions(use_threads=False, block_size=1 << 24)
    try:
        names = pcsv.open_csv(pa.BufferReader(content), reading, parsing).schema.names
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{file} names the column {twice[0]!r} twice; rename one of them")
        odd.clear()
        converting = pcsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        )
        table = pcsv.read_csv(pa.BufferReader(content), reading, parsing, converting)
    except pa.ArrowInvalid as error:
        raise UserError(f"{file} cannot be read as CSV: {error}") from None
    return table, odd


def _lines(table: pa.Table, odd: Sequence[pcsv.InvalidRow]) -> tuple[IntArray, list[int]]:
    """The lines on which the rows start, and those of the odd rows between them; the header is line 1.

    A quoted cell may span lines.
    """
    breaks_R = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        breaks_R += pc.fill_null(pc.count_substring(column, "\n"), 0).to_numpy()
    is_odd = np.zeros(table.num_rows + len(odd), bool)
    is_odd[[each.number - FIRST_RECORD for each in odd]] = True
    breaks = np.zeros(len(is_odd), np.int64)
    breaks[~is_odd] = breaks_R
    breaks[is_odd] = [each.text.strip("\n").count("\n") for each in odd]
    line = 2 + np.arange(len(is_odd)) + np.concatenate([[0], np.cumsum(breaks)[:-1]])
    return line[~is_odd], line[is_odd].tolist()


def read_parquet(file: FilePath) -> TableRows:
    try:
        schema = pq.read_schema(file)
        names = schema.names
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"{file} has the column {twice[0]!r} twice; rename one of them")
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file} cannot be read as Parquet: {error}") from None
    if not table.num_rows:
        raise UserError(f"{file} has no rows; there is nothing to import")
    return TableRows(table, lambda row: f"{file} row {row + 1}")
