"""The rows of a file, whatever its format: columns by name or by path, and where a row stands.

JSON and CSV cells are text until somebody knows what they mean; Parquet's keep their types. A row that cannot be read
at all is `broken`; nothing else is judged here.

R rows of the file, in its order.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Protocol

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.imports.source import Format
from scaling_exp.types import UserError

IntArray = NDArray[np.int64]

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
DELIMITERS = (",", ";", "\t", "|")
NEWLINE = 10
FIRST_RECORD = 2
"""The number that Arrow gives to the first row below the header."""


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


def read_rows(file: FilePath, form: Format | None) -> Rows:
    """The rows of a file; its format follows from its name where `form` does not say it.

    Raises UserError for a file that is empty, is not what its name says, or is not UTF-8.
    """
    form = form or _format_of(file)
    if form == "parquet":
        return _read_parquet(file)
    content = _content(file)
    if not content.strip():
        raise UserError(f"{file} is empty; there is nothing to import")
    if form == "csv":
        return _read_csv(file, content)
    if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
        return _read_json_array(file, content)
    return _read_json_lines(file, content)


def _format_of(file: FilePath) -> Format:
    suffixes = [each.lower() for each in file.suffixes if each.lower() != ".gz"]
    form = SUFFIXES.get(suffixes[-1]) if suffixes else None
    if form is None:
        raise UserError(
            f"the name {file.name} does not tell its format; say format=jsonl, json, csv or parquet"
        )
    return form


def _content(file: FilePath) -> bytes:
    """The file's bytes, unpacked. Raises UserError when they are not UTF-8."""
    content = file.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{file} is not a whole gzip file ({error}); fetch it again") from None
    if not pa.py_buffer(content) or _is_utf8(content):
        return content
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise UserError(
            f"{file} line {line} is not UTF-8 (byte 0x{byte:02x}); convert it, e.g. with"
            f" iconv -f latin1 -t utf-8"
        ) from None
    return content


def _is_utf8(content: bytes) -> bool:
    """Arrow checks without making a string of it."""
    if len(content) > 2**31 - 1:
        return False
    offsets = pa.py_buffer(np.array([0, len(content)], np.int32))
    whole = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(content))
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


# JSON


@dataclass(frozen=True)
class JsonRows:
    """Objects, kept as JSON until a path is asked for."""

    texts: pa.Table
    """`row` and `text`."""
    names: Sequence[str]
    place: Callable[[int], str]
    broken: Sequence[Broken]

    @property
    def num_rows(self) -> int:
        return self.texts.num_rows

    def columns(self, paths: Sequence[str]) -> dict[str, Column]:
        inside = {path: self._inside(path) for path in paths}
        plain = _extracted(self.texts, [each for each in inside.values() if "[*]" not in each])
        return {
            path: plain[each] if each in plain else _laid_out(self.texts, each)
            for path, each in inside.items()
        }

    def _inside(self, path: str) -> str:
        """A path as JSON writes it."""
        if path in self.names:
            return f'$."{path}"'
        if re.split(r"[.\[]", path)[0] not in self.names:
            raise no_column(path, self.names)
        return f"$.{path}"


def _read_json_lines(file: FilePath, content: bytes) -> JsonRows:
    content = content.removeprefix(b"\xef\xbb\xbf")
    buffer = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(buffer == NEWLINE)
    starts_R = np.concatenate([[0], ends + 1])
    offsets = pa.py_buffer(np.append(starts_R, len(content)).astype(np.int64))
    lines = pa.LargeStringArray.from_buffers(len(starts_R), offsets, pa.py_buffer(content))
    is_blank_R = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(lines)), 0).to_numpy(False)
    line_R = np.flatnonzero(~is_blank_R)
    texts = pa.table({"row": line_R, "text": lines.take(pa.array(line_R))})
    return _json_rows(texts, lambda row: f"{file} line {row + 1}")


def _read_json_array(file: FilePath, content: bytes) -> JsonRows:
    content = content.removeprefix(b"\xef\xbb\xbf")
    whole = pa.table({"whole": pa.array([content.decode()], pa.large_string())})
    try:
        texts = _query("SELECT unnest(json_extract(whole, '$[*]'))::VARCHAR AS text FROM it", whole)
    except duckdb.Error:
        raise UserError(f"{file}{_why_no_json(content)}") from None
    texts = pa.table({"row": np.arange(texts.num_rows), "text": texts["text"]})
    return _json_rows(texts, lambda row: f"{file} object {row + 1}")


def _why_no_json(content: bytes) -> str:
    try:
        json.loads(content)
    except json.JSONDecodeError as error:
        return f" line {error.lineno} is not valid JSON: {error.msg}"
    return " is not valid JSON"


def _json_rows(texts: pa.Table, named: Callable[[int], str]) -> JsonRows:
    """Rows of JSON texts, of which those that are no objects are broken."""
    kinds = _query(
        "SELECT CASE WHEN json_valid(text) THEN json_type(text) END AS kind FROM it", texts
    )["kind"]
    is_object = pc.fill_null(pc.equal(kinds, "OBJECT"), False)
    rest = texts.filter(pc.invert(is_object))["row"].to_pylist()
    texts = texts.filter(is_object).combine_chunks()
    row_R = texts["row"].to_numpy()
    broken = [Broken(named(row), "is not a JSON object") for row in rest]
    keys = _query("SELECT DISTINCT json_keys(text) AS keys FROM it", texts)["keys"].to_pylist()
    for each in keys:
        if twice := [key for key in each if each.count(key) > 1]:
            raise UserError(f"an object has the key {twice[0]!r} twice; it must be there once")
    names = dict.fromkeys(key for each in sorted(keys, key=len, reverse=True) for key in each)
    if not names and not broken:
        raise UserError("the file holds no rows; there is nothing to import")
    return JsonRows(texts, list(names), lambda row: named(int(row_R[row])), broken)


def _extracted(texts: pa.Table, paths: Sequence[str]) -> dict[str, Column]:
    """The values at JSON paths, as text; a list's, where there are lists. The texts are parsed once for all paths."""
    for path in paths:
        _check_path(path, path, "")
    if not paths:
        return {}
    every = ", ".join(f"'{_escaped(path)}'" for path in paths)
    tests = ", ".join(f"bool_or(kinds[{at + 1}] = 'ARRAY')" for at in range(len(paths)))
    kinds = _query(
        f"SELECT {tests} FROM (SELECT json_type(text, [{every}]) AS kinds FROM it)", texts
    )
    found = _query(f"SELECT json_extract_string(text, [{every}]) AS found FROM it", texts)["found"]
    flat = pc.list_flatten(found)
    columns = {}
    for at, path in enumerate(paths):
        if kinds.column(at)[0].as_py():
            columns[path] = _laid_out(texts, f"{path}[*]")
        else:
            columns[path] = Column(flat.take(pa.array(np.arange(at, len(flat), len(paths)))))
    return columns


def _laid_out(texts: pa.Table, path: str) -> Column:
    """The values at a JSON path in which `[*]` stands for all of a list."""
    before, _, after = path.partition("[*]")
    _check_path(path, before, after)
    every = f"json_extract(text, '{_escaped(before)}[*]')"
    inside = f"json_extract_string(x, '${_escaped(after)}')" if after else "x->>'$'"
    return listed(_query(f"SELECT [{inside} FOR x IN {every}] AS found FROM it", texts)["found"])


def _escaped(path: str) -> str:
    return path.replace("'", "''")


def _check_path(path: str, before: str, after: str) -> None:
    if "[*]" in after or not re.fullmatch(r'\$(\."[^"]+"|\.\w[\w -]*|\[\d+\])*', before):
        raise UserError(
            f"cannot read the path {path.removeprefix('$.')!r}; it is written like a.b, a[0].b or a[*].b, with one [*]"
        )
    if not re.fullmatch(r"(\.\w[\w -]*|\[\d+\])*", after):
        raise UserError(f"cannot read {after!r} in a path; it is written like [*].b or [*][0]")


def _query(sql: str, it: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("it", it)
        return connection.sql(sql).to_arrow_table()


def listed(lists: pa.ChunkedArray) -> Column:
    """A column of lists; a missing list is empty."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return Column(pc.list_flatten(lists), lengths.to_numpy().astype(np.int64))


# CSV and Parquet


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
            texts = _query(
                "SELECT to_json(it.cell)::VARCHAR AS text FROM it", pa.table({"cell": values})
            )
            inside = "$" + path.removeprefix(first)
            return (
                _laid_out(texts, inside) if "[*]" in inside else _extracted(texts, [inside])[inside]
            )
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            return listed(values)
        return Column(values)


def no_column(path: str, names: Sequence[str]) -> UserError:
    """The mistake of naming a column that is not there."""
    near = get_close_matches(path, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return UserError(
        f"there is no column {path!r}; {f'did you mean {near[0]!r}?' if near else f'there are {shown}'}"
    )


def _read_csv(file: FilePath, content: bytes) -> TableRows:
    content = content.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
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


def _read_parquet(file: FilePath) -> TableRows:
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
