"""Counts: one entry for each model, strategy and problem: n samples of which c are right.

S entries.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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
from scaling_exp.imports.source import Source


def read_counts(source: Source, cells: Cells, faults: Faults) -> Measured:
    """The table of counts. Raises UserError for more bad rows than allowed and when no problem is common to all."""
    _mark_impossible(cells, faults)
    cells = good(cells, faults)
    grouping = Grouping.of(cells)
    _mark_repeated(cells, grouping, faults)
    mark_contradictions(cells, grouping, faults)
    cells = without_bad_rows(source, cells, faults)
    is_shared_S, notes = shared_problems(Grouping.of(cells), source.problems)
    cells = cells.where(is_shared_S)
    grouping = Grouping.of(cells)
    count_S = cells.numbers("num_samples")
    take = pa.array(grouping.problem_S)
    columns = {
        "model": grouping.column("model", grouping.group_S),
        "strategy": grouping.column("strategy", grouping.group_S),
        "problem": pa.array(grouping.problems, pa.string()).take(take),
        "level": first_of_problem(cells, grouping, "level").fill_null(NO_LEVEL).take(take),
        **cluster_column(cells, grouping, take),
        "num_samples": cells.values["num_samples"],
        "num_correct": cells.values["num_correct"],
        "num_prompt_tokens": _tokens(cells, "num_prompt_tokens"),
        "num_output_tokens": _tokens(cells, "num_output_tokens", _divisor(source, count_S)),
    }
    table = pa.table(columns).take(pa.array(np.argsort(grouping.key_S, kind="stable")))
    return Measured(
        tables={"counts": table, "problems": problem_table(cells, grouping)},
        models=grouping.present,
        num_problems=len(np.unique(grouping.problem_S)),
        num_samples=count_S.astype(np.int64),
        notes=notes,
    )


def _divisor(source: Source, count_S: NDArray[np.float64]) -> NDArray[np.float64]:
    """What output tokens are divided by to be those of a sample."""
    return np.ones_like(count_S) if source.tokens.counted in (None, "sample") else count_S


def _tokens(cells: Cells, meaning: str, divisor_S: NDArray[np.float64] | float = 1.0) -> pa.Array:
    return pa.array(cells.numbers(meaning) / divisor_S, from_pandas=True)


def _mark_impossible(cells: Cells, faults: Faults) -> None:
    samples_S, correct_S = cells.numbers("num_samples"), cells.numbers("num_correct")
    none = np.flatnonzero(samples_S == 0)
    faults.mark(cells.row_S[none], lambda _: "num_samples is 0: nothing was drawn")
    over = np.flatnonzero(correct_S > samples_S)
    faults.mark(
        cells.row_S[over],
        lambda at: f"num_correct is {correct_S[over[at]]:.0f} of {samples_S[over[at]]:.0f} samples",
    )


def _mark_repeated(cells: Cells, grouping: Grouping, faults: Faults) -> None:
    _, first = np.unique(grouping.key_S, return_index=True)
    is_later_S = np.ones(len(cells), bool)
    is_later_S[first] = False
    later = np.flatnonzero(is_later_S)
    faults.mark(
        cells.row_S[later],
        lambda at: f"{grouping.place_of(later[at])} has counts before; add them up or keep one",
    )
