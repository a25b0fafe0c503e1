"""Ways to spend compute on samples whose truth is known: what is chosen, and that nobody peeks."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

from scaling_exp.analysis import AnalysisSettings, Measured, analyse
from scaling_exp.analysis.attempts import fold
from scaling_exp.analysis.cost import Pricing
from scaling_exp.analysis.estimators import pass_at_k, verified_at_k
from scaling_exp.analysis.questions.compute_optimal import Chosen, ComputeOptimal, quantile_bins
from scaling_exp.analysis.questions.flops_matched import FlopsMatched
from scaling_exp.analysis.questions.forcing import Forcing
from scaling_exp.analysis.questions.imperfect_verifier import ImperfectVerifier
from scaling_exp.analysis.questions.strategies import Strategies
from scaling_exp.analysis.questions.swarm import Swarm
from scaling_exp.analysis.questions.ways import Way, first_samples, ways
from scaling_exp.types import Architecture, ModelFacts

SHAPE = Architecture(1000, 900, 800, 2, 4, 8)
MODEL = ModelFacts("m", SHAPE, 1e6)
NUM_PROBLEMS, NUM_SAMPLES = 200, 16
TRAINED = (("a", 1e6), ("b", 1e6), ("big", 4e6))


def drawn(strategy, right_PS, score_PS=None, tokens=10):
    """Samples of which the wrong ones all differ."""
    rows = [
        {
            "model": "m",
            "strategy": strategy,
            "problem": f"p{problem:03}",
            "level": "easy",
            "sample": sample,
            "answer": "right" if is_right else f"wrong {sample}",
            "is_correct": bool(is_right),
            "truncated": False,
            "num_prompt_tokens": 5,
            "num_output_tokens": tokens,
            "score": np.nan if score_PS is None else score_PS[problem, sample],
        }
        for problem, right_S in enumerate(right_PS)
        for sample, is_right in enumerate(right_S)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def right_PS(rng):
    rate_P1 = rng.beta(1, 1, (NUM_PROBLEMS, 1))
    return rng.random((NUM_PROBLEMS, NUM_SAMPLES)) < rate_P1


def attempts(table, **settings):
    (one,) = fold(table, [MODEL], Pricing(), **settings)
    return one


def test_ways_are_all_that_a_user_could_choose(right_PS, rng):
    scores = rng.random(right_PS.shape)
    found = list(ways(attempts(drawn("sampling", right_PS, scores))))
    assert {way.selector for way in found} == {"voting", "best_of", "weighted_voting"}
    assert sorted({way.k for way in found}) == [1, 2, 4, 8, 16]
    one = next(way for way in found if way.k == 1 and way.selector == "voting")
    assert one.accuracy_P == pytest.approx(right_PS.mean(axis=1))
    assert one.tokens_P.tolist() == [10] * NUM_PROBLEMS


@pytest.mark.parametrize("is_scored", [False, True])
def test_the_first_samples_are_those_of_the_lowest_numbers(right_PS, rng, is_scored):
    scores = rng.random(right_PS.shape) if is_scored else None
    table = drawn("sampling", right_PS, scores).sample(frac=1, random_state=0)
    kept = first_samples(attempts(table), 5)
    assert kept.num_samples_P.tolist() == [5] * NUM_PROBLEMS
    assert kept.num_correct_P.tolist() == right_PS[:, :5].sum(axis=1).tolist()
    assert kept.votes.num_samples_P.tolist() == kept.num_samples_P.tolist()
    assert first_samples(kept, 5).is_right_S.tolist() == right_PS[:, :5].ravel().tolist()
    if is_scored:
        assert kept.scores["last"].score_S == pytest.approx(scores[:, :5].ravel())


def way(name, accuracy_P, flops):
    size = len(accuracy_P)
    return Way("m", name, "voting", 1, np.array(accuracy_P), np.full(size, flops), np.ones(size))


def test_a_policy_takes_the_best_affordable_way_of_each_bin(rng):
    bin_P = np.arange(100) % 2
    easy, hard = bin_P == 0, bin_P == 1
    every = [
        way("cheap", np.where(easy, 0.9, 0.1), 1.0),
        way("middle", np.where(easy, 0.5, 0.6), 2.0),
        way("dear", np.ones(100), 9.0),
    ]
    fold_P = rng.permutation(100) % 5
    chosen = Chosen.of(every, 2.0, bin_P, fold_P)
    assert chosen.way_P.tolist() == np.where(hard, 1, 0).tolist()
    assert chosen.accuracy_P.mean() == pytest.approx(0.75)
    single = Chosen.of(every, 2.0, np.zeros_like(bin_P), fold_P)
    assert single.accuracy_P.mean() <= 0.56
    assert (Chosen.of(every, 0.5, bin_P, fold_P).way_P == 0).all()
    assert (Chosen.of(every, 1.99, bin_P, fold_P).way_P == chosen.way_P).all()  # as good as 2
    assert (Chosen.of(every, 1.9, bin_P, fold_P).way_P == 0).all()


def test_bins_hold_equally_many_and_rise(rng):
    rate_P = rng.integers(0, 3, 100) / 2
    bin_P = quantile_bins(rate_P, 5, rng)
    assert np.bincount(bin_P).tolist() == [20] * 5
    assert all(rate_P[bin_P == at].max() <= rate_P[bin_P == at + 1].min() for at in range(4))


def asked(question, *tables, **measured):
    every = Measured([MODEL], pd.concat(tables), **measured)
    settings = AnalysisSettings(num_bootstrap=200, questions={"q": question})
    (answer,) = analyse(every, settings).answers
    return answer


def test_where_nothing_is_to_be_gained_a_policy_does_not_claim_it(rng):
    """Every way is a coin: what looks best on some problems is as good as any other on the rest."""
    tables = [
        drawn(f"coin_{at}", rng.random((NUM_PROBLEMS, 1)) < 0.5, tokens=10 + at) for at in range(6)
    ]
    plain = drawn("sampling", rng.random((NUM_PROBLEMS, NUM_SAMPLES)) < 0.5)
    table = asked(ComputeOptimal(), plain, *tables).tables["compute_optimal"]
    assert (table["gain_low"] <= 0).mean() > 0.8


def test_strategies_of_the_same_draws_do_not_tell_each_other_what_is_easy(rng):
    right_PS = rng.random((2 * NUM_PROBLEMS, NUM_SAMPLES)) < 0.5
    plain, scored = (
        drawn("sampling", right_PS),
        drawn("best_of_n", right_PS, rng.random(right_PS.shape)),
    )
    answer = asked(ComputeOptimal(num_budgets=3), plain, scored)
    assert (answer.tables["compute_optimal"]["gain_low"] <= 0).all()
    assert not [each for each in answer.sentences if "Left out" in each]


def lucky(rng, first):
    """Coins: sampling, and a strategy of one answer a problem, the best that sample `first` and the next have. Whoever
    calls a problem easy for its luck in these two finds the strategy to suit what is easy."""
    right_PS = rng.random((4 * NUM_PROBLEMS, NUM_SAMPLES)) < 0.5
    best_P1 = right_PS[:, first : first + 2].any(axis=1, keepdims=True)
    other_P1 = rng.random((4 * NUM_PROBLEMS, 1)) < 0.75
    return drawn("sampling", right_PS), drawn("lucky", best_P1), drawn("other", other_P1)


@pytest.mark.parametrize(("most", "is_left_out"), [(8, False), (9, True), (None, True)])
def test_what_shares_samples_with_those_that_tell_difficulty_is_left_out(rng, most, is_left_out):
    tables = lucky(rng, 0)
    known = {} if most is None else {"lucky": most}
    answer = asked(ComputeOptimal(), *tables, adaptive=["lucky"], most_samples=known)
    said = [each for each in answer.sentences if each.startswith("Left out: lucky")]
    assert bool(said) == is_left_out
    assert all("samples 9 to 16 of sampling" in each for each in said)
    remedy = f"num_samples={2 * most} they would not." if most else "run the same command again."
    assert all(each.endswith(remedy) for each in said)
    assert (answer.tables["compute_optimal"]["gain_low"] <= 0).all()


def test_a_way_that_looks_at_the_samples_that_tell_difficulty_would_gain_by_it(rng):
    """Why they are left out: nothing suits any problem better, and yet a choice by difficulty looks better."""
    tables = lucky(rng, NUM_SAMPLES - 2)
    table = asked(ComputeOptimal(), *tables).tables["compute_optimal"]
    assert (table["gain_low"] > 0).any()
    honest = asked(ComputeOptimal(), *tables, adaptive=["lucky"]).tables["compute_optimal"]
    assert (honest["gain_low"] <= 0).all()


def test_the_plain_strategy_is_the_one_that_is_named_or_sampling(rng, right_PS):
    other = rng.random(right_PS.shape) < right_PS.mean(axis=1, keepdims=True)
    tables = [drawn("nucleus", other), drawn("sampling", right_PS), drawn("top_p", other)]
    assert "over the samples of sampling (" in asked(Strategies(), *tables).sentences[0]
    assert "over the samples of top_p (" in asked(Strategies("top_p"), *tables).sentences[0]
    fewer = drawn("sampling", right_PS[:, :8])
    assert "of nucleus (" in asked(Strategies(), tables[0], fewer).sentences[0]  # it has more
    told = asked(Strategies("beam"), *tables).sentences[0]
    assert "no model has several samples under strategy beam" in told
    assert "nucleus, sampling, top_p" in told
    told = asked(ComputeOptimal(plain="top_p"), *tables).assumptions[0]
    assert "second half of its samples of top_p" in told


def test_a_swarm_votes_over_samples_of_one_strategy(right_PS):
    tables = [
        drawn(strategy, right).assign(model=name)
        for name in ("a", "b", "big")
        for strategy, right in (("nucleus", np.ones_like(right_PS)), ("sampling", right_PS))
    ]
    models = [replace(MODEL, name=name, pretraining_tokens=tokens) for name, tokens in TRAINED]
    every = Measured(models, pd.concat(tables))
    questions = {"plain": Swarm(), "nucleus": Swarm(plain="nucleus")}
    settings = AnalysisSettings(num_bootstrap=100, questions=questions)
    plain, nucleus = (each.tables["swarm"]["accuracy"] for each in analyse(every, settings).answers)
    assert plain.max() < 1
    assert nucleus.min() == pytest.approx(1)


def test_a_verifier_tells_strategies_apart(right_PS):
    answer = asked(ImperfectVerifier(), drawn("one", right_PS), drawn("two", right_PS))
    assert [line.name for line in answer.plots[0].series] == ["m, one", "m, two"]
    assert "m by one" in answer.sentences[0]
    alone = asked(ImperfectVerifier(), drawn("one", right_PS))
    assert [line.name for line in alone.plots[0].series] == ["m"]


def test_the_smaller_model_spends_what_it_saves_in_its_best_way_against_a_greedy_answer(rng):
    """The larger is right on half of the problems when greedy and else never, a search of the smaller on 80 %."""
    half, most, none = (rng.random((NUM_PROBLEMS, 1)) < share for share in (0.5, 0.8, 0.0))
    never = np.zeros((NUM_PROBLEMS, 8))
    tables = [
        drawn("greedy", none).assign(model="a"),
        drawn("beam_4", most, tokens=80).assign(model="a"),
        drawn("sampling", never).assign(model="a"),
        drawn("greedy", half).assign(model="big"),
        drawn("beam_4", half, tokens=80).assign(model="big"),
        drawn("sampling", never).assign(model="big"),
    ]
    models = [replace(MODEL, name=name, pretraining_tokens=tokens) for name, tokens in TRAINED[::2]]
    question = FlopsMatched(ratios=(0.01, 1e4))
    settings = AnalysisSettings(num_bootstrap=100, questions={"q": question})
    (answer,) = analyse(Measured(models, pd.concat(tables)), settings).answers
    rich, poor = answer.tables["best_way"].to_dict("records")
    assert (rich["way"], rich["larger_answer"]) == ("beam_4", "greedy")
    assert rich["accuracy_larger"] == pytest.approx(half.mean())
    assert rich["difference"] == pytest.approx(most.mean() - half.mean())
    assert rich["difference_low"] > 0 > poor["difference_high"]  # there is nothing to spend
    assert answer.sentences[0].startswith(
        "With the best way to spend it that the smaller model has (beam_4), at R = 0.01, a stands at +"
    )
    assert answer.sentences[0].endswith(" against the single answer of big.")


def test_a_better_strategy_beats_voting_at_equal_flops_and_a_worse_one_does_not(rng, right_PS):
    better = drawn("better_4", rng.random((NUM_PROBLEMS, 1)) < 0.99, tokens=40)
    worse = drawn("worse_4", rng.random((NUM_PROBLEMS, 1)) < 0.05, tokens=40)
    answer = asked(Strategies(), drawn("sampling", right_PS), better, worse)
    table = answer.tables["strategies"].set_index("strategy")
    assert table.loc["better_4", "gain_over_voting_low"] > 0
    assert table.loc["worse_4", "gain_over_voting_high"] < 0
    assert answer.sentences[0].startswith("At equal FLOPs 1 of 2 measured points beat")
    assert "The most is gained with m by better_4: +" in answer.sentences[1]
    assert "by its best selector, in points: better +" in answer.sentences[2]
    assert "; worse -" in answer.sentences[2]
    assert "the frontier is, from cheap to dear, sampling by voting (to " in answer.sentences[3]
    names = [each.name for each in answer.plots[0].series]
    assert sorted(names) == ["better", "sampling by voting", "worse"]


def test_one_strategy_has_nothing_to_be_compared_with(right_PS):
    assert "data cannot tell" in asked(Strategies(), drawn("sampling", right_PS)).sentences[0]
    few = drawn("sampling", right_PS[:20])
    assert "data cannot tell" in asked(ComputeOptimal(), few).sentences[0]


def test_a_verifier_that_errs_is_what_brute_force_says():
    """All choices of k samples, all patterns of what is accepted."""
    right_S, completeness, soundness = np.array([1, 1, 0, 0, 0]), 0.8, 0.7
    for k in (1, 2, 3):
        chances = []
        for chosen in combinations(right_S, k):
            accepts = [completeness if each else 1 - soundness for each in chosen]
            for pattern in product([True, False], repeat=k):
                probability = np.prod(
                    [a if taken else 1 - a for a, taken in zip(accepts, pattern, strict=True)]
                )
                left = [each for each, taken in zip(chosen, pattern, strict=True) if taken]
                chances.append(probability * np.mean(left or chosen))
        expected = sum(chances) / len(list(combinations(right_S, k)))
        (((found,),)) = verified_at_k(np.array([2]), np.array([5]), [k], completeness, soundness)
        assert found == pytest.approx(expected)
    (perfect,) = verified_at_k(np.array([2]), np.array([5]), [1, 3, 5], 1.0, 1.0)
    assert perfect == pytest.approx(pass_at_k(np.array([2]), np.array([5]), [1, 3, 5])[0])


def test_a_swarm_of_one_mind_is_one_vote(right_PS):
    """Two copies of a model, each with half of k, elect as one with k does, up to the shuffles."""
    small = drawn("sampling", right_PS)
    tables = [small.assign(model=name) for name in ("a", "b", "big")]
    models = [replace(MODEL, name=name, pretraining_tokens=tokens) for name, tokens in TRAINED]
    every = Measured(models, pd.concat(tables))
    settings = AnalysisSettings(num_bootstrap=100, questions={"q": Swarm()})
    table = analyse(every, settings).answers[0].tables["swarm"]
    assert table["inference_flops"].iloc[0] == pytest.approx(table["rival_flops"].iloc[0], rel=0.2)
    assert (table["accuracy"] - table["rival_accuracy"]).abs().max() < 0.06
    assert table["pretraining_flops"].iloc[0] == pytest.approx(6 * 1000 * 2e6)
    without_tokens = every.samples.drop(columns="num_output_tokens")
    (answer,) = analyse(Measured(models, without_tokens), settings).answers
    assert "because the FLOPs of a sample of a are not known" in answer.sentences[0]


def test_members_that_err_differently_are_better_together():
    """Three models, each right on its own two thirds of the problems: together always."""
    third = np.arange(NUM_PROBLEMS) % 3
    tables = [
        drawn("sampling", np.repeat((third != at)[:, None], 4, axis=1)).assign(model=name)
        for at, name in enumerate(("a", "b", "big"))
    ]
    tables.append(drawn("sampling", np.repeat((third != 1)[:, None], 4, axis=1)).assign(model="c"))
    models = [replace(MODEL, name=name, pretraining_tokens=tokens) for name, tokens in TRAINED]
    models.append(replace(MODEL, name="c", pretraining_tokens=1e6))
    every = Measured(models, pd.concat(tables))
    question = Swarm(members=("a", "b", "c"), rival="big")
    settings = AnalysisSettings(num_bootstrap=100, questions={"q": question})
    (answer,) = analyse(every, settings).answers
    assert answer.tables["swarm"]["accuracy"].iloc[0] > 0.6
    lacking = AnalysisSettings(
        num_bootstrap=100, questions={"q": Swarm(members=("a", "z"), rival="big")}
    )
    assert "model z has no samples" in analyse(every, lacking).answers[0].sentences[0]


def test_thinking_longer_has_a_slope(rng):
    """30, 50 and 70 % of attempts right at 10, 20 and 30 tokens: 2 points a token."""
    rows = [
        drawn(f"force_{at}", rng.random((NUM_PROBLEMS, NUM_SAMPLES)) < rate, tokens=tokens)
        for at, (rate, tokens) in enumerate(((0.3, 10), (0.5, 20), (0.7, 30)))
    ]
    answer = asked(Forcing(least=15, most=25), *rows)
    row = answer.tables["forcing"].iloc[0]
    assert (row["strategy"], row["num_budgets"]) == ("force", 3)
    assert row["control_share"] == pytest.approx(1 / 3)
    assert row["scaling_gain_low"] < 2.0 < row["scaling_gain_high"]
    assert row["accuracy"] == pytest.approx(0.7, abs=0.03)
    assert "no strategy has several budgets" in asked(Forcing(), rows[0]).sentences[0]


@pytest.mark.parametrize("question", [Strategies(), ComputeOptimal(num_bins=2)])
def test_ways_of_unknown_cost_are_not_compared(right_PS, question):
    tables = [drawn(name, right_PS, tokens=np.nan) for name in ("one", "two")]
    answer = asked(question, *tables)
    assert "cannot tell" in answer.sentences[0]
    assert not answer.tables


@pytest.mark.parametrize("tokens", [(np.nan, np.nan), (10, 10.1)])
def test_lengths_that_are_unknown_or_differ_by_chance_have_no_slope(right_PS, tokens):
    rows = [drawn(f"force_{at}", right_PS, tokens=each) for at, each in enumerate(tokens)]
    assert "no strategy has several budgets" in asked(Forcing(), *rows).sentences[0]


def test_scores_without_answers_have_nothing_to_vote_with(right_PS, rng):
    table = drawn("sampling", right_PS, rng.random(right_PS.shape)).drop(columns=["answer"])
    one = attempts(table)
    kept = first_samples(one, 8)
    assert one.votes is None is kept.votes
    assert {way.selector for way in ways(kept)} == {"best_of"}


def test_ten_thousand_samples_for_a_verifier_are_as_exact_as_few():
    """A verifier that accepts all draws by lot; one that never errs is an oracle."""
    counts = np.array([0, 3, 5_000, 10_000])
    of_all = np.full(4, 10_000)
    ks = [1, 100, 10_000]
    by_lot = verified_at_k(counts, of_all, ks, 1.0, 0.0)
    assert by_lot == pytest.approx(np.repeat(counts[:, None] / 10_000, 3, axis=1), abs=1e-9)
    oracle = verified_at_k(counts, of_all, ks, 1.0, 1.0)
    assert oracle == pytest.approx(pass_at_k(counts, of_all, ks), abs=1e-9)
