"""Variance by problems and samples, and what a design can resolve: published formulas, and simulations of both."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_exp.analysis.significance import (
    WORST_CASE,
    Criterion,
    Spread,
    of_values,
    paired,
    unpaired,
)
from scaling_exp.analysis.variance import (
    clustered_standard_error,
    sample_variance,
    split,
    variance_table,
)


def drawn(rng: np.random.Generator, chance_P: np.ndarray, num_samples: int):
    """(correct, drawn) counts per problem."""
    return rng.binomial(num_samples, chance_P), np.full(len(chance_P), num_samples)


def test_the_variance_of_one_sample_is_unbiased() -> None:
    """p(1-p) n/(n-1) by hand: 3 of 4 right, 1 of 2; one sample tells nothing."""
    variance = sample_variance(np.array([3, 1, 1]), np.array([4, 2, 1]))
    np.testing.assert_allclose(variance, [0.25, 0.5, np.nan])


def test_both_parts_of_the_variance_are_unbiased() -> None:
    """Uniform difficulty: 1/12 between problems, 1/6 within them for one sample (Miller, section 3)."""
    rng = np.random.default_rng(0)
    parts = [split(*drawn(rng, rng.random(100), 3)) for _ in range(2000)]
    assert np.mean([each.between for each in parts]) == pytest.approx(1 / 12, rel=0.02)
    assert np.mean([each.within_one for each in parts]) == pytest.approx(1 / 6, rel=0.02)
    assert np.mean([each.within for each in parts]) == pytest.approx(1 / 18, rel=0.02)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 4, 5])
def test_more_samples_help_as_published(num_samples: int) -> None:
    """Var(K) = Var(1) (1 + 2/K) / 3 for uniform difficulty (Miller, section 3.1)."""
    between, within = 1 / 12, 1 / 6
    ratio = (between + within / num_samples) / (between + within)
    assert ratio == pytest.approx((1 + 2 / num_samples) / 3)
    now = Spread(between, within).standard_error(100, num_samples)
    assert now**2 * 100 / 0.25 == pytest.approx(ratio)


def test_the_predicted_standard_errors_come_true() -> None:
    rng = np.random.default_rng(1)
    tables = [
        variance_table(["m"], [drawn(rng, rng.beta(1, 2, 200), 4)]).iloc[0] for _ in range(200)
    ]
    for column, num_problems, num_samples in (
        ("standard_error", 200, 4),
        ("standard_error_2x_samples", 200, 8),
        ("standard_error_2x_problems", 400, 4),
    ):
        means = [
            drawn(rng, rng.beta(1, 2, num_problems), num_samples)[0].mean() / num_samples
            for _ in range(4000)
        ]
        assert np.mean([table[column] for table in tables]) == pytest.approx(
            np.std(means), rel=0.05
        )


def test_what_is_not_known_of_the_variance_is_not_made_up() -> None:
    single = split(np.array([1, 0, 1, 1]), np.ones(4, int))
    assert single.standard_error == pytest.approx(0.25)
    assert math.isnan(single.within)
    assert math.isnan(single.standard_error_of(times_problems=1, times_samples=2))
    assert math.isnan(split(np.array([1]), np.array([4])).standard_error)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(8, 20)), min_size=2, max_size=20))
def test_the_parts_add_up_to_the_whole(counts: list[tuple[int, int]]) -> None:
    correct, num_samples = np.array(counts).T
    parts = split(correct, num_samples)
    assert parts.between >= 0
    assert parts.between + parts.within == pytest.approx((correct / num_samples).var(ddof=1))
    assert 0 <= parts.share_within <= 1


def test_clusters_of_one_give_the_usual_standard_error() -> None:
    values = np.random.default_rng(0).random(50)
    usual = values.std(ddof=1) / math.sqrt(50)
    alone = [str(at) for at in range(50)]
    assert clustered_standard_error(values, alone) == pytest.approx(usual)


def test_clusters_of_equal_problems_count_once() -> None:
    """Ten copies of each problem: the standard error is that of the originals."""
    originals = np.random.default_rng(0).random(200)
    copies, names = np.repeat(originals, 10), np.repeat(np.arange(200).astype(str), 10)
    expected = originals.std() / math.sqrt(200)
    assert clustered_standard_error(copies, names.tolist()) == pytest.approx(expected, rel=1e-3)


def test_the_formula_for_problems_gives_the_published_kind_of_number() -> None:
    """omega^2 = 1/9, 3 points, 95 % and 80 %: (1.960 + 0.842)^2 / 9 / 0.03^2 = 969 with endless samples; with
    sigma^2 = 1/6 each and one sample 3,876 (Miller, section 5)."""
    criterion = Criterion(0.95, 0.8)
    assert criterion.num_standard_errors == pytest.approx(1.959964 + 0.841621, abs=1e-6)
    spread = Spread(between=1 / 9, within=2 / 6)
    assert criterion.problems_needed(Spread(1 / 9, 0.0), 0.03, 1) == 969
    assert criterion.problems_needed(spread, 0.03, 1) == 3876
    assert criterion.smallest_difference(spread, 198, 1) == pytest.approx(0.1327, abs=1e-4)


@given(
    between=st.floats(0.01, 0.5),
    within=st.floats(0, 0.5),
    difference=st.floats(0.005, 0.3),
    num_samples=st.integers(1, 100),
)
def test_what_is_needed_is_enough_and_one_less_is_not(
    between: float, within: float, difference: float, num_samples: int
) -> None:
    criterion, spread = Criterion(), Spread(between, within)
    num_problems = criterion.problems_needed(spread, difference, num_samples)
    resolved = criterion.smallest_difference(spread, num_problems, num_samples)
    assert resolved <= difference * (1 + 1e-9)
    if num_problems > 2:
        before = criterion.smallest_difference(spread, num_problems - 1, num_samples)
        assert before > difference * (1 - 1e-9)
    samples = criterion.samples_needed(spread, difference, num_problems)
    assert samples <= num_samples or num_problems == 2
    if math.isfinite(samples) and samples > 1:
        before = criterion.smallest_difference(spread, num_problems, int(samples) - 1)
        assert before > difference * (1 - 1e-9)


def test_no_number_of_samples_makes_up_for_too_few_problems() -> None:
    criterion, spread = Criterion(), Spread(between=0.1, within=0.2)
    floor = criterion.smallest_difference(Spread(0.1, 0.0), 100, 1)
    assert criterion.samples_needed(spread, floor * 0.99, 100) == math.inf
    assert math.isfinite(criterion.samples_needed(spread, floor * 1.01, 100))


def test_the_worst_case_is_worse_than_models_that_fail_alike_or_know_nothing_of_each_other() -> (
    None
):
    rng = np.random.default_rng(0)
    hardness = rng.random(5000)
    alike = paired(drawn(rng, hardness, 4), drawn(rng, hardness, 4))
    strangers = unpaired(drawn(rng, rng.random(5000), 4), drawn(rng, rng.random(5000), 4))
    assert alike.standard_error(1, 4) < strangers.standard_error(1, 4)
    assert strangers.standard_error(1, 1) <= WORST_CASE.standard_error(1, 1) * 1.02


def test_pairing_takes_away_what_makes_problems_hard_for_both() -> None:
    rng = np.random.default_rng(0)
    hardness = rng.random(4000)
    spread = paired(drawn(rng, hardness, 4), drawn(rng, hardness, 4))
    assert spread.between == pytest.approx(0, abs=0.01)
    assert spread.within == pytest.approx(2 / 6, rel=0.05)
    apart = unpaired(drawn(rng, hardness, 4), drawn(rng, rng.permutation(hardness), 4))
    assert apart.between == pytest.approx(2 / 12, rel=0.05)
    assert apart.within == pytest.approx(2 / 6, rel=0.05)


def test_a_difference_of_the_promised_size_is_found_with_the_promised_power() -> None:
    """Plan from a pilot; then run the planned experiment many times and test each for a difference."""
    rng = np.random.default_rng(2)
    num_samples, difference = 4, 0.06

    def experiment(num_problems: int):
        hardness = rng.uniform(0.1, 0.8, num_problems)
        shifted = np.clip(hardness + difference + rng.normal(0, 0.1, num_problems), 0, 1)
        return drawn(rng, hardness, num_samples), drawn(rng, shifted, num_samples)

    criterion = Criterion(0.95, 0.8)
    num_problems = criterion.problems_needed(paired(*experiment(5000)), difference, num_samples)
    found = 0
    for _ in range(2000):
        (a, _), (b, _) = experiment(num_problems)
        difference_P = (b - a) / num_samples
        error = difference_P.std(ddof=1) / math.sqrt(num_problems)
        found += abs(difference_P.mean()) > 1.96 * error
    assert found / 2000 == pytest.approx(0.8, abs=0.035)


def test_values_that_are_read_once_per_problem_have_no_samples_to_spare() -> None:
    spread = of_values(np.array([1.0, 0.0, 1.0, 0.5]), np.array([1.0, 1.0, 0.0, 0.5]))
    assert spread == Spread(between=pytest.approx(2 / 3), within=0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Criterion(confidence=95.0), "confidence is 95.0; it must be in"),
        (lambda: Criterion().problems_needed(WORST_CASE, 0.0, 1), "difference to resolve is 0.0"),
        (lambda: of_values(np.ones(1), np.ones(1)), "at least two problems"),
    ],
)
def test_a_mistake_is_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
