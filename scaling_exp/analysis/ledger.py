"""The ledger: what a run spent on each model, in FLOPs by purpose and in seconds of accelerators.

A draw that several strategies asked for was computed once and is booked once. What is in the pool
and was asked for by none of the run's strategies is not in its traces, so not here.

Axes: N nodes (rows of the traces), D draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_exp.analysis.cost import forward_flops
from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.types import Architecture, ModelFacts

StringArray = NDArray[np.object_]

PARTS = ("prefill", "cached", "decode", "forced", "scorer", "wasted")
"""Columns of the ledger, FLOPs each; `cached` is what the prefix cache saved, the others were spent.
"""
KEY = ["model", "key"]
FOREST = ["model", "strategy", "problem"]
TRACE_COLUMNS = (
    *FOREST,
    *("path", "is_accepted", "key"),
    *(f"num_{name}_tokens" for name in ("prefix", "forced", "output", "scored")),
)
SAMPLE_COLUMNS = (
    *("model", "problem", "answer", "truncated", "num_prompt_tokens", "num_cached_tokens", "key"),
)


def ledger(
    traces: pd.DataFrame,
    samples: pd.DataFrame,
    models: Sequence[ModelFacts],
    scorer: Architecture | None = None,
) -> pd.DataFrame:
    """One row per model: `model`, the FLOPs of each of `PARTS`, and `num_draws`.

    Prefill and forced tokens are what was read, decode is what was written. A draw is wasted, as
    far as it was written, when no accepted answer goes through it, or when it was cut off before it
    had an answer. A draw that `scorer` was asked about was read by it once, without what it knew of
    an ancestor. How much of a prefix was cached was measured for the draws that end an answer; of
    others, all that was read before them in their forest was, and the prompt was not.
    Raises ValueError for a column or a parent that is missing.
    """
    _check("traces", traces, TRACE_COLUMNS)
    _check("samples", samples, SAMPLE_COLUMNS)
    draws = _draws(Nodes.of(traces, samples), samples, scorer)
    rows = [
        {"model": facts.name, **_parts(facts.architecture, mine), "num_draws": len(mine)}
        for facts in models
        if len(mine := draws.loc[(draws["model"] == facts.name).to_numpy(bool)])
    ]
    return pd.DataFrame(rows, columns=["model", *PARTS, "num_draws"])


def seconds_per_output_token(
    engines: pd.DataFrame, accelerators_per_replica: int
) -> dict[str, float]:
    """Measured accelerator seconds of every model, from one row for every time that a replica held
    it: from when it was loaded until it had nothing left to draw, prefill and waiting included.

    What a scorer took beside it is in these seconds, and its own rows are not counted. Models that
    drew nothing are left out.
    """
    seconds, tokens = Counter[str](), Counter[str]()
    if "role" in engines:  # earlier runs told nothing of scorers
        engines = engines.loc[(engines["role"] == "generator").to_numpy(bool)]
    columns = (engines[name].tolist() for name in ("model", "wall_seconds", "output_tokens"))
    for model, wall, written in zip(*columns, strict=True):
        seconds[model] += wall
        tokens[model] += written
    return {
        model: accelerators_per_replica * seconds[model] / written
        for model, written in tokens.items()
        if written
    }


def _check(name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(f"the {name} table lacks the columns {', '.join(missing)}; run it again")


@dataclass(frozen=True)
class Nodes:
    """The forests of all models and strategies as columns; `parent_N` is a node's row, -1 for the
    prompt's children."""

    model_N: StringArray
    key_N: StringArray
    parent_N: IntArray
    is_accepted_N: NDArray[np.bool_]
    prompt_N: FloatArray
    prefix_N: FloatArray
    """Tokens that the model was given: prompt, what of its ancestors was kept, and what was forced."""
    forced_N: FloatArray
    output_N: FloatArray
    scored_N: FloatArray
    """Tokens that a scorer read of the answer so far, prompt included; NaN where it was not asked."""
    question_N: FloatArray
    """Of these, what is there beside an answer: the least of the node's forest; 0 where nothing was scored."""
    is_first_N: NDArray[np.bool_]
    """The first of every forest."""
    is_first_scored_N: NDArray[np.bool_]
    """The first of every forest that a scorer was asked about."""

    @classmethod
    def of(cls, traces: pd.DataFrame, samples: pd.DataFrame) -> Nodes:
        prompts = samples.drop_duplicates(["model", "problem"])
        lengths = np.append(prompts["num_prompt_tokens"].to_numpy(np.float64), np.nan)
        is_scored = traces["num_scored_tokens"].notna()
        is_new = ~traces.assign(is_scored=is_scored).duplicated([*FOREST, "is_scored"])
        prompt_N = lengths[_rows_of(traces, prompts, ["model", "problem"])]
        answer_N = traces["num_prefix_tokens"] + traces["num_output_tokens"] - prompt_N
        beside_N = (traces["num_scored_tokens"] - answer_N).clip(lower=0)
        forests = beside_N.groupby([traces[name] for name in FOREST], observed=True)
        return cls(
            model_N=traces["model"].astype(str).to_numpy(object),
            key_N=traces["key"].astype(str).to_numpy(object),
            parent_N=_parents(traces),
            is_accepted_N=traces["is_accepted"].to_numpy(bool),
            prompt_N=prompt_N,
            prefix_N=traces["num_prefix_tokens"].to_numpy(np.float64),
            forced_N=traces["num_forced_tokens"].to_numpy(np.float64),
            output_N=traces["num_output_tokens"].to_numpy(np.float64),
            scored_N=traces["num_scored_tokens"].to_numpy(np.float64),
            question_N=forests.transform("min").fillna(0.0).to_numpy(np.float64),
            is_first_N=~traces.duplicated(FOREST).to_numpy(bool),
            is_first_scored_N=(is_new & is_scored).to_numpy(bool),
        )

    @property
    def fed_N(self) -> FloatArray:
        """Tokens that are read when a node's parent has ended: all but the last that it wrote; without end for the
        prompt's children."""
        return np.where(
            self.parent_N < 0, np.inf, (self.prefix_N + self.output_N)[self.parent_N] - 1
        )

    @cached_property
    def generations(self) -> list[IntArray]:
        """Rows of the prompts' children, then those of their children, and so on."""
        depth_N = np.full(len(self.parent_N), -1)
        rows, generations = np.flatnonzero(self.parent_N < 0), []
        while len(rows):
            depth_N[rows] = len(generations)
            generations.append(rows)
            is_next = (self.parent_N >= 0) & (depth_N < 0)
            is_next[is_next] = depth_N[self.parent_N[is_next]] >= 0
            rows = np.flatnonzero(is_next)
        return generations

    def is_used_N(self) -> NDArray[np.bool_]:
        """Whether an accepted answer ends at a node or below it."""
        used_N = self.is_accepted_N.copy()
        for rows in self.generations[:0:-1]:
            used_N[self.parent_N[rows[used_N[rows]]]] = True
        return used_N


def scoring_flops(nodes: Nodes, scorer: Architecture | None) -> FloatArray:
    """FLOPs of every node's score, shape (N,): the question with the first of its forest that was scored, and of an
    answer what was not read of an ancestor. What a grader says without reading a token costs nothing.

    Raises ValueError for scores without a scorer.
    """
    is_scored_N = nodes.scored_N > 0
    if not is_scored_N.any():
        return np.zeros(len(is_scored_N))
    if scorer is None:
        raise ValueError("the traces table has scores and the run no scorer")
    read_N = np.where(is_scored_N, nodes.scored_N, 0.0)
    most_N = read_N.copy()
    for rows in nodes.generations[1:]:
        most_N[rows] = np.maximum(most_N[rows], most_N[nodes.parent_N[rows]])
    above_N = np.where(nodes.parent_N >= 0, most_N[nodes.parent_N], 0.0)
    known_N = np.maximum(above_N, nodes.question_N)
    flops_N = np.where(is_scored_N, forward_flops(scorer, known_N + 1, read_N), 0.0)
    question_flops_N = forward_flops(scorer, 1, nodes.question_N)
    return flops_N + np.where(nodes.is_first_scored_N, question_flops_N, 0.0)


def _parents(traces: pd.DataFrame) -> IntArray:
    """Row of each node's parent in its own forest, -1 where that is the prompt.

    Raises ValueError when it is not in the table.
    """
    split = traces["path"].astype(str).str.rpartition(".")
    above = traces.assign(path=split[0])
    parent_N = _rows_of(above, traces, [*FOREST, "path"])
    is_lost = (parent_N < 0) & (split[1] != "").to_numpy(bool)
    if is_lost.any():
        lost = traces["path"].astype(str).tolist()[int(is_lost.argmax())]
        raise ValueError(f"the traces table has node {lost} without its parent; run it again")
    return parent_N


def _rows_of(wanted: pd.DataFrame, table: pd.DataFrame, key: list[str]) -> IntArray:
    """Row of `table` that has the same key, for every row of `wanted`; -1 where there is none."""
    both = [pd.MultiIndex.from_arrays([each[k] for k in key]) for each in (table, wanted)]
    return both[0].get_indexer(both[1]).astype(np.int64)


def _draws(nodes: Nodes, samples: pd.DataFrame, scorer: Architecture | None) -> pd.DataFrame:
    """One row per draw of a model, with what was cached and whether it came to nothing."""
    prefix_N, given_N = nodes.prefix_N, nodes.prefix_N - nodes.forced_N
    every = pd.DataFrame(
        {
            "model": nodes.model_N,
            "key": nodes.key_N,
            "is_answer": nodes.is_accepted_N,
            "is_used": nodes.is_used_N(),
            "given": given_N,
            "prefix": prefix_N,
            "end": prefix_N + nodes.output_N,
            "cached": np.where(nodes.parent_N < 0, 0.0, np.minimum(given_N, nodes.fed_N)),
            "scoring": scoring_flops(nodes, scorer),
        }
    )
    every["scoring"] = every.groupby(KEY)["scoring"].transform("max")
    order = ["is_answer", "is_used"]  # what any strategy made of a draw counts
    draws = every.sort_values(order, ascending=False, kind="stable").drop_duplicates(KEY)
    leaves = samples.drop_duplicates(KEY)
    row_D = _rows_of(draws, leaves, KEY)
    measured_D = np.append(leaves["num_cached_tokens"].to_numpy(np.float64), np.nan)[row_D]
    is_cut = leaves["truncated"].to_numpy(bool) & leaves["answer"].isna().to_numpy(bool)
    return draws.assign(
        cached=np.where(row_D < 0, draws["cached"], measured_D),
        is_wasted=~draws["is_used"].to_numpy(bool) | np.append(is_cut, False)[row_D],
    )


def _parts(shape: Architecture, draws: pd.DataFrame) -> dict[str, float]:
    columns = ("cached", "given", "prefix", "end")
    cached_D, given_D, prefix_D, end_D = (draws[name].to_numpy(np.float64) for name in columns)
    written_D = forward_flops(shape, prefix_D + 1, end_D - 1)
    is_wasted_D = draws["is_wasted"].to_numpy(bool)
    return {
        "prefill": float(forward_flops(shape, cached_D + 1, given_D).sum()),
        "cached": float(forward_flops(shape, 1, cached_D).sum()),
        "decode": float(written_D[~is_wasted_D].sum()),
        "forced": float(forward_flops(shape, np.maximum(cached_D, given_D) + 1, prefix_D).sum()),
        "scorer": float(draws["scoring"].to_numpy(np.float64).sum()),
        "wasted": float(written_D[is_wasted_D].sum()),
    }
