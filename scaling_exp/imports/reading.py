"""From a file to its rows: which format it is, and whether its bytes are what its name says."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path as FilePath

import numpy as np
import pyarrow as pa

from scaling_exp.imports.json_rows import read_json_array, read_json_lines
from scaling_exp.imports.rows import Rows
from scaling_exp.imports.source import Format
from scaling_exp.imports.table_rows import read_csv, read_parquet
from scaling_exp.types import UserError

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def read_rows(file: FilePath, form: Format | None) -> Rows:
    """The rows of a file; its format follows from its name where `form` does not say it.

    Raises UserError for a file that is empty, is not what its name says, or is not UTF-8.
    """
    form = form or _format_of(file)
    if form == "parquet":
        return read_parquet(file)
    content = _content(file)
    if not content.strip():
        raise UserError(f"{file} is empty; there is nothing to import")
    if form == "csv":
        return read_csv(file, content)
    if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
        return read_json_array(file, content)
    return read_json_lines(file, content)


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
