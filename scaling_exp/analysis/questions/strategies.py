"""Strategies: every way to spend compute on a query, on one axis; where one that is not plain voting beats it.

Axes: R rows of the bootstrap, P problems, K numbers of samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import accuracy_table, cost_of
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.questions.asking import CannotTell, answered
from scaling_exp.analysis.questions.ways import (
    Way,
    choice_name,
    models_of,
    plain_samples,
    ways,
)
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.tradeoff import matching_ks
from scaling_exp.analysis.words import percent, points, points_valued, short

QUESTION = (
    "Which way to spend compute on a query is the best at each budget, and does any beat voting?"
)

WHAT = "Which way to spend compute on a query is the best"


@dataclass(frozen=True)
class Strategies:
    """Every strategy and selector of each model against majority voting at equal FLOPs over the samples of `plain`;
    null: of the strategy that the trade is read from."""

    plain: str | None = None

    def __call__(self, study: Study) -> Answer:
        return answered("strategies", QUESTION, WHAT, lambda: self._answer(study))

    def _answer(self, study: Study) -> Answer:
        voters = plain_samples((one for one in study.attempts if one.votes), self.plain)
        voting = {model: _Voting.of(study, one) for model, one in voters.items()}
        table = pd.DataFrame(
            row for model in models_of(study) for row in _rows(study, model, voting.get(model))
        )
        if table.empty or len(set(table["strategy"])) < 2:
            raise CannotTell("fewer than two strategies of known cost were drawn")
        compared = table.loc[table["gain_over_voting"].notna().to_numpy(bool)]
        return Answer(
            name="strategies",
            question=QUESTION,
            sentences=[
                *_against_voting(compared, voting, study.resamples.confidence),
                *_best(table),
            ],
            plots=[
                _plot(str(model), own, voting.get(str(model)))
                for model, own in table.groupby("model", sort=False)
            ],
            tables={"strategies": table},
            assumptions=[
                "A query is charged alone: its prompt once, every branch that was drawn, what was forced, and what the"
                " scorer read.",
                "Voting between the numbers of samples that were measured is linear in the logarithm; beyond the last"
                " it is not known, and nothing is said.",
                "Pre-training of the scorer is not charged.",
            ],
        )


def _rows(study: Study, model: str, voting: _Voting | None) -> Iterator[dict[str, object]]:
    mine = [one for one in study.attempts if one.facts.name == model]
    every = sorted((way for one in mine for way in ways(one)), key=lambda way: way.flops)
    best = -1.0
    for way in every:
        accuracy_R = study.resamples.means(way.accuracy_P)
        is_frontier = accuracy_R[0] > best
        best = max(best, float(accuracy_R[0]))
        yield {
            "model": model,
            "strategy": way.strategy,
            "selector": way.selector,
            "k": way.k,
            "inference_flops": way.flops,
            "output_tokens": float(way.tokens_P.mean()),
            **study.resamples.accuracy_estimate(accuracy_R).columns("accuracy"),
            "is_frontier": is_frontier,
            **_difference(study, way, accuracy_R, voting),
        }


@dataclass(frozen=True)
class _Voting:
    """Majority voting over the samples of a strategy: accuracy_RK, and the mean FLOPs of a query at each k."""

    strategy: str
    flops_RK: FloatArray
    accuracy_RK: FloatArray

    @classmethod
    def of(cls, study: Study, one: Attempts) -> _Voting:
        ks = matching_ks(one.max_k)
        cost, means = cost_of(one, "voting", "inference_flops"), study.resamples.means
        flops_RK = means(cost.prompt_P)[:, None] + np.array(ks) * means(cost.sample_P)[:, None]
        return cls(one.strategy, flops_RK, means(accuracy_table(one, "voting", ks)))

    def at(self, flops_R: FloatArray) -> FloatArray:
        """Accuracy at a cost, (R,); NaN outside what was measured."""
        rows = zip(np.log(flops_R), np.log(self.flops_RK), self.accuracy_RK, strict=True)
        return np.array([np.interp(x, xs, ys, np.nan, np.nan) for x, xs, ys in rows])


def _difference(
    study: Study, way: Way, accuracy_R: FloatArray, voting: _Voting | None
) -> dict[str, float]:
    """Accuracy minus that of voting at the same FLOPs, paired; NaN where it is not known."""
    unknown = Estimate(np.nan, np.nan, np.nan).columns("gain_over_voting")
    if voting is None or (way.strategy, way.selector) == (voting.strategy, "voting"):
        return unknown
    gain_R = accuracy_R - voting.at(study.resamples.means(way.flops_P))
    if np.isnan(gain_R).any():
        return unknown
    return study.resamples.estimate(gain_R, np.nan).columns("gain_over_voting")


def _against_voting(
    compared: pd.DataFrame, voting: Mapping[str, _Voting], confidence: float
) -> Iterator[str]:
    """How many points lie above and below voting, the best of them, and each family's range."""
    if compared.empty:
        yield "No strategy was measured at a cost at which plain voting was measured too."
        return
    plain = next(iter(voting.values())).strategy
    above = compared.loc[(compared["gain_over_voting_low"] > 0).to_numpy(bool)]
    below = compared.loc[(compared["gain_over_voting_high"] < 0).to_numpy(bool)]
    num_open = len(compared) - len(above) - len(below)
    by_chance = len(compared) * (1 - confidence) / 2
    yield (
        f"At equal FLOPs {len(above)} of {len(compared)} measured points beat majority voting over the samples of"
        f" {plain} (by chance alone {by_chance:.0f} would), {len(below)} fall short of it, and of {num_open} the data"
        " cannot tell."
    )
    if len(above):
        top = above.loc[above["gain_over_voting"].idxmax()].to_dict()
        gain = Estimate.of_columns(top, "gain_over_voting")
        yield (
            f"The most is gained with {top['model']} by {choice_name(top['strategy'], top['selector'])}:"
            f" {points_valued(gain)} at {short(float(top['inference_flops']))} FLOPs a query."
        )
    ranges = []
    for family, own in _by_family(compared):
        best = _best_selector(own, "gain_over_voting")
        gains = own.loc[(own["selector"] == best).to_numpy(bool), "gain_over_voting"].tolist()
        ends = [points(each).removesuffix(" points") for each in (min(gains), max(gains))]
        ranges.append(f"{choice_name(family, best)} {' to '.join(dict.fromkeys(ends))}")
    yield (
        "Against voting at equal FLOPs, over all models and budgets and each by its best selector, in points:"
        f" {'; '.join(ranges)}."
    )


def _best_selector(table: pd.DataFrame, column: str) -> str:
    """The selector with the largest mean of a column; of equals the first."""
    means = {
        str(selector): float(
            table.loc[(table["selector"] == selector).to_numpy(bool), column].mean()
        )
        for selector in dict.fromkeys(table["selector"])
    }
    return max(means, key=means.__getitem__)


def _by_family(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Strategies that differ in their budget only (NAME_4, NAME_16) are one family."""
    family = table["strategy"].astype(str).str.replace(r"_\d+$", "", regex=True)
    for name in dict.fromkeys(family):
        yield name, table.loc[(family == name).to_numpy(bool)]


def _best(table: pd.DataFrame) -> Iterator[str]:
    """The frontier of each model: strategies, whatever chooses among their answers, and how far each goes."""
    for model, own in table.loc[table["is_frontier"].to_numpy(bool)].groupby("model", sort=False):
        parts = []
        for strategy, group in groupby(own.itertuples(), key=lambda row: str(row.strategy)):
            rows = list(group)
            selectors = [
                str(row.selector).replace("_", " ") for row in rows if row.selector != "single"
            ]
            by = f" by {' or '.join(dict.fromkeys(selectors))}" if selectors else ""
            parts.append(
                f"{strategy}{by} (to {percent(rows[-1].accuracy)} at {short(rows[-1].inference_flops)} FLOPs)"
            )
        yield f"{model}: the frontier is, from cheap to dear, {', then '.join(parts)}."


def _plot(model: str, own: pd.DataFrame, voting: _Voting | None) -> Plot:
    return Plot(
        name=f"strategies_{model}",
        title=f"{model}: accuracy against FLOPs a query",
        caption="Every strategy by the selector that serves it best, and plain voting. Further up and to the left is"
        " better. Bands are intervals over problems.",
        x_label="inference FLOPs a query, scorer included",
        y_label="accuracy",
        series=list(_series(own, voting)),
        is_log_x=True,
    )


def _series(own: pd.DataFrame, voting: _Voting | None) -> Iterator[Series]:
    """A line for plain voting, and one for each family of budgets by the selector that serves it best."""
    shown = [(family, _best_selector(part, "accuracy"), part) for family, part in _by_family(own)]
    if voting is not None:
        plain = own.loc[(own["strategy"] == voting.strategy).to_numpy(bool)]
        others = [each for each in shown if each[:2] != (voting.strategy, "voting")]
        shown = [(voting.strategy, "voting", plain), *others]
    for family, selector, part in shown:
        line = part.loc[(part["selector"] == selector).to_numpy(bool)]
        ordered = line.sort_values("inference_flops")
        columns = ("inference_flops", "accuracy", "accuracy_low", "accuracy_high")
        x, y, low, high = (ordered[column].tolist() for column in columns)
        yield Series(name=choice_name(family, selector), x=x, y=y, low=low, high=high)
