"""The bootstrap: what its rows are, what it does with infinities, and how often its intervals are
right."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_exp.analysis.estimators import VoteCounts, maj_at_k, pass_at_k
from scaling_exp.analysis.intervals import resample_nothing, resample_problems, share_defined


def test_row_0_is_the_data_and_the_others_are_resamples() -> None:
    resamples = resample_problems(7, 50, 0.95, seed=1)
    assert resamples.weights_RP.shape == (51, 7)
    np.testing.assert_allclose(resamples.weights_RP.sum(axis=1), 1)
    np.testing.assert_allclose(resamples.weights_RP[0], 1 / 7)
    whole = resamples.weights_RP[1:] * 7
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-12)


def test_a_seed_gives_the_same_resamples() -> None:
    first, again, other = (resample_problems(9, 20, 0.95, seed).weights_RP for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_the_same_problems_make_a_difference_sharper() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.random(200)
    resamples = resample_problems(200, 1000, 0.95, seed=0)
    easier, harder = resamples.means(difficulty + 0.1), resamples.means(difficulty)
    low, high = resamples.interval(easier - harder)
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)


def test_infinite_resamples_are_kept_and_undefined_ones_must_be_placed() -> None:
    resamples = resample_nothing(100, 0.9)
    values = np.concatenate([[2.0], np.arange(90.0), np.full(10, np.nan)])
    with pytest.raises(ValueError, match="undefined"):
        resamples.interval(values)
    estimate = resamples.estimate(values, undefined=np.inf)
    assert (estimate.value, estimate.low, estimate.high) == (2.0, 4.0, np.inf)
    assert share_defined(values) == pytest.approx(0.9)


def test_one_problem_has_no_interval() -> None:
    resamples = resample_problems(1, 100, 0.95, seed=0)
    estimate = resamples.estimate(resamples.means(np.array([0.3])), undefined=0.0)
    assert estimate.value == pytest.approx(0.3)
    assert np.isnan([estimate.low, estimate.high]).all()


def test_intervals_of_pass_and_maj_cover_what_they_should() -> None:
    """Problems are drawn from a population of known answer distributions, samples from each
    problem."""
    rng = np.random.default_rng(20)
    num_trials, num_problems, num_samples, ks = 2000, 100, 8, [1, 4, 8]
    population = rng.beta(0.8, 1.5, size=40)
    truth = np.array([_expected(p, ks) for p in population]).mean(axis=0)
    covered = np.zeros((num_trials, 2, len(ks)), bool)
    resamples = resample_problems(num_problems, 400, 0.95, seed=0)
    for trial in range(num_trials):
        chance = rng.choice(population, size=num_problems)
        right = rng.binomial(num_samples, chance)
        problems = [
            VoteCounts((c,) * (c > 0), (num_samples - c,) * (c < num_samples), 0)
            for c in right.tolist()
        ]
        tables = pass_at_k(right, num_samples, ks), maj_at_k(problems, ks)
        for selector, table in enumerate(tables):
            low, high = resamples.interval(resamples.means(table))
            covered[trial, selector] = (low <= truth[selector]) & (truth[selector] <= high)
    coverage = covered.mean(axis=0)
    assert (coverage >= 0.93).all(), coverage
    assert (coverage <= 0.97).all(), coverage


def _expected(p: float, ks: list[int]) -> list[list[float]]:
    """pass@k and maj@k of a problem with one wrong answer and chance p of the right one, in closed
    form."""
    oracle = [1 - (1 - p) ** k for k in ks]
    voting = []
    for k in ks:
        votes = np.arange(k + 1)
        chances = np.array([_binomial(k, int(j), p) for j in votes])
        voting.append(float(chances @ np.where(2 * votes == k, 0.5, 2 * votes > k)))
    return [oracle, voting]


def _binomial(k: int, j: int, p: float) -> float:
    return float(np.prod([(k - i) / (i + 1) for i in range(j)]) * p**j * (1 - p) ** (k - j))
