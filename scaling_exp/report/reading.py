"""A run's folder, read as what the analysis wants. Texts of samples are left where they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scaling_exp.analysis import Measured
from scaling_exp.analysis.bills import bills
from scaling_exp.analysis.forests import forest_costs
from scaling_exp.analysis.ledger import TRACE_COLUMNS, ledger, seconds_per_output_token
from scaling_exp.analysis.pricing import Pricing
from scaling_exp.store import RunFolder
from scaling_exp.types import Architecture, ModelFacts

NOT_ANALYSED = ("text", "seed")


def read_measured(folder: RunFolder, manifest: Mapping[str, Any]) -> Measured:
    """What a run holds: samples, counts or points. Raises StoreError when it holds none of them."""
    kinds = [name for name in ("counts", "points") if folder.has_table(name)]
    kind = kinds[0] if kinds else "samples"
    names = [name for name in folder.column_names(kind) if name not in NOT_ANALYSED]
    table = folder.read_table(kind, names).to_pandas(strings_to_categorical=True)
    models, scorer = model_facts(manifest), _scorer(manifest)
    return Measured(
        models=models,
        **{kind: table},
        adaptive=manifest.get("adaptive", ()),
        scorer=scorer,
        forests=_forests(folder, manifest, table, models, scorer),
        most_samples=manifest.get("most_samples", {}),
        seconds_per_output_token=_measured_seconds(folder, manifest),
    )


def read_ledger(folder: RunFolder, measured: Measured, pricing: Pricing) -> pd.DataFrame:
    """Where the run's FLOPs went, and what is paid by the token; empty for data that others drew, and for traces of
    before they told it."""
    if not folder.has_table("traces") or not set(TRACE_COLUMNS) <= set(
        folder.column_names("traces")
    ):
        return pd.DataFrame()
    traces = folder.read_table("traces", TRACE_COLUMNS).to_pandas(strings_to_categorical=True)
    scorer = measured.scorer and measured.scorer.architecture
    found = ledger(traces, measured.samples, measured.models, scorer)
    billed = bills(measured.samples, measured.models, pricing)
    return found.merge(billed, on="model", how="left") if len(billed) else found


def _forests(
    folder: RunFolder,
    manifest: Mapping[str, Any],
    samples: pd.DataFrame,
    models: Sequence[ModelFacts],
    scorer: ModelFacts | None,
) -> pd.DataFrame | None:
    """What the forests of strategies that go below samples took; None where there is none."""
    if not (deep := manifest.get("deep", ())):
        return None
    every = folder.read_table("traces", TRACE_COLUMNS)
    is_deep = pc.call_function(
        "is_in", [every["strategy"]], pc.SetLookupOptions(pa.array(deep, pa.string()))
    )
    mine = every.filter(is_deep)
    return forest_costs(mine.to_pandas(), samples, models, scorer)


def _scorer(manifest: Mapping[str, Any]) -> ModelFacts | None:
    recorded = manifest.get("scorer")
    return None if recorded is None else _facts(recorded)


def model_facts(manifest: Mapping[str, Any]) -> list[ModelFacts]:
    """The models of a run as its manifest recorded them, those of unknown size or data among them."""
    return [_facts(each) for each in (*manifest["models"], *manifest.get("unknown_models", ()))]


def _facts(recorded: Mapping[str, Any]) -> ModelFacts:
    known = {each.name for each in fields(ModelFacts)}
    kept = {name: value for name, value in recorded.items() if name in known}
    kept["architecture"] = _architecture(kept["architecture"])
    kept["pretraining_tokens"] = _known(kept["pretraining_tokens"])
    return ModelFacts(**kept)


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
