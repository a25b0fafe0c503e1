"""FLOPs-matched: at equal total compute, does the larger model answering once win, or the smaller thinking longer?

The comparison of Snell et al. (2024, arXiv 2408.03314, section 7) for any ratio R of inference to pre-training tokens,
with each model's own costs instead of 2N a token. There the larger model answers greedily and the smaller spends its
compute in the best way known: any strategy and selector, chosen on other problems than those that it is scored on.

Axes: P problems, R rows of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import GREEDY
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.questions.compute_optimal import EQUAL_COST, Chosen
from scaling_exp.analysis.questions.ways import Way, ways
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.tradeoff import flops_matched
from scaling_exp.analysis.words import points_valued
from scaling_exp.types import ModelFacts

QUESTION = "At equal total compute, is the larger model's single answer better, or the smaller's longer thought?"
BEST_WAY = "best_way"
WORDS = {
    BEST_WAY: "the best way to spend it that the smaller model has",
    "voting": "majority voting",
    "oracle": "an oracle selector, which no user has",
}
NUM_FOLDS = 5


@dataclass(frozen=True)
class FlopsMatched:
    """`ratios` are values of R = D_inference / D_pretraining of the larger model; the defaults are the paper's."""

    ratios: tuple[float, ...] = (0.16, 0.79, 22.0)

    def __post_init__(self) -> None:
        if not self.ratios or any(ratio <= 0 for ratio in self.ratios):
            raise ValueError(f"flops_matched.ratios is {self.ratios}; give positive numbers")

    def __call__(self, study: Study) -> Answer:
        tables = {BEST_WAY: self._best_ways(study)} | {
            selector: flops_matched(study.matching[selector], self.ratios, study.resamples)
            for selector in WORDS
            if selector in study.matching
        }
        tables = {selector: table for selector, table in tables.items() if not table.empty}
        if not tables:
            reason = "no two models have several samples and known token counts"
            return untold("flops_matched", QUESTION, reason)
        return Answer(
            name="flops_matched",
            question=QUESTION,
            sentences=[
                _sentence(selector, table, ratio)
                for selector, table in tables.items()
                for ratio in self.ratios
            ],
            plots=[_plot(selector, table) for selector, table in tables.items()],
            tables=tables,
            assumptions=[
                "The best way is chosen on four fifths of the problems among all that were measured and cost no more,"
                " and scored on the fifth that is left, against the larger model's greedy answer where one was drawn."
                " By voting and by the oracle the larger model's answer is a sample.",
                "R fixes how many queries share the pre-training: R D / (tokens of a query of the larger model). The"
                " smaller model spends on samples what its pre-training saved.",
                "Where more samples are affordable than were drawn, the smaller model is read at the last one drawn:"
                " nothing is extrapolated, and what it wins is a lower bound.",
            ],
        )

    def _best_ways(self, study: Study) -> pd.DataFrame:
        """The columns of `tradeoff.flops_matched`, k and is_capped apart, and the `way` that most problems got."""
        drawn = {
            facts: [one for one in study.attempts if one.facts == facts] for facts in study.models
        }
        found = {facts: [way for one in mine for way in ways(one)] for facts, mine in drawn.items()}
        every = {facts: sorted(own, key=lambda way: way.flops) for facts, own in found.items()}
        rows = [
            row
            for smaller, larger in combinations(study.models, 2)
            if every[smaller] and (answer := _Answer.of(drawn[larger]))
            for row in self._rows(study, (smaller, larger), every[smaller], answer)
        ]
        return pd.DataFrame(rows)

    def _rows(
        self,
        study: Study,
        pair: tuple[ModelFacts, ModelFacts],
        every: Sequence[Way],
        answer: _Answer,
    ) -> Iterator[dict[str, object]]:
        smaller, larger = pair
        num_problems, means = len(answer.accuracy_P), study.resamples.means
        fold_P = np.random.default_rng(study.seed).permutation(num_problems) % NUM_FOLDS
        if num_problems < 2 * NUM_FOLDS:
            return
        saved = larger.pretraining_flops - smaller.pretraining_flops
        for ratio in self.ratios:
            num_queries = ratio * larger.pretraining_tokens / answer.tokens
            budget = answer.flops + saved / num_queries
            chosen = Chosen.of(every, budget, np.zeros(num_problems, np.int64), fold_P)
            can_pay = every[0].flops <= budget * (1 + EQUAL_COST)
            accuracy_R = means(chosen.accuracy_P * can_pay)
            difference = study.resamples.estimate(accuracy_R - means(answer.accuracy_P), np.nan)
            yield {
                "smaller": smaller.name,
                "larger": larger.name,
                "ratio": ratio,
                "num_queries": num_queries,
                "way": every[int(np.bincount(chosen.way_P).argmax())].name if can_pay else "none",
                "larger_answer": answer.strategy,
                "accuracy_smaller": float(accuracy_R[0]),
                "accuracy_larger": float(answer.accuracy_P.mean()),
                **difference.columns("difference"),
            }


@dataclass(frozen=True)
class _Answer:
    """A single answer: its accuracy by problem, and the mean FLOPs and tokens of a query, the prompt's included."""

    strategy: str
    accuracy_P: FloatArray
    flops: float
    tokens: float

    @classmethod
    def of(cls, drawn: Sequence[Attempts]) -> _Answer | None:
        """The greedy one, else one sample; none where neither is known with its cost."""
        is_greedy = [one.kind == "single" and one.strategy.startswith(GREEDY) for one in drawn]
        greedy = [one for one, is_so in zip(drawn, is_greedy, strict=True) if is_so]
        for one in (*greedy, *(one for one in drawn if one.kind == "exchangeable")):
            for way in ways(one):
                if way.k == 1:
                    tokens = float((one.prompt_tokens_P + way.tokens_P).mean())
                    return cls(one.strategy, way.accuracy_P, way.flops, tokens)
        return None


def _sentence(selector: str, table: pd.DataFrame, ratio: float) -> str:
    """How many pairs go which way, at one R; of one pair, how far."""
    at = table.loc[(table["ratio"] == ratio).to_numpy(bool)]
    if len(at) == 1:
        row = at.iloc[0].to_dict()
        way = f" ({row['way']})" if "way" in row else ""
        gain = points_valued(Estimate.of_columns(row, "difference"))
        return (
            f"With {WORDS[selector]}{way}, at R = {ratio:g}, {row['smaller']} stands at {gain} against the single"
            f" answer of {row['larger']}."
        )
    num_smaller = int((at["difference_low"] > 0).sum())
    num_larger = int((at["difference_high"] < 0).sum())
    num_open = len(at) - num_smaller - num_larger
    return (
        f"With {WORDS[selector]}, at R = {ratio:g}, the smaller model is the more accurate in {num_smaller} of"
        f" {len(at)} pairs, the larger in {num_larger}, and in {num_open} the data cannot tell."
    )


def _plot(selector: str, table: pd.DataFrame) -> Plot:
    return Plot(
        name=f"flops_matched_{selector}",
        title=f"Advantage of the smaller model at equal total compute, by {selector.replace('_', ' ')}",
        caption="Accuracy of the smaller model minus that of the larger one's single answer, against the ratio of"
        " inference to pre-training tokens. Above zero, thinking longer wins.",
        x_label="R, inference over pre-training tokens",
        y_label="difference in accuracy",
        series=list(_lines(table)),
        is_log_x=True,
    )


def _lines(table: pd.DataFrame) -> Iterator[Series]:
    """Neighbours along the ladder, and the smallest against the largest: all pairs would hide one another."""
    order = list(dict.fromkeys([*table["smaller"], *table["larger"]]))
    for smaller, larger in _shown_pairs(order):
        is_pair = (table["smaller"] == smaller) & (table["larger"] == larger)
        part = table.loc[is_pair.to_numpy(bool)].sort_values("ratio")
        if not part.empty:
            yield Series(
                name=f"{smaller} against {larger}",
                x=part["ratio"].tolist(),
                y=part["difference"].tolist(),
                low=part["difference_low"].tolist(),
                high=part["difference_high"].tolist(),
                model=smaller,
            )


def _shown_pairs(order: Sequence[str]) -> list[tuple[str, str]]:
    neighbours = list(pairwise(order))
    ends = (order[0], order[-1])
    return neighbours if ends in neighbours else [*neighbours, ends]
