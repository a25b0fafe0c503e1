"""What a run would draw and cost, before it starts. Loads no engine and no model.

Lengths are those of finished draws of the same model where the pool has any, else the strategy's longest; time comes
from the speed of earlier runs in the store, and is not given where there was none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path as FilePath
from statistics import mean

from rich.console import Console
from rich.table import Table

from scaling_exp.analysis.cost import decode_flops, prefill_flops
from scaling_exp.experiment import Experiment, Traced, survey


def plan(experiment: Experiment) -> str:
    """A table with one row a model and a total. Raises UserError as `run` would."""
    traced = survey(experiment)
    speeds = known_speeds(FilePath(experiment.store))
    table = Table(title=f"{experiment.run_id}: what `run` would draw", title_justify="left")
    for column in ("model", "in the pool", "to draw, at most", "output tokens", "FLOPs", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    totals = [0, 0, 0.0, 0.0]
    for model in experiment.models:
        mine = [each for each in traced if each.model.name == model.name]
        num_known = sum(len(each.known) for each in mine)
        num_missing = sum(len(each.all_missing) for each in mine)
        length, is_measured = expected_length(experiment, mine)
        tokens = num_missing * length
        flops = expected_flops(mine, length)
        speed = speeds.get(model.name)
        seconds = tokens / speed if speed else None
        for index, amount in enumerate((num_known, num_missing, tokens, flops)):
            totals[index] += amount
        table.add_row(
            model.name,
            f"{num_known:,}",
            f"{num_missing:,}",
            f"{'' if is_measured else '<= '}{tokens:,.0f}",
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


def expected_length(experiment: Experiment, traced: Sequence[Traced]) -> tuple[float, bool]:
    """Mean output tokens of a draw, and whether it was measured (else it is the longest that is allowed)."""
    lengths = [len(known.tokens) for each in traced for known in each.known.values()]
    if lengths:
        return mean(lengths), True
    return max(strategy.max_new_tokens for strategy in experiment.strategies.values()), False


def expected_flops(traced: Sequence[Traced], length: float) -> float:
    """Prefill of every prompt that has something to draw, and decoding of what is missing."""
    total = 0.0
    for each in traced:
        architecture = each.model.facts.architecture
        if each.all_missing:
            total += float(prefill_flops(architecture, len(each.prompt)))
            one = float(decode_flops(architecture, len(each.prompt), round(length)))
            total += len(each.all_missing) * one
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
