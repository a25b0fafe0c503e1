"""Laws of coverage on counts whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_exp.analysis.estimators import pass_at_k
from scaling_exp.analysis.intervals import resample_problems
from scaling_exp.analysis.laws import (
    BETA_BINOMIAL,
    COVERAGE_LAWS,
    POWER,
    SCALED_BETA,
    Counts,
    fit_beta,
    fit_power,
    hold_out,
    spaced_ks,
)
from scaling_exp.analysis.laws.beta import beta_coverage


def draw(num_problems: int, num_samples: int, alpha: float, beta: float, scale: float) -> Counts:
    rng = np.random.default_rng(3)
    chance_P = scale * rng.beta(alpha, beta, num_problems)
    return Counts(rng.binomial(num_samples, chance_P), np.full(num_problems, num_samples))


def fit(counts: Counts, law, num_rows: int = 100):
    resamples = resample_problems(len(counts.num_correct_P), num_rows, 0.95, seed=0)
    return fit_beta(counts, resamples.weights_RP, resamples.tail, law)


def test_a_power_law_of_coverage_is_found():
    ks_K = spaced_ks(1000).astype(float)
    found = fit_power(ks_K, np.exp(-3.0 * ks_K**-0.4)[None], tail=0.025)
    assert found.parameters["a"].value == pytest.approx(3.0)
    assert found.parameters["b"].value == pytest.approx(0.4)


def test_coverage_of_0_and_1_is_dropped_from_the_power_law():
    ks_K = spaced_ks(64).astype(float)
    coverage_K = np.exp(-3.0 * ks_K**-0.4)
    coverage_K[0], coverage_K[-1] = 0.0, 1.0
    found = fit_power(ks_K, coverage_K[None], tail=0.025)
    assert found.parameters["b"].value == pytest.approx(0.4)
    with pytest.raises(ValueError, match="three values of k"):
        fit_power(ks_K, np.ones((1, len(ks_K))), tail=0.025)


def test_about_a_hundred_whole_numbers_of_samples_evenly_spaced_in_logs():
    ks_K = spaced_ks(10_000)
    assert (ks_K[0], ks_K[-1]) == (1, 10_000)
    assert 75 <= len(ks_K) <= 100
    assert (np.diff(ks_K) > 0).all()


def test_the_beta_binomial_is_found_with_intervals_that_hold_the_truth():
    found = fit(draw(2000, 64, 0.3, 1.5, 1.0), BETA_BINOMIAL)
    for name, truth in (("alpha", 0.3), ("beta", 1.5)):
        estimate = found.parameters[name]
        assert estimate.low < truth < estimate.high
        assert estimate.value == pytest.approx(truth, rel=0.15)


def test_the_scaled_beta_finds_that_no_problem_is_easy():
    found = fit(draw(2000, 256, 0.4, 1.5, 0.3), SCALED_BETA)
    assert found.parameters["scale"].value == pytest.approx(0.3, rel=0.25)
    assert found.parameters["alpha"].low < 0.4 < found.parameters["alpha"].high
    plain = fit(draw(2000, 256, 0.4, 1.5, 0.3), BETA_BINOMIAL)
    assert found.objective > plain.objective


def test_the_likelihood_is_the_same_by_quadrature_and_in_closed_form():
    counts = draw(200, 64, 0.3, 1.5, 1.0)
    solved = Counts(np.append(counts.num_correct_P, 64), np.append(counts.num_samples_P, 64))
    nearly = Counts(solved.num_correct_P - (solved.num_correct_P == 64), solved.num_samples_P)
    closed = fit(solved, SCALED_BETA, num_rows=20)
    assert closed.parameters["scale"].value == 1
    assert closed.parameters["alpha"].value == pytest.approx(
        fit(solved, BETA_BINOMIAL, num_rows=20).parameters["alpha"].value
    )
    # With one correct sample fewer the scale is .989, and integrals are taken numerically: nearly the same fit.
    assert fit(nearly, SCALED_BETA, num_rows=20).parameters["alpha"].value == pytest.approx(
        closed.parameters["alpha"].value, rel=0.02
    )


@given(
    alpha=st.floats(0.01, 5),
    beta=st.floats(0.05, 50),
    k=st.integers(1, 10_000),
)
def test_scaled_coverage_runs_into_the_closed_form_at_scale_1(alpha, beta, k):
    parameters_RQ = np.array([[alpha, beta, 1.0], [alpha, beta, 1 - 1e-9]])
    closed, quadrature = beta_coverage(parameters_RQ, np.array([float(k)]))[:, 0]
    assert quadrature == pytest.approx(closed, rel=1e-5, abs=1e-9)


@given(scale=st.floats(0.05, 1), alpha=st.floats(0.05, 5), beta=st.floats(0.1, 20))
def test_coverage_rises_with_k_and_starts_at_the_mean_chance(scale, alpha, beta):
    ks = np.array([1.0, 2, 5, 30, 400])
    coverage_X = beta_coverage(np.array([[alpha, beta, scale]]), ks)[0]
    assert coverage_X[0] == pytest.approx(scale * alpha / (alpha + beta), rel=1e-5)
    assert (np.diff(coverage_X) >= -1e-12).all()
    assert coverage_X[-1] <= 1


def test_problems_may_differ_in_their_number_of_samples():
    rng = np.random.default_rng(0)
    num_samples_P = rng.integers(16, 65, 1500)
    counts = Counts(rng.binomial(num_samples_P, rng.beta(0.5, 2.0, 1500)), num_samples_P)
    found = fit(counts, BETA_BINOMIAL)
    assert found.parameters["alpha"].low < 0.5 < found.parameters["alpha"].high
    assert counts.max_k == 16
    held = hold_out(counts, seed=0)
    assert held.ks_K.max() == 16


def test_each_law_comes_first_where_it_is_true():
    beta = hold_out(draw(3000, 256, 0.25, 3.0, 1.0), seed=0)
    worst = {law.name: float(beta.errors(law).mean()) for law in COVERAGE_LAWS}
    assert min(worst, key=lambda name: worst[name]) in (BETA_BINOMIAL.name, SCALED_BETA.name)
    capped = hold_out(draw(3000, 256, 0.3, 2.0, 0.3), seed=0)
    worst = {law.name: float(capped.errors(law).mean()) for law in COVERAGE_LAWS}
    assert min(worst, key=lambda name: worst[name]) == SCALED_BETA.name
    shares = sum(capped.best_share(law) for law in COVERAGE_LAWS)
    assert shares == pytest.approx(1)


def test_all_laws_are_judged_by_the_same_coverage_beyond_a_quarter_of_the_samples():
    counts = draw(300, 64, 0.3, 1.5, 1.0)
    held = hold_out(counts, seed=0)
    assert held.ks_K.min() == 17
    measured = pass_at_k(counts.num_correct_P, counts.num_samples_P, held.ks_K.tolist())
    assert held.measured_K == pytest.approx(measured.mean(axis=0))
    again = hold_out(counts, seed=0)
    assert (again.errors(POWER) == held.errors(POWER)).all()


def test_predictions_beyond_tenfold_samples_are_refused():
    found = fit(draw(100, 64, 0.3, 1.5, 1.0), BETA_BINOMIAL)
    assert found.extrapolate(np.array([640.0])).value[0] > found.predict(np.array([64.0])).value[0]
    with pytest.raises(ValueError, match=r"k from 0.1 to 640"):
        found.extrapolate(np.array([700.0]))


@pytest.mark.parametrize("num_correct", [0, 64])
def test_constant_coverage_is_no_law(num_correct):
    with pytest.raises(ValueError, match="coverage is constant"):
        Counts(np.full(10, num_correct), np.full(10, 64))


def test_too_few_samples_are_said_so():
    with pytest.raises(ValueError, match="at least 16"):
        hold_out(Counts(np.array([1, 2, 3]), np.full(3, 8)), seed=0)
    with pytest.raises(ValueError, match="at least two samples"):
        Counts(np.array([1, 0]), np.array([1, 1]))
