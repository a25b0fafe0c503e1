"""The file's cells by what they mean: typed, one entry a sample (or count, or point), lists laid out.

It judges single cells; what the rows say together is for `samples`, `counts` and `points`.

R rows of the file, S entries: a row that holds lists has as many as they are long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.imports.faults import Faults
from scaling_exp.imports.meanings import MEANINGS, OF_KIND, recognised
from scaling_exp.imports.parsing import encoded, parsed, recoded
from scaling_exp.imports.rows import Column, IntArray, Rows
from scaling_exp.imports.source import Kind, Source
from scaling_exp.types import UserError

ENCODED = (
    "model",
    "strategy",
    "problem",
    "level",
    "cluster",
    "selector",
    "family",
    "gold",
    "prompt",
)
"""Text that repeats: kept as numbers into a list of it."""
TOKENS = ("num_prompt_tokens", "num_output_tokens")


@dataclass(frozen=True)
class Understood:
    """What kind of table a file is and which column means what."""

    kind: Kind
    columns: Mapping[str, str]

    @classmethod
    def of(cls, source: Source, names: Sequence[str]) -> Understood:
        """What the user said, and for the rest the usual names. Raises UserError when that is not enough."""
        kind = source.kind or _kind_of(source, names)
        free = [each for each in OF_KIND[kind] if each not in {*source.mapped, *source.given}]
        if kind == "points" and source.points:
            free = [each for each in free if each not in ("accuracy", "selector", "k")]
        taken = set(source.mapped.values())
        found = recognised([name for name in names if name not in taken], free)
        found = {each: name for each, name in found.items() if each not in source.absent}
        understood = cls(kind, {**found, **source.mapped})
        understood._check(source, names)
        return understood

    def _check(self, source: Source, names: Sequence[str]) -> None:
        known = {*self.columns, *source.given}
        has_answer = "answer" in known or (source.answer_pattern and "text" in known)
        wanted = {
            "samples": ("model", "problem"),
            "counts": ("model", "problem", "num_samples", "num_correct"),
            "points": ("model", *(() if source.points else ("accuracy",))),
        }[self.kind]
        if odd := [each for each in source.mapped if each not in OF_KIND[self.kind]]:
            raise UserError(f"columns.{odd[0]} says nothing of {self.kind}; take it out")
        for each in wanted:
            if each not in known:
                raise UserError(_lacking(each, names))
        if self.kind == "samples" and "is_correct" not in known:
            if not has_answer:
                raise UserError(_lacking("is_correct", names))
            if "gold" not in known:
                raise UserError(
                    f"{_lacking('gold', names)} Answers without is_correct are graded against it"
                )


def _lacking(meaning: str, names: Sequence[str]) -> str:
    constant = " or constants.model=NAME" if meaning == "model" else ""
    return (
        f"no column is known to be the {meaning}; name it with columns.{meaning}=COLUMN{constant}."
        f" The columns are {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}."
    )


def _kind_of(source: Source, names: Sequence[str]) -> Kind:
    known = {*recognised(names, MEANINGS), *source.mapped, *source.given} - source.absent
    if source.points or (source.mapped.get("accuracy") is not None):
        return "points"
    if {"num_samples", "num_correct"} <= known:
        return "counts"
    if "problem" in known and known & {"is_correct", "answer"}:
        return "samples"
    if "accuracy" in known:
        return "points"
    raise UserError(
        "cannot tell what the file holds; say kind=samples, counts or points, and name its columns, e.g."
        f" columns.problem=COLUMN columns.is_correct=COLUMN. The columns are {', '.join(names[:20])}"
    )


@dataclass(frozen=True)
class Cells:
    """Typed values by meaning, and the row of the file that each entry comes from.

    `is_listed` when a row holds several entries. `notes` is what was done on the way that a reader must know.
    """

    values: Mapping[str, pa.Array]
    row_S: IntArray
    is_listed: bool
    notes: Sequence[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.row_S)

    def where(self, mask_S: NDArray[np.bool_]) -> Cells:
        """Some of the entries."""
        mask = pa.array(mask_S)
        values = {meaning: each.filter(mask) for meaning, each in self.values.items()}
        return Cells(values, self.row_S[mask_S], self.is_listed, self.notes)

    def codes(self, meaning: str) -> IntArray:
        """Numbers of an encoded text, -1 where it is missing."""
        indices = self.values[meaning].indices
        return pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)

    def names(self, meaning: str) -> list[str]:
        """What the numbers stand for."""
        return self.values[meaning].dictionary.to_pylist()

    def numbers(self, meaning: str) -> NDArray[np.float64]:
        """Values as doubles, NaN where they are missing or where nobody says them."""
        if meaning not in self.values:
            return np.full(len(self), np.nan)
        return self.values[meaning].cast(pa.float64()).to_numpy(zero_copy_only=False)


def read_cells(source: Source, understood: Understood, rows: Rows, faults: Faults) -> Cells:
    """All cells that mean something, typed; wrong ones are marked in `faults`, and so is what must not be missing."""
    found = rows.columns(
        [
            *dict.fromkeys(
                [*understood.columns.values(), *(each.column for each in source.points.values())]
            )
        ]
    )
    raw = {meaning: found[name] for meaning, name in understood.columns.items()}
    if source.answer_pattern and "answer" not in raw and "text" in raw:
        raw["answer"] = raw["text"]
    wide = [found[each.column] for each in source.points.values()]
    row_S, raw_S, is_listed = _laid_out(raw, wide, rows.num_rows, faults)
    values, notes = _tokens(source, understood, raw, row_S, is_listed, faults)
    for meaning, cells in raw_S.items():
        if meaning not in values:
            label = understood.columns.get(meaning, meaning)
            values[meaning] = _typed(source, understood.kind, meaning, label, cells, row_S, faults)
    for meaning, value in source.given.items():
        values[meaning] = _constant(source, understood.kind, meaning, value, len(row_S))
    if source.points:
        values |= _wide(source, wide, row_S, faults)
    _require(understood.kind, values, row_S, faults)
    return Cells(values, row_S, is_listed, notes)


def _laid_out(
    raw: Mapping[str, Column], wide: Sequence[Column], num_rows: int, faults: Faults
) -> tuple[IntArray, dict[str, pa.ChunkedArray], bool]:
    """The row of each entry and the raw value of each meaning at each entry."""
    lists = {meaning: column for meaning, column in raw.items() if column.lengths_R is not None}
    if not lists:
        row_S = np.tile(np.arange(num_rows), max(1, len(wide)))
        if len(wide) <= 1:
            return row_S, {meaning: column.values for meaning, column in raw.items()}, False
        spread = {meaning: column.values.take(pa.array(row_S)) for meaning, column in raw.items()}
        return row_S, spread, False
    length_R, is_even_R = _lengths(lists, faults)
    row_S = np.repeat(np.arange(num_rows), length_R)
    laid = {}
    for meaning, column in raw.items():
        if column.lengths_R is None:
            laid[meaning] = column.values.take(pa.array(row_S))
        else:
            keep = np.repeat(is_even_R, column.lengths_R)
            laid[meaning] = column.values if keep.all() else column.values.filter(pa.array(keep))
    return row_S, laid, True


def _lengths(lists: Mapping[str, Column], faults: Faults) -> tuple[IntArray, NDArray[np.bool_]]:
    """The length of every row's lists, 0 where they differ; and where they do not."""
    by_meaning = {meaning: each.lengths_R for meaning, each in lists.items()}
    lengths_LR = np.stack([each for each in by_meaning.values() if each is not None])
    is_even_R = (lengths_LR == lengths_LR[0]).all(axis=0)
    uneven = np.flatnonzero(~is_even_R)
    told = [
        ", ".join(f"{n} in {name}" for name, n in zip(by_meaning, lengths_LR[:, row], strict=True))
        for row in uneven[:20]
    ]
    faults.mark(uneven, lambda at: f"its lists are of different length: {told[at]}")
    empty = np.flatnonzero(is_even_R & (lengths_LR[0] == 0))
    faults.mark(empty, lambda _: f"column {next(iter(lists))!r}: an empty list; nothing was drawn")
    return np.where(is_even_R, lengths_LR[0], 0), is_even_R


def _typed(
    source: Source,
    kind: Kind,
    meaning: str,
    label: str,
    cells: pa.ChunkedArray,
    row_S: IntArray,
    faults: Faults,
) -> pa.Array:
    """One meaning's cells, typed."""
    if meaning in ENCODED:
        one = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
        return encoded(one)
    if meaning == "text":
        return cells.combine_chunks().cast(pa.string())
    if meaning == "answer":
        return _answers(source, cells)
    means = MEANINGS[meaning]
    holds = "number" if kind != "samples" and meaning in TOKENS else means.holds
    found = parsed(cells, holds, source.factor(meaning), means.largest)
    wrong = np.flatnonzero(found.is_wrong_S)
    faults.mark(
        row_S[wrong], lambda at: f"column {label!r}: {_shown(cells[int(wrong[at])])} {found.why}"
    )
    return found.values


def _shown(cell: pa.Scalar) -> str:
    text = repr(cell.as_py())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _answers(source: Source, cells: pa.ChunkedArray) -> pa.DictionaryArray:
    """Answers as text by number, null where there is none; every different one is looked at once."""
    coded = encoded(cells.combine_chunks())
    different = coded.dictionary
    if source.answer_pattern:
        try:
            found = pc.extract_regex(different, source.answer_pattern)
        except pa.ArrowInvalid as error:
            raise UserError(f"answer_pattern is not a pattern of RE2: {error}") from None
        different = pc.struct_field(found, "answer")
    if source.no_answer:
        is_none = pc.is_in(different, pa.array(source.no_answer))
        different = pc.if_else(is_none, pa.scalar(None, pa.string()), different)
    return recoded(coded, different)


def _constant(source: Source, kind: Kind, meaning: str, value: object, size: int) -> pa.Array:
    """The same value everywhere. Raises UserError when it is not what the meaning holds."""
    if meaning not in OF_KIND[kind]:
        raise UserError(f"constants.{meaning} says nothing of {kind}; take it out")
    nowhere = np.zeros(size, np.int32)
    if meaning in ENCODED:
        return pa.DictionaryArray.from_arrays(nowhere, pa.array([str(value)]))
    means = MEANINGS[meaning]
    holds = "number" if kind != "samples" and meaning in TOKENS else means.holds
    one = pa.chunked_array([pa.array([str(value)])])
    found = parsed(one, holds, source.factor(meaning), means.largest)
    if found.is_wrong_S.any():
        raise UserError(f"constants.{meaning} is {value!r}, which {found.why}")
    return found.values.take(pa.array(nowhere))


# Tokens


def _tokens(
    source: Source,
    understood: Understood,
    raw: Mapping[str, Column],
    row_S: IntArray,
    is_listed: bool,
    faults: Faults,
) -> tuple[dict[str, pa.Array], list[str]]:
    """Tokens of every entry where a row's column counts those of all its entries together; else nothing."""
    flat = {each: raw[each] for each in TOKENS if each in raw and raw[each].lengths_R is None}
    counted = source.tokens.counted
    if not flat or counted == "sample" or (counted is None and not is_listed):
        return {}, []
    if counted is None:
        name = understood.columns[next(iter(flat))]
        raise UserError(
            f"{name!r} is one number for a row of many samples; say tokens.counted=row (their total), running_total"
            " (a total that goes on from row to row) or sample (each one's)"
        )
    totals = {}
    for meaning, column in flat.items():
        label, num_rows = understood.columns[meaning], len(column.values)
        totals[meaning] = _typed(
            source, "points", meaning, label, column.values, np.arange(num_rows), faults
        ).to_numpy(zero_copy_only=False)
    notes = []
    if counted == "running_total":
        totals, notes = _differences(totals, faults)
    spread = {meaning: _spread(meaning, each, row_S, source) for meaning, each in totals.items()}
    if understood.kind == "samples":
        spread = {meaning: each.cast(pa.int64()) for meaning, each in spread.items()}
    return spread, notes


def _differences(
    totals: Mapping[str, NDArray[np.float64]], faults: Faults
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """What each row added to running totals; where one of them falls, all of them start anew."""
    falls = [np.diff(total, prepend=0) < 0 for total in totals.values()]
    starts_anew_R = np.logical_or.reduce(falls)
    added = {
        meaning: np.where(starts_anew_R, total, np.diff(total, prepend=0))
        for meaning, total in totals.items()
    }
    anew = np.flatnonzero(starts_anew_R)
    if not len(anew):
        return added, []
    places = ", ".join(faults.rows.place(int(row)).rpartition("/")[2] for row in anew[:5])
    return added, [f"the running total of tokens starts anew at {places}"]


def _spread(
    meaning: str, total_R: NDArray[np.float64], row_S: IntArray, source: Source
) -> pa.Array:
    """A row's tokens on its entries: the output in whole tokens that add up, the prompt as long as it was each time."""
    if meaning == "num_prompt_tokens":
        each_S = np.round(total_R / source.tokens.calls_per_row)[row_S]
        return pa.array(each_S, from_pandas=True)
    size_R = np.maximum(np.bincount(row_S, minlength=len(total_R)), 1)
    first_R = np.concatenate([[0], np.cumsum(np.bincount(row_S, minlength=len(total_R)))[:-1]])
    place_S = np.arange(len(row_S)) - first_R[row_S]
    whole_R, rest_R = np.divmod(total_R, size_R)
    return pa.array(whole_R[row_S] + (place_S < rest_R[row_S]), from_pandas=True)


# Points in wide tables


def _wide(
    source: Source, wide: Sequence[Column], row_S: IntArray, faults: Faults
) -> dict[str, pa.Array]:
    """Accuracies of a table with one row a model and one column a point, one column after the other."""
    points = list(source.points.values())
    num_rows = len(row_S) // len(points)
    rows = row_S[:num_rows]
    accuracies = []
    for point, column in zip(points, wide, strict=True):
        values = _typed(source, "points", "accuracy", point.column, column.values, rows, faults)
        accuracies.append(pc.subtract(1.0, values) if point.is_error else values)
    at = pa.array(np.repeat(np.arange(len(points)), num_rows))
    sizes = pa.array([each.num_problems for each in points], pa.int64())
    return {
        "accuracy": pa.concat_arrays(accuracies),
        "selector": encoded(pa.array([each.selector for each in points]).take(at)),
        "level": encoded(pa.array([each.level for each in points]).take(at)),
        "k": pa.array([each.k for each in points]).take(at),
        "num_problems": sizes.take(at),
    }


def _require(kind: Kind, values: Mapping[str, pa.Array], row_S: IntArray, faults: Faults) -> None:
    """Mark the rows that lack what every row must have."""
    wanted = {
        "samples": ("model", "problem", "is_correct"),
        "counts": ("model", "problem", "num_samples", "num_correct"),
        "points": ("model",),
    }[kind]
    for meaning in (*wanted, "strategy", "sample"):
        if meaning in values and values[meaning].null_count:
            missing = np.flatnonzero(values[meaning].is_null().to_numpy(zero_copy_only=False))
            faults.mark(row_S[missing], lambda _, what=meaning: f"its {what} is missing")
