"""What laws read from a study: the curve of every model under one strategy, row by row of the bootstrap.

Counts of samples are read where there are any, so that every k has its exact estimate; else the points are read from
the table of curves, and their rows are drawn from their intervals.

Axes: P problems, K numbers of samples, R rows of the bootstrap (row 0: the data as they are), N points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import most_shared
from scaling_exp.analysis.estimators import FloatArray, maj_at_k, pass_at_k
from scaling_exp.analysis.laws.coverage import spaced_ks
from scaling_exp.analysis.laws.fit import NUM_ROWS
from scaling_exp.analysis.points import rows_around
from scaling_exp.analysis.study import Study
from scaling_exp.types import ModelFacts

NUM_VOTES = 16


@dataclass(frozen=True)
class Reading:
    """Accuracy of one model at several k, (R, K). `attempts` holds the counts behind it, at most one of them."""

    facts: ModelFacts
    ks_K: FloatArray
    accuracy_RK: FloatArray
    attempts: tuple[Attempts, ...] = ()

    def at(self, k: float) -> FloatArray:
        """Accuracy at one of its k, (R,)."""
        return self.accuracy_RK[:, int(np.flatnonzero(self.ks_K == k)[0])]


@dataclass(frozen=True)
class Readings:
    """Curves of the models under `strategy`, by selector, in order of pre-training compute."""

    strategy: str
    weights_RP: FloatArray
    tail: float
    coverage: Sequence[Reading]
    voting: Sequence[Reading]
    single: Sequence[Reading]

    @property
    def one_sample(self) -> Sequence[Reading]:
        """Whoever has an accuracy of one sample."""
        sampled = [r for r in self.coverage if r.ks_K[0] == 1]
        return sampled if len(sampled) >= len(self.single) else self.single


def read(study: Study) -> Readings:
    """Of the strategy whose coverage is known for most models at most k; of single answers, that of most models."""
    rows = _where(study.curves, level="all")
    weights_RP = study.resamples.weights_RP[: NUM_ROWS + 1]
    sampled = _widest(_where(rows, selector="oracle"))
    voted = sampled or _widest(_where(rows, selector="voting"))
    lone = _widest(_where(rows, selector="single"))
    return Readings(
        strategy=voted or lone,
        weights_RP=weights_RP,
        tail=study.resamples.tail,
        coverage=_readings(study, rows, "oracle", sampled, weights_RP),
        voting=_readings(study, rows, "voting", voted, weights_RP),
        single=_readings(study, rows, "single", lone, weights_RP),
    )


def _where(rows: pd.DataFrame, **columns: str) -> pd.DataFrame:
    masks = [(rows[name] == value).to_numpy(bool) for name, value in columns.items()]
    return rows.loc[np.logical_and.reduce(masks)]


def _widest(rows: pd.DataFrame) -> str:
    """The strategy of `curves.most_shared`, by its points; empty where there is none."""
    pairs = zip(rows["strategy"].tolist(), rows["model"].tolist(), strict=True)
    num_points = Counter(pairs)
    return most_shared([(strategy, number) for (strategy, _), number in num_points.items()]) or ""


def _readings(
    study: Study, rows: pd.DataFrame, selector: str, strategy: str, weights_RP: FloatArray
) -> list[Reading]:
    mine = _where(rows, selector=selector, strategy=strategy)
    drawn = {a.facts.name: a for a in study.attempts if a.strategy == strategy}
    readings = []
    for facts in (*study.models, *study.unpriced):
        if facts.name in drawn and _is_replayed(drawn[facts.name], selector):
            readings.append(_of_attempts(drawn[facts.name], selector, weights_RP))
        elif facts.name in set(mine["model"].tolist()):
            readings.append(_of_points(study, facts, _where(mine, model=facts.name)))
    return readings


def _is_replayed(attempts: Attempts, selector: str) -> bool:
    if attempts.kind == "adaptive":
        return False
    return selector != "voting" or (attempts.votes is not None and attempts.max_k > 1)


def _of_attempts(attempts: Attempts, selector: str, weights_RP: FloatArray) -> Reading:
    if selector == "voting" and attempts.votes is not None:
        # Odd numbers only: a vote of two is a toss between them, so maj@2 is maj@1, and would bend a fit.
        ks_K = 2 * np.unique(np.round((np.geomspace(1, attempts.max_k, NUM_VOTES) - 1) / 2)) + 1
        ks_K = np.unique(np.minimum(ks_K, attempts.max_k - 1 + attempts.max_k % 2)).astype(np.int64)
        accuracy_PK = maj_at_k(attempts.votes, ks_K.tolist()).values_PK
    else:
        ks_K = spaced_ks(attempts.max_k)
        accuracy_PK = pass_at_k(attempts.num_correct_P, attempts.num_samples_P, ks_K.tolist())
    ks_K = ks_K.astype(np.float64)
    return Reading(attempts.facts, ks_K, weights_RP @ accuracy_PK, (attempts,))


def _of_points(study: Study, facts: ModelFacts, own: pd.DataFrame) -> Reading:
    own = own.sort_values("k")
    rows_RN = rows_around(own, study.resamples, study.seed_of(facts))[: NUM_ROWS + 1]
    return Reading(facts, own["k"].to_numpy(np.float64), rows_RN)
