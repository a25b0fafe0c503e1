"""Confidence: does what a model thought of its own answers choose among them better than a plain vote?

Axes: P problems, S samples, R rows of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.confidence import MEASURES
from scaling_exp.analysis.estimators import (
    FloatArray,
    Scores,
    best_of_all,
    plurality,
    weighted_plurality,
)
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import points_valued

QUESTION = "Does a model's confidence in its own answers choose among them better than a vote?"
LOGARITHMS = ("likelihood", "mean_likelihood")
"""Measures that weigh votes by what they are the logarithm of (Wang et al. 2022, arXiv 2203.11171, table 1)."""


@dataclass(frozen=True)
class Confidence:
    """The most confident answer, votes weighted by confidence, and votes of the most confident share of the samples
    (Fu et al. 2025, arXiv 2508.15260; likelihood: Stahlberg and Byrne 2019, arXiv 1908.10090)."""

    shares: tuple[float, ...] = (0.1, 0.9)

    def __post_init__(self) -> None:
        if any(not 0 < share <= 1 for share in self.shares):
            raise ValueError(f"confidence.shares is {self.shares}; they must be in (0, 1]")

    def __call__(self, study: Study) -> Answer:
        drawn = [one for one in study.attempts if set(MEASURES) <= set(one.scores) and one.votes]
        if not drawn:
            reason = "no strategy recorded it: set sampling.confidence, e.g. to 20"
            return untold("confidence", QUESTION, reason)
        table = pd.DataFrame(row for one in drawn for row in self._rows(study, one))
        return Answer(
            name="confidence",
            question=QUESTION,
            sentences=list(_sentences(table)),
            tables={"confidence": table},
            assumptions=[
                "All samples of a problem are chosen among. It costs no FLOPs; to record it slows an engine down.",
            ],
        )

    def _rows(self, study: Study, one: Attempts) -> Iterator[dict[str, object]]:
        assert one.votes is not None
        vote_R = study.resamples.means(plurality(one.votes))
        for measure, choice, accuracy_P in self._choices(one):
            accuracy_R = study.resamples.means(accuracy_P)
            gain = study.resamples.estimate(accuracy_R - vote_R, np.nan)
            yield {
                "model": one.facts.name,
                "strategy": one.strategy,
                "measure": measure,
                "choice": choice,
                **study.resamples.accuracy_estimate(accuracy_R).columns("accuracy"),
                **gain.columns("over_vote"),
            }

    def _choices(self, one: Attempts) -> Iterator[tuple[str, str, FloatArray]]:
        for measure in MEASURES:
            scores = one.scores[measure]
            yield measure, "best", best_of_all(scores)
            if measure in LOGARITHMS:
                scores = replace(scores, score_S=np.exp(scores.score_S))
            yield measure, "weighted vote", weighted_plurality(scores)
            for share in self.shares:
                yield (
                    measure,
                    f"vote of the top {share:.0%}",
                    weighted_plurality(top(scores, share)),
                )


def top(scores: Scores, share: float) -> Scores:
    """The best-scored share of each problem's samples, at least one; of equals the first."""
    order = np.lexsort((-scores.score_S, scores.problem_S))
    num_samples_P = scores.num_samples_P
    starts_P = np.cumsum(num_samples_P) - num_samples_P
    rank_S = np.arange(len(order)) - starts_P[scores.problem_S]
    kept_P = np.maximum(1, np.ceil(share * num_samples_P - 1e-9))
    kept = np.sort(order[rank_S < kept_P[scores.problem_S]])
    return Scores(*(values[kept] for values in vars(scores).values()))


def _sentences(table: pd.DataFrame) -> Iterator[str]:
    above = len(table.loc[(table["over_vote_low"] > 0).to_numpy(bool)])
    below = len(table.loc[(table["over_vote_high"] < 0).to_numpy(bool)])
    yield (
        f"Of {len(table)} ways to choose by confidence {above} beat the plain vote over the same samples, {below} fall"
        f" short of it, and of {len(table) - above - below} the data cannot tell."
    )
    for model, own in table.groupby("model", sort=False):
        row = own.loc[own["over_vote"].idxmax()]
        gain = Estimate.of_columns(row.to_dict(), "over_vote")
        yield f"{model}: the best is {row['choice']} by {row['measure']}, {points_valued(gain)} over the vote."
