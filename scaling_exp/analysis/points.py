"""Points: accuracies of models that somebody else measured, without the samples behind them.

There is nothing to resample: an interval comes from a point's standard error, or from its number of problems, and
where neither is known there is none.

Axes: N points, K numbers of samples, R rows (row 0: the accuracies as they are).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from scaling_exp.analysis.cost import Pricing, TokenCounts, query_costs
from scaling_exp.analysis.curves import ALL_LEVELS, most_shared
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.intervals import Resamples
from scaling_exp.analysis.tradeoff import Curve
from scaling_exp.types import ModelFacts

POINT_COLUMNS = ("model", "strategy", "selector", "level", "k", "accuracy")
OPTIONAL = ("standard_error", "num_problems", "num_prompt_tokens", "num_output_tokens")


@dataclass(frozen=True)
class Points:
    """Points in order of pre-training compute, their costs, and their rows; bounds are NaN where no error is known."""

    frame: pd.DataFrame
    facts: Mapping[str, ModelFacts]
    costs: Sequence[Mapping[str, float]]
    resamples: Resamples
    accuracy_RN: FloatArray

    @classmethod
    def of(
        cls,
        points: pd.DataFrame,
        models: Sequence[ModelFacts],
        pricing: Pricing,
        resamples: Resamples,
        seed: int,
    ) -> Points:
        """Raises ValueError for missing columns, an accuracy outside 0..1 and a model without facts."""
        missing = [column for column in POINT_COLUMNS if column not in points]
        if missing:
            raise ValueError(f"the table of points lacks the columns {', '.join(missing)}")
        facts = {each.name: each for each in models}
        if unknown := sorted(set(points["model"]) - set(facts)):
            raise ValueError(f"no facts for the models {', '.join(map(str, unknown[:3]))}")
        frame = points.assign(**{name: np.nan for name in OPTIONAL if name not in points})
        compute = frame["model"].map(lambda name: facts[name].pretraining_flops)
        frame = frame.assign(pretraining_flops=compute).sort_values(
            ["pretraining_flops", "model", "strategy", "selector", "level", "k"], ignore_index=True
        )
        accuracy_N = frame["accuracy"].to_numpy(np.float64)
        if not ((accuracy_N >= 0) & (accuracy_N <= 1)).all():
            raise ValueError("an accuracy is missing or outside 0..1; give shares, not per cent")
        error_N = _standard_errors(frame)
        rows_RN = resamples.around(accuracy_N, np.nan_to_num(error_N), seed)
        costs = [_costs(facts[row["model"]], row, pricing) for row in frame.to_dict("records")]
        return cls(frame.assign(standard_error=error_N), facts, costs, resamples, rows_RN)

    def curve_table(self) -> pd.DataFrame:
        """The points as the tidy table of `curves.curve_table`."""
        low_N, high_N = self.resamples.interval(self.accuracy_RN)
        has_error_N = self.frame["standard_error"].notna().to_numpy()
        columns = ["model", "strategy", "selector", "level", "k", "accuracy"]
        table = self.frame[columns].assign(
            accuracy_low=np.where(has_error_N, low_N, np.nan),
            accuracy_high=np.where(has_error_N, high_N, np.nan),
        )
        costs = pd.DataFrame(list(self.costs))
        sizes = [self.facts[name].architecture.num_parameters for name in self.frame["model"]]
        return pd.concat([table, costs], axis=1).assign(
            inference_flops_low=costs["inference_flops"],
            inference_flops_high=costs["inference_flops"],
            pretraining_flops=self.frame["pretraining_flops"],
            num_parameters=sizes,
            num_problems=self.frame["num_problems"],
        )

    @property
    def models(self) -> tuple[ModelFacts, ...]:
        """Those of known pre-training compute, in its order."""
        facts = (self.facts[name] for name in dict.fromkeys(self.frame["model"]))
        return tuple(each for each in facts if each.has_compute)

    @property
    def num_problems(self) -> int | None:
        """Fewest problems behind a point; None where that is not known of every point."""
        fewest = float(self.frame["num_problems"].to_numpy(np.float64).min())
        return None if np.isnan(fewest) else int(fewest)

    @property
    def reference(self) -> str | None:
        """The strategy that the trade is read from, of `curves.most_shared`; None with single answers only."""
        several = self.frame.loc[(self.frame["k"] > 1).to_numpy(bool)]
        most = several.groupby(["strategy", "model"], as_index=False).agg({"k": "max"})
        return most_shared(list(zip(most["strategy"].tolist(), most["k"].tolist(), strict=True)))

    def matching(self, strategy: str | None) -> dict[str, list[Curve]]:
        """By selector, the curve over all problems of every model that has several points under the strategy."""
        curves: dict[str, list[Curve]] = {}
        if strategy is None:
            return curves
        for selector in ("voting", "oracle", "best_of", "weighted_voting"):
            found = (
                self.curve(facts.name, strategy, selector, ALL_LEVELS) for facts in self.models
            )
            if kept := [curve for curve in found if curve is not None]:
                curves[selector] = kept
        return curves

    def curve(self, model: str, strategy: str, selector: str, level: str) -> Curve | None:
        """What one model reaches with k samples; a single answer stands in for k = 1 where that is not among them.
        None where nothing was measured."""
        frame = self.frame
        is_here_N = (frame[["model", "strategy", "level"]] == [model, strategy, level]).all(axis=1)
        is_own_N = frame["selector"] == selector
        is_single_N = (frame["selector"] == "single") & (frame["k"] == 1)
        rows = np.flatnonzero(is_here_N & is_own_N)
        if not len(rows):
            return None
        if frame["k"].iloc[rows].min() > 1:
            rows = np.concatenate([np.flatnonzero(is_here_N & is_single_N), rows])
        frame = self.frame.iloc[rows]
        ks_K = frame["k"].to_numpy(np.int64)
        flops_K = np.array([self.costs[row]["inference_flops"] for row in rows])
        per_sample = flops_K[-1] / ks_K[-1]
        num_rows = self.resamples.num_rows
        return Curve(
            facts=self.facts[model],
            ks_K=ks_K,
            accuracy_RK=self.accuracy_RN[:, rows],
            prefill_R=np.zeros(num_rows),
            sample_R=np.full(num_rows, per_sample),
            prompt_tokens=float(frame["num_prompt_tokens"].fillna(0).iloc[0]),
            output_tokens=float(frame["num_output_tokens"].iloc[0]),
        )


def rows_around(points: pd.DataFrame, resamples: Resamples, seed: int) -> FloatArray:
    """Rows (R, N) for points of a table of curves, from the width of their intervals; one without an interval stands
    for itself in every row."""
    accuracy_N = points["accuracy"].to_numpy(np.float64)
    width_N = (points["accuracy_high"] - points["accuracy_low"]).fillna(0.0).to_numpy(np.float64)
    error_N = width_N / (2 * norm.ppf((1 + resamples.confidence) / 2))
    error_N = np.minimum(error_N, 0.999 * np.sqrt(accuracy_N * (1 - accuracy_N)))
    return resamples.around(accuracy_N, error_N, seed)


def _standard_errors(frame: pd.DataFrame) -> FloatArray:
    """As given, else binomial over the problems, else NaN."""
    given_N = frame["standard_error"].to_numpy(np.float64)
    accuracy_N = frame["accuracy"].to_numpy(np.float64)
    num_problems_N = frame["num_problems"].to_numpy(np.float64)
    binomial_N = np.sqrt(accuracy_N * (1 - accuracy_N) / num_problems_N)
    return np.where(np.isnan(given_N), binomial_N, given_N)


def _costs(facts: ModelFacts, row: Mapping[str, float], pricing: Pricing) -> dict[str, float]:
    """Costs of a point's query: k samples, each with the mean number of tokens; without a prompt, only the answers."""
    prompt = np.nan_to_num(np.array([row["num_prompt_tokens"]], np.float64))
    tokens = TokenCounts(
        prompt, np.zeros(1, np.int64), np.array([row["num_output_tokens"]], np.float64)
    )
    costs = query_costs(facts, tokens, pricing)
    return {
        axis: float(cost.prompt_P[0] + row["k"] * cost.sample_P[0]) for axis, cost in costs.items()
    }
