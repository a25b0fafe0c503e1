"""Points: one entry for each model, selector and number of attempts: how many problems were solved.

S entries.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from scaling_exp.imports.arrow import compute as pc
from scaling_exp.imports.cells import Cells
from scaling_exp.imports.faults import Faults
from scaling_exp.imports.grouping import PROBLEM_COLUMNS, STRATEGY
from scaling_exp.imports.meanings import SELECTORS, selector_of
from scaling_exp.imports.measured import Measured, good, without_bad_rows
from scaling_exp.imports.parsing import encoded
from scaling_exp.imports.source import Source
from scaling_exp.types import UserError

NO_PROBLEMS = pa.table({name: pa.array([], pa.string()) for name in PROBLEM_COLUMNS})
KEY = ("model", "strategy", "selector", "level", "k")


def read_points(source: Source, cells: Cells, faults: Faults) -> Measured:
    """The table of points. Raises UserError for more bad rows than allowed."""
    is_known_S = ~cells.values["accuracy"].is_null().to_numpy(zero_copy_only=False)
    is_known_S |= faults.is_bad_R[cells.row_S]
    num_missing = int((~is_known_S).sum())
    cells, notes = _completed(cells.where(is_known_S))
    _mark_impossible(cells, faults)
    _mark_repeated(good(cells, faults), faults)
    cells = without_bad_rows(source, cells, faults)
    table = pa.table({name: _plain(cells, name) for name in KEY} | _measures(cells))
    if num_missing:
        notes.append(f"{num_missing:,} accuracies are missing in the file and are left out")
    num_derived = table["standard_error"].length() - table["standard_error"].null_count
    if num_derived and "standard_error" not in cells.values:
        notes.append("standard errors are binomial, from the number of problems")
    return Measured(
        tables={"points": table, "problems": NO_PROBLEMS},
        models=[cells.names("model")[at] for at in np.unique(cells.codes("model")).tolist()],
        num_problems=0,
        num_samples=np.zeros(0, np.int64),
        notes=notes,
    )


def _completed(cells: Cells) -> tuple[Cells, list[str]]:
    """With strategy, selector, level and k. Raises UserError when more than one attempt has no selector."""
    values, notes = dict(cells.values), []
    size = len(cells)
    if "k" in values and "selector" not in values and pc.max(values["k"]).as_py() != 1:
        raise UserError(
            "accuracies at several k need a selector: name columns.selector, or constants.selector="
            + "|".join(SELECTORS)
        )
    if "selector" not in values:
        values["selector"] = encoded(pa.array(["single"] * size))
        notes.append("accuracies are taken as those of a single attempt")
    if "k" not in values:
        values["k"] = pa.array(np.ones(size, np.int64))
    for name, value in (("strategy", STRATEGY), ("level", "all")):
        if name not in values:
            values[name] = encoded(pa.array([value] * size))
    plain = [selector_of(name) for name in values["selector"].dictionary.to_pylist()]
    named = pa.array(plain, pa.string()).take(values["selector"].indices)
    return Cells({**values, "selector": encoded(named)}, cells.row_S, cells.is_listed), notes


def _mark_impossible(cells: Cells, faults: Faults) -> None:
    accuracy_S, k_S = cells.numbers("accuracy"), cells.numbers("k")
    over = np.flatnonzero((accuracy_S < 0) | (accuracy_S > 1))
    faults.mark(
        cells.row_S[over],
        lambda at: (
            f"accuracy is {accuracy_S[over[at]]:g}, not from 0 to 1; per cent need units.accuracy=0.01"
        ),
    )
    unknown = np.flatnonzero(cells.codes("selector") < 0)
    faults.mark(cells.row_S[unknown], lambda _: f"its selector is none of {', '.join(SELECTORS)}")
    none = np.flatnonzero(~(k_S >= 1))
    faults.mark(cells.row_S[none], lambda _: "its k is not a whole number from 1")
    is_single = np.array([name == "single" for name in cells.names("selector")] + [False])
    odd = np.flatnonzero(is_single[cells.codes("selector")] & (k_S > 1))
    faults.mark(cells.row_S[odd], lambda at: f"a single attempt with k = {k_S[odd[at]]:.0f}")


def _mark_repeated(cells: Cells, faults: Faults) -> None:
    table = pa.table({name: _plain(cells, name) for name in KEY}).to_pandas()
    later = np.flatnonzero(table.duplicated().to_numpy())
    faults.mark(
        cells.row_S[later],
        lambda at: f"stands there before: {', '.join(map(str, table.iloc[later[at]]))}",
    )


def _plain(cells: Cells, meaning: str) -> pa.Array:
    values = cells.values[meaning]
    return values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values


def _measures(cells: Cells) -> dict[str, pa.Array]:
    accuracy_S, problems_S = cells.numbers("accuracy"), cells.numbers("num_problems")
    error_S = cells.numbers("standard_error")
    if "standard_error" not in cells.values:
        error_S = np.sqrt(accuracy_S * (1 - accuracy_S) / problems_S)
    columns = {"accuracy": accuracy_S, "standard_error": error_S, "num_problems": problems_S}
    columns["num_output_tokens"] = cells.numbers("num_output_tokens")
    return {name: pa.array(each, from_pandas=True) for name, each in columns.items()}
