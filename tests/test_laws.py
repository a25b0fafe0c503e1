"""Laws fitted to points whose law is known, and what a fit says and refuses to say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp

from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.laws import (
    COMPUTE_ONLY,
    GADRE,
    HOFFMANN,
    HOFFMANN_PUBLISHED,
    JOINT,
    LOG_POWER,
    LOGISTIC,
    PRODUCT,
    SEARCHED_VOTING,
    SIGMOID,
    LossLaw,
    backtest,
    fit_accuracy,
    fit_compute_loss,
    fit_downstream,
    fit_joint,
    fit_law,
    fit_loss,
    fit_votes,
    lifetime_optimum,
    observed,
    rank,
    resampled,
    reweighted,
    unresampled,
)
from scaling_exp.analysis.laws.solver import huber

SARDANA = LossLaw(floor=1.69, a=406.4, b=410.7, alpha=0.336, beta=0.283)


def runs(num_sizes: int = 6, num_tokens: int = 5) -> tuple[FloatArray, FloatArray]:
    sizes, tokens = np.meshgrid(
        np.geomspace(1e7, 1e10, num_sizes), np.geomspace(1e9, 1e12, num_tokens), indexing="ij"
    )
    return sizes.ravel(), tokens.ravel()


def losses(law: LossLaw, sizes_M: FloatArray, tokens_M: FloatArray) -> FloatArray:
    return np.array([law.loss(n, d) for n, d in zip(sizes_M, tokens_M, strict=True)])


# ---- recovery ------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(
    floor=st.floats(0.8, 2.2),
    alpha=st.floats(0.25, 0.5),
    beta=st.floats(0.25, 0.5),
)
def test_hoffmanns_law_is_found_from_its_own_losses(floor, alpha, beta):
    sizes_M, tokens_M = runs()
    law = LossLaw(floor, 3e7**alpha, 5e8**beta, alpha, beta)
    fit = fit_loss(sizes_M, tokens_M, unresampled(losses(law, sizes_M, tokens_M)))
    found = {name: estimate.value for name, estimate in fit.parameters.items()}
    assert found["E"] == pytest.approx(floor, rel=1e-3)
    assert found["alpha"] == pytest.approx(alpha, rel=1e-3)
    assert found["beta"] == pytest.approx(beta, rel=1e-3)
    assert fit.error < 1e-4


def test_intervals_hold_the_truth_of_noisy_losses():
    sizes_M, tokens_M = runs(8, 6)
    truth = losses(HOFFMANN_PUBLISHED, sizes_M, tokens_M)
    noise = np.random.default_rng(1).normal(scale=0.004, size=len(truth))
    fit = fit_loss(sizes_M, tokens_M, resampled(truth * np.exp(noise), 0.95, seed=0))
    expected = {"E": HOFFMANN_PUBLISHED.floor, "alpha": HOFFMANN_PUBLISHED.alpha}
    for name, value in expected.items():
        estimate = fit.parameters[name]
        assert estimate.low < value < estimate.high
        assert estimate.low < estimate.value < estimate.high
    assert fit.num_rows == 200


def test_no_descent_by_l_bfgs_from_the_fit_or_from_elsewhere_ends_lower():
    """The published recipe (arXiv 2203.15556, section D.2): log-sum-exp, Huber's loss, L-BFGS from a grid of starts."""
    sizes_M, tokens_M = runs()
    noise = np.random.default_rng(2).normal(scale=0.01, size=len(sizes_M))
    log_loss_M = np.log(losses(HOFFMANN_PUBLISHED, sizes_M, tokens_M)) + noise

    def objective(theta: FloatArray) -> float:
        a, b, e, alpha, beta = theta
        terms = (a - alpha * np.log(sizes_M), b - beta * np.log(tokens_M), np.full(len(noise), e))
        return float(huber(np.asarray(logsumexp(terms, axis=0)) - log_loss_M, 1e-3).sum())

    fit = fit_loss(sizes_M, tokens_M, unresampled(np.exp(log_loss_M)))
    floor, a, b, alpha, beta = fit.parameters_RQ[0]
    found = np.array([np.log(a), np.log(b), np.log(floor), alpha, beta])
    starts = [found, *itertools.product((5, 10), (5, 10), (0.0, 0.7), (0.3, 0.6), (0.3, 0.6))]
    best = min(minimize(objective, start, method="L-BFGS-B").fun for start in starts)
    assert objective(found) == pytest.approx(fit.objective, rel=1e-9)
    assert fit.objective <= best * (1 + 1e-6)


def test_hubers_loss_and_absolute_deviations_shrug_off_a_run_that_diverged():
    sizes_M, tokens_M = runs()
    loss_M = losses(HOFFMANN_PUBLISHED, sizes_M, tokens_M)
    loss_M[7] *= 1.5
    robust = fit_loss(sizes_M, tokens_M, unresampled(loss_M))
    absolute = fit_loss(sizes_M, tokens_M, unresampled(loss_M), replace(HOFFMANN, delta=1e-6))
    square = fit_loss(sizes_M, tokens_M, unresampled(loss_M), replace(HOFFMANN, delta=np.inf))
    alpha = HOFFMANN_PUBLISHED.alpha
    assert robust.parameters["alpha"].value == pytest.approx(alpha, rel=0.02)
    assert absolute.parameters["alpha"].value == pytest.approx(alpha, rel=0.02)
    assert abs(square.parameters["alpha"].value - alpha) > 0.02


def test_gadres_law_is_found_from_its_own_losses():
    sizes_M, tokens_M = runs()
    b = -0.27
    loss_M = 1.8 + 166 * sizes_M**b + 366 * 6 ** (b / 2) * tokens_M**b
    fit = fit_loss(sizes_M, tokens_M, unresampled(loss_M), GADRE)
    found = [fit.parameters[name].value for name in ("a", "c", "b", "E")]
    assert found == pytest.approx([166, 366, b, 1.8], rel=1e-3)


def test_runs_along_one_line_allow_the_law_of_compute_only():
    flops_M = np.geomspace(1e18, 1e23, 8)
    fit = fit_compute_loss(flops_M, unresampled(1.7 + 2000 / flops_M**0.16))
    assert fit.parameters["E"].value == pytest.approx(1.7, rel=1e-3)
    with pytest.raises(ValueError, match="three different values of D"):
        fit_loss(flops_M, np.full(8, 1e9), unresampled(np.full(8, 2.0)))


def test_the_sigmoid_is_found_with_its_floor_and_ceiling():
    flops_M = np.geomspace(1e19, 1e25, 12)
    accuracy_M = 0.25 + 0.6 / (1 + (flops_M / 3e22) ** (-1.2 / np.log(10)))
    fit = fit_accuracy(flops_M, unresampled(accuracy_M))
    found = [fit.parameters[name].value for name in SIGMOID.parameters]
    assert found == pytest.approx([0.25, 0.85, 3e22, 1.2], rel=1e-3)


def test_the_error_is_found_as_a_function_of_loss():
    loss_M = np.linspace(2.2, 4.5, 7)
    fit = fit_downstream(loss_M, unresampled(0.86 - 2.2 * np.exp(-0.71 * loss_M)))
    found = [fit.parameters[name].value for name in ("k", "gamma", "eps")]
    assert found == pytest.approx([2.2, 0.71, 0.86], rel=1e-3)


def joint_points() -> tuple[FloatArray, FloatArray, FloatArray]:
    grid = np.meshgrid(
        np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 3), 2.0 ** np.arange(7), indexing="ij"
    )
    sizes_M, tokens_M, ks_M = (each.ravel() for each in grid)
    return sizes_M, tokens_M, ks_M


def test_the_joint_law_is_found_from_its_own_points():
    sizes_M, tokens_M, ks_M = joint_points()
    y_M = 0.1 + 50 / sizes_M**0.25 + 400 / tokens_M**0.3 + 1.2 / ks_M**0.5
    fit = fit_joint(sizes_M, tokens_M, ks_M, unresampled(y_M))
    found = [fit.parameters[name].value for name in ("E", "alpha", "beta", "gamma")]
    assert found == pytest.approx([0.1, 0.25, 0.3, 0.5], rel=0.02)
    assert fit.error < 1e-4


def test_sum_and_product_are_told_apart_by_larger_k():
    sizes_M, tokens_M, ks_M = joint_points()
    x_VM = np.array([sizes_M, tokens_M, ks_M])
    is_apart_M = ks_M > 16
    for truth, y_M in {
        JOINT.name: 0.1 + 50 / sizes_M**0.25 + 400 / tokens_M**0.3 + 1.2 / ks_M**0.5,
        PRODUCT.name: 5e5 / (sizes_M**0.3 * tokens_M**0.2 * ks_M**0.4),
    }.items():
        tested = [backtest(law, x_VM, y_M, is_apart_M, "larger k") for law in (JOINT, PRODUCT)]
        assert rank(tested)[0].law == truth


def test_votes_approach_a_limit_that_is_given():
    ks_K = np.array([1.0, 3, 5, 9, 17, 33])
    limit_R = np.array([0.8, 0.75])
    accuracy_RK = limit_R[:, None] - (limit_R[:, None] - 0.3) * ks_K**-0.6
    fit = fit_votes(ks_K, accuracy_RK, limit_R, tail=0.5)
    assert fit.parameters["b"].value == pytest.approx(0.6, rel=0.01)
    assert fit.parameters["limit"].value == 0.8
    searched = fit_law(SEARCHED_VOTING, ks_K[None], unresampled(accuracy_RK[0]))
    assert searched.parameters["limit"].value == pytest.approx(0.8, abs=1e-3)
    with pytest.raises(ValueError, match=r"needs maj@1"):
        fit_votes(ks_K[1:], accuracy_RK[:, 1:], limit_R, tail=0.5)


# ---- how far a fit may be asked ------------------------------------------------------------------


def test_predictions_stay_inside_the_data_and_extrapolations_within_tenfold():
    sizes_M, tokens_M = runs()
    fit = fit_loss(
        sizes_M, tokens_M, resampled(losses(HOFFMANN_PUBLISHED, sizes_M, tokens_M), 0.95, 0)
    )
    inside = fit.predict(np.array([1e9]), np.array([1e11]))
    assert inside.value[0] == pytest.approx(HOFFMANN_PUBLISHED.loss(1e9, 1e11), rel=1e-4)
    beyond = (np.array([5e10]), np.array([1e11]))
    with pytest.raises(ValueError, match=r"N from 1e.07 to 1e.10.*extrapolate"):
        fit.predict(*beyond)
    assert fit.extrapolate(*beyond).value[0] == pytest.approx(
        HOFFMANN_PUBLISHED.loss(5e10, 1e11), rel=1e-3
    )
    with pytest.raises(ValueError, match=r"may be extrapolated to N from 1e.06 to 1e.11"):
        fit.extrapolate(np.array([1.1e11]), np.array([1e11]))
    with pytest.raises(ValueError, match="may be extrapolated"):
        fit.rows(np.array([1e9]), np.array([1.1e13]))


def test_a_loss_may_be_extrapolated_by_a_quarter_only():
    loss_M = np.linspace(2.0, 4.0, 6)
    fit = fit_downstream(loss_M, unresampled(0.86 - 2.2 * np.exp(-0.71 * loss_M)))
    assert fit.reaches(np.array([1.6])).all()
    assert not fit.reaches(np.array([1.5])).any()


def test_the_band_widens_away_from_the_data():
    rng = np.random.default_rng(0)
    flops_M = np.geomspace(1e18, 1e22, 12)
    loss_M = (1.7 + 2000 / flops_M**0.16) * np.exp(rng.normal(scale=0.003, size=12))
    fit = fit_compute_loss(flops_M, resampled(loss_M, 0.95, 0))
    inside, beyond = fit.predict(np.array([1e20])), fit.extrapolate(np.array([1e23]))
    assert (beyond.high - beyond.low)[0] > 1.5 * (inside.high - inside.low)[0]
    assert (inside.low < inside.value).all()
    assert (inside.value < inside.high).all()


def test_a_law_with_as_many_parameters_as_points_is_refused():
    with pytest.raises(ValueError, match="4 parameters and needs at least 5 points; there are 4"):
        fit_accuracy(np.geomspace(1e18, 1e21, 4), unresampled(np.array([0.1, 0.2, 0.4, 0.5])))


def test_points_alone_give_no_interval():
    fit = fit_accuracy(
        np.geomspace(1e18, 1e21, 4), unresampled(np.array([0.1, 0.2, 0.4, 0.5])), LOGISTIC
    )
    assert fit.num_rows == 0
    assert np.isnan(fit.parameters["slope"].low)


# ---- judged by what was not seen -----------------------------------------------------------------


def test_laws_are_ranked_by_the_points_they_have_not_seen():
    flops_M = np.geomspace(1e18, 1e24, 12)
    accuracy_M = 0.7 / (1 + (flops_M / 1e21) ** -0.5)
    is_apart_M = flops_M > 3e22
    laws = (LOGISTIC, LOG_POWER, SIGMOID)
    ranked = rank(
        [backtest(law, flops_M[None], accuracy_M, is_apart_M, "most compute") for law in laws]
    )
    assert ranked[0].law == SIGMOID.name
    errors = [each.error_held_out for each in ranked]
    assert errors == sorted(errors)
    assert all(b.num_fitted + b.num_held_out == 12 for b in ranked)


def test_a_backtest_does_not_look_at_what_it_holds_out():
    flops_M = np.geomspace(1e18, 1e23, 10)
    loss_M = 1.7 + 2000 / flops_M**0.16
    is_apart_M = flops_M > 1e22
    honest = backtest(COMPUTE_ONLY, flops_M[None], loss_M, is_apart_M, "")
    broken = backtest(COMPUTE_ONLY, flops_M[None], loss_M + 0.5 * is_apart_M, is_apart_M, "")
    assert broken.error_held_out == pytest.approx(0.5 + honest.error_held_out, abs=1e-3)
    assert broken.error_fitted == honest.error_fitted


def test_points_of_one_run_are_weighted_together():
    observations = reweighted(np.ones((6, 4)), ["a", "a", "b", "b"], 0.95, seed=0)
    weights_RM = observations.weights_RM
    assert (weights_RM[0] == 1).all()
    assert (weights_RM[:, 0] == weights_RM[:, 1]).all()
    assert (weights_RM[1:, 0] != weights_RM[1:, 2]).all()


def test_an_interval_of_few_runs_is_wider_than_its_percentile():
    few = resampled(np.ones(5), 0.95, seed=0)
    many = resampled(np.ones(500), 0.95, seed=0)
    assert few.tail < many.tail <= 0.025
    assert observed(np.ones((1, 3)), 0.025).tail == 0.025


# ---- arithmetic of the published laws ------------------------------------------------------------


def test_sardanas_seven_billion_model_saves_a_sixth_of_a_lifetime():
    """Sardana et al. 2023 (arXiv 2401.00448), figure 1: 13B quality, 2e12 inference tokens."""
    big_tokens = SARDANA.optimal_tokens(13e9)
    loss = SARDANA.loss(13e9, big_tokens)
    big = 6 * 13e9 * big_tokens + 2 * 13e9 * 2e12
    best = lifetime_optimum(SARDANA, loss, 2e12)
    assert best.num_parameters == pytest.approx(7e9, rel=0.01)
    assert big - best.total_flops == pytest.approx(1.69e22, rel=0.002)
    assert 1 - best.total_flops / big == pytest.approx(0.174, abs=0.001)


def test_rounded_exponents_halve_what_sardana_saves():
    law = replace(SARDANA, alpha=0.34, beta=0.28)
    big_tokens = law.optimal_tokens(13e9)
    tokens = law.tokens_for(7e9, law.loss(13e9, big_tokens))
    big, small = (6 * n * d + 2 * n * 2e12 for n, d in ((13e9, big_tokens), (7e9, tokens)))
    assert 1 - small / big == pytest.approx(0.091, abs=0.0005)


def test_hoffmanns_unrounded_parameters():
    assert HOFFMANN_PUBLISHED.a == pytest.approx(406.4, abs=0.05)
    assert HOFFMANN_PUBLISHED.b == pytest.approx(410.7, abs=0.05)
    assert HOFFMANN_PUBLISHED.floor == pytest.approx(1.6934, abs=0.0001)


@given(flops=st.floats(1e18, 1e26))
def test_the_optimal_size_is_where_neither_more_parameters_nor_more_tokens_help(flops):
    law = HOFFMANN_PUBLISHED
    size = law.optimal_size(flops)
    best = law.loss(size, flops / 6 / size)
    assert law.optimal_tokens(size) == pytest.approx(flops / 6 / size, rel=1e-6)
    assert best < law.loss(1.05 * size, flops / 6 / (1.05 * size))
    assert best < law.loss(size / 1.05, flops / 6 / (size / 1.05))


def test_a_loss_below_the_floor_is_refused():
    with pytest.raises(ValueError, match="below the law's floor"):
        lifetime_optimum(SARDANA, 1.6, 1e12)
    assert SARDANA.tokens_for(1e6, 2.0) == float("inf")
