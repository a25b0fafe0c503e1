"""Where the FLOPs went: every draw is booked once, under one heading, and nothing is lost."""

from __future__ import annotations

import pandas as pd
import pytest

from scaling_exp.analysis.cost import forward_flops, prefill_flops
from scaling_exp.analysis.ledger import ledger, seconds_per_output_token
from scaling_exp.types import Architecture, ModelFacts

SHAPE = Architecture(1100, 1000, 900, 2, 3, 4)
SCORER = Architecture(500, 500, 400, 1, 2, 8)
MODELS = [ModelFacts("small", SHAPE, 1), ModelFacts("unused", SHAPE, 1)]


def traced(*rows: tuple[str, str, bool, int, int, str]) -> pd.DataFrame:
    names = ["strategy", "path", "is_accepted", "num_forced_tokens", "num_output_tokens", "key"]
    ends, given = {}, []
    for strategy, path, _, forced, written, _ in rows:
        given.append(ends.get((strategy, path.rpartition(".")[0]), 10) + forced)
        ends[strategy, path] = given[-1] + written
    table = pd.DataFrame(rows, columns=names).assign(num_prefix_tokens=given)
    return table.assign(model="small", problem="p", num_scored_tokens=float("nan"))


def sampled(*rows: tuple[str, str | None, bool, int]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["key", "answer", "truncated", "num_cached_tokens"])
    return table.assign(model="small", problem="p", num_prompt_tokens=10)


def flops(first: int, last: int, shape: Architecture = SHAPE) -> float:
    return float(forward_flops(shape, first, last))


def test_a_draw_that_two_strategies_share_is_booked_once() -> None:
    traces = traced(
        ("vote", "0", True, 0, 5, "a"),
        ("vote", "1", True, 0, 7, "b"),
        ("few", "0", True, 0, 5, "a"),
    )
    samples = sampled(("a", "1", False, 0), ("b", "2", False, 8), ("a", "1", False, 0))
    row = ledger(traces, samples, MODELS).set_index("model")
    assert row.index.tolist() == ["small"]
    small = row.loc["small"]
    assert small["num_draws"] == 2
    assert small["prefill"] == flops(1, 10) + flops(9, 10)
    assert small["cached"] == flops(1, 8)
    assert small["prefill"] + small["cached"] == 2 * float(prefill_flops(SHAPE, 10))
    assert small["decode"] == flops(11, 14) + flops(11, 16)
    assert small[["forced", "scorer", "wasted"]].tolist() == [0, 0, 0]


def test_a_chain_reads_its_forced_tokens_and_keeps_what_it_wrote() -> None:
    traces = traced(("think", "0", False, 0, 5, "a"), ("think", "0.0", True, 3, 6, "b"))
    small = ledger(traces, sampled(("b", "1", False, 15)), MODELS).iloc[0]
    assert small["prefill"] == flops(1, 10)
    assert small["cached"] == flops(1, 15)
    assert small["forced"] == flops(16, 18)
    assert small["decode"] == flops(11, 14) + flops(19, 23)
    assert small["wasted"] == 0


def test_a_chain_reads_and_writes_what_one_draw_of_its_length_does() -> None:
    traces = traced(
        ("steps", "0", False, 0, 5, "a"),
        ("steps", "0.0", False, 0, 4, "b"),
        ("steps", "0.0.0", True, 0, 6, "c"),
    )
    small = ledger(traces, sampled(("c", "1", False, 18)), MODELS).iloc[0]
    assert small["prefill"] + small["decode"] == flops(1, 24)
    assert small["cached"] == flops(1, 14) + flops(1, 18)


def test_what_was_pruned_or_cut_off_without_an_answer_is_wasted() -> None:
    traces = traced(
        ("beam", "0", False, 0, 5, "a"),
        ("beam", "0.0", True, 0, 6, "b"),
        ("beam", "0.1", False, 0, 4, "c"),
        ("vote", "1", True, 0, 8, "d"),
        ("vote", "2", True, 0, 9, "e"),
    )
    samples = sampled(("b", "1", False, 15), ("d", None, True, 10), ("e", "2", True, 10))
    small = ledger(traces, samples, MODELS).iloc[0]
    assert small["wasted"] == flops(16, 18) + flops(11, 17)
    assert small["decode"] == flops(11, 14) + flops(16, 20) + flops(11, 18)


def test_a_draw_that_one_strategy_drops_and_another_uses_is_not_wasted() -> None:
    traces = traced(("beam", "0", False, 0, 5, "a"), ("vote", "0", True, 0, 5, "a"))
    small = ledger(traces, sampled(("a", "1", False, 0)), MODELS).iloc[0]
    assert (small["decode"], small["wasted"]) == (flops(11, 14), 0)


def test_a_scorer_reads_a_prompt_once_and_of_an_answer_what_is_new() -> None:
    traces = traced(
        ("search", "0", False, 0, 5, "a"),
        ("search", "1", False, 0, 5, "b"),
        ("search", "0.0", True, 0, 4, "c"),
        ("vote", "0", False, 0, 5, "a"),
        ("greedy", "0", True, 0, 5, "g"),  # not scored: nothing is charged
    )
    unscored = float("nan")
    traces["num_scored_tokens"] = [15.0, unscored, 19.0, unscored, unscored]
    small = ledger(traces, sampled(("c", "1", False, 0)), MODELS, SCORER).iloc[0]
    assert small["scorer"] == flops(1, 19, SCORER)
    with pytest.raises(ValueError, match="no scorer"):
        ledger(traces, sampled(("c", "1", False, 0)), MODELS)


def test_a_node_without_its_parent_is_refused() -> None:
    traces = traced(("beam", "0.1", True, 0, 6, "b"))
    with pytest.raises(ValueError, match=r"node 0\.1 without its parent"):
        ledger(traces, sampled(("b", "1", False, 15)), MODELS)


def test_measured_seconds_are_shared_by_all_that_a_model_wrote() -> None:
    engines = pd.DataFrame(
        {
            "model": ["small", "small", "large", "idle"],
            "wall_seconds": [3.0, 5.0, 4.0, 1.0],
            "output_tokens": [100, 300, 50, 0],
        }
    )
    seconds = {"small": 16 / 400, "large": 8 / 50}
    assert seconds_per_output_token(engines, 2) == seconds
    # A scorer's rows are of the same seconds.
    scorer = pd.DataFrame(
        {"model": ["judge"], "role": "scorer", "wall_seconds": [3.0], "output_tokens": [None]}
    )
    both = pd.concat([engines.assign(role="generator"), scorer], ignore_index=True)
    assert seconds_per_output_token(both, 2) == seconds


def test_a_table_that_lacks_a_column_is_refused() -> None:
    with pytest.raises(ValueError, match="traces table lacks the columns key"):
        ledger(traced().drop(columns="key"), sampled(), MODELS)
