"""Compute-optimal: what if every problem got the way to spend compute that suits its difficulty?

Snell et al. (2024, arXiv 2408.03314, section 3): problems are binned by the model's own pass rate, and in each bin the
best way at a budget is chosen. Ways are chosen on other problems than those that they are scored on, and difficulty is
told from samples that no way has anything in common with, so that the curve is not optimistic: a way that looks at
luckier samples where a problem is called easy would look as if it suited easy problems.

Sample i of a problem comes from one stream of random numbers, whatever strategy asks for it: adaptive voting draws the
samples of plain sampling, and the first step of a beam's child i begins sample i. So samples are split by number.

Axes: P problems, W ways, R rows of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.intervals import Estimate
from scaling_exp.analysis.questions.asking import CannotTell, answered
from scaling_exp.analysis.questions.ways import Way, first_samples, plain_samples, ways
from scaling_exp.analysis.study import Study
from scaling_exp.analysis.words import points_valued, short

QUESTION = "Does it pay to choose how compute is spent by the difficulty of a problem?"
WHAT = "Whether it pays to choose by difficulty"
MIN_PER_BIN = 5
"""Problems of a bin and fold below which a choice is mostly chance."""
EQUAL_COST = 0.02
"""Costs that differ by this share or less are equal: a greedy answer is a token longer or shorter than a sample."""


@dataclass(frozen=True)
class ComputeOptimal:
    """`num_bins` bins of difficulty, `num_folds` parts of the problems, `num_budgets` budgets from the cheapest way to
    the dearest. Difficulty is told from half of the samples of strategy `plain`; null: of the one that the trade is
    read from."""

    num_bins: int = 5
    num_folds: int = 5
    num_budgets: int = 8
    plain: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("num_bins", 2), ("num_folds", 2), ("num_budgets", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"compute_optimal.{name} is {getattr(self, name)}; give {least} or more"
                )

    def __call__(self, study: Study) -> Answer:
        return answered("compute_optimal", QUESTION, WHAT, lambda: self._answer(study))

    def _answer(self, study: Study) -> Answer:
        rng = np.random.default_rng(study.seed)
        told = plain_samples(study.attempts, self.plain)
        split = {model: Split.of(study, one) for model, one in told.items() if one.max_k > 1}
        found = [
            each for model, one in split.items() for each in self._found(study, model, one, rng)
        ]
        if not found:
            raise CannotTell(
                "no model has two ways to spend compute, samples to tell difficulty from, and"
                f" {self.num_bins * self.num_folds * MIN_PER_BIN} problems"
            )
        plain = next(iter(told.values()))
        table = pd.DataFrame(row for row, _ in found)
        choices = pd.DataFrame(choice for _, chosen in found for choice in chosen)
        return Answer(
            name="compute_optimal",
            question=QUESTION,
            sentences=[
                *_sentences(table, choices),
                *_left_out(study, plain, split.values()),
            ],
            plots=[_plot(model, own) for model, own in table.groupby("model", sort=False)],
            tables={"compute_optimal": table, "choices": choices},
            assumptions=[
                f"Difficulty is the model's own pass rate in the second half of its samples of {plain.strategy}; ways"
                " are scored on the first half, and on nothing that was drawn with the random numbers of the second."
                " Telling the difficulty is not charged (as in the paper).",
                f"Ways are chosen on {self.num_folds - 1} of {self.num_folds} parts of the problems and scored on the"
                " one that is left; the single best way, chosen likewise without bins, is what it is compared with.",
            ],
        )

    def _found(
        self, study: Study, model: str, split: Split, rng: np.random.Generator
    ) -> Iterator[tuple[dict[str, object], list[dict[str, object]]]]:
        """At every budget what is reached, and what was chosen in every bin."""
        rate_P = split.rate_P
        every = sorted((way for one in split.kept for way in ways(one)), key=lambda way: way.flops)
        if len(every) < 2 or len(rate_P) < self.num_bins * self.num_folds * MIN_PER_BIN:
            return
        bin_P = quantile_bins(rate_P, self.num_bins, rng)
        fold_P = rng.permutation(len(rate_P)) % self.num_folds
        whole_P = np.zeros_like(bin_P)
        for budget in np.geomspace(every[0].flops, every[-1].flops, self.num_budgets):
            chosen = Chosen.of(every, budget, bin_P, fold_P)
            single = Chosen.of(every, budget, whole_P, fold_P)
            where: dict[str, object] = {"model": model, "budget": float(budget)}
            yield (
                where | _row(study, chosen, single),
                [where | each for each in _choices(every, chosen, bin_P)],
            )


@dataclass(frozen=True)
class Split:
    """Of one model, the pass rate in the samples that tell difficulty, and attempts that have nothing in common with
    them; `left_out` are strategies that may have."""

    rate_P: FloatArray
    kept: Sequence[Attempts]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, told: Attempts) -> Split:
        """The second half of the samples of `told`, by number, tell difficulty."""
        num_kept = told.max_k - told.max_k // 2
        first = first_samples(told, num_kept)
        num_right_P, num_P = (
            getattr(told, name) - getattr(first, name)
            for name in ("num_correct_P", "num_samples_P")
        )
        kept, left_out = [], []
        for one in study.attempts:
            if one.facts.name != told.facts.name:
                continue
            if one.kind != "adaptive":
                kept.append(first_samples(one, num_kept))
            elif study.most_samples.get(one.strategy, np.inf) <= num_kept:
                kept.append(one)
            else:
                left_out.append(one.strategy)
        return cls(num_right_P / num_P, kept, tuple(left_out))


@dataclass(frozen=True)
class Chosen:
    """What a policy reaches and spends on each problem, and by which way: a position among the ways."""

    accuracy_P: FloatArray
    flops_P: FloatArray
    way_P: IntArray

    @classmethod
    def of(cls, every: Sequence[Way], budget: float, bin_P: IntArray, fold_P: IntArray) -> Chosen:
        """In each bin the way that is best on the other folds among those that cost no more than the budget; of equals
        the cheapest, and the cheapest of all where none is affordable. A way costs what it does on average over all
        bins, so that all of them choose among the same ways: hard problems take longer answers."""
        accuracy_WP = np.stack([way.accuracy_P for way in every])
        flops_WP = np.stack([way.flops_P for way in every])
        way_P = np.zeros(len(bin_P), np.int64)
        for fold in np.unique(fold_P):
            flops_W = flops_WP[:, fold_P != fold].mean(axis=1)
            can_pay_W = flops_W <= budget * (1 + EQUAL_COST)
            for at in np.unique(bin_P):
                seen, unseen = (
                    (bin_P == at) & (is_in) for is_in in (fold_P != fold, fold_P == fold)
                )
                accuracy_W = np.where(can_pay_W, accuracy_WP[:, seen].mean(axis=1), -1.0)
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


def _choices(every: Sequence[Way], chosen: Chosen, bin_P: IntArray) -> Iterator[dict[str, object]]:
    """The way that most problems of each bin got, the easiest bin first: folds may differ."""
    for part, at in enumerate(np.unique(bin_P)[::-1]):
        inside = bin_P == at
        counts = np.bincount(chosen.way_P[inside])
        yield {
            "bin": part + 1,
            "way": every[int(counts.argmax())].name,
            "share": float(counts.max() / inside.sum()),
            "accuracy": float(chosen.accuracy_P[inside].mean()),
        }


def _row(study: Study, chosen: Chosen, single: Chosen) -> dict[str, object]:
    means = study.resamples.means
    chosen_R, single_R = means(chosen.accuracy_P), means(single.accuracy_P)
    gain = study.resamples.estimate(chosen_R - single_R, np.nan)
    return {
        **study.resamples.accuracy_estimate(chosen_R).columns("accuracy"),
        "flops": float(chosen.flops_P.mean()),
        "single": float(single_R[0]),
        "single_flops": float(single.flops_P.mean()),
        **gain.columns("gain"),
    }


def _sentences(table: pd.DataFrame, choices: pd.DataFrame) -> Iterator[str]:
    better = table.loc[(table["gain_low"] > 0).to_numpy(bool)]
    worse = table.loc[(table["gain_high"] < 0).to_numpy(bool)]
    yield (
        f"Choosing by difficulty beats the best single way in {len(better)} of {len(table)} models and budgets, is"
        f" beaten by it in {len(worse)}, and in {len(table) - len(better) - len(worse)} the data cannot tell."
    )
    for model, own in table.groupby("model", sort=False):
        top = own.loc[own["gain"].idxmax()]
        gain = Estimate.of_columns(top.to_dict(), "gain")
        is_here = (choices["model"] == model) & (choices["budget"] == top["budget"])
        got = choices.loc[is_here.to_numpy(bool), "way"].tolist()
        yield (
            f"{model}: at most {points_valued(gain)}, at {short(float(top['budget']))} FLOPs a query, where the easiest"
            f" of {len(got)} parts of the problems gets {got[0]} and the hardest {got[-1]}."
        )


def _left_out(study: Study, plain: Attempts, split: Iterable[Split]) -> Iterator[str]:
    """Which strategies share samples with what tells difficulty, and with how many samples they would not."""
    names = dict.fromkeys(name for each in split for name in each.left_out)
    if not names:
        return
    first, last = plain.max_k - plain.max_k // 2 + 1, plain.max_k
    most = max((study.most_samples.get(name, 0) for name in names), default=0)
    wanted = (
        f"with strategies.{plain.strategy}.num_samples={2 * most} they would not"
        if most
        else "the run's record is older than what tells it: run the same command again"
    )
    yield (
        f"Left out: {', '.join(names)}. They may share samples {first} to {last} of {plain.strategy}, which tell"
        f" difficulty: {wanted}."
    )


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
