"""FLOPs-matched: at equal total compute, does the larger model answering once win, or the smaller thinking longer?

The comparison of Snell et al. (2024, arXiv 2408.03314, section 7) for any ratio R of inference to pre-training tokens,
with each model's own costs instead of 2N a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.tradeoff import flops_matched

QUESTION = "At equal total compute, is the larger model's single answer better, or the smaller's longer thought?"
SELECTORS = ("voting", "oracle")


@dataclass(frozen=True)
class FlopsMatched:
    """`ratios` are values of R = D_inference / D_pretraining of the larger model; the defaults are the paper's."""

    ratios: tuple[float, ...] = (0.16, 0.79, 22.0)

    def __post_init__(self) -> None:
        if not self.ratios or any(ratio <= 0 for ratio in self.ratios):
            raise ValueError(f"flops_matched.ratios is {self.ratios}; give positive numbers")

    def __call__(self, study: Study) -> Answer:
        tables = {
            selector: flops_matched(study.matching[selector], self.ratios, study.resamples)
            for selector in SELECTORS
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
                "R fixes how many queries share the pre-training: R D / (tokens of a query of the larger model). The"
                " smaller model spends on samples what its pre-training saved.",
                "Where more samples are affordable than were drawn, the smaller model is read at the last one drawn:"
                " nothing is extrapolated, and what it wins is a lower bound.",
            ],
        )


def _sentence(selector: str, table: pd.DataFrame, ratio: float) -> str:
    """How many pairs go which way, at one R."""
    at = table.loc[(table["ratio"] == ratio).to_numpy(bool)]
    num_smaller = int((at["difference_low"] > 0).sum())
    num_larger = int((at["difference_high"] < 0).sum())
    by = "majority voting" if selector == "voting" else "an oracle selector, which no user has"
    return (
        f"With {by}, at R = {ratio:g}, the smaller model is the more accurate in {num_smaller} of {len(at)} pairs, the"
        f" larger in {num_larger}, and in {len(at) - num_smaller - num_larger} the data cannot tell."
    )


def _plot(selector: str, table: pd.DataFrame) -> Plot:
    return Plot(
        name=f"flops_matched_{selector}",
        title=f"Advantage of the smaller model at equal total compute, by {selector}",
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
