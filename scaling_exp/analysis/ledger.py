"""The ledger: where the FLOPs of a run's draws went, per model.

A draw that several strategies asked for was computed once and is booked once. What is in the pool
and was asked for by none of the run's strategies is not in its traces, so not here.

Axes: N nodes (rows of the traces), D draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scaling_exp.analysis.cost import forward_flops
from scaling_exp.types import Architecture, ModelFacts

PARTS = ("prefill", "cached", "decode", "forced", "scorer", "wasted")
"""Columns of the ledger, FLOPs each; `cached` is what the prefix cache saved, the others were spent.
"""
FOREST = ["model", "strategy", "problem"]
TRACE_COLUMNS = (
    *FOREST,
    *("path", "is_accepted", "num_forced_tokens", "num_output_tokens", "key"),
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
    had an answer. `scorer` reads every accepted answer with its prompt. How much of a prefix was
    cached was measured for the draws that end an answer; of others, all that came before them in
    their forest was, and the prompt was not.
    Raises ValueError for a column that is missing.
    """
    _check("traces", traces, TRACE_COLUMNS)
    _check("samples", samples, SAMPLE_COLUMNS)
    nodes = traces.loc[:, list(TRACE_COLUMNS)].reset_index(drop=True)
    nodes["depth"] = nodes["path"].str.count(r"\.")
    nodes["parent"] = nodes["path"].where(nodes["depth"] > 0).str.rpartition(".")[0]
    nodes["is_used"] = _is_used(nodes)
    nodes["prefix"] = _prefix(nodes, samples)
    draws = _draws(nodes, samples)
    rows = [
        {"model": facts.name, **_parts(facts.architecture, mine, scorer), "num_draws": len(mine)}
        for facts in models
        if not (mine := draws.loc[draws["model"] == facts.name]).empty
    ]
    return pd.DataFrame(rows, columns=["model", *PARTS, "num_draws"])


def _check(name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    if missing := [column for column in columns if column not in table.columns]:
        raise ValueError(f"the {name} table lacks the columns {', '.join(missing)}; run it again")


def _is_used(nodes: pd.DataFrame) -> pd.Series:
    """Whether an accepted answer ends at a node or below it."""
    used = nodes["is_accepted"].astype(bool).copy()
    for depth in range(int(nodes["depth"].max()), 0, -1):
        below = nodes.loc[used & (nodes["depth"] == depth), [*FOREST, "parent"]].drop_duplicates()
        above = nodes.loc[nodes["depth"] == depth - 1, [*FOREST, "path"]].reset_index()
        hit = above.merge(below, left_on=[*FOREST, "path"], right_on=[*FOREST, "parent"])
        used.loc[hit["index"]] = True
    return used


def _prefix(nodes: pd.DataFrame, samples: pd.DataFrame) -> pd.Series:
    """Tokens that the model was given for each node: prompt, ancestors, and what was forced."""
    prompts = samples.drop_duplicates(["model", "problem"]).set_index(["model", "problem"])
    roots = pd.MultiIndex.from_frame(nodes[["model", "problem"]])
    lengths = prompts["num_prompt_tokens"].reindex(roots).to_numpy(np.float64)
    prefix = pd.Series(lengths, nodes.index) + nodes["num_forced_tokens"]
    for depth in range(1, int(nodes["depth"].max()) + 1):
        is_above, is_here = nodes["depth"] == depth - 1, nodes["depth"] == depth
        above = nodes.loc[is_above, [*FOREST, "path"]].assign(
            length=prefix[is_above] + nodes.loc[is_above, "num_output_tokens"]
        )
        here = nodes.loc[is_here, [*FOREST, "parent"]].merge(
            above, "left", left_on=[*FOREST, "parent"], right_on=[*FOREST, "path"]
        )
        prefix[is_here] = here["length"].to_numpy() + nodes.loc[is_here, "num_forced_tokens"]
    return prefix


def _draws(nodes: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """One row per draw of a model, with what was cached and whether it came to nothing."""
    nodes = nodes.sort_values("is_used", ascending=False, kind="stable")
    draws = nodes.drop_duplicates(["model", "key"]).reset_index(drop=True)
    leaves = samples.assign(is_cut=samples["truncated"].astype(bool) & samples["answer"].isna())
    leaves = leaves.drop_duplicates(["model", "key"]).set_index(["model", "key"])
    leaves = leaves[["num_cached_tokens", "is_cut"]].reindex(
        pd.MultiIndex.from_frame(draws[["model", "key"]])
    )
    assumed_D = np.where(draws["depth"] > 0, draws["prefix"] - draws["num_forced_tokens"], 0.0)
    measured_D = leaves["num_cached_tokens"].to_numpy(np.float64)
    draws["cached"] = np.where(np.isnan(measured_D), assumed_D, measured_D)
    draws["is_wasted"] = ~draws["is_used"] | leaves["is_cut"].eq(True).to_numpy(bool)
    return draws


def _parts(
    shape: Architecture, draws: pd.DataFrame, scorer: Architecture | None
) -> dict[str, float]:
    prefix_D, cached_D = draws["prefix"].to_numpy(), draws["cached"].to_numpy()
    given_D = prefix_D - draws["num_forced_tokens"].to_numpy()
    end_D = prefix_D + draws["num_output_tokens"].to_numpy()
    written_D = forward_flops(shape, prefix_D + 1, end_D - 1)
    is_wasted_D = draws["is_wasted"].to_numpy(bool)
    is_answer_D = draws["is_accepted"].to_numpy(bool)
    read_D = 0.0 if scorer is None else forward_flops(scorer, np.ones(len(draws)), end_D)
    return {
        "prefill": float(forward_flops(shape, cached_D + 1, given_D).sum()),
        "cached": float(forward_flops(shape, np.ones(len(draws)), cached_D).sum()),
        "decode": float(written_D[~is_wasted_D].sum()),
        "forced": float(forward_flops(shape, np.maximum(cached_D, given_D) + 1, prefix_D).sum()),
        "scorer": float(np.sum(np.where(is_answer_D, read_D, 0.0))),
        "wasted": float(written_D[is_wasted_D].sum()),
    }
