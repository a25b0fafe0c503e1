"""How often intervals hold the truth: experiments repeated many times on problems whose truth is known.

A population gives, for every model and problem, the chance of each answer; a trial draws problems from it and samples
of each, and runs the pipeline of a report: votes, curves, bootstrap, matches, exchange rate. The truth is the same
pipeline on the whole population with the exact expectation of a vote in place of the estimate, so what is tested is the
interval and all that it rests on, not a formula against itself.

Axes: M models, T types of problem in the population, A answers (0 is right, the last is none), P problems, K numbers of
samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln
from scipy.stats import beta, norm

from scaling_exp.analysis.estimators import (
    FloatArray,
    IntArray,
    Votes,
    maj_at_k,
    pass_at_k,
)
from scaling_exp.analysis.intervals import Estimate, Resamples, resample_nothing, resample_problems
from scaling_exp.analysis.marginal import marginal_rate
from scaling_exp.analysis.tradeoff import Curve, exchange_rate, match, matching_ks
from scaling_exp.bench.result import Result, Row, Setup, check_positive
from scaling_exp.types import Architecture, ModelFacts

AMONG_WRONG = (1.0, 1.5)
"""Dirichlet weights of the wrong answer that a problem draws again and again, and of all others, which scatter and so
count as none."""
CONCENTRATION = 2.5
"""Of the beta distribution of a model's chances: the lower, the more problems are either easy or hard."""
CORRELATION = 0.8
"""Of difficulty between models, in normal scores: what is hard for one is mostly hard for all."""
PROMPT_FLOPS = 0.5
"""Of a prompt, in samples of the smallest model."""


@dataclass(frozen=True)
class Population:
    """Every type of problem is equally likely. `flops_MT` is what a sample costs on average."""

    facts: Sequence[ModelFacts]
    chance_MTA: FloatArray
    flops_MT: FloatArray

    @classmethod
    def of(cls, means: Sequence[float], num_types: int, seed: int) -> Population:
        """Models of which each has three times the pre-training of the one before, and these mean accuracies."""
        rng = np.random.default_rng(seed)
        difficulty_T = rng.normal(size=num_types)
        among_wrong_TA = rng.dirichlet(AMONG_WRONG, size=num_types)
        chances, flops = [], []
        for index, mean in enumerate(means):
            own_T = rng.normal(size=num_types)
            score_T = CORRELATION * difficulty_T + math.sqrt(1 - CORRELATION**2) * own_T
            shape = (mean * CONCENTRATION, (1 - mean) * CONCENTRATION)
            right_T = beta.ppf(norm.cdf(score_T), *shape)
            chances.append(np.c_[right_T, (1 - right_T[:, None]) * among_wrong_TA])
            flops.append(1.6**index * np.exp(-0.2 * difficulty_T))
        facts = [
            ModelFacts(f"model {at}", Architecture.of_size(10**6, 10**6), 10**6 * 3**at)
            for at in range(len(means))
        ]
        return cls(facts, np.array(chances), np.array(flops))

    def curves(self, ks: Sequence[int]) -> list[Curve]:
        """What an endless experiment would find, and its only resample, which is the same."""
        accuracy_MK = elected(self.chance_MTA, ks).mean(axis=1)
        return [
            _curve(facts, ks, np.tile(accuracy_K, (2, 1)), np.full(2, flops_T.mean()))
            for facts, accuracy_K, flops_T in zip(
                self.facts, accuracy_MK, self.flops_MT, strict=True
            )
        ]

    def draw(
        self, num_problems: int, num_samples: int, rng: np.random.Generator
    ) -> list[tuple[IntArray, FloatArray]]:
        """Of every model how often it gave each answer to the same problems (P, A), and the mean cost of its samples
        (P,)."""
        type_P = rng.integers(self.chance_MTA.shape[1], size=num_problems)
        drawn = []
        for chance_TA, flops_T in zip(self.chance_MTA, self.flops_MT, strict=True):
            counts_PA = rng.multinomial(num_samples, chance_TA[type_P])
            shape = 2.0 * num_samples  # of lengths, summed over samples: each has shape 2
            drawn.append((counts_PA, rng.gamma(shape, flops_T[type_P] / shape)))
        return drawn


def votes_of(counts_PA: IntArray) -> Votes:
    """Votes from how often each answer was given; answer 0 is right, the last is none."""
    problem_A, answer_A = np.nonzero(counts_PA[:, :-1])
    return Votes(
        num_problems=len(counts_PA),
        problem_A=problem_A,
        votes_A=counts_PA[problem_A, answer_A],
        is_right_A=answer_A == 0,
        num_abstaining_P=counts_PA[:, -1],
        answer_A=answer_A,
    )


def vote_table(num_samples: int, ks: Sequence[int]) -> FloatArray:
    """The estimator's maj@k for every number of right and of equal wrong answers, shape (n + 1, n + 1, K); each is
    estimated once and looked up in every trial. NaN where the two are more than all samples."""
    numbers = np.arange(num_samples + 1)
    right_C, wrong_C = (each.ravel() for each in np.meshgrid(numbers, numbers, indexing="ij"))
    is_possible_C = right_C + wrong_C <= num_samples
    counts_CA = np.stack([right_C, wrong_C, num_samples - right_C - wrong_C], axis=1)
    table_CK = np.full((len(right_C), len(ks)), np.nan)
    table_CK[is_possible_C] = maj_at_k(votes_of(counts_CA[is_possible_C]), ks).values_PK
    return table_CK.reshape(num_samples + 1, num_samples + 1, len(ks))


def elected(chance_MTA: FloatArray, ks: Sequence[int]) -> FloatArray:
    """Exact probability that k fresh samples elect the right answer, shape (M, T, K).

    The multinomial as a product of series in x: k! [x^k] sum_j p^j x^j / j! prod_a (sum_{i<j} q_a^i x^i / i! + tie),
    where t ties share the vote, with e^(q x) for the share that abstains. It shares no code with the estimator.
    """
    powers = np.arange(max(ks) + 1)
    series_MTAX = chance_MTA[..., None] ** powers / np.exp(gammaln(powers + 1.0))
    right_MTX, abstain_MTX = series_MTAX[..., 0, :], series_MTAX[..., -1, :]
    total_MTX = np.zeros_like(right_MTX)
    for votes in range(1, max(ks) + 1):
        ties = [abstain_MTX]  # by number of wrong answers that are tied with the right one
        for rival_MTX in np.moveaxis(series_MTAX[..., 1:-1, :], -2, 0):
            below_MTX = np.where(powers < votes, rival_MTX, 0.0)
            tied = [np.zeros_like(right_MTX), *(_shifted(each, votes) for each in ties)]
            ties = [*(_product(each, below_MTX, votes) for each in ties), tied[0]]
            for at in range(1, len(ties)):
                ties[at] = ties[at] + rival_MTX[..., votes, None] * tied[at]
        shared_MTX = np.sum([each / (at + 1) for at, each in enumerate(ties)], axis=0)
        total_MTX += right_MTX[..., votes, None] * _shifted(shared_MTX, votes)
    chosen = list(ks)
    return total_MTX[..., chosen] * np.exp(gammaln(np.array(chosen) + 1.0))


def _product(left_X: FloatArray, right_X: FloatArray, num_terms: int) -> FloatArray:
    """Product of series, the right one of `num_terms` terms, cut at their length."""
    product_X = left_X * right_X[..., :1]
    for power in range(1, min(num_terms, left_X.shape[-1])):
        product_X[..., power:] += right_X[..., power, None] * left_X[..., :-power]
    return product_X


def _shifted(series_X: FloatArray, power: int) -> FloatArray:
    """Times x^power, cut at its length."""
    shifted_X = np.zeros_like(series_X)
    shifted_X[..., power:] = series_X[..., : series_X.shape[-1] - power]
    return shifted_X


def _curve(
    facts: ModelFacts, ks: Sequence[int], accuracy_RK: FloatArray, sample_R: FloatArray
) -> Curve:
    return Curve(
        facts=facts,
        ks_K=np.array(ks),
        accuracy_RK=accuracy_RK,
        prefill_R=np.full(len(sample_R), PROMPT_FLOPS),
        sample_R=sample_R,
        prompt_tokens=1.0,
        output_tokens=1.0,
    )


def trade(curves: Sequence[Curve], resamples: Resamples) -> dict[str, Estimate]:
    """What is derived from the curves of a ladder: the second model against the third, and the rate of all."""
    smaller, larger = curves[1], curves[2]
    last_R = larger.accuracy_RK[:, -1] - smaller.accuracy_RK[:, -1]
    pair = match(smaller, larger, resamples)
    rate, marginal = exchange_rate(curves, resamples), marginal_rate(curves, resamples)
    return {
        "maj@1": resamples.estimate(smaller.accuracy_RK[:, 0], np.nan),
        "maj@n": resamples.estimate(smaller.accuracy_RK[:, -1], np.nan),
        "difference": resamples.estimate(last_R, np.nan),
        "k_match": pair.k_match,
        "crossover": pair.crossover_queries,
        **({"marginal rate": marginal.factor} if marginal else {}),
        **({"rate where met": rate.factor} if rate else {}),
    }


@dataclass(frozen=True)
class CoverageBench:
    """Designs are all pairs of problems and samples. `means` are the models' accuracies with one sample."""

    num_problems: tuple[int, ...]
    num_samples: tuple[int, ...]
    num_trials: int
    num_resamples: int
    num_types: int
    confidence: float
    means: tuple[float, ...]

    def __post_init__(self) -> None:
        check_positive(self, *vars(self))
        if len(self.means) < 3 or max(self.means) >= 1:
            raise ValueError(f"bench.means is {self.means}; give three or more, each below 1")
        if self.confidence >= 1:
            raise ValueError(f"bench.confidence is {self.confidence}; it must be below 1")

    def run(self, setup: Setup) -> Result:  # noqa: ARG002 - arithmetic alone
        """A row a design: the share of the trials in which an interval held the truth."""
        population = Population.of(self.means, self.num_types, seed=0)
        rows = [
            row for num_samples in self.num_samples for row in self._rows(population, num_samples)
        ]
        error = math.sqrt(self.confidence * (1 - self.confidence) / self.num_trials)
        title = (
            f"Coverage of {self.confidence:.0%} intervals, {self.num_trials} trials,"
            f" {self.num_resamples} resamples"
        )
        notes = (
            f"Monte Carlo error of each share: {error:.4f}",
            "difference: maj@n of the third model less that of the second; k_match and crossover: the second against"
            " one sample of the third; rates: of the whole ladder; all under majority voting, except pass@n",
        )
        return Result(title, tuple(rows), notes)

    def _rows(self, population: Population, num_samples: int) -> Iterator[Row]:
        """One for every number of problems."""
        truth = self.truth(population, num_samples)
        maj_CCK = vote_table(num_samples, matching_ks(num_samples))
        for num_problems in self.num_problems:
            rng = np.random.default_rng([num_problems, num_samples])
            is_covered: dict[str, list[bool]] = {name: [] for name in truth}
            for _ in range(self.num_trials):
                resamples = resample_problems(
                    num_problems, self.num_resamples, self.confidence, int(rng.integers(2**31))
                )
                drawn = population.draw(num_problems, num_samples, rng)
                for name, found in estimates(population, drawn, maj_CCK, resamples).items():
                    is_covered[name].append(found.low <= truth[name] <= found.high)
            shares = {name: float(np.mean(each)) for name, each in is_covered.items()}
            yield {"problems": num_problems, "samples": num_samples, **shares}

    def truth(self, population: Population, num_samples: int) -> Mapping[str, float]:
        """Of the population, for as many samples as a trial draws."""
        curves = population.curves(matching_ks(num_samples))
        found = trade(curves, resample_nothing(1, 0.5))
        right_T = population.chance_MTA[1, :, 0]
        oracle = float(np.mean(1 - (1 - right_T) ** num_samples))
        return {name: each.value for name, each in found.items()} | {"pass@n": oracle}


def estimates(
    population: Population,
    drawn: Sequence[tuple[IntArray, FloatArray]],
    maj_CCK: FloatArray,
    resamples: Resamples,
) -> dict[str, Estimate]:
    """What one trial finds."""
    num_samples = len(maj_CCK) - 1
    curves = [
        _curve(
            facts,
            matching_ks(num_samples),
            resamples.means(maj_CCK[counts_PA[:, 0], counts_PA[:, 1]]),
            resamples.means(flops_P),
        )
        for facts, (counts_PA, flops_P) in zip(population.facts, drawn, strict=True)
    ]
    num_correct_P = drawn[1][0][:, 0]
    oracle_P1 = pass_at_k(num_correct_P, np.full_like(num_correct_P, num_samples), [num_samples])
    oracle = resamples.estimate(resamples.means(oracle_P1[:, 0]), np.nan)
    return trade(curves, resamples) | {"pass@n": oracle}
