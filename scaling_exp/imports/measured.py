"""What a file turned out to hold: the tables of a run, and what has to be said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scaling_exp.imports.cells import Cells
from scaling_exp.imports.faults import Faults
from scaling_exp.imports.rows import IntArray
from scaling_exp.imports.source import Source
from scaling_exp.types import UserError


@dataclass(frozen=True)
class Measured:
    """`tables` by name, as a run folder has them. `num_samples` has one entry for each model, strategy and problem, and
    is empty for points."""

    tables: Mapping[str, pa.Table]
    models: Sequence[str]
    num_problems: int
    num_samples: IntArray
    notes: Sequence[str]


def good(cells: Cells, faults: Faults) -> Cells:
    """The entries of rows that nothing is wrong with so far: others are compared with these alone."""
    return cells.where(~faults.is_bad_R[cells.row_S])


def without_bad_rows(source: Source, cells: Cells, faults: Faults) -> Cells:
    """The entries of good rows and of models that are wanted. Raises UserError when too much or nothing is left out."""
    faults.refuse_beyond(source.max_bad_rows)
    kept = good(cells, faults)
    names = kept.names("model")
    if unknown := sorted(set(source.leave_out) - set(names)):
        raise UserError(
            f"leave_out names {unknown[0]!r}, which is no model here; the models are {', '.join(names[:20])}"
        )
    if source.leave_out:
        out = [names.index(name) for name in source.leave_out]
        kept = kept.where(~np.isin(kept.codes("model"), out))
    if not len(kept):
        raise UserError("nothing is left to import; see max_bad_rows and leave_out")
    return kept
