"""Difficulty: on which problems does inference stand in for pre-training?

Problems are put into fifths by their mean pass rate over all models and samples. A model's own luck moves a problem
between fifths a little; with several models and many samples that is small against the width of a fifth.

Axes: P problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import Selector, accuracy_table, curve_of, reference_strategy
from scaling_exp.analysis.estimators import BoolArray, FloatArray, IntArray
from scaling_exp.analysis.intervals import Resamples
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.tradeoff import match, matching_ks

QUESTION = "Where does inference help: on easy problems or on hard ones?"
MIN_PROBLEMS_PER_BIN = 10


@dataclass(frozen=True)
class Difficulty:
    """`num_bins` of equally many problems, easiest first."""

    num_bins: int = 5

    def __post_init__(self) -> None:
        if self.num_bins < 2:
            raise ValueError(f"difficulty.num_bins is {self.num_bins}; it must be at least 2")

    def __call__(self, study: Study) -> Answer:
        drawn = _drawn(study)
        if len(drawn) < 2 or len(drawn[0].problems) < self.num_bins * MIN_PROBLEMS_PER_BIN:
            reason = (
                f"{self.num_bins} bins want two models with several samples of at least"
                f" {self.num_bins * MIN_PROBLEMS_PER_BIN} problems"
            )
            return untold("difficulty", QUESTION, reason)
        selector: Selector = "voting" if all(a.votes for a in drawn) else "oracle"
        bin_P = _bins(drawn, self.num_bins)
        table = pd.DataFrame(list(self._rows(study, drawn, selector, bin_P)))
        return Answer(
            name="difficulty",
            question=QUESTION,
            sentences=_sentences(table, selector),
            plots=[_plot(table, selector)],
            tables={"difficulty": table},
            assumptions=[
                "Difficulty is the pass rate over all models together, from the same samples that are then scored:"
                " bins are a description of this ladder, not of the problems alone.",
            ],
        )

    def _rows(
        self, study: Study, drawn: Sequence[Attempts], selector: Selector, bin_P: IntArray
    ) -> Iterator[dict[str, str | float]]:
        ks = [matching_ks(one.max_k) for one in drawn]
        accuracy = [accuracy_table(one, selector, own) for one, own in zip(drawn, ks, strict=True)]
        for at in range(self.num_bins):
            inside = _within(study.resamples, bin_P == at, drawn[0].clusters)
            measured = zip(drawn, ks, accuracy, strict=True)
            curves = [curve_of(*each, inside, selector) for each in measured]
            for one, larger in zip(curves, [*curves[1:], None], strict=True):
                gain = inside.estimate(one.accuracy_RK[:, -1] - one.accuracy_RK[:, 0], np.nan)
                pair = None if larger is None else match(one, larger, inside)
                yield {
                    "bin": at + 1,
                    "num_problems": int((bin_P == at).sum()),
                    "model": one.facts.name,
                    "accuracy_1": float(one.accuracy_RK[0, 0]),
                    "accuracy_most": float(one.accuracy_RK[0, -1]),
                    "num_samples": int(one.ks_K[-1]),
                    **gain.columns("gain"),
                    "target": np.nan if pair is None else pair.accuracy_target.value,
                    "next_larger": "" if larger is None else larger.facts.name,
                    "k_match": np.nan if pair is None else pair.k_match.value,
                    "share_reached": np.nan if pair is None else pair.share_reached,
                }


def _drawn(study: Study) -> list[Attempts]:
    """The attempts behind the study's matching curves, in order of pre-training compute."""
    reference = reference_strategy(study.attempts)
    return [a for a in study.attempts if a.strategy == reference]


def _bins(drawn: Sequence[Attempts], num_bins: int) -> IntArray:
    """Bin of each problem, shape (P,), 0 the easiest; equally many in each, ties in order of the names."""
    rate_P: FloatArray = np.mean([a.num_correct_P / a.num_samples_P for a in drawn], axis=0)
    rank_P = np.empty(len(rate_P), np.int64)
    rank_P[np.argsort(-rate_P, kind="stable")] = np.arange(len(rate_P))
    return rank_P * num_bins // len(rate_P)


def _within(resamples: Resamples, is_in_P: BoolArray, clusters: Sequence[str] | None) -> Resamples:
    """The same resamples, of some problems only. A resample without any of them counts as the data do."""
    weights_RP = resamples.weights_RP * is_in_P
    total_R1 = weights_RP.sum(axis=1, keepdims=True)
    weights_RP = np.where(total_R1 > 0, weights_RP, weights_RP[:1])
    return Resamples(
        weights_RP / weights_RP.sum(axis=1, keepdims=True),
        resamples.confidence,
        float(len(np.unique(np.array(clusters)[is_in_P])) if clusters else is_in_P.sum()),
    )


def _sentences(table: pd.DataFrame, selector: str) -> list[str]:
    num_bins = int(table["bin"].to_numpy().max())
    inside = [table.loc[(table["bin"] == at).to_numpy(bool)] for at in range(1, num_bins + 1)]
    best = int(np.argmax([part["gain"].mean() for part in inside]))
    where = {0: "easiest", num_bins - 1: "hardest"}.get(best, f"{_ordinal(best + 1)} easiest")
    one = inside[best].sort_values("gain").to_dict("records")[-1]
    by = "voting" if selector == "voting" else "the oracle"
    return [
        f"By {by}, more samples help most on the {where} of {num_bins} equal parts of the problems: there"
        f" {one['num_samples']} samples of {one['model']} raise accuracy by {100 * one['gain']:.1f} points"
        f" ({100 * one['gain_low']:.1f} to {100 * one['gain_high']:.1f}), from {100 * one['accuracy_1']:.1f} %.",
        *_reach(table),
    ]


def _reach(table: pd.DataFrame) -> list[str]:
    """In which parts each model reaches the next larger one's single sample."""
    pairs = table.loc[(table["next_larger"] != "").to_numpy(bool)]
    reached = (
        pairs.assign(is_reached=pairs["k_match"].notna() & (pairs["target"] > 0))
        .groupby("bin")["is_reached"]
        .sum()
    )
    num_pairs = pairs["model"].nunique()
    each = ", ".join(f"{int(number)} of {num_pairs}" for number in reached)
    return [
        f"From the easiest part to the hardest, the next larger model's single sample is reached by {each} models."
    ]


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third", 4: "fourth"}.get(number, f"{number}th")


def _plot(table: pd.DataFrame, selector: str) -> Plot:
    series = [
        Series(
            name=str(model),
            x=part["bin"].tolist(),
            y=part["gain"].tolist(),
            low=part["gain_low"].tolist(),
            high=part["gain_high"].tolist(),
            model=str(model),
        )
        for model, part in table.groupby("model", sort=False)
    ]
    return Plot(
        name="difficulty",
        title="What more samples buy, by difficulty",
        caption=f"Accuracy by {selector} with all samples minus that with one, on parts of equally many problems from"
        " the easiest (1) to the hardest.",
        x_label="part of the problems, easiest first",
        y_label="gain in accuracy",
        series=series,
    )
