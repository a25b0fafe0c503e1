"""The whole analysis on ladders whose verdict is known, and what it says of input that it cannot
use."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from scaling_exp.analysis import Analysis, AnalysisSettings, Measured
from scaling_exp.analysis import analyse as analyse_measured
from scaling_exp.types import Architecture, ModelFacts

SETTINGS = AnalysisSettings(num_bootstrap=300, queries=(1.0, 1e6, 1e12))
SIZES = (10_000, 30_000, 100_000)


def facts(num_parameters: int) -> ModelFacts:
    shape = Architecture(num_parameters, num_parameters, num_parameters, 2, 2, 8)
    return ModelFacts(f"m{num_parameters // 1000}k", shape, 20 * num_parameters)


def drawn(
    model: str,
    chances: np.ndarray,
    rng: np.random.Generator,
    num_samples: int = 32,
    strategy: str = "vote",
    num_wrong: int = 200,
) -> pd.DataFrame:
    """Samples of a model with a known chance per problem; wrong answers are spread over `num_wrong`
    others."""
    num_problems = len(chances)
    is_correct = rng.random((num_problems, num_samples)) < chances[:, None]
    wrong = rng.integers(1, num_wrong + 1, size=is_correct.shape)
    is_lost = ~is_correct & (rng.random(is_correct.shape) < 0.05)
    answers = np.where(is_lost, None, np.where(is_correct, "0", wrong.astype(str)).astype(object))
    problem, sample = np.divmod(np.arange(is_correct.size), num_samples)
    return pd.DataFrame(
        {
            "model": model,
            "strategy": strategy,
            "problem": [f"p{i:03d}" for i in problem],
            "level": [f"{1 + i % 2} steps" for i in problem],
            "sample": sample,
            "answer": answers.ravel(),
            "is_correct": is_correct.ravel(),
            "truncated": is_lost.ravel(),
            "num_prompt_tokens": 12,
            "num_cached_tokens": 0,
            "num_output_tokens": 8 + rng.integers(0, 5, size=is_correct.size),
        }
    )


def analyse(
    samples: pd.DataFrame,
    models: list[ModelFacts],
    settings: AnalysisSettings,
    adaptive: tuple[str, ...] = (),
) -> Analysis:
    return analyse_measured(Measured(models, samples=samples, adaptive=adaptive), settings)


def ladder(chances: list[np.ndarray], **options: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    parts = []
    for size, of_problem in zip(SIZES, chances, strict=True):
        name = facts(size).name
        parts.append(drawn(name, of_problem, rng, **options))
        parts.append(drawn(name, of_problem, rng, num_samples=1, strategy="greedy"))
    return pd.concat(parts, ignore_index=True)


def models() -> list[ModelFacts]:
    return [facts(size) for size in SIZES]


@pytest.fixture(scope="module")
def voting_wins() -> Analysis:
    """Wrong answers never repeat much and every problem is solvable: a vote soon finds the right
    one."""
    rng = np.random.default_rng(0)
    easiness = rng.uniform(0, 0.2, size=80)
    return analyse(ladder([easiness + base for base in (0.1, 0.25, 0.4)]), models(), SETTINGS)


@pytest.fixture(scope="module")
def nothing_reaches() -> Analysis:
    """The smaller models agree on one wrong answer: their votes only get worse."""
    chances = [np.full(80, chance) for chance in (0.02, 0.05, 0.9)]
    return analyse(ladder(chances, num_wrong=1), models(), SETTINGS)


def test_where_voting_must_win_the_verdict_says_so(voting_wins: Analysis) -> None:
    verdict = voting_wins.verdict["selectors"]["voting"]["headline"]
    assert (verdict["smaller"]["name"], verdict["larger"]["name"]) == ("m10k", "m100k")
    assert verdict["k_match"]["share_reached"] == 1
    assert (
        1 < verdict["k_match"]["low"] <= verdict["k_match"]["value"] <= verdict["k_match"]["high"]
    )
    assert verdict["k_match"]["high"] < 32
    assert verdict["pretraining_ratio"] == pytest.approx(100)
    first, second, third = voting_wins.sentences
    assert first.startswith("With majority voting, the model of 10K parameters needs")
    assert "100 times less pre-training compute" in first
    assert second.startswith("It is the cheaper choice")
    assert "oracle" in second
    assert third.startswith(("The cheaper of the two would be the other one if", "None of the"))


def test_where_nothing_reaches_the_verdict_says_so(nothing_reaches: Analysis) -> None:
    voting = nothing_reaches.verdict["selectors"]["voting"]
    assert voting["headline"] is None
    assert voting["exchange_rate"] is None
    first, second = nothing_reaches.sentences
    assert "no model of the ladder reaches" in first
    assert "voting replaces no pre-training" in first
    assert "No number of queries can be given" in second
    assert "the data cannot tell an exchange rate" in second
    assert "an oracle selector would let" in second
    assert (nothing_reaches.exchange.query("selector == 'voting'")["share_reached"] == 0).all()


def test_a_match_at_the_edge_of_the_samples_is_not_claimed() -> None:
    rng = np.random.default_rng(5)
    chances = np.repeat([0.0, 0.35], 40)
    small = drawn("m10k", chances, rng, num_samples=16)
    large = drawn("m100k", np.full(80, 0.49), rng, num_samples=16)
    result = analyse(pd.concat([small, large]), [facts(10_000), facts(100_000)], SETTINGS)
    k_match = result.verdict["selectors"]["voting"]["headline"]
    shares = result.exchange.set_index("selector")["share_reached"]
    assert 0.05 < shares["voting"] < 0.97
    assert k_match is None or k_match["k_match"]["high"] == "inf"
    assert "the data cannot tell" in result.sentences[0]


def test_curves(voting_wins: Analysis) -> None:
    curves = voting_wins.curves
    assert set(curves["selector"]) == {"single", "voting", "oracle"}
    assert set(curves["level"]) == {"all", "1 steps", "2 steps"}
    whole = curves[(curves["level"] == "all") & (curves["model"] == "m10k")]
    voting = whole[whole["selector"] == "voting"].set_index("k")
    oracle = whole[whole["selector"] == "oracle"].set_index("k")
    assert list(voting.index) == [1, 2, 4, 8, 16, 32]
    assert voting["accuracy"][1] == pytest.approx(oracle["accuracy"][1])
    assert (voting["accuracy"] <= oracle["accuracy"] + 1e-12).all()
    assert (voting["accuracy_low"] <= voting["accuracy"]).all()
    assert (voting["accuracy"] <= voting["accuracy_high"]).all()
    per_sample = (voting["inference_flops"][32] - voting["inference_flops"][1]) / 31
    assert voting["inference_flops"][8] == pytest.approx(
        voting["inference_flops"][1] + 7 * per_sample
    )
    assert voting["output_tokens"][32] == pytest.approx(32 * voting["output_tokens"][1])
    assert not curves.isna().any().any()


def test_ladder_table(voting_wins: Analysis) -> None:
    table = voting_wins.models
    assert list(table["model"]) == ["m10k", "m30k", "m100k"]
    assert {"greedy", "pass@1", "maj@32", "pass@32"} <= set(table.columns)
    assert (table["pass@1"] < table["maj@32"]).all()
    assert (table["unparsable_share"] > 0).all()


def test_lifetimes(voting_wins: Analysis) -> None:
    table = voting_wins.lifetimes
    assert set(table["num_queries"]) == set(SETTINGS.queries)
    for _, family in table.groupby(["num_queries", table["selector"] == "oracle"]):
        best = family[family["on_frontier"]].sort_values("total_flops")
        assert best["accuracy"].is_monotonic_increasing
        assert best["accuracy"].max() == pytest.approx(family["accuracy"].max())
        assert family["total_flops"].min() == best["total_flops"].min()
    shares = [f["share_smaller_is_cheaper"] for f in _frontier(voting_wins)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)


def _frontier(analysis: Analysis) -> list[dict]:
    return analysis.verdict["selectors"]["voting"]["frontier"]


def test_the_verdict_is_json_and_exchange_has_its_columns(
    voting_wins: Analysis, nothing_reaches: Analysis
) -> None:
    for analysis in (voting_wins, nothing_reaches):
        text = json.dumps(analysis.verdict, allow_nan=False)
        assert json.loads(text)["sentences"] == list(analysis.sentences)
        assert {"smaller", "larger", "k_match", "k_match_low", "crossover_queries_high"} <= set(
            analysis.exchange.columns
        )
        assert len(analysis.exchange) == 6


def test_the_order_of_rows_and_the_hour_change_nothing() -> None:
    chances = [np.linspace(base, base + 0.3, 20) for base in (0.1, 0.2, 0.5)]
    samples = ladder(chances, num_samples=8)
    first = analyse(samples, models(), SETTINGS)
    shuffled = samples.sample(frac=1, random_state=0)
    again = analyse(shuffled, models()[::-1], SETTINGS)
    pd.testing.assert_frame_equal(first.curves, again.curves)
    assert first.verdict == again.verdict


def test_adaptive_voting_is_one_point_at_its_own_cost() -> None:
    rng = np.random.default_rng(0)
    samples = drawn("m10k", np.full(20, 0.5), rng, num_samples=8)
    is_kept = (samples["problem"] < "p010") | (samples["sample"] < 4)
    adaptive = samples[is_kept].assign(strategy="adaptive")
    curves = analyse(
        pd.concat([samples, adaptive]), [facts(10_000)], SETTINGS, ("adaptive",)
    ).curves
    whole = curves[curves["level"] == "all"].set_index(["strategy", "selector", "k"])
    point = whole.loc[("adaptive", "voting", 6.0)]
    assert point["inference_flops"] < whole.loc[("vote", "voting", 8.0), "inference_flops"]
    assert 0 <= point["accuracy"] <= 1


@pytest.mark.parametrize("kept", ["greedy", "vote"])
def test_a_run_without_a_trade_says_what_is_missing(kept: str) -> None:
    samples = ladder([np.full(20, 0.5)] * 3, num_samples=4).query("strategy == @kept")
    if kept == "vote":
        samples = samples.query("model == 'm10k'")
    present = [m for m in models() if m.name in set(samples["model"])]
    result = analyse(samples, present, SETTINGS)
    assert "the data cannot tell" in result.sentences[0]
    assert result.verdict["selectors"]["voting"]["headline"] is None
    json.dumps(result.verdict, allow_nan=False)


def without_tokens(*names: str) -> list[ModelFacts]:
    return [
        dataclasses.replace(m, pretraining_tokens=np.nan) if m.name in names else m
        for m in models()
    ]


def test_a_ladder_whose_training_is_not_known_refuses_the_trade_for_that_reason() -> None:
    samples = ladder([np.full(20, c) for c in (0.2, 0.4, 0.6)], num_samples=8)
    result = analyse(samples, without_tokens("m10k", "m30k", "m100k"), SETTINGS)
    assert result.sentences[0] == (
        "Whether inference replaces pre-training the data cannot tell: on how many tokens (D) m10k, m30k, m100k were"
        " trained is not known, and a trade needs two models of known pre-training compute."
    )
    assert "pretraining_tokens" in result.sentences[1]
    assert any("with 8 samples" in each for each in result.sentences[2:])
    assert result.verdict["selectors"]["voting"]["headline"] is None
    assert set(result.curves["model"]) == {"m10k", "m30k", "m100k"}
    json.dumps(result.verdict, allow_nan=False)


def test_a_model_whose_training_is_not_known_is_named_beside_a_trade_of_the_others() -> None:
    samples = ladder([np.full(60, c) for c in (0.2, 0.4, 0.6)], num_samples=32)
    result = analyse(samples, without_tokens("m10k"), SETTINGS)
    assert "samples" in result.sentences[0]
    assert (
        "On how many tokens (D) m10k was trained is not known: no trade there."
        in (result.verdict["assumptions"])
    )


def test_a_distilled_model_is_said_to_look_too_cheap() -> None:
    samples = ladder([np.full(60, c) for c in (0.2, 0.4, 0.6)], num_samples=32)
    taught = [dataclasses.replace(m, is_distilled=m.name == "m30k") for m in models()]
    said = " ".join(analyse(samples, taught, SETTINGS).verdict["assumptions"])
    assert "m30k learned from a larger model: 6ND leaves out what that one took" in said
    plain = " ".join(analyse(samples, models(), SETTINGS).verdict["assumptions"])
    assert "learned from" not in plain


@pytest.mark.parametrize("num_problems", [1, 3])
def test_a_handful_of_problems_cannot_tell(num_problems: int) -> None:
    samples = ladder([np.full(num_problems, c) for c in (0.2, 0.4, 0.6)], num_samples=4)
    result = analyse(samples, models(), SETTINGS)
    assert "the data cannot tell" in result.sentences[0]
    json.dumps(result.verdict, allow_nan=False)


def test_input_that_cannot_be_used_is_named() -> None:
    samples = ladder([np.full(4, 0.5)] * 3, num_samples=4)
    cases = [
        (samples.drop(columns=["level", "sample"]), models(), "lacks the columns level, sample"),
        (samples.iloc[:0], models(), "empty"),
        (samples, models()[:2], "no facts for the models m100k"),
        (samples.query("model != 'm30k'"), models(), "no samples of the models m30k"),
        (samples.query("model != 'm30k' or problem != 'p001'"), models(), "m30k .* p001"),
        (pd.concat([samples, samples.iloc[:1]]), models(), "p000 .* twice"),
        (samples.assign(is_correct=True), models(), "no answer but is marked correct"),
        (samples.assign(level=samples["model"]), models(), "two levels"),
        (samples, [*models(), facts(SIZES[0])], "same name"),
        (samples.assign(sample=np.nan), models(), "missing values in sample"),
    ]
    for table, ladder_facts, message in cases:
        with pytest.raises(ValueError, match=message):
            analyse(table, ladder_facts, SETTINGS)


@pytest.mark.parametrize(
    ("field", "value"),
    [("confidence", 1.0), ("num_bootstrap", 10), ("seed", -1), ("queries", ())],
)
def test_settings_name_the_field_that_is_wrong(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"analysis\.{field}"):
        dataclasses.replace(SETTINGS, **{field: value})


def test_a_full_ladder_takes_seconds() -> None:
    rng = np.random.default_rng(2)
    sizes = [10_000 * 2**i for i in range(5)]
    easiness = rng.beta(0.5, 1.5, size=200)
    parts = [
        drawn(facts(n).name, np.clip(easiness + 0.05 * i, 0, 1), rng, num_samples=128)
        for i, n in enumerate(sizes)
    ]
    started = time.process_time()
    analyse(pd.concat(parts), [facts(n) for n in sizes], AnalysisSettings())
    assert time.process_time() - started < 20


def test_analysis_needs_no_engine() -> None:
    heavy = "{'vllm', 'torch', 'transformers', 'ray', 'hydra', 'wandb'}"
    code = f"import sys, scaling_exp.analysis; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
