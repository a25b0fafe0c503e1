"""What a query takes under a strategy that goes below samples: its whole forest, pruned branches and scores included.

Every forest is charged as if it stood alone: the prompt is read once; a continuation reads the last token of its
parent, which nobody fed back yet, unless that was cut off, and what was forced after it, then writes; what its
ancestors left in the cache is not read again. The scorer reads the prompt once a forest and of an answer what it has
not read of an ancestor.

Axes: N nodes (rows of the traces).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scaling_exp.analysis.cost import decode_flops, forward_flops, prefill_flops
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.ledger import FOREST, Nodes, scoring_flops
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
    flops_N = _generating(nodes, facts) + scoring_flops(nodes, scorer and scorer.architecture)
    rows = traces[FOREST].assign(flops=flops_N, num_output_tokens=nodes.output_N)
    return pd.DataFrame(rows.groupby(FOREST, observed=True, as_index=False).sum())


def _generating(nodes: Nodes, facts: Mapping[str, ModelFacts]) -> FloatArray:
    """FLOPs of every node; those of the prompt with the first of its forest."""
    prefix_N = nodes.prefix_N
    first_new_N = np.minimum(nodes.fed_N, prefix_N - nodes.forced_N) + 1
    flops_N = np.zeros(len(prefix_N))
    for name, each in facts.items():
        mine, shape = nodes.model_N == name, each.architecture
        flops_N[mine] = forward_flops(shape, first_new_N[mine], prefix_N[mine])
        flops_N[mine] += decode_flops(shape, prefix_N[mine], nodes.output_N[mine])
        first = mine & nodes.is_first_N
        flops_N[first] += prefill_flops(shape, nodes.prompt_N[first])
    return flops_N
