"""Which model, strategy and problem every entry belongs to, and the problems that all of them have.

S entries, G pairs of model and strategy, P problems, both in order of appearance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scaling_exp.imports.cells import Cells
from scaling_exp.imports.faults import Faults
from scaling_exp.imports.rows import IntArray
from scaling_exp.types import UserError

STRATEGY = "sampling"
"""The strategy where the file names none."""
NO_LEVEL = "unknown"
PROBLEM_COLUMNS = ("problem", "level", "prompt", "answer")


@dataclass(frozen=True)
class Grouping:
    """`group_S` counts pairs of model and strategy, of which not all need occur."""

    models: Sequence[str]
    strategies: Sequence[str]
    problems: Sequence[str]
    group_S: IntArray
    problem_S: IntArray

    @classmethod
    def of(cls, cells: Cells) -> Grouping:
        """The entries of which model, strategy and problem are known; the others are bad rows and get any number."""
        strategies, strategy_S = [STRATEGY], np.zeros(len(cells), np.int64)
        if "strategy" in cells.values:
            strategies, strategy_S = cells.names("strategy"), cells.codes("strategy")
        model_S = np.maximum(cells.codes("model"), 0)
        return cls(
            models=cells.names("model"),
            strategies=strategies,
            problems=cells.names("problem"),
            group_S=model_S * len(strategies) + np.maximum(strategy_S, 0),
            problem_S=np.maximum(cells.codes("problem"), 0),
        )

    @property
    def key_S(self) -> IntArray:
        """One number for group and problem."""
        return self.group_S * len(self.problems) + self.problem_S

    @property
    def num_keys(self) -> int:
        return len(self.models) * len(self.strategies) * len(self.problems)

    def where(self, mask_S: NDArray[np.bool_]) -> Grouping:
        """Some of the entries."""
        return Grouping(
            self.models,
            self.strategies,
            self.problems,
            self.group_S[mask_S],
            self.problem_S[mask_S],
        )

    @property
    def present(self) -> list[str]:
        """The models that occur."""
        models: list[int] = np.unique(self.group_S // len(self.strategies)).tolist()
        return [self.models[at] for at in models]

    def name_of(self, group: int) -> str:
        """Model and strategy in words."""
        model, strategy = divmod(group, len(self.strategies))
        if len(self.strategies) == 1:
            return self.models[model]
        return f"{self.models[model]} under {self.strategies[strategy]}"

    def place_of(self, entry: int) -> str:
        """Problem, model and strategy of an entry in words."""
        problem = self.problems[int(self.problem_S[entry])]
        return f"problem {problem!r} of {self.name_of(int(self.group_S[entry]))}"

    def column(self, meaning: Literal["model", "strategy"], group_S: IntArray) -> pa.Array:
        """Names of models or strategies by group."""
        at, names = np.divmod(group_S, len(self.strategies)), (self.models, self.strategies)
        which = ("model", "strategy").index(meaning)
        return pa.array(names[which], pa.string()).take(pa.array(at[which]))


def shared_problems(
    grouping: Grouping, wanted: Literal["common", "same"]
) -> tuple[NDArray[np.bool_], list[str]]:
    """Which entries are of problems that every model has under each of its strategies, and a note on the others.

    Raises UserError when no problem is left, or when there are others and `wanted` is "same".
    """
    num_problems = len(grouping.problems)
    num_GP = np.bincount(grouping.key_S, minlength=grouping.num_keys).reshape(-1, num_problems)
    has_GP = np.greater(num_GP, 0)
    groups = np.flatnonzero(has_GP.any(axis=1))
    is_shared_P = np.logical_and.reduce(has_GP[groups])
    num_lost = int((has_GP.any(axis=0) & ~is_shared_P).sum())
    if not num_lost:
        return np.ones(len(grouping.group_S), bool), []
    fewest = int(groups[np.argmin(has_GP[groups].sum(axis=1))])
    has = f"{grouping.name_of(fewest)} has {has_GP[fewest].sum():,} of {has_GP.any(axis=0).sum():,} problems"
    if wanted == "same" or not is_shared_P.any():
        remedy = "leave it out with leave_out=[NAME]"
        if is_shared_P.any():
            remedy += f", or keep the {is_shared_P.sum():,} that all have with problems=common"
        raise UserError(f"{has}; {remedy}")
    note = f"{num_lost:,} problems that some model lacks are left out, {is_shared_P.sum():,} are kept; {has}"
    return is_shared_P[grouping.problem_S], [note]


def cluster_column(cells: Cells, grouping: Grouping, take: pa.Array) -> dict[str, pa.Array]:
    """The clusters of the problems that `take` chooses, as a column, where the source names any; a problem of which it
    names none is a cluster of its own."""
    if "cluster" not in cells.values:
        return {}
    named = [first_of_problem(cells, grouping, "cluster"), pa.array(grouping.problems, pa.string())]
    return {"cluster": pc.call_function("coalesce", named).take(take)}


def first_of_problem(cells: Cells, grouping: Grouping, meaning: str) -> pa.Array:
    """What the first entry of every problem says (P); null where it says nothing or nobody does."""
    num_problems = len(grouping.problems)
    if meaning not in cells.values:
        return pa.nulls(num_problems, pa.string())
    code_P = np.full(num_problems, -1)
    code_P[grouping.problem_S[::-1]] = cells.codes(meaning)[::-1]
    names = pa.array(cells.names(meaning), pa.string())
    return names.take(pa.array(code_P, mask=code_P < 0))


def mark_contradictions(cells: Cells, grouping: Grouping, faults: Faults) -> None:
    """Mark the entries that give a problem another level or cluster than the first of it did."""
    for meaning in ("level", "cluster"):
        if meaning in cells.values:
            _mark_another(cells, grouping, faults, meaning)


def _mark_another(cells: Cells, grouping: Grouping, faults: Faults, meaning: str) -> None:
    code_S = cells.codes(meaning)
    code_P = np.full(len(grouping.problems), -1)
    code_P[grouping.problem_S[::-1]] = code_S[::-1]
    odd = np.flatnonzero(code_P[grouping.problem_S] != code_S)
    names = cells.names(meaning)

    def why(at: int) -> str:
        problem = int(grouping.problem_S[odd[at]])
        first = names[code_P[problem]] if code_P[problem] >= 0 else "none"
        now = names[code_S[odd[at]]] if code_S[odd[at]] >= 0 else "none"
        return (
            f"{meaning} {now!r} where problem {grouping.problems[problem]!r} had {first!r} before"
        )

    faults.mark(cells.row_S[odd], why)


def problem_table(cells: Cells, grouping: Grouping) -> pa.Table:
    """One row a problem that occurs: problem, level, prompt, answer; "" where it is not known."""
    present = np.unique(grouping.problem_S)
    take = pa.array(present)
    columns = [
        pa.array(grouping.problems, pa.string()).take(take),
        first_of_problem(cells, grouping, "level").take(take).fill_null(NO_LEVEL),
        first_of_problem(cells, grouping, "prompt").take(take).fill_null(""),
        first_of_problem(cells, grouping, "gold").take(take).fill_null(""),
    ]
    return pa.table(columns, PROBLEM_COLUMNS)
