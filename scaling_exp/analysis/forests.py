"""What a query takes under a strategy that goes below samples: its whole forest, pruned branches and scores included.

Every forest is charged as if it stood alone: the prompt is read once; a continuation reads the last token of its
parent, which nobody fed back yet, and what was forced after it, then writes; what its ancestors left in the cache is
not read again. The scorer reads the prompt once a forest and of an answer what it has not read of an ancestor.

Axes: N nodes (rows of the traces).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scaling_exp.analysis.cost import decode_flops, forward_flops, prefill_flops
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.ledger import FOREST, Nodes
from scaling_exp.types import ModelFacts

FOREST_COLUMNS = ("flops", "num_output_tokens")


def forest_costs(
    traces: pd.DataFrame,
    samples: pd.DataFrame,
    models: Sequence[ModelFacts],
    scorer: ModelFacts | None,
) -> pd.DataFrame:
    """One row per model, strategy and problem: what it took, `FOREST_COLUMNS`; forced tokens are read, not written.

    Raises ValueError for a parent that is missing, or scores without a scorer.
    """
    nodes = Nodes.of(traces, samples)
    facts = {each.name: each for each in models}
    flops_N = _generating(nodes, facts)
    first = ~traces.duplicated(FOREST).to_numpy(bool)
    for name, each in facts.items():
        is_first_N = first & (nodes.model_N == name)
        flops_N[is_first_N] += prefill_flops(each.architecture, nodes.prompt_N[is_first_N])
    flops_N += _scoring(traces, nodes, first, scorer)
    rows = traces[FOREST].assign(flops=flops_N, num_output_tokens=nodes.output_N)
    return pd.DataFrame(rows.groupby(FOREST, observed=True, as_index=False).sum())


def _generating(nodes: Nodes, facts: Mapping[str, ModelFacts]) -> FloatArray:
    """FLOPs of every node, without the prompt's."""
    prefix_N = nodes.prefix_N()
    is_below_N = nodes.parent_N >= 0
    flops_N = np.zeros(len(prefix_N))
    for name, each in facts.items():
        mine = nodes.model_N == name
        prefix, shape = prefix_N[mine], each.architecture
        first_new = prefix - nodes.forced_N[mine] + 1 - is_below_N[mine]
        flops_N[mine] = forward_flops(shape, first_new, prefix)
        flops_N[mine] += decode_flops(shape, prefix, nodes.output_N[mine])
    return flops_N


def _scoring(
    traces: pd.DataFrame, nodes: Nodes, is_first_N: np.ndarray, scorer: ModelFacts | None
) -> FloatArray:
    """FLOPs of every node's score."""
    read_N = traces["num_scored_tokens"].to_numpy(np.float64)
    is_scored_N = ~np.isnan(read_N)
    if not is_scored_N.any():
        return np.zeros(len(read_N))
    if scorer is None:
        raise ValueError("the traces table has scores and the run no scorer")
    known_N = np.where(is_scored_N, read_N, 0.0)
    for rows in nodes.generations[1:]:
        known_N[rows] = np.maximum(known_N[rows], known_N[nodes.parent_N[rows]])
    above_N = np.where(nodes.parent_N >= 0, known_N[nodes.parent_N], 0.0)
    cached_N = np.maximum(above_N, nodes.prompt_N)
    shape = scorer.architecture
    flops_N = np.where(is_scored_N, forward_flops(shape, cached_N + 1, np.nan_to_num(read_N)), 0.0)
    return flops_N + np.where(is_first_N, prefill_flops(shape, nodes.prompt_N), 0.0)
