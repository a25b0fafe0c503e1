"""The metrics of s1 (arXiv 2501.19393), by hand."""

import numpy as np
import pytest

from scaling_exp.analysis.forcing import control, performance, scaling

TOKENS = np.array([1000.0, 4000.0, 2000.0])
ACCURACY = np.array([0.2, 0.5, 0.3])


def test_control_is_the_share_within_the_budget():
    assert control(TOKENS, np.zeros(3), np.array([1024.0, 2048.0, 2048.0])) == pytest.approx(2 / 3)


def test_scaling_is_the_mean_slope_of_all_pairs_whatever_their_order():
    slopes = [0.1 / 1000, 0.3 / 3000, 0.2 / 2000]
    assert scaling(TOKENS, ACCURACY) == pytest.approx(np.mean(slopes))


def test_one_length_has_no_slope():
    with pytest.raises(ValueError, match="different numbers of thinking tokens"):
        scaling(np.array([5.0, 5.0]), np.array([0.1, 0.2]))


def test_performance_is_the_best():
    assert performance(ACCURACY) == 0.5
