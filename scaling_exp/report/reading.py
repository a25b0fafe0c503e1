"""A run's folder, read as what the analysis wants. Texts of samples are left where they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pandas as pd

from scaling_exp.analysis import Measured
from scaling_exp.analysis.ledger import TRACE_COLUMNS, ledger, seconds_per_output_token
from scaling_exp.store import RunFolder
from scaling_exp.types import Architecture, ModelFacts

NOT_ANALYSED = ("text", "seed")


def read_measured(folder: RunFolder, manifest: Mapping[str, Any]) -> Measured:
    """What a run holds: samples, counts or points. Raises StoreError when it holds none of them."""
    kinds = [name for name in ("counts", "points") if folder.has_table(name)]
    kind = kinds[0] if kinds else "samples"
    names = [name for name in folder.column_names(kind) if name not in NOT_ANALYSED]
    table = folder.read_table(kind, names).to_pandas(strings_to_categorical=True)
    return Measured(
        models=model_facts(manifest),
        **{kind: table},
        adaptive=manifest.get("adaptive", ()),
        seconds_per_output_token=_measured_seconds(folder, manifest),
    )


def read_ledger(folder: RunFolder, measured: Measured) -> pd.DataFrame:
    """Where the run's FLOPs went; empty for data that others drew."""
    if not folder.has_table("traces"):
        return pd.DataFrame()
    traces = folder.read_table("traces", TRACE_COLUMNS).to_pandas(strings_to_categorical=True)
    return ledger(traces, measured.samples, measured.models)


def model_facts(manifest: Mapping[str, Any]) -> list[ModelFacts]:
    """The models of a run as its manifest recorded them, those of unknown size or data among them."""
    known = {each.name for each in fields(ModelFacts)}
    recorded = [*manifest["models"], *manifest.get("unknown_models", ())]
    kept = [{name: each[name] for name in each if name in known} for each in recorded]
    return [
        ModelFacts(
            **{
                **each,
                "architecture": _architecture(each["architecture"]),
                "pretraining_tokens": _known(each["pretraining_tokens"]),
            }
        )
        for each in kept
    ]


def _architecture(recorded: Mapping[str, Any] | None) -> Architecture:
    return (
        Architecture.of_size(math.nan, math.nan) if recorded is None else Architecture(**recorded)
    )


def _known(number: float | None) -> float:
    return math.nan if number is None else number


def merged(recorded: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """A group of settings with some of them replaced, deeply."""
    both = {
        name: merged(recorded[name], value)
        for name, value in changed.items()
        if isinstance(value, Mapping) and isinstance(recorded.get(name), Mapping)
    }
    return {**recorded, **changed, **both}


def _measured_seconds(folder: RunFolder, manifest: Mapping[str, Any]) -> dict[str, float]:
    """Accelerator seconds of an output token by model, as far as this run drew."""
    if not folder.has_table("engines"):
        return {}
    engine = manifest["config"].get("engine", {})
    ranks = engine.get("tensor_parallel", 1) * engine.get("pipeline_parallel", 1)
    return seconds_per_output_token(folder.read_table("engines").to_pandas(), ranks)
