"""Rows of JSON: an object a line, or an array of objects. DuckDB parses them; they stay text until a path is asked for.

R rows of the file, in its order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import duckdb
import numpy as np
import pyarrow as pa

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.imports.rows import Broken, Column, listed, no_column
from scaling_exp.types import UserError

NEWLINE = 10


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
        plain = extracted(self.texts, [each for each in inside.values() if "[*]" not in each])
        return {
            path: plain[each] if each in plain else laid_out(self.texts, each)
            for path, each in inside.items()
        }

    def _inside(self, path: str) -> str:
        """A path as JSON writes it."""
        if path in self.names:
            return f'$."{path}"'
        if re.split(r"[.\[]", path)[0] not in self.names:
            raise no_column(path, self.names)
        return f"$.{path}"


def read_json_lines(file: FilePath, content: bytes) -> JsonRows:
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


def read_json_array(file: FilePath, content: bytes) -> JsonRows:
    content = content.removeprefix(b"\xef\xbb\xbf")
    whole = pa.table({"whole": pa.array([content.decode()], pa.large_string())})
    try:
        texts = query("SELECT unnest(json_extract(whole, '$[*]'))::VARCHAR AS text FROM it", whole)
    except (duckdb.Error, UnicodeDecodeError):  # DuckDB may cut what it quotes within a character
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
    kinds = query(
        "SELECT CASE WHEN json_valid(text) THEN json_type(text) END AS kind FROM it", texts
    )["kind"]
    is_object = pc.fill_null(pc.equal(kinds, "OBJECT"), False)
    rest = texts.filter(pc.invert(is_object)).to_pylist()
    texts = texts.filter(is_object).combine_chunks()
    row_R = texts["row"].to_numpy()
    broken = [
        Broken(named(each["row"]), f"is no JSON object: {each['text'][:40]!r}") for each in rest
    ]
    keys = query("SELECT DISTINCT json_keys(text) AS keys FROM it", texts)["keys"].to_pylist()
    for each in keys:
        if twice := [key for key in each if each.count(key) > 1]:
            sql = "SELECT min(row) FROM it WHERE len(json_keys(text)) > len(list_distinct(json_keys(text)))"
            row = query(sql, texts).column(0)[0].as_py()
            raise UserError(f"{named(row)} has the key {twice[0]!r} twice; it must be there once")
    names = dict.fromkeys(key for each in sorted(keys, key=len, reverse=True) for key in each)
    if not names and not broken:
        raise UserError("the file holds no rows; there is nothing to import")
    return JsonRows(texts, list(names), lambda row: named(int(row_R[row])), broken)


def extracted(texts: pa.Table, paths: Sequence[str]) -> dict[str, Column]:
    """The values at JSON paths, as text; a list's, where there are lists. The texts are parsed once for all paths."""
    for path in paths:
        _check_path(path, path, "")
    if not paths:
        return {}
    every = ", ".join(f"'{_escaped(path)}'" for path in paths)
    tests = ", ".join(f"bool_or(kinds[{at + 1}] = 'ARRAY')" for at in range(len(paths)))
    kinds = query(
        f"SELECT {tests} FROM (SELECT json_type(text, [{every}]) AS kinds FROM it)", texts
    )
    found = query(f"SELECT json_extract_string(text, [{every}]) AS found FROM it", texts)["found"]
    flat = pc.list_flatten(found)
    columns = {}
    for at, path in enumerate(paths):
        if kinds.column(at)[0].as_py():
            columns[path] = laid_out(texts, f"{path}[*]")
        else:
            columns[path] = Column(flat.take(pa.array(np.arange(at, len(flat), len(paths)))))
    return columns


def laid_out(texts: pa.Table, path: str) -> Column:
    """The values at a JSON path in which `[*]` stands for all of a list."""
    before, _, after = path.partition("[*]")
    _check_path(path, before, after)
    every = f"json_extract(text, '{_escaped(before)}[*]')"
    inside = f"json_extract_string(x, '${_escaped(after)}')" if after else "x->>'$'"
    return listed(query(f"SELECT [{inside} FOR x IN {every}] AS found FROM it", texts)["found"])


def _escaped(path: str) -> str:
    return path.replace("'", "''")


def _check_path(path: str, before: str, after: str) -> None:
    if "[*]" in after or not re.fullmatch(r'\$(\."[^"]+"|\.\w[\w -]*|\[\d+\])*', before):
        raise UserError(
            f"cannot read the path {path.removeprefix('$.')!r}; it is written like a.b, a[0].b or a[*].b, with one [*]"
        )
    if not re.fullmatch(r"(\.\w[\w -]*|\[\d+\])*", after):
        raise UserError(f"cannot read {after!r} in a path; it is written like [*].b or [*][0]")


def query(sql: str, it: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("it", it)
        return connection.sql(sql).to_arrow_table()
