"""Rows of a file as they are written there: JSON keeps its types, CSV is text, Parquet says its types itself.

No value is guessed at: "007" and "1.50" of a CSV, a date in quotes and "None" stay what they are, because golds are
compared as text. It knows no data set and no task.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path as FilePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scaling_exp.types import UserError

Row = Mapping[str, Any]
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def read_rows(file: FilePath) -> list[Row]:
    """All rows of a file, in order. Raises UserError that names the file, and the line where there is one."""
    suffixes = file.suffixes
    compression = COMPRESSIONS.get(suffixes[-1].lower()) if suffixes else None
    kind = suffixes[-2 if compression else -1].lower() if len(suffixes) > bool(compression) else ""
    if kind not in FORMATS:
        known = ", ".join(each.lstrip(".") for each in FORMATS)
        raise UserError(f"{file}: rows are read from {known} files (also .gz, .bz2, .zst)")
    try:
        with pa.input_stream(str(file), compression=compression) as stream:
            return FORMATS[kind](stream, file)
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 at byte {error.start}") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None


def _json_lines(stream: pa.NativeFile, file: FilePath) -> list[Row]:
    lines = _text(stream).split("\n")
    return [_object(line, file, at) for at, line in enumerate(lines, 1) if line.strip()]


def _object(line: str, file: FilePath, at: int) -> Row:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file} line {at}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UserError(f"{file} line {at}: a row is a JSON object, not {line.strip()[:40]!r}")
    return row


def _json(stream: pa.NativeFile, file: FilePath) -> list[Row]:
    """A list of objects, or one object a line."""
    text = _text(stream)
    if not text.lstrip().startswith("["):
        return _json_lines(pa.BufferReader(text.encode()), file)
    try:
        rows = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{file}: not JSON: {error}") from None
    strange = [each for each in rows if not isinstance(each, dict)]
    if strange:
        raise UserError(
            f"{file}: a row is a JSON object, not {json.dumps(strange[0])[:40]}; the file is a list of objects"
        )
    return rows


def _separated(by: str) -> Callable[[pa.NativeFile, FilePath], list[Row]]:
    def rows(stream: pa.NativeFile, file: FilePath) -> list[Row]:
        lines = csv.reader(io.StringIO(_text(stream), newline=""), delimiter=by, strict=True)
        try:
            header = next(lines, [])
            if len(set(header)) < len(header):
                raise UserError(f"{file}: two columns have the same name in {', '.join(header)}")
            return [_record(header, cells, file, lines.line_num) for cells in lines if cells]
        except csv.Error as error:
            raise UserError(f"{file} line {lines.line_num}: {error}") from None

    return rows


def _record(header: Sequence[str], cells: Sequence[str], file: FilePath, at: int) -> Row:
    if len(cells) != len(header):
        raise UserError(
            f"{file} line {at}: {len(cells)} cells, but the header has {len(header)} columns"
        )
    return dict(zip(header, cells, strict=True))


def _parquet(stream: pa.NativeFile, file: FilePath) -> list[Row]:  # noqa: ARG001 - one shape for all
    return pq.read_table(pa.BufferReader(stream.read())).to_pylist()


def _text(stream: pa.NativeFile) -> str:
    """UTF-8, with or without a byte order mark."""
    return stream.read().decode("utf-8-sig")


FORMATS: dict[str, Callable[[pa.NativeFile, FilePath], list[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}


def read_all(files: Sequence[FilePath]) -> list[Row]:
    """The rows of several files, one after the other."""
    return list(chain.from_iterable(map(read_rows, files)))
