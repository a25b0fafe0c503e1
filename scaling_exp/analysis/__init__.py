"""Analysis: from the samples table to curves, the trade, and the verdict. Pure arithmetic: no
engine, no files.

`analyse` is the whole of it; the modules below it are each one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.attempts import fold
from scaling_exp.analysis.curves import (
    Selector,
    curve_table,
    ladder_table,
    matching_curve,
    reference_strategy,
)
from scaling_exp.analysis.intervals import resample_problems
from scaling_exp.analysis.tradeoff import Match, exchange_rate, exchange_table, lifetimes, matches
from scaling_exp.analysis.verdict import Evidence, conclude
from scaling_exp.types import ModelFacts

__all__ = ["Analysis", "AnalysisSettings", "analyse"]

SELECTORS: tuple[Selector, ...] = ("voting", "oracle")


@dataclass(frozen=True)
class AnalysisSettings:
    """How sure to be, and over which lifetimes (numbers of queries) to price the models."""

    confidence: float = 0.95
    num_bootstrap: int = 1000
    seed: int = 0
    queries: tuple[float, ...] = (1e3, 1e6, 1e9)

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"analysis.confidence is {self.confidence}; it must be in (0, 1)")
        if self.num_bootstrap * (1 - self.confidence) < 2 - 1e-9:
            raise ValueError(
                f"analysis.num_bootstrap is {self.num_bootstrap}; an interval at confidence "
                f"{self.confidence} needs "
                f"at least {2 / (1 - self.confidence):.0f} resamples"
            )
        if self.seed < 0:
            raise ValueError(f"analysis.seed is {self.seed}; it must be 0 or more")
        if not self.queries or any(num_queries < 0 for num_queries in self.queries):
            raise ValueError(
                f"analysis.queries is {self.queries}; give at least one number, none negative"
            )


@dataclass(frozen=True)
class Analysis:
    """What a run showed. The tables' columns are listed in the functions that make them:
    `curve_table`, `lifetimes`, `ladder_table` and `exchange_table`. `verdict` is ready for JSON:
    infinity is "inf", what is missing is None."""

    curves: pd.DataFrame
    lifetimes: pd.DataFrame
    models: pd.DataFrame
    exchange: pd.DataFrame
    verdict: dict[str, object]
    sentences: tuple[str, str]
    answers: tuple[Answer, ...] = ()
    ledger: pd.DataFrame = field(default_factory=pd.DataFrame)
    """FLOPs of every model by what they were spent on; empty where that is not known."""
    variance: pd.DataFrame = field(default_factory=pd.DataFrame)


def analyse(
    samples: pd.DataFrame, models: Sequence[ModelFacts], settings: AnalysisSettings
) -> Analysis:
    """Analyse a run's samples: one row per sample, columns as in `attempts.COLUMNS` (others are
    ignored).

    Raises ValueError, with the remedy, for a table that is not a complete run of the given models.
    """
    attempts = fold(samples, models)
    num_problems = len(attempts[0].counts)
    resamples = resample_problems(
        num_problems, settings.num_bootstrap, settings.confidence, settings.seed
    )
    curves = curve_table(attempts, resamples, settings.seed)
    reference = reference_strategy(attempts)
    drawn = [a for a in attempts if a.strategy == reference]
    by_selector = {s: [matching_curve(a, s, resamples) for a in drawn] for s in SELECTORS}
    matched: dict[Selector, list[Match]] = {
        s: matches(by_selector[s], resamples) for s in SELECTORS
    }
    priced = lifetimes(curves, settings.queries)
    evidence = Evidence(
        confidence=settings.confidence,
        num_problems=num_problems,
        num_bootstrap=settings.num_bootstrap,
        strategy=reference,
        num_samples=int(drawn[0].num_samples_P[0]) if drawn else 0,
        models=tuple(dict.fromkeys(a.facts for a in attempts)),
        matches=matched,
        exchange_rates={s: exchange_rate(by_selector[s], resamples) for s in SELECTORS},
        lifetimes=priced,
    )
    verdict, sentences = conclude(evidence)
    ladder = ladder_table(attempts, reference, curves)
    assumptions = verdict["assumptions"]
    if isinstance(assumptions, list) and (note := _greedy_note(ladder)):
        assumptions.append(note)
    return Analysis(
        curves=curves,
        lifetimes=priced,
        models=ladder,
        exchange=exchange_table({str(s): matched[s] for s in SELECTORS}),
        verdict=verdict,
        sentences=sentences,
    )


def _greedy_note(ladder: pd.DataFrame) -> str | None:
    """What one greedy attempt reaches: the reader must see it beside the single sample that matches are made with."""
    known = ladder.dropna(subset=["greedy"])
    if known.empty or "pass@1" not in known:
        return None
    pairs = zip(known["model"], known["greedy"], known["pass@1"], strict=True)
    each = "; ".join(f"{model} {greedy:.1%} against {one:.1%}" for model, greedy, one in pairs)
    return (
        "A larger model's single attempt is one sample at the strategy's temperature. Greedy decoding costs the same"
        f" and reaches (greedy against pass@1): {each}. Against greedy, smaller models need more samples."
    )
