"""Samples: one entry a sample, with its answer or its correctness.

Where there are neither answers nor scores there is nothing to vote with, and counts say as much as samples do.

S samples.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.imports.cells import Cells
from scaling_exp.imports.faults import Faults
from scaling_exp.imports.grouping import (
    NO_LEVEL,
    Grouping,
    cluster_column,
    first_of_problem,
    mark_contradictions,
    problem_table,
    shared_problems,
)
from scaling_exp.imports.measured import Measured, good, without_bad_rows
from scaling_exp.imports.rows import IntArray
from scaling_exp.imports.source import Source

CONTENT = ("is_correct", "answer", "score", "text")


def read_samples(source: Source, cells: Cells, faults: Faults) -> Measured:
    """The tables of samples, or of counts where samples say no more.

    Raises UserError for more bad rows than allowed and when no problem is common to all models.
    """
    cells, notes = _graded(cells, faults)
    _mark_right_without_answer(cells, faults)
    cells = good(cells, faults)
    mark_contradictions(cells, Grouping.of(cells), faults)
    cells = good(cells, faults)
    grouping = Grouping.of(cells)
    is_repeated_S, more = _repeated(cells, grouping, faults)
    cells = cells.where(~is_repeated_S) if is_repeated_S.any() else cells
    cells = without_bad_rows(source, cells, faults)
    is_shared_S, others = shared_problems(Grouping.of(cells), source.problems)
    cells = cells if is_shared_S.all() else cells.where(is_shared_S)
    grouping = Grouping.of(cells)
    count = np.bincount(grouping.key_S, minlength=grouping.num_keys)
    has_votes = "answer" in cells.values or "score" in cells.values
    table = _sample_table(cells, grouping) if has_votes else _count_table(cells, grouping, count)
    notes += [*more, *others, *_notes(cells, grouping, has_votes=has_votes)]
    return Measured(
        tables={
            "samples" if has_votes else "counts": table,
            "problems": problem_table(cells, grouping),
        },
        models=grouping.present,
        num_problems=len(np.unique(grouping.problem_S)),
        num_samples=count[count > 0],
        notes=notes,
    )


def _graded(cells: Cells, faults: Faults) -> tuple[Cells, list[str]]:
    """With `is_correct`: as given, or by comparing the answer with the right one."""
    if "is_correct" in cells.values:
        return cells, []
    gold = cells.values["gold"]
    missing = np.flatnonzero(gold.indices.is_null().to_numpy(zero_copy_only=False))
    faults.mark(
        cells.row_S[missing], lambda _: "its right answer is missing, so it cannot be graded"
    )
    is_equal = pc.equal(cells.values["answer"].cast(pa.string()), gold.cast(pa.string()))
    values = {**cells.values, "is_correct": pc.fill_null(is_equal, False)}
    note = "graded by exact match of answer and right answer, without spaces around them"
    return Cells(values, cells.row_S, cells.is_listed, cells.notes), [note]


def _mark_right_without_answer(cells: Cells, faults: Faults) -> None:
    if "answer" not in cells.values:
        return
    is_right_S = pc.fill_null(cells.values["is_correct"], False).to_numpy(zero_copy_only=False)
    faults.mark(
        cells.row_S[is_right_S & (cells.codes("answer") < 0)],
        lambda _: (
            "is marked correct but has no answer; see columns.answer, answer_pattern and no_answer"
        ),
    )


def _repeated(
    cells: Cells, grouping: Grouping, faults: Faults
) -> tuple[NDArray[np.bool_], list[str]]:
    """Samples that stand in the file before, word for word; those that say something else there are marked."""
    nothing = np.zeros(len(cells), bool)
    if "sample" not in cells.values:
        return nothing, []
    sample_S = pc.fill_null(cells.values["sample"], 0).to_numpy()
    key_S = grouping.key_S * (sample_S.max(initial=0) + 1) + sample_S
    if len(np.unique(key_S)) == len(key_S):
        return nothing, []
    twice = np.flatnonzero(pd.Series(key_S).duplicated(keep=False))
    take = pa.array(twice)
    said = {
        name: cells.values[name].take(take).to_pandas() for name in CONTENT if name in cells.values
    }
    frame = pd.DataFrame({"key": key_S[twice], **said})
    is_later = frame.duplicated("key").to_numpy()
    is_equal = frame.duplicated().to_numpy()
    odd = twice[is_later & ~is_equal]
    faults.mark(
        cells.row_S[odd],
        lambda at: (
            f"sample {sample_S[odd[at]]} of {grouping.place_of(odd[at])} stands there before and says something else"
        ),
    )
    nothing[twice[is_equal]] = True
    num_equal = int(is_equal.sum())
    return nothing, [
        f"{num_equal:,} samples stood twice in the file and count once"
    ] if num_equal else []


def _sample_table(cells: Cells, grouping: Grouping) -> pa.Table:
    """One row a sample, by model, strategy, problem and sample; null where the file says nothing."""
    level_P = first_of_problem(cells, grouping, "level").fill_null(NO_LEVEL)
    problem_S = pa.array(grouping.problem_S)
    columns = {
        "model": grouping.column("model", grouping.group_S),
        "strategy": grouping.column("strategy", grouping.group_S),
        "problem": pa.array(grouping.problems, pa.string()).take(problem_S),
        "level": level_P.take(problem_S),
        **cluster_column(cells, grouping, problem_S),
        "sample": pa.array(_sample_numbers(cells, grouping), pa.int32()),
        **_answer_column(cells),
        "is_correct": cells.values["is_correct"],
        "truncated": _or_nulls(cells, "truncated", pa.bool_()),
        "num_prompt_tokens": _or_nulls(cells, "num_prompt_tokens", pa.int32()),
        "num_output_tokens": _or_nulls(cells, "num_output_tokens", pa.int32()),
        "text": _or_nulls(cells, "text", pa.string()),
    }
    if "score" in cells.values:
        columns["score"] = cells.values["score"]
    order_S = np.lexsort((columns["sample"].to_numpy(), grouping.key_S))
    is_ordered = bool((order_S == np.arange(len(order_S))).all())
    return pa.table(columns) if is_ordered else pa.table(columns).take(pa.array(order_S))


def _answer_column(cells: Cells) -> dict[str, pa.Array]:
    """None where the source has no answers: nulls would say that no sample has one, and then none could be right."""
    if "answer" not in cells.values:
        return {}
    return {"answer": cells.values["answer"].cast(pa.string())}


def _or_nulls(cells: Cells, meaning: str, kind: pa.DataType) -> pa.Array:
    if meaning not in cells.values:
        return pa.nulls(len(cells), kind)
    return cells.values[meaning].cast(kind)


def _sample_numbers(cells: Cells, grouping: Grouping) -> IntArray:
    """As given, or by order of appearance."""
    if "sample" in cells.values:
        return cells.values["sample"].to_numpy()
    order_S = np.argsort(grouping.key_S, kind="stable")
    sorted_S = grouping.key_S[order_S]
    starts = np.flatnonzero(np.diff(sorted_S, prepend=-1))
    size = np.diff(np.append(starts, len(sorted_S)))
    numbers = np.empty(len(sorted_S), np.int64)
    numbers[order_S] = np.arange(len(sorted_S)) - np.repeat(starts, size)
    return numbers


def _count_table(cells: Cells, grouping: Grouping, count: IntArray) -> pa.Table:
    """One row for each model, strategy and problem; tokens are means a sample, null where any is not known."""
    key_S, keys = grouping.key_S, np.flatnonzero(count)
    is_right_S = cells.values["is_correct"].to_numpy(zero_copy_only=False).astype(np.float64)
    right = np.bincount(key_S, is_right_S, minlength=len(count))[keys].astype(np.int64)
    group, problem = np.divmod(keys, len(grouping.problems))
    take = pa.array(problem)
    columns = {
        "model": grouping.column("model", group),
        "strategy": grouping.column("strategy", group),
        "problem": pa.array(grouping.problems, pa.string()).take(take),
        "level": first_of_problem(cells, grouping, "level").fill_null(NO_LEVEL).take(take),
        **cluster_column(cells, grouping, take),
        "num_samples": count[keys],
        "num_correct": right,
    }
    for meaning in ("num_prompt_tokens", "num_output_tokens"):
        total = np.bincount(key_S, cells.numbers(meaning), minlength=len(count))[keys]
        columns[meaning] = pa.array(total / count[keys], from_pandas=True)
    return pa.table(columns)


def _notes(cells: Cells, grouping: Grouping, *, has_votes: bool) -> list[str]:
    notes = []
    if not has_votes:
        notes.append(
            "there are no answers to vote with: samples are kept as counts of right ones"
            + (", without their texts" if "text" in cells.values else "")
        )
    elif "answer" not in cells.values:
        notes.append("there are no answers to vote with; scores choose among samples")
    elif num_none := int((cells.codes("answer") < 0).sum()):
        notes.append(
            f"{num_none:,} of {len(cells):,} samples have no answer: they count as wrong and do not vote"
        )
    if "answer" in cells.values and (odd := _graded_two_ways(cells, grouping)):
        notes.append(f"{odd:,} answers are graded right in some samples and wrong in others")
    return notes


def _graded_two_ways(cells: Cells, grouping: Grouping) -> int:
    """Answers to a problem that are right in one sample and wrong in another."""
    code_S = cells.codes("answer")
    pair_S = grouping.problem_S * (code_S.max(initial=0) + 1) + code_S
    is_right_S = cells.values["is_correct"].to_numpy(zero_copy_only=False)
    right, wrong = (pair_S[(code_S >= 0) & (is_right_S == said)] for said in (True, False))
    return len(np.intersect1d(right, wrong))
