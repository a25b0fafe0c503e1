"""Matches, exchange rates and frontiers on curves whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_exp.analysis.intervals import Resamples, resample_problems
from scaling_exp.analysis.tradeoff import (
    Curve,
    crossover_queries,
    exchange_rate,
    first_reach,
    is_undominated,
    match,
    matches,
    matching_ks,
    snell_match,
    within_level_slope,
)
from scaling_exp.types import Architecture, ModelFacts

NUM_RESAMPLES = 200


def facts(num_parameters: int, tokens: int = 1000) -> ModelFacts:
    shape = Architecture(num_parameters, num_parameters, num_parameters, 1, 1, 1)
    return ModelFacts(f"m{num_parameters}", shape, tokens)


def rows(values: list[float] | float) -> np.ndarray:
    """The same values in every row of the bootstrap."""
    return np.tile(np.asarray(values, float), (NUM_RESAMPLES + 1, *(1,) * np.ndim(values)))


def curve(num_parameters: int, accuracy: list[float], prefill: float, sample: float) -> Curve:
    ks = np.array([2**i for i in range(len(accuracy))])
    return Curve(facts(num_parameters), ks, rows(accuracy), rows(prefill), rows(sample), 0.0, 1.0)


@pytest.fixture
def resamples() -> Resamples:
    return resample_problems(30, NUM_RESAMPLES, 0.95, seed=0)


@pytest.mark.parametrize(("tokens", "times"), [(0.16, 257.75), (0.79, 63.37), (22, 15.77)])
def test_snell_match(tokens: float, times: float) -> None:
    assert snell_match(14, tokens) == pytest.approx(times, abs=0.005)


def test_snell_match_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="positive"):
        snell_match(14, 0)


def test_first_reach_is_the_first_and_never_beyond_the_last_k() -> None:
    accuracy = np.array([[0.1, 0.3, 0.2, 0.5]])
    targets = np.array([[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.51]])
    reached = first_reach(accuracy, np.array([1, 2, 4, 8]), targets)[0]
    expected = [1, 1, 2**0.5, 2, 4 * 2 ** (2 / 3), 8, np.nan]
    np.testing.assert_allclose(reached, expected)


def test_a_match_by_hand(resamples: Resamples) -> None:
    smaller = curve(100, [0.2, 0.3, 0.5], prefill=10.0, sample=5.0)
    larger = curve(400, [0.3, 0.4, 0.6], prefill=12.0, sample=3.0)
    pair = match(smaller, larger, resamples)
    assert pair.k_match.value == pair.k_match.low == pair.k_match.high == 2
    assert pair.inference_ratio.value == 20 / 15
    assert pair.pretraining_ratio == 4
    assert pair.crossover_queries.value == pytest.approx(6 * 1000 * 300 / 5)
    assert pair.share_reached == 1


def test_a_cheaper_match_has_no_crossover(resamples: Resamples) -> None:
    smaller = curve(100, [0.2, 0.3], prefill=1.0, sample=1.0)
    larger = curve(400, [0.3, 0.4], prefill=12.0, sample=3.0)
    assert match(smaller, larger, resamples).crossover_queries.value == np.inf
    assert crossover_queries(1.0, np.array([0.0, -1.0])).tolist() == [np.inf, np.inf]


def test_a_target_out_of_reach_is_said_to_be(resamples: Resamples) -> None:
    smaller = curve(100, [0.1, 0.2], prefill=1.0, sample=1.0)
    larger = curve(400, [0.3, 0.4], prefill=1.0, sample=4.0)
    pair = match(smaller, larger, resamples)
    assert not pair.is_reached
    assert (pair.k_match.low, pair.k_match.high) == (np.inf, np.inf)
    assert np.isnan(pair.crossover_queries.value)
    assert (pair.crossover_queries.low, pair.crossover_queries.high) == (0, 0)
    assert pair.share_reached == 0


def test_a_target_reached_by_half_of_the_resamples_has_an_open_interval(
    resamples: Resamples,
) -> None:
    smaller = curve(100, [0.1, 0.3], prefill=1.0, sample=9.0)
    larger = curve(400, [0.3, 0.4], prefill=1.0, sample=4.0)
    larger.accuracy_RK[1 : NUM_RESAMPLES // 2 + 1, 0] = 0.35
    pair = match(smaller, larger, resamples)
    assert pair.is_reached
    assert pair.share_reached == 0.5
    assert (pair.k_match.low, pair.k_match.high) == (2, np.inf)
    assert pair.crossover_queries.low == 0


def test_models_of_equal_pretraining_make_no_pair(resamples: Resamples) -> None:
    same = [curve(100, [0.1, 0.3], 1.0, 1.0), curve(100, [0.2, 0.3], 1.0, 1.0)]
    assert matches(same, resamples) == []


def power_law(num_parameters: int, exponent: float) -> Curve:
    """Accuracy that depends on C_inference C_pretrain^exponent alone: iso-accuracy slope
    -1/exponent."""
    ks = np.array(matching_ks(512))
    pretraining = facts(num_parameters).pretraining_flops
    flops = num_parameters * ks.astype(float)
    start = 100 * facts(100).pretraining_flops ** exponent
    accuracy = 0.1 + 0.1 * np.log10(flops * pretraining**exponent / start)
    return Curve(
        facts(num_parameters), ks, rows(list(accuracy)), rows(0.0), rows(num_parameters), 0.0, 1.0
    )


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_the_exchange_rate_of_a_power_law_is_its_exponent(
    exponent: float, resamples: Resamples
) -> None:
    ladder = [power_law(n, exponent) for n in (100, 150, 200, 300)]
    rate = exchange_rate(ladder, resamples)
    assert rate is not None
    assert rate.slope.value == pytest.approx(-1 / exponent, rel=0.01)
    assert rate.factor.value == pytest.approx(10 ** (1 / exponent), rel=0.05)
    assert rate.share_defined == 1
    assert rate.num_models == 4
    assert rate.pretraining_span == pytest.approx(3)


def test_no_exchange_rate_where_no_two_models_meet(resamples: Resamples) -> None:
    apart = [curve(100, [0.1, 0.2], 0.0, 1.0), curve(400, [0.5, 0.6], 0.0, 4.0)]
    assert exchange_rate(apart, resamples) is None
    assert exchange_rate(apart[:1], resamples) is None


def test_an_inference_that_costs_nothing_replaces_any_factor(resamples: Resamples) -> None:
    ladder = [curve(100, [0.1, 0.5], 0.0, 1.0), curve(400, [0.1, 0.5], 0.0, 4.0)]
    rate = exchange_rate(ladder, resamples)
    assert rate is not None
    assert rate.factor.value == rate.factor.low == np.inf


def test_resamples_without_a_rate_widen_its_interval(resamples: Resamples) -> None:
    ladder = [power_law(n, 1.0) for n in (100, 200)]
    ladder[0].accuracy_RK[1:101] -= 5
    rate = exchange_rate(ladder, resamples)
    assert rate is not None
    assert rate.share_defined == 0.5
    assert (rate.factor.low, rate.factor.high) == (1, np.inf)


def test_the_slope_is_taken_within_levels() -> None:
    x = np.array([0.0, 1.0, 2.0])
    y = np.array([[[5, 3, np.nan], [np.nan, 13, 11], [np.nan, 40, np.nan]]])
    assert within_level_slope(x, y)[0] == pytest.approx(-2)
    assert np.isnan(within_level_slope(x, y[:, 2:]))[0]


def test_undominated_points_by_hand() -> None:
    cost = np.array([1, 2, 2, 3, 4, 1])
    accuracy = np.array([0.1, 0.3, 0.2, 0.3 + 1e-12, 0.5, 0.1])
    assert is_undominated(cost, accuracy).tolist() == [True, True, False, False, True, True]


def test_matching_ks_end_at_the_last_sample() -> None:
    assert matching_ks(5) == [1, 2, 3, 4, 5]
    ks = matching_ks(1000)
    assert ks[-1] == 1000
    assert {64, 128, 512} <= set(ks)
    assert len(ks) < 150
