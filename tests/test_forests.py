"""What a whole forest costs: by hand, and for samples alone what the samples say."""

import numpy as np
import pandas as pd
import pytest

from scaling_exp.analysis.attempts import fold
from scaling_exp.analysis.cost import Pricing, decode_flops, forward_flops, prefill_flops
from scaling_exp.analysis.forests import forest_costs
from scaling_exp.types import Architecture, ModelFacts

SHAPE = Architecture(1000, 900, 800, 2, 4, 8)
MODEL = ModelFacts("m", SHAPE, 1e6)
SCORER = ModelFacts("scorer", Architecture(500, 400, 300, 1, 2, 8), 1e6)
PROMPT = 10
COUNTED = ("prefix", "forced", "output", "scored")


def traces(rows):
    """(path, is accepted, given, forced, written, scored) of one forest."""
    names = ["path", "is_accepted", *(f"num_{name}_tokens" for name in COUNTED)]
    table = pd.DataFrame(rows, columns=names)
    table["key"] = [f"k{at}" for at in range(len(table))]
    return table.assign(model="m", strategy="s", problem="p")


def samples(num_samples, written):
    rows = range(num_samples)
    return pd.DataFrame(
        {
            "model": "m",
            "strategy": "s",
            "problem": "p",
            "level": "easy",
            "sample": rows,
            "answer": [str(at % 2) for at in rows],
            "is_correct": [at % 2 == 0 for at in rows],
            "truncated": False,
            "num_prompt_tokens": PROMPT,
            "num_cached_tokens": 0,
            "num_output_tokens": written,
            "key": [f"k{at}" for at in rows],
        }
    )


def test_samples_alone_cost_what_samples_cost():
    drawn = traces([(str(at), True, 10, 0, 5 + at, np.nan) for at in range(4)])
    table = samples(4, [5, 6, 7, 8])
    costs = forest_costs(drawn, table, [MODEL], None)
    (plain,) = fold(table, [MODEL], Pricing())
    (deep,) = fold(table, [MODEL], Pricing(), adaptive=["s"], forests=costs)
    for axis in ("inference_flops", "output_tokens"):
        assert deep.costs[axis].prompt_P == pytest.approx(plain.costs[axis].prompt_P)
        assert deep.costs[axis].sample_P == pytest.approx(plain.costs[axis].sample_P)


def test_pruned_branches_forced_tokens_and_scores_are_charged():
    drawn = traces(
        [
            ("0", False, 10, 0, 4, 14.0),
            ("1", False, 10, 0, 4, 14.0),  # pruned
            ("0.0", True, 16, 2, 3, 19.0),
        ]
    )
    (cost,) = forest_costs(drawn, samples(1, [9]), [MODEL], SCORER).itertuples()
    generating = (
        prefill_flops(SHAPE, PROMPT)
        + 2 * decode_flops(SHAPE, PROMPT, 4)
        + forward_flops(SHAPE, 14, 16)  # the last token of the parent, and two that were forced
        + decode_flops(SHAPE, 16, 3)
    )
    scoring = (
        prefill_flops(SCORER.architecture, PROMPT)
        + 2 * forward_flops(SCORER.architecture, 11, 14)
        + forward_flops(SCORER.architecture, 15, 19)
    )
    assert cost.flops == pytest.approx(generating + scoring)
    assert cost.num_output_tokens == 4 + 4 + 3


def test_a_chain_in_steps_costs_what_it_costs_in_one():
    whole = forest_costs(traces([("0", True, 10, 0, 12, np.nan)]), samples(1, [12]), [MODEL], None)
    steps = [
        ("0", False, 10, 0, 4, np.nan),
        ("0.0", False, 14, 0, 4, np.nan),
        ("0.0.0", True, 18, 0, 4, np.nan),
    ]
    parts = forest_costs(traces(steps), samples(1, [12]), [MODEL], None)
    assert parts["flops"].tolist() == pytest.approx(whole["flops"].tolist())


def test_an_end_that_was_cut_off_is_written_and_never_read():
    """Positions 11..13 are fed while 4 tokens are written; the fourth gives way to two that are forced."""
    steps = [("0", False, 10, 0, 4, np.nan), ("0.0", True, 15, 2, 3, np.nan)]
    (cost,) = forest_costs(traces(steps), samples(1, [8]), [MODEL], None).itertuples()
    fed = forward_flops(SHAPE, 1, 10 + 3) + forward_flops(SHAPE, 14, 15 + 2)
    assert cost.flops == pytest.approx(fed)


def test_scores_want_a_scorer():
    with pytest.raises(ValueError, match="no scorer"):
        forest_costs(traces([("0", True, 10, 0, 4, 14.0)]), samples(1, [4]), [MODEL], None)


def test_scores_of_steps_give_a_best_of_each_kind_and_cost_extra():
    table = samples(4, [5, 6, 7, 8]).assign(
        score=[0.9, 0.2, 0.5, 0.4],
        step_scores=[[0.1, 0.9], [0.9, 0.2], [0.5, 0.5], [0.8, 0.4]],
    )
    (scored,) = fold(table, [MODEL], Pricing(), scorer=SCORER)
    assert set(scored.scores) == {"last", "min", "product", "mean"}
    assert scored.scores["min"].score_S.tolist() == [0.1, 0.2, 0.5, 0.4]
    assert scored.scores["product"].score_S == pytest.approx([0.09, 0.18, 0.25, 0.32])
    assert scored.scoring["inference_flops"].prompt_P[0] > 0
    assert not fold(table.drop(columns=["score"]), [MODEL], Pricing())[0].scores


def test_a_scorer_is_charged_for_what_it_read_and_not_for_the_prompt_of_who_answers():
    """A model is shown examples that its scorer never sees, which in turn wants a mark after each step."""
    table = samples(3, [5, 6, 7]).assign(
        score=[0.9, 0.2, 0.5], num_scored_tokens=[4 + 5, 4 + 6 + 1, 4 + 7 + 2]
    )
    (scored,) = fold(table, [MODEL], Pricing(), scorer=SCORER)
    shape, cost = SCORER.architecture, scored.scoring["inference_flops"]
    assert cost.prompt_P == pytest.approx([prefill_flops(shape, 4)])
    assert cost.sample_P == pytest.approx(
        [np.mean([forward_flops(shape, 5, n) for n in (9, 11, 13)])]
    )
    drawn = traces([(str(at), True, PROMPT, 0, 5 + at, 9.0 + 2 * at) for at in range(3)])
    (forest,) = forest_costs(drawn, table, [MODEL], SCORER).itertuples()
    (plain,) = forest_costs(
        drawn.assign(num_scored_tokens=np.nan), table, [MODEL], None
    ).itertuples()
    assert forest.flops - plain.flops == pytest.approx(cost.prompt_P[0] + 3 * cost.sample_P[0])


def test_verdicts_that_read_no_token_cost_nothing():
    drawn = traces([("0", True, PROMPT, 0, 5, 0.0)])
    (forest,) = forest_costs(drawn, samples(1, [5]), [MODEL], None).itertuples()
    unscored = drawn.assign(num_scored_tokens=np.nan)
    assert forest.flops == forest_costs(unscored, samples(1, [5]), [MODEL], None)["flops"][0]


def test_a_forest_that_is_not_scored_pays_no_scorer_that_others_asked():
    scored = traces([("0", True, 10, 0, 4, 14.0)])
    plain = traces([("0", False, 10, 0, 4, np.nan), ("0.0", True, 16, 2, 3, np.nan)])
    plain = plain.assign(strategy="plain")
    table = pd.concat([samples(1, [4]), samples(1, [9]).assign(strategy="plain")])
    both = forest_costs(pd.concat([scored, plain]), table, [MODEL], SCORER)
    alone = forest_costs(plain, table, [MODEL], None)
    assert both.set_index("strategy")["flops"]["plain"] == alone["flops"].item()
