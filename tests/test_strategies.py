"""Strategies on the simulated engine, whose answer distribution is known."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_exp.engines.simulated import Distribution, Simulated
from scaling_exp.generation import Forest, Fresh
from scaling_exp.strategies import STRATEGIES, AdaptiveVoting, Greedy, ParallelSampling
from scaling_exp.types import Sampling
from scaling_exp.votes import count_votes, winners

PROMPT = (1, 2, 3)
SAMPLED = Sampling(max_tokens=8)


def read(tokens):
    """The first token is the answer; 0 is unparsable."""
    return str(tokens[0]) if tokens[0] else None


def truth(weights):
    """Answer i has the i-th weight and takes i + 1 tokens."""
    return Distribution({PROMPT: {(i,) * (i + 1): weight for i, weight in enumerate(weights)}})


def grow(strategy, respond, root="0/model/problem", num_slots=4):
    """The forest that a strategy draws, and the engine that it drew from."""

    async def drawn():
        engine = Simulated(num_slots, 0.01, 0.001, respond).start()
        forest = Forest(PROMPT, Fresh(engine), root, read)
        await strategy(forest)
        await engine.close()
        return forest, engine

    return asyncio.run(drawn())


@given(
    weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    num_samples=st.integers(1, 40),
    root=st.text("abc", min_size=1, max_size=4),
)
def test_adaptive_voting_elects_the_winner_of_the_full_vote_from_a_prefix_of_its_samples(
    weights, num_samples, root
):
    adaptive, _ = grow(AdaptiveVoting(num_samples, SAMPLED), truth(weights), root)
    full, _ = grow(ParallelSampling(num_samples, SAMPLED), truth(weights), root)
    num_drawn = len(adaptive.nodes)
    assert num_drawn <= num_samples == len(full.nodes)
    assert adaptive.accepted == [(i,) for i in range(num_drawn)]
    assert all(adaptive.nodes[path] == full.nodes[path] for path in adaptive.nodes)
    elected, of_all = (
        winners(count_votes(forest.answer(path) for path in forest.accepted))
        for forest in (adaptive, full)
    )
    assert elected == of_all


def test_a_unanimous_vote_stops_after_a_majority():
    forest, _ = grow(AdaptiveVoting(64, SAMPLED), truth([0, 1]))
    assert len(forest.nodes) == 33


def test_unparsable_answers_never_settle_a_vote():
    forest, _ = grow(AdaptiveVoting(16, SAMPLED), truth([1]))
    assert len(forest.nodes) == 16


def test_samples_follow_the_distribution_that_they_are_drawn_from():
    respond = truth([0.2, 0.5, 0.3])
    forest, _ = grow(ParallelSampling(4000, SAMPLED), respond, num_slots=64)
    votes = count_votes(forest.answer(path) for path in forest.accepted)
    for answer, tokens in (("1", (1, 1)), ("2", (2, 2, 2))):
        assert votes[answer] / 4000 == pytest.approx(respond.probability(PROMPT, tokens), abs=0.03)


def test_greedy_draws_the_likeliest_once():
    forest, engine = grow(Greedy(8), truth([0.2, 0.5, 0.3]))
    assert forest.accepted == [(0,)]
    assert forest.answer((0,)) == "1"
    assert engine.counters.output_tokens == 2


def test_a_step_costs_what_the_engine_says():
    """Five requests of 2 tokens in 4 slots: two steps of four, then two of one."""
    _, engine = grow(ParallelSampling(5, SAMPLED), truth([0, 1]))
    assert engine.clock == pytest.approx(2 * (0.01 + 4 * 0.001) + 2 * (0.01 + 0.001))
    assert engine.occupancy == (2 * 4 + 2 * 1) / (4 * 4)
    assert engine.counters.prompt_tokens == 5 * len(PROMPT)


def test_a_completion_is_cut_at_max_tokens():
    forest, _ = grow(Greedy(2), truth([0, 0, 0, 1]))
    completion = forest.nodes[(0,)].completion
    assert completion.tokens == (3, 3)
    assert completion.finish_reason == "length"


@pytest.mark.parametrize("kind", [ParallelSampling, AdaptiveVoting])
def test_impossible_counts_are_refused(kind):
    with pytest.raises(ValueError, match="num_samples is 0"):
        kind(0, SAMPLED)
    with pytest.raises(ValueError, match="all samples would be the same"):
        kind(2, Sampling(max_tokens=8, temperature=0.0))


def test_the_list_of_strategies_says_how_much_each_adds_to_a_prompt():
    made = {
        "greedy": Greedy(8),
        "sampling": ParallelSampling(4, SAMPLED),
        "adaptive_voting": AdaptiveVoting(4, SAMPLED),
    }
    assert {name: STRATEGIES[name] for name in made} == {
        name: type(each) for name, each in made.items()
    }
    assert {each.max_new_tokens for each in made.values()} == {8}
