"""Analysis: from what was measured to curves, the trade, the verdict and the answers. Pure arithmetic: no engine.

`analyse` is the whole of it; the modules below it are each one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.curves import (
    GREEDY,
    Selector,
    curve_table,
    ladder_table,
    matching_curve,
    reference_strategy,
    selectors,
)
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.intervals import resample_nothing, resample_problems
from scaling_exp.analysis.measured import Measured
from scaling_exp.analysis.points import Points
from scaling_exp.analysis.sensitivity import Scenario, scenarios
from scaling_exp.analysis.settings import AnalysisSettings, record, settings_from
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.tradeoff import Match, exchange_rate, exchange_table, lifetimes, matches
from scaling_exp.analysis.variance import variance_table
from scaling_exp.analysis.verdict import Evidence, conclude, headline
from scaling_exp.types import ModelFacts

__all__ = ["Analysis", "AnalysisSettings", "Measured", "analyse", "record", "settings_from"]


@dataclass(frozen=True)
class Analysis:
    """What a run showed. The tables' columns are listed in the functions that make them:
    `curve_table`, `lifetimes`, `ladder_table`, `exchange_table` and `variance_table`. `verdict` is ready for JSON:
    infinity is "inf", what is missing is None."""

    curves: pd.DataFrame
    lifetimes: pd.DataFrame
    models: pd.DataFrame
    exchange: pd.DataFrame
    verdict: dict[str, object]
    sentences: tuple[str, ...]
    answers: tuple[Answer, ...] = ()
    ledger: pd.DataFrame = field(default_factory=pd.DataFrame)
    """FLOPs of every model by what they were spent on; empty where that is not known."""
    variance: pd.DataFrame = field(default_factory=pd.DataFrame)


def analyse(measured: Measured, settings: AnalysisSettings) -> Analysis:
    """Analyse what was measured.

    Raises ValueError, with the remedy, for tables that are not complete for the given models.
    """
    drawn = (
        _of_points(measured, settings) if measured.has_points else _of_attempts(measured, settings)
    )
    study, reference = drawn.study, drawn.reference
    matched = {name: matches(each, study.resamples) for name, each in study.matching.items()}
    matched = {"voting": [], "oracle": [], **matched}
    priced = lifetimes(study.curves, settings.queries)
    evidence = _evidence(drawn, matched, priced, settings)
    verdict, sentences = conclude(evidence)
    of_reference = [a for a in study.attempts if a.strategy == reference]
    return Analysis(
        curves=study.curves,
        lifetimes=priced,
        models=ladder_table(_in_order(measured.models), study.attempts, reference, study.curves),
        exchange=exchange_table(matched),
        verdict=verdict,
        sentences=sentences,
        answers=tuple(
            replace(question(study), name=name) for name, question in settings.questions.items()
        ),
        variance=variance_table(
            [a.facts.name for a in of_reference],
            [(a.num_correct_P, a.num_samples_P) for a in of_reference],
        ),
    )


def _evidence(
    drawn: _Drawn,
    matched: Mapping[str, Sequence[Match]],
    priced: pd.DataFrame,
    settings: AnalysisSettings,
) -> Evidence:
    study = drawn.study
    curves = [curve for each in study.matching.values() for curve in each]
    return Evidence(
        confidence=settings.confidence,
        num_problems=drawn.num_problems,
        num_bootstrap=settings.num_bootstrap,
        strategy=drawn.reference,
        num_samples=max((int(curve.ks_K[-1]) for curve in curves), default=0),
        models=tuple(study.models),
        matches=matched,
        exchange_rates={
            name: exchange_rate(study.matching.get(name, ()), study.resamples) for name in matched
        },
        lifetimes=priced,
        curves=study.curves,
        scenarios=_scenarios(drawn, matched["voting"], settings),
        unpriced=study.unpriced,
    )


def _in_order(models: Sequence[ModelFacts]) -> list[ModelFacts]:
    """By pre-training compute; models of which it is not known come last."""
    return sorted(models, key=lambda facts: facts.order)


def _unpriced(models: Sequence[ModelFacts]) -> list[ModelFacts]:
    return [facts for facts in _in_order(models) if not facts.has_compute]


@dataclass(frozen=True)
class _Drawn:
    """A study, the strategy that the trade is read from, and the accuracy of every greedy answer over the rows R."""

    study: Study
    reference: str | None
    greedy: Mapping[str, FloatArray]
    num_problems: int | None


def _of_attempts(measured: Measured, settings: AnalysisSettings) -> _Drawn:
    attempts = measured.attempts(settings.pricing, settings.confidence_window)
    num_problems = len(attempts[0].problems)
    resamples = resample_problems(
        num_problems,
        settings.num_bootstrap,
        settings.confidence,
        settings.seed,
        attempts[0].clusters,
    )
    reference = reference_strategy(attempts)
    drawn = [a for a in attempts if a.strategy == reference and a.facts.has_compute]
    offered = [selectors(a) for a in drawn]
    first: tuple[Selector, ...] = offered[0] if offered else ()
    shared: list[Selector] = [s for s in first if all(s in each for each in offered)]
    study = Study(
        models=tuple(dict.fromkeys(a.facts for a in attempts if a.facts.has_compute)),
        attempts=attempts,
        curves=curve_table(attempts, resamples, settings.seed),
        resamples=resamples,
        seed=settings.seed,
        matching={s: [matching_curve(a, s, resamples) for a in drawn] for s in shared},
        unpriced=_unpriced(measured.models),
        most_samples=measured.most_samples,
    )
    greedy = {
        a.facts.name: resamples.means(a.num_correct_P.astype(np.float64))
        for a in attempts
        if a.kind == "single" and a.strategy.startswith(GREEDY)
    }
    return _Drawn(study, reference, greedy, num_problems)


def _of_points(measured: Measured, settings: AnalysisSettings) -> _Drawn:
    resamples = resample_nothing(settings.num_bootstrap, settings.confidence)
    points = Points.of(measured.points, measured.models, settings.pricing, resamples, settings.seed)
    reference = points.reference
    study = Study(
        models=points.models,
        attempts=(),
        curves=points.curve_table(),
        resamples=resamples,
        seed=settings.seed,
        matching=points.matching(reference),
        unpriced=_unpriced(measured.models),
    )
    return _Drawn(study, reference, {}, points.num_problems)


def _scenarios(
    drawn: _Drawn, matched: Sequence[Match], settings: AnalysisSettings
) -> Sequence[Scenario]:
    """What would become of the headline pair under other assumptions; nothing where there is none."""
    pair = headline(matched, settings.confidence)
    if pair is None:
        return ()
    curves = {curve.facts: curve for curve in drawn.study.matching["voting"]}
    greedy_R = drawn.greedy.get(pair.larger.name)
    return scenarios(
        curves[pair.smaller], curves[pair.larger], greedy_R, settings.queries, drawn.study.resamples
    )
