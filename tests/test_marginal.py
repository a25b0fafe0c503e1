"""The marginal rate: it finds the plane that it is given, and says so where a direction adds nothing."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_exp.analysis.intervals import Resamples, resample_nothing
from scaling_exp.analysis.marginal import MarginalRate, marginal_rate
from scaling_exp.analysis.tradeoff import Curve
from scaling_exp.types import Architecture, ModelFacts

RESAMPLES = resample_nothing(200, 0.95)
KS = np.array([1, 2, 3, 5, 8, 16, 64])
COST = 2.0


def ladder(
    by_pretraining: float, by_inference: float, noise: float = 0.0, costs: float = COST
) -> list[Curve]:
    """Accuracy rises by so much with ten times the pre-training, and ten times the inference, of a query."""
    rng = np.random.default_rng(0)
    curves = []
    for size in range(3):
        facts = ModelFacts(f"m{size}", Architecture.of_size(10**6, 10**6), 10**9 * 4**size)
        sample = costs**size
        rise_K = by_inference * np.log10(KS * sample)
        level = 0.3 + by_pretraining * size * np.log10(4) + rise_K
        noise_RK = noise * rng.normal(size=(RESAMPLES.num_rows, 1))
        curves.append(
            Curve(
                facts=facts,
                ks_K=KS,
                accuracy_RK=level + noise_RK,
                prefill_R=np.zeros(RESAMPLES.num_rows),
                sample_R=np.full(RESAMPLES.num_rows, sample),
                prompt_tokens=1.0,
                output_tokens=1.0,
            )
        )
    return curves


def rate(curves: list[Curve], resamples: Resamples = RESAMPLES) -> MarginalRate:
    found = marginal_rate(curves, resamples)
    assert found is not None
    return found


def test_a_plane_is_found_exactly() -> None:
    found = rate(ladder(by_pretraining=0.1, by_inference=0.05))
    assert found.pretraining_gain.value == pytest.approx(0.1)
    assert found.inference_gain.value == pytest.approx(0.05)
    assert found.factor.value == pytest.approx(10**0.5)
    assert (found.lowest, found.highest) == (pytest.approx(2, rel=0.1), pytest.approx(128, rel=0.1))


def test_noise_that_moves_a_model_widens_the_rate_around_it() -> None:
    found = rate(ladder(by_pretraining=0.1, by_inference=0.05, noise=0.01))
    assert found.factor.low < 10**0.5 < found.factor.high
    assert found.inference_gain.low == pytest.approx(found.inference_gain.high)


def test_what_adds_nothing_replaces_nothing_or_is_replaced_by_anything() -> None:
    assert rate(ladder(by_pretraining=0.1, by_inference=0.0)).factor.value == pytest.approx(1)
    assert rate(ladder(by_pretraining=0.1, by_inference=-0.02)).factor.value == pytest.approx(1)
    assert rate(ladder(by_pretraining=-0.01, by_inference=0.05)).factor.value == np.inf


def test_models_that_never_cost_the_same_have_no_rate() -> None:
    assert marginal_rate(ladder(0.1, 0.05, costs=100.0), RESAMPLES) is None
    assert marginal_rate(ladder(0.1, 0.05)[:1], RESAMPLES) is None


def test_a_cost_that_is_not_known_gives_no_rate() -> None:
    curves = ladder(0.1, 0.05)
    unknown = np.full(RESAMPLES.num_rows, np.nan)
    curves[0] = Curve(curves[0].facts, KS, curves[0].accuracy_RK, unknown, unknown, 1.0, 1.0)
    assert marginal_rate(curves, RESAMPLES) is None
