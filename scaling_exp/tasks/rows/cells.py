"""Cells of a row by the names that a user gives: a column, or a path into one: `reward.ground_truth`, `texts.0`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scaling_exp.schema import unknown
from scaling_exp.tasks.files import Row
from scaling_exp.types import UserError


def text_of(row: Row, column: str, key: str, at: int) -> str:
    """Text or a number, as text. Raises UserError that names the key, the column and the row where it is neither."""
    found = _found(row, column, key)
    if found is None or (isinstance(found, str) and not found.strip()):
        raise UserError(f"task.rows.{key}: row {at} (from 0) has nothing in {column!r}")
    if isinstance(found, (Mapping, list)):
        raise UserError(
            f"task.rows.{key}: {column!r} holds {_kind(found)} in row {at} (from 0), not text;"
            f" choose one of it, e.g. {column}.{_first(found)}"
        )
    return str(found)


def texts_of(row: Row, columns: Sequence[str], key: str, at: int) -> tuple[str, ...]:
    """The texts of several columns, or of the one column that holds a list. Raises UserError."""
    if len(columns) == 1 and isinstance(found := _found(row, columns[0], key), list):
        return tuple(map(str, found))
    return tuple(text_of(row, each, key, at) for each in columns)


def optional_text(row: Row, column: str | None, key: str, otherwise: str) -> str:
    """`otherwise` where no column is named or the row has nothing in it."""
    found = None if column is None else _found(row, column, key)
    return otherwise if found in (None, "") else str(found)


def extra_of(row: Row, column: str | None, at: int) -> str:
    """What a grader must know besides: text as it is, anything else as JSON; empty where no column is named."""
    if column is None:
        return ""
    found = _found(row, column, "extra")
    if isinstance(found, str):
        return found
    try:
        return json.dumps(found, ensure_ascii=False)
    except TypeError as error:
        raise UserError(
            f"task.rows.extra: {column!r} of row {at} (from 0) cannot be JSON: {error}"
        ) from None


def name_of(row: Row, column: str | None, at: int) -> str:
    """What a question is called: a cell, or without a column the row's number."""
    return f"{at:05d}" if column is None else text_of(row, column, "name", at)


def _found(row: Row, column: str, key: str) -> Any:
    if column in row:
        return row[column]
    found: Any = row
    for part in column.split("."):
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, Mapping) and part in found:
            found = found[part]
        else:
            there = ", ".join(map(str, row))
            raise UserError(f"{unknown(f'task.rows.{key}', column, row)} (a row has {there})")
    return found


def _kind(found: Mapping[str, Any] | list[Any]) -> str:
    return "a list" if isinstance(found, list) else "a group"


def _first(found: Mapping[str, Any] | list[Any]) -> str:
    return "0" if isinstance(found, list) else next(map(str, found), "")
