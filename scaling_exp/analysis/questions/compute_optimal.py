"""Compute-optimal: what if every problem got the way to spend compute that suits its difficulty?

Snell et al. (2024, arXiv 2408.03314, section 3): problems are binned by the model's own pass rate, and in each bin the
best way at a budget is chosen. Difficulty is told from other samples than those that are scored, and ways are chosen on
other problems than those that they are scored on, so that the curve is not optimistic.

Axes: P problems, B bins, R rows of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.questions.ways import Way, all_halves, ways
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import points_valued, short

QUESTION = "Does it pay to choose how compute is spent by the difficulty of a problem?"
MIN_PER_BIN = 5
"""Problems of a bin and fold below which a choice is mostly chance."""


@dataclass(frozen=True)
class ComputeOptimal:
    """`num_bins` bins of difficulty, `num_folds` parts of the problems, `num_budgets` budgets from the cheapest way to
    the dearest."""

    num_bins: int = 5
    num_folds: int = 5
    num_budgets: int = 8

    def __post_init__(self) -> None:
        for name, least in (("num_bins", 2), ("num_folds", 2), ("num_budgets", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"compute_optimal.{name} is {getattr(self, name)}; give {least} or more"
                )

    def __call__(self, study: Study) -> Answer:
        rng = np.random.default_rng(study.seed)
        rows = [row for facts in study.models for row in self._rows(study, facts.name, rng)]
        if not rows:
            reason = (
                "no model has two ways to spend compute, samples to tell difficulty from, and"
                f" {self.num_bins * self.num_folds * MIN_PER_BIN} problems"
            )
            return untold("compute_optimal", QUESTION, reason)
        table = pd.DataFrame(rows)
        return Answer(
            name="compute_optimal",
            question=QUESTION,
            sentences=list(_sentences(table)),
            plots=[_plot(model, own) for model, own in table.groupby("model", sort=False)],
            tables={"compute_optimal": table},
            assumptions=[
                "Difficulty is the model's own pass rate in one half of its plain samples; ways that use these samples"
                " are scored on the other half. Telling the difficulty is not charged (as in the paper).",
                f"Ways are chosen on {self.num_folds - 1} of {self.num_folds} parts of the problems and scored on the"
                " one that is left; the single best way, chosen likewise without bins, is what it is compared with.",
            ],
        )

    def _rows(
        self, study: Study, model: str, rng: np.random.Generator
    ) -> Iterator[dict[str, object]]:
        mine = [one for one in study.attempts if one.facts.name == model]
        plain = [one for one in mine if one.kind == "exchangeable" and one.max_k > 1]
        if not plain or len(mine[0].problems) < self.num_bins * self.num_folds * MIN_PER_BIN:
            return
        split = all_halves(plain, rng)
        most = max(plain, key=lambda one: (one.max_k, one.strategy))
        rate_P = split[most.strategy][0]
        kept: list[Attempts] = [
            split[one.strategy][1] if one.strategy in split else one for one in mine
        ]
        every = sorted((way for one in kept for way in ways(one)), key=lambda way: way.flops)
        if len(every) < 2:
            return
        bin_P = quantile_bins(rate_P, self.num_bins, rng)
        fold_P = rng.permutation(len(rate_P)) % self.num_folds
        whole_P = np.zeros_like(bin_P)
        for budget in np.geomspace(every[0].flops, every[-1].flops, self.num_budgets):
            chosen = Chosen.of(every, budget, bin_P, fold_P)
            single = Chosen.of(every, budget, whole_P, fold_P)
            yield _row(study, model, float(budget), chosen, single)


@dataclass(frozen=True)
class Chosen:
    """What a policy reaches and spends on each problem, and by which way: a position among the ways."""

    accuracy_P: FloatArray
    flops_P: FloatArray
    way_P: IntArray

    @classmethod
    def of(cls, every: Sequence[Way], budget: float, bin_P: IntArray, fold_P: IntArray) -> Chosen:
        """In each bin the way that is best on the other folds among those that cost no more than the budget there; of
        equals the cheapest, and the cheapest of all where none is affordable."""
        accuracy_WP = np.stack([way.accuracy_P for way in every])
        flops_WP = np.stack([way.flops_P for way in every])
        way_P = np.zeros(len(bin_P), np.int64)
        for fold in np.unique(fold_P):
            for at in np.unique(bin_P):
                seen, unseen = (
                    (bin_P == at) & (is_in) for is_in in (fold_P != fold, fold_P == fold)
                )
                flops_W = flops_WP[:, seen].mean(axis=1)
                accuracy_W = np.where(
                    flops_W <= budget * (1 + 1e-9), accuracy_WP[:, seen].mean(axis=1), -1.0
                )
                best = accuracy_W >= accuracy_W.max() - 1e-12
                way_P[unseen] = np.argmin(np.where(best, flops_W, np.inf))
        rows = np.arange(len(bin_P))
        return cls(accuracy_WP[way_P, rows], flops_WP[way_P, rows], way_P)


def quantile_bins(rate_P: FloatArray, num_bins: int, rng: np.random.Generator) -> IntArray:
    """Equally many problems a bin, the hardest in bin 0; ties are broken at random."""
    order = np.lexsort((rng.random(len(rate_P)), rate_P))
    bin_P = np.empty(len(rate_P), np.int64)
    bin_P[order] = np.arange(len(rate_P)) * num_bins // len(rate_P)
    return bin_P


def _row(
    study: Study, model: str, budget: float, chosen: Chosen, single: Chosen
) -> dict[str, object]:
    means = study.resamples.means
    chosen_R, single_R = means(chosen.accuracy_P), means(single.accuracy_P)
    gain = study.resamples.estimate(chosen_R - single_R, np.nan)
    return {
        "model": model,
        "budget": budget,
        **study.resamples.accuracy_estimate(chosen_R).columns("accuracy"),
        "flops": float(chosen.flops_P.mean()),
        "single": float(single_R[0]),
        "single_flops": float(single.flops_P.mean()),
        **gain.columns("gain"),
    }


def _sentences(table: pd.DataFrame) -> Iterator[str]:
    better = table.loc[(table["gain_low"] > 0).to_numpy(bool)]
    worse = table.loc[(table["gain_high"] < 0).to_numpy(bool)]
    yield (
        f"Choosing by difficulty beats the best single way in {len(better)} of {len(table)} models and budgets, is"
        f" beaten by it in {len(worse)}, and in {len(table) - len(better) - len(worse)} the data cannot tell."
    )
    for model, own in table.groupby("model", sort=False):
        top = own.loc[own["gain"].idxmax()]
        gain = Estimate.of_columns(top.to_dict(), "gain")
        yield f"{model}: at most {points_valued(gain)}, at {short(float(top['budget']))} FLOPs a query."


def _plot(model: object, own: pd.DataFrame) -> Plot:
    return Plot(
        name=f"compute_optimal_{model}",
        title=f"{model}: chosen by difficulty, and the best single way",
        caption="Accuracy on problems that the choice had not seen, against the FLOPs that it spent.",
        x_label="inference FLOPs a query",
        y_label="accuracy",
        series=[
            Series(
                name="chosen by difficulty",
                x=own["flops"].tolist(),
                y=own["accuracy"].tolist(),
                low=own["accuracy_low"].tolist(),
                high=own["accuracy_high"].tolist(),
            ),
            Series(
                name="best single way",
                x=own["single_flops"].tolist(),
                y=own["single"].tolist(),
            ),
        ],
        is_log_x=True,
    )
