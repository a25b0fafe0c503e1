"""From cells as they stand in a file to typed values: which are good, and what is wrong with the others.

Whole arrays at a time. A missing value is missing in the result; whether it may be is for others to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.imports.meanings import INT64, Holds

BoolArray = NDArray[np.bool_]

TRUE, FALSE = ("true", "1", "1.0", "yes", "t"), ("false", "0", "0.0", "no", "f")
_OTHER_STRINGS = (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
WHOLE = r"^\+?[0-9]{1,18}$"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"


@dataclass(frozen=True)
class Parsed:
    """Typed values, null where a cell is empty or wrong; `is_wrong_S` marks the wrong ones, `why` says of what kind."""

    values: pa.Array
    is_wrong_S: BoolArray
    why: str


def parsed(cells: pa.ChunkedArray, holds: Holds, factor: float, largest: int) -> Parsed:
    """Cells as what their meaning holds; numbers times `factor`, whole ones at most `largest`."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    if any(is_so(cells.type) for is_so in _OTHER_STRINGS):
        cells = cells.cast(pa.string())
    one = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    if holds == "whole":
        return _whole(one, factor, largest)
    return _PARSERS[holds](one) if factor == 1 else _scaled(one, factor)


def _text(cells: pa.Array) -> Parsed:
    return Parsed(as_text(cells), np.zeros(len(cells), bool), "")


def as_text(cells: pa.Array) -> pa.Array:
    """Text with nothing around it, null where nothing is left; numbers that are whole without a point."""
    if pa.types.is_floating(cells.type):
        numbers = _missing_where(cells, pc.is_nan(cells))
        is_whole = _all_true(pc.equal(pc.floor(numbers), numbers))
        is_small = _all_true(pc.less(pc.abs(numbers), 2.0**53))
        cells = numbers.cast(pa.int64()) if is_whole and is_small else numbers
    trimmed = pc.utf8_trim_whitespace(cells.cast(pa.string()))
    return _missing_where(trimmed, pc.equal(trimmed, ""))


def encoded(cells: pa.Array) -> pa.DictionaryArray:
    """Text of which there are few different ones, by number; trimmed as in `as_text`."""
    if not pa.types.is_string(cells.type):
        cells = as_text(cells)
    coded = cells.dictionary_encode()
    return recoded(coded, coded.dictionary)


def recoded(coded: pa.DictionaryArray, different: pa.Array) -> pa.DictionaryArray:
    """The same numbers for other texts, trimmed; equal ones get one number, missing ones none."""
    again = as_text(different).dictionary_encode()
    return pa.DictionaryArray.from_arrays(again.indices.take(coded.indices), again.dictionary)


def _flag(cells: pa.Array) -> Parsed:
    if pa.types.is_boolean(cells.type):
        return Parsed(cells, np.zeros(len(cells), bool), "")
    if pa.types.is_string(cells.type):
        plain = pc.utf8_lower(as_text(cells))
        is_true = pc.is_in(plain, pa.array(TRUE))
        is_known = pc.or_(is_true, pc.is_in(plain, pa.array(FALSE)))
        is_known, missing = pc.fill_null(is_known, False), plain.is_null()
    else:
        numbers = _as_float(cells)
        is_true = pc.equal(numbers, 1)
        missing = numbers.is_null()
        is_known = pc.fill_null(pc.or_(is_true, pc.equal(numbers, 0)), False)
    wrong = pc.and_(pc.invert(is_known), pc.invert(missing))
    values = _missing_where(is_true, pc.invert(is_known))
    return Parsed(values, _bools(wrong), "is neither true nor false")


def _number(cells: pa.Array) -> Parsed:
    missing = cells.is_null()
    if pa.types.is_string(cells.type):
        plain = as_text(cells)
        missing = plain.is_null()
        cells = _missing_where(plain, pc.invert(pc.match_substring_regex(plain, NUMBER)))
    numbers = _as_float(cells)
    is_good = pc.fill_null(pc.is_finite(numbers), False)
    wrong = pc.and_(pc.invert(is_good), pc.invert(missing))
    return Parsed(
        _missing_where(numbers, pc.invert(is_good)), _bools(wrong), "is not a finite number"
    )


def _scaled(cells: pa.Array, factor: float) -> Parsed:
    found = _number(cells)
    return Parsed(pc.multiply(found.values, factor), found.is_wrong_S, found.why)


def _whole(cells: pa.Array, factor: float, largest: int) -> Parsed:
    why = "is not a whole number from 0" + (f" to {largest:,}" if largest < INT64 else "")
    if factor != 1:
        found = _scaled(cells, factor)
        return _in_range(pc.round(found.values), found.is_wrong_S, largest, why)
    if pa.types.is_unsigned_integer(cells.type) or pa.types.is_signed_integer(cells.type):
        return _in_range(cells, np.zeros(len(cells), bool), largest, why)
    if pa.types.is_string(cells.type) and _all_true(pc.match_substring_regex(cells, WHOLE)):
        plain = pc.utf8_ltrim(cells, "+").cast(pa.int64())
        return _in_range(plain, np.zeros(len(cells), bool), largest, why)
    found = _number(cells)
    is_cut = _bools(pc.fill_null(pc.not_equal(pc.floor(found.values), found.values), False))
    return _in_range(found.values, found.is_wrong_S | is_cut, largest, why)


def _in_range(numbers: pa.Array, is_wrong_S: BoolArray, largest: int, why: str) -> Parsed:
    # 2**63 - 1 is no double: what is compared as one must stay below 2**63.
    most = float(min(largest, 2**62)) if pa.types.is_floating(numbers.type) else largest
    if pa.types.is_integer(numbers.type) and not pa.types.is_uint64(numbers.type):
        numbers = numbers.cast(pa.int64())
    zero, top = pa.scalar(0, numbers.type), pa.scalar(most, numbers.type)
    is_good = pc.and_(pc.greater_equal(numbers, zero), pc.less_equal(numbers, top))
    is_wrong_S = is_wrong_S | _bools(pc.fill_null(pc.invert(is_good), False))
    values = _missing_where(numbers, pa.array(is_wrong_S))
    return Parsed(values.cast(pa.int64()), is_wrong_S, why)


def _as_float(cells: pa.Array) -> pa.Array:
    """As doubles; what no number can be made of is wrong everywhere, which NaN says."""
    if pa.types.is_boolean(cells.type):
        cells = cells.cast(pa.int8())
    try:
        return cells.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array(np.full(len(cells), np.nan))


def _missing_where(values: pa.Array, mask: pa.Array) -> pa.Array:
    return pc.if_else(pc.fill_null(mask, True), pa.scalar(None, values.type), values)


def _all_true(mask: pa.Array) -> bool:
    return pc.all(mask).as_py() is not False


def _bools(mask: pa.Array) -> BoolArray:
    return mask.to_numpy(zero_copy_only=False).astype(bool)


_PARSERS: Mapping[str, Callable[[pa.Array], Parsed]] = {
    "text": _text,
    "flag": _flag,
    "number": _number,
}
