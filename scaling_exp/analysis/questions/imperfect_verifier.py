"""A verifier that errs: what would samples be worth if it chose among them?

An oracle makes every curve rise for ever. A real verifier accepts some wrong answers, so more samples stop helping
(Stroebl et al. 2024, arXiv 2411.17501).

Axes: P problems, K numbers of samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import shown_ks
from scaling_exp.analysis.estimators import plurality, verified_at_k
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import percent

QUESTION = "What would samples be worth to a verifier that errs?"


@dataclass(frozen=True)
class ImperfectVerifier:
    """`completeness` is the share of right answers that it accepts, `soundness` that of wrong ones that it refuses."""

    completeness: float = 0.9
    soundness: float = 0.9

    def __post_init__(self) -> None:
        for name in ("completeness", "soundness"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"imperfect_verifier.{name} is {getattr(self, name)}; it must be in [0, 1]"
                )

    def __call__(self, study: Study) -> Answer:
        drawn = [one for one in study.attempts if one.kind == "exchangeable"]
        if not drawn:
            return untold("imperfect_verifier", QUESTION, "no model has several samples")
        table = pd.DataFrame(row for one in drawn for row in self._rows(study, one))
        return Answer(
            name="imperfect_verifier",
            question=QUESTION,
            sentences=list(self._sentences(table, drawn)),
            plots=[_plot(table)],
            tables={"imperfect_verifier": table},
            assumptions=[
                "The choice falls on any of the answers that the verifier accepts, or on any at all where it accepts"
                " none; it errs independently of the problem and of the answer, and costs nothing.",
            ],
        )

    def _rows(self, study: Study, one: Attempts) -> Iterator[dict[str, object]]:
        ks = shown_ks(one.max_k)
        errs = (self.completeness, self.soundness)
        chosen_PK = verified_at_k(one.num_correct_P, one.num_samples_P, ks, *errs)
        accuracy_RK = np.clip(study.resamples.means(chosen_PK), 0, 1)
        low_K, high_K = study.resamples.accuracy_interval(accuracy_RK)
        for k, accuracy, low, high in zip(ks, accuracy_RK[0], low_K, high_K, strict=True):
            yield {
                "model": one.facts.name,
                "strategy": one.strategy,
                "k": k,
                "accuracy": float(accuracy),
                "accuracy_low": float(low),
                "accuracy_high": float(high),
            }

    def _sentences(self, table: pd.DataFrame, drawn: list[Attempts]) -> Iterator[str]:
        parts, is_several = [], len({one.strategy for one in drawn}) > 1
        for one in drawn:
            is_own = (table["model"] == one.facts.name) & (table["strategy"] == one.strategy)
            own = table.loc[is_own.to_numpy(bool)]
            ends = [float(own["accuracy"].iloc[at]) for at in (0, -1)]
            vote = f", a vote {percent(float(plurality(one.votes).mean()))}" if one.votes else ""
            name = f"{one.facts.name} by {one.strategy}" if is_several else one.facts.name
            parts.append(f"{name} {percent(ends[0])} to {percent(ends[1])}{vote}")
        yield (
            f"A verifier that accepts {percent(self.completeness)} of right answers and"
            f" {percent(1 - self.soundness)} of wrong ones would take, from one sample to all, {'; '.join(parts)}."
        )


def _plot(table: pd.DataFrame) -> Plot:
    is_several = len(set(table["strategy"])) > 1
    lines = [
        Series(
            name=f"{model}, {strategy}" if is_several else str(model),
            x=own["k"].tolist(),
            y=own["accuracy"].tolist(),
            low=own["accuracy_low"].tolist(),
            high=own["accuracy_high"].tolist(),
            model=str(model),
        )
        for (model, strategy), own in table.groupby(["model", "strategy"], sort=False)  # type: ignore[misc]
    ]
    return Plot(
        name="imperfect_verifier",
        title="Accuracy when a verifier that errs chooses",
        caption="Among k samples, one that it accepts. With wrong answers accepted, more samples stop helping.",
        x_label="samples a query, k",
        y_label="accuracy",
        series=lines,
        is_log_x=True,
    )
