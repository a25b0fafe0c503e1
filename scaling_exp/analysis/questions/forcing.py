"""Forcing: does thinking longer help, and is its length what was asked for? The three metrics of s1.

Axes: A evaluations (budgets) of one family, P problems, R rows of the bootstrap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.forcing import control, performance, scaling
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import percent_valued, points_valued

QUESTION = "Does an attempt that thinks longer do better?"
FAMILY = re.compile(r"(.*)_\d+")
"""Strategies of one family differ in a budget: NAME_4, NAME_16."""


@dataclass(frozen=True)
class Forcing:
    """Control, scaling and performance (Muennighoff et al. 2025, arXiv 2501.19393, section 3.2) of every family of
    budgets. `least` and `most` are the tokens that an attempt was to have; null: no such bound."""

    least: float | None = None
    most: float | None = None

    def __call__(self, study: Study) -> Answer:
        families = list(_families(study.attempts))
        if not families:
            reason = "no strategy has several budgets of different lengths, e.g. budgets: {num_waits: [0, 1, 2]}"
            return untold("forcing", QUESTION, reason)
        table = pd.DataFrame(self._row(study, *each) for each in families)
        return Answer(
            name="forcing",
            question=QUESTION,
            sentences=list(_sentences(table)),
            plots=[_plot(study, families)],
            tables={"forcing": table},
            assumptions=[
                "Accuracy is that of one attempt, the mean over those that were accepted; tokens are those of the"
                " attempt, forced ones included. scaling_gain is the mean slope over all pairs of budgets, for a"
                " hundred tokens.",
            ],
        )

    def _row(
        self, study: Study, model: str, family: str, members: Sequence[Attempts]
    ) -> dict[str, object]:
        tokens_A = np.array([one.output_tokens_P.mean() for one in members])
        accuracy_RA = _accuracies(study, members)
        slope_R = np.array([scaling(tokens_A, accuracy_A) for accuracy_A in accuracy_RA])
        best_R = np.array([performance(accuracy_A) for accuracy_A in accuracy_RA])
        least_A = np.full(len(tokens_A), -np.inf if self.least is None else self.least)
        most_A = np.full(len(tokens_A), np.inf if self.most is None else self.most)
        row: dict[str, object] = {
            "model": model,
            "strategy": family,
            "num_budgets": len(members),
            "least_tokens": float(tokens_A.min()),
            "most_tokens": float(tokens_A.max()),
            "control_share": control(tokens_A, least_A, most_A),
        }
        estimated = {
            "scaling_gain": 100 * slope_R,
            "gain": accuracy_RA[:, -1] - accuracy_RA[:, 0],
            "accuracy": best_R,
        }
        for name, values_R in estimated.items():
            row |= study.resamples.estimate(values_R, np.nan).columns(name)
        return row


def _families(attempts: Sequence[Attempts]) -> Iterator[tuple[str, str, list[Attempts]]]:
    """Model, name and members of every family of lengths that differ by a token or more: budgets of a search differ by
    chance only."""
    found = [
        (one.facts.name, match[1], one)
        for one in attempts
        if (match := FAMILY.fullmatch(one.strategy)) and not np.isnan(one.output_tokens_P).any()
    ]
    found.sort(key=lambda each: each[:2])
    for (model, family), group in groupby(found, key=lambda each: each[:2]):
        members = sorted((one for *_, one in group), key=lambda one: one.output_tokens_P.mean())
        shortest, longest = (members[at].output_tokens_P.mean() for at in (0, -1))
        if longest - shortest >= 1:
            yield model, family, members


def _accuracies(study: Study, members: Sequence[Attempts]) -> np.ndarray:
    """Of one attempt, (R, A)."""
    means = [study.resamples.means(one.num_correct_P / one.num_samples_P) for one in members]
    return np.stack(means, axis=1)


def _sentences(table: pd.DataFrame) -> Iterator[str]:
    for row in table.to_dict("records"):
        gain, best = (Estimate.of_columns(row, name) for name in ("gain", "accuracy"))
        yield (
            f"{row['model']}, {row['strategy']}: from {row['least_tokens']:.0f} to {row['most_tokens']:.0f} tokens an"
            f" attempt accuracy changes by {points_valued(gain)}; at best, of all budgets, it reaches"
            f" {percent_valued(best)}."
        )


def _plot(study: Study, families: Sequence[tuple[str, str, list[Attempts]]]) -> Plot:
    lines = []
    for model, family, members in families:
        accuracy_RA = _accuracies(study, members)
        low_A, high_A = study.resamples.accuracy_interval(accuracy_RA)
        lines.append(
            Series(
                name=f"{model}, {family}",
                x=[float(one.output_tokens_P.mean()) for one in members],
                y=accuracy_RA[0].tolist(),
                low=low_A.tolist(),
                high=high_A.tolist(),
                model=model,
            )
        )
    return Plot(
        name="forcing",
        title="Accuracy of one attempt against its length",
        caption="A line for every family of budgets. Rising lines are worth their tokens.",
        x_label="tokens of an attempt",
        y_label="accuracy",
        series=lines,
    )
