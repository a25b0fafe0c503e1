"""Runs side by side: what is paired with what, how sure a difference is, and what differs in configuration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from scaling_exp.analysis.attempts import Attempts, fold, fold_counts
from scaling_exp.analysis.comparison import (
    DIFFERENCES,
    Certainty,
    Run,
    compare,
    configuration_differences,
    differences_within,
    flatten,
    holm,
    paired_p_value,
    sentences_of,
)
from scaling_exp.analysis.cost import Pricing
from scaling_exp.types import Architecture, ModelFacts

CERTAINTY = Certainty(confidence=0.95, num_resamples=400, seed=0)
MANIFEST = {"config": {"seed": 0}, "models": [{"name": "small", "tokens": 1}], "created": "now"}


def facts(name: str, size: int) -> ModelFacts:
    return ModelFacts(name, Architecture.of_size(size, size), 1000)


SMALL, LARGE = facts("small", 10), facts("large", 100)


def drawn(
    chance: dict[str, float],
    *,
    num_samples: int,
    problems: range,
    strategy: str = "sampling",
    seed: int = 0,
    adaptive: bool = False,
) -> list[Attempts]:
    """Samples of models with these chances of being right, the same for all problems; wrong answers scatter."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "model": model,
            "strategy": strategy,
            "problem": f"p{problem:03}",
            "level": "easy",
            "sample": sample,
            "is_correct": is_right,
            "answer": "right" if is_right else f"wrong {rng.integers(9)}",
        }
        for model, p in chance.items()
        for problem in problems
        for sample in range(num_samples)
        for is_right in [bool(rng.random() < p)]
    ]
    models = [each for each in (SMALL, LARGE) if each.name in chance]
    return fold(pd.DataFrame(rows), models, Pricing(), (strategy,) if adaptive else ())


def test_runs_of_one_model_are_compared_at_every_k_that_both_have() -> None:
    first = Run("first", MANIFEST, drawn({"small": 0.3}, num_samples=8, problems=range(60)))
    second = drawn({"small": 0.6}, num_samples=4, problems=range(60), seed=1)
    found = compare([first, Run("second", MANIFEST, second)], CERTAINTY)
    assert list(found.differences) == list(DIFFERENCES)
    assert sorted(zip(found.differences["selector"], found.differences["k"], strict=True)) == [
        *(("oracle", k) for k in (1, 2, 4)),
        *(("voting", k) for k in (1, 2, 4)),
    ]
    one = found.differences.query("selector == 'voting' and k == 1").iloc[0]
    right_a, right_b = first.attempts[0].num_correct_P / 8, second[0].num_correct_P / 4
    assert one["difference"] == pytest.approx((right_b - right_a).mean())
    assert one["p_value"] == pytest.approx(ttest_1samp(right_b - right_a, 0).pvalue)
    assert one["difference_low"] < one["difference"] < one["difference_high"]
    assert one["difference_low"] > 0
    assert (found.differences["p_adjusted"] >= found.differences["p_value"]).all()
    assert "6 can be told from zero" in found.sentences[1]
    assert "sampling of small in second is" in found.sentences[2]
    assert "better than sampling of small in first" in found.sentences[2]


def test_only_common_problems_count_and_their_number_is_said() -> None:
    first = Run("a", MANIFEST, drawn({"small": 0.3}, num_samples=4, problems=range(50)))
    second = Run("b", MANIFEST, drawn({"small": 0.3}, num_samples=4, problems=range(30, 70)))
    found = compare([first, second], CERTAINTY)
    assert set(found.differences["num_problems"]) == {20}
    assert found.sentences[0] == (
        "a (50 problems) and b (40) have 20 problems in common; differences are taken on these."
    )
    expected = (second.attempts[0].num_correct_P[:20] - first.attempts[0].num_correct_P[30:]) / 4
    one = found.differences.query("selector == 'oracle' and k == 1").iloc[0]
    assert one["difference"] == pytest.approx(expected.mean())


def test_runs_without_a_common_problem_are_not_compared() -> None:
    first = Run("a", MANIFEST, drawn({"small": 0.3}, num_samples=2, problems=range(5)))
    second = Run("b", MANIFEST, drawn({"small": 0.3}, num_samples=2, problems=range(5, 9)))
    found = compare([first, second], CERTAINTY)
    assert found.differences.empty
    assert "nothing can be paired" in found.sentences[0]
    assert len(found.sentences) == 2


def test_like_is_compared_with_like_and_strangers_with_all() -> None:
    both = drawn({"small": 0.2, "large": 0.5}, num_samples=2, problems=range(9))
    small = drawn({"small": 0.2}, num_samples=2, problems=range(9))
    large = drawn({"large": 0.2}, num_samples=2, problems=range(9), strategy="other")
    shared = compare([Run("a", MANIFEST, both), Run("b", MANIFEST, small)], CERTAINTY).differences
    assert set(shared["model_a"]) == set(shared["model_b"]) == {"small"}
    apart = compare([Run("a", MANIFEST, small), Run("b", MANIFEST, large)], CERTAINTY).differences
    assert set(zip(apart["model_a"], apart["model_b"], apart["strategy_b"], strict=True)) == {
        ("small", "large", "other")
    }


def test_a_greedy_answer_is_compared_with_the_vote_over_all_samples() -> None:
    greedy = drawn({"small": 0.5}, num_samples=1, problems=range(40), strategy="greedy")
    voting = drawn({"small": 0.5}, num_samples=9, problems=range(40), seed=1)
    early = drawn(
        {"small": 0.5}, num_samples=5, problems=range(40), strategy="early", adaptive=True
    )
    table = differences_within([*greedy, *voting, *early], CERTAINTY)
    assert set(table["selector"]) == {"final"}
    assert table["k"].isna().all()
    pairs = set(zip(table["strategy_a"], table["strategy_b"], strict=True))
    assert pairs == {("greedy", "sampling"), ("greedy", "early"), ("sampling", "early")}
    assert table["accuracy_b"].iloc[0] > table["accuracy_a"].iloc[0] + 0.2


def test_within_a_run_models_meet_under_one_strategy_and_strategies_of_one_model() -> None:
    sampling = drawn({"small": 0.2, "large": 0.5}, num_samples=2, problems=range(30))
    other = drawn({"small": 0.2, "large": 0.5}, num_samples=2, problems=range(30), strategy="hot")
    table = differences_within([*sampling, *other], CERTAINTY)
    pairs = table[["model_a", "strategy_a", "model_b", "strategy_b"]].drop_duplicates()
    differing = (pairs["model_a"] != pairs["model_b"]).astype(int) + (
        pairs["strategy_a"] != pairs["strategy_b"]
    ).astype(int)
    assert (differing == 1).all()
    assert len(pairs) == 4
    between = table.query("model_a != model_b and k == 1 and selector == 'oracle'")
    assert (between["difference"] > 0).all()


def test_counts_are_compared_by_the_oracle_and_by_single_answers_alone() -> None:
    counts = pd.DataFrame(
        {
            "model": "small",
            "strategy": ["few"] * 3 + ["many"] * 3,
            "problem": ["x", "y", "z"] * 2,
            "level": "",
            "num_samples": [2, 3, 4, 5, 6, 7],
            "num_correct": [1, 1, 1, 2, 2, 2],
        }
    )
    table = differences_within(fold_counts(counts, [SMALL], Pricing()), CERTAINTY)
    assert table[["selector", "k"]].to_numpy().tolist() == [["oracle", 1], ["oracle", 2]]


def test_the_same_draws_differ_by_nothing() -> None:
    attempts = drawn({"small": 0.4}, num_samples=4, problems=range(20))
    table = compare([Run("a", MANIFEST, attempts), Run("b", MANIFEST, attempts)], CERTAINTY)
    assert (table.differences["difference"] == 0).all()
    assert (table.differences["p_value"] == 1).all()
    assert "0 can be told from zero" in table.sentences[1]
    assert table.sentences[-1] == "Their configurations do not differ."


def test_equal_models_are_told_apart_as_seldom_as_promised() -> None:
    """5 % of p-values lie below 5 %, and the whole table errs anywhere in 5 % of the runs at most."""
    rng = np.random.default_rng(0)
    hardness = rng.random((1000, 40))
    difference = (rng.binomial(4, hardness) - rng.binomial(4, hardness)) / 4
    p_values = paired_p_value(difference.T)
    assert 0.03 <= (p_values < 0.05).mean() <= 0.07
    tables = p_values.reshape(100, 10)
    assert np.mean([holm(table).min() < 0.05 for table in tables]) <= 0.12


def test_problems_that_all_differ_alike_are_a_sign_test() -> None:
    np.testing.assert_allclose(paired_p_value(np.full((5, 1), 0.25)), [1 / 16])
    np.testing.assert_allclose(paired_p_value(np.zeros((5, 1))), [1.0])
    assert np.isnan(paired_p_value(np.ones((1, 1)))).all()


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(
        holm(np.array([0.01, 0.04, np.nan, 0.03])), [0.03, 0.06, np.nan, 0.06]
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_between_the_p_values_and_bonferroni(values: list[float]) -> None:
    p_values = np.array(values)
    adjusted = holm(p_values)
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(p_values * len(values), 1) + 1e-12).all()
    order = np.argsort(p_values)
    assert (np.diff(adjusted[order]) >= 0).all()


def test_what_differs_in_configuration_is_listed_by_dotted_key() -> None:
    other = {
        "config": {"seed": 1, "strategies": {"greedy": {"kind": "greedy"}}},
        "models": [{"name": "small", "tokens": 2}],
        "created": "later",
        "generation": {"small": {"num_draws": 5}},
    }
    table = configuration_differences({"a": MANIFEST, "b": other})
    assert table.to_dict("records") == [
        {"key": "config.seed", "a": "0", "b": "1"},
        {"key": "models.small.tokens", "a": "1", "b": "2"},
        {"key": "config.strategies.greedy.kind", "a": "", "b": '"greedy"'},
    ]


def test_lists_and_empty_nodes_are_values() -> None:
    assert flatten({"a": {"b": [1, 2], "c": {}}, "d": None}) == {
        "a.b": "[1, 2]",
        "a.c": "{}",
        "d": "null",
    }


def test_sentences_lead_with_what_a_user_could_have() -> None:
    attempts = drawn({"small": 0.3, "large": 0.7}, num_samples=8, problems=range(60))
    table = differences_within(attempts, CERTAINTY)
    said = sentences_of(table, 0.95)
    assert said[0].startswith("Of 8 paired differences, ")
    assert all("oracle" not in sentence for sentence in said[1:])
    assert sentences_of(table.iloc[:0], 0.95) == ()


@pytest.mark.parametrize("names", [("a",), ("a", "a")])
def test_runs_need_different_names(names: tuple[str, ...]) -> None:
    attempts = drawn({"small": 0.3}, num_samples=2, problems=range(3))
    with pytest.raises(ValueError, match="two or more runs with different names"):
        compare([Run(name, MANIFEST, attempts) for name in names], CERTAINTY)
