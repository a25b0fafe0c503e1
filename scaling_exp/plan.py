"""What a run would draw and cost, before it starts. Loads no engine and no model.

Lengths are those of finished draws of the same model where the pool has any, else the strategy's longest; time comes
from the speed of earlier runs in the store, and is not given where there was none.
"""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path as FilePath

import numpy as np
from rich.console import Console
from rich.table import Table

from scaling_exp.analysis.cost import decode_flops, prefill_flops
from scaling_exp.experiment import Experiment, survey_pool
from scaling_exp.survey import Survey

PROBLEMS_TO_MEASURE = 256


def plan(experiment: Experiment) -> str:
    """A table with one row a model and a total. Raises UserError as `run` would."""
    speeds = known_speeds(FilePath(experiment.store))
    table = Table(title=f"{experiment.run_id}: what `run` would draw", title_justify="left")
    for column in ("model", "in the pool", "to draw, at most", "output tokens", "FLOPs", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    totals = [0, 0, 0.0, 0.0]
    for mine in survey_pool(experiment):
        num_known, num_missing = int(mine.num_known_P.sum()), int(mine.num_missing_P.sum())
        measured = mean_length(mine)
        length = measured or max(each.max_new_tokens for each in experiment.strategies.values())
        tokens = num_missing * length
        flops = expected_flops(mine, length)
        speed = speeds.get(mine.model.name)
        seconds = tokens / speed if speed else None
        for index, amount in enumerate((num_known, num_missing, tokens, flops)):
            totals[index] += amount
        table.add_row(
            mine.model.name,
            f"{num_known:,}",
            f"{num_missing:,}",
            f"{'' if measured else '<= '}{tokens:,.0f}",
            f"{flops:.2e}",
            "not known yet" if seconds is None else f"{seconds:,.0f}",
        )
    table.add_section()
    table.add_row(
        "all", f"{totals[0]:,}", f"{totals[1]:,}", f"{totals[2]:,.0f}", f"{totals[3]:.2e}", ""
    )
    text = StringIO()
    Console(width=110, file=text).print(table)
    return text.getvalue()


def mean_length(surveyed: Survey) -> float | None:
    """Mean output tokens of the draws that are known of some of the problems; None when none is."""
    known = np.flatnonzero(surveyed.num_known_P)
    some = known[:: len(known) // PROBLEMS_TO_MEASURE + 1]
    rows = surveyed.pool.rows([surveyed.prompted.roots[at] for at in some], ("root", "tokens"))
    lengths = np.diff(rows["tokens"].combine_chunks().offsets.to_numpy())
    return float(lengths.mean()) if len(lengths) else None


def expected_flops(surveyed: Survey, length: float) -> float:
    """Prefill of every prompt that has something to draw, and decoding of what is missing."""
    architecture = surveyed.model.facts.architecture
    total = 0.0
    for at in surveyed.problems_to_draw:
        num_prompt = len(surveyed.prompted.prompts[at])
        total += float(prefill_flops(architecture, num_prompt))
        one = float(decode_flops(architecture, num_prompt, round(length)))
        total += int(surveyed.num_missing_P[at]) * one
    return total


def known_speeds(store: FilePath) -> dict[str, float]:
    """Output tokens a second of each model in the latest run that drew from it."""
    speeds: dict[str, float] = {}
    for manifest in sorted(store.glob("*/manifest.json"), key=lambda file: file.stat().st_mtime):
        generation = json.loads(manifest.read_text()).get("generation", {})
        for name, record in generation.items():
            if record["tokens_per_second"]:
                speeds[name] = record["tokens_per_second"]
    return speeds
