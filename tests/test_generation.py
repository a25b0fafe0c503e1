"""The forest: names, seeds and tokens follow from paths alone."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_exp.generation import Forest, Fresh, Score, seed_of
from scaling_exp.types import Completion, Sampling

PROMPT = (7, 8, 9)
SAMPLED = Sampling(max_tokens=4)
PATHS = st.lists(st.integers(0, 10_000), min_size=1, max_size=4).map(tuple)


async def echo(prefix, _sampling, seed):
    """Two tokens that show what the sampler was given."""
    await asyncio.sleep(0)
    return Completion((len(prefix), seed % 1000), "stop")


def forest(sampler=echo, **keywords):
    return Forest(PROMPT, Fresh(sampler), "0/model/problem", read=str, **keywords)


@given(st.text(max_size=20), PATHS)
def test_seeds_have_63_bits_and_depend_on_the_name_only(root, path):
    seed = seed_of(root, path)
    assert 0 <= seed < 1 << 63
    assert seed == seed_of(root, path)


def test_seeds_are_distinct_and_fill_their_63_bits():
    seeds = {
        seed_of(f"{run}/m/{problem}", (i,))
        for run in range(3)
        for problem in range(100)
        for i in range(256)
    }
    assert len(seeds) == 3 * 100 * 256
    assert max(seeds) >= 1 << 62
    assert 0.49 < sum(seed & 1 for seed in seeds) / len(seeds) < 0.51


def test_a_path_is_not_confused_with_another_of_the_same_digits():
    assert len({seed_of("r", path) for path in [(1, 11), (11, 1), (111,), (1, 1, 1)]}) == 4


def test_what_is_drawn_does_not_depend_on_the_order_of_drawing():
    def draw(order):
        grown = forest()

        async def grow():
            for i in order:
                await grown.extend((i,), SAMPLED)

        asyncio.run(grow())
        return grown.nodes

    shuffled = list(range(20))
    random.Random(1).shuffle(shuffled)
    assert draw(shuffled) == draw(range(20))


def test_greedy_draws_share_one_seed():
    grown = forest()
    node = asyncio.run(grown.extend((3,), Sampling(max_tokens=4, temperature=0.0)))
    assert node.seed == 0


def test_children_continue_their_parent_and_forced_tokens_stand_between():
    grown = forest()

    async def grow():
        await grown.extend((0,), SAMPLED)
        return await grown.extend((0, 1), SAMPLED, forced=(55,))

    child = asyncio.run(grow())
    first = grown.nodes[(0,)].completion.tokens
    assert child.prefix == (*PROMPT, *first, 55)
    assert grown.generated((0, 1)) == (*first, 55, *child.completion.tokens)
    assert grown.tokens(()) == PROMPT
    assert grown.answer((0,)) == str(first)


def test_the_end_of_an_answer_that_shall_go_on_is_cut_and_an_answer_can_begin_anew():
    grown = forest()

    async def grow():
        first = await grown.extend((0,), SAMPLED)
        end = first.completion.tokens[-1]
        on = await grown.extend((0, 0), SAMPLED, forced=(55,), cut=(end,))
        anew = await grown.extend((0, 1), SAMPLED, forced=(66,), begins_anew=True)
        below = await grown.extend((0, 1, 0), SAMPLED)
        return first.completion.tokens, on, anew, below

    first, on, anew, below = asyncio.run(grow())
    assert on.prefix == (*PROMPT, *first[:-1], 55)
    assert grown.generated((0, 0)) == (*first[:-1], 55, *on.completion.tokens)
    assert anew.prefix == (*PROMPT, *first, 66)
    assert grown.generated((0, 1)) == anew.completion.tokens
    assert grown.generated((0, 1, 0)) == anew.completion.tokens + below.completion.tokens


def test_only_what_was_drawn_is_cut():
    async def nothing(_prefix, _sampling, _seed):
        return Completion((), "length")

    grown = forest(nothing)

    async def grow():
        await grown.extend((0,), SAMPLED, cut=PROMPT)
        await grown.extend((0, 0), SAMPLED, cut=PROMPT)

    asyncio.run(grow())
    assert {node.prefix for node in grown.nodes.values()} == {PROMPT}


def test_words_are_forced_as_the_models_tokens():
    assert forest(encode=lambda text: tuple(map(ord, text))).encode("ab") == (97, 98)
    with pytest.raises(ValueError, match="'Wait' cannot be forced"):
        forest().encode("Wait")


@pytest.mark.parametrize(
    ("path", "message"),
    [((0,), "exists already"), ((), "exists already"), ((5, 0), r"\(5,\) has not been drawn")],
)
def test_a_node_is_drawn_once_and_after_its_parent(path, message):
    grown = forest()
    asyncio.run(grown.extend((0,), SAMPLED))
    with pytest.raises(ValueError, match=message):
        asyncio.run(grown.extend(path, SAMPLED))


def test_a_strategy_that_scores_needs_a_scorer():
    async def length(answer):
        return Score((0.5, float(10 * len(answer))), 3 + len(answer))

    grown = forest(scorer=length)
    asyncio.run(grown.extend((0,), SAMPLED))
    assert asyncio.run(grown.score((0,))) == 20.0
    assert grown.scores == {(0,): Score((0.5, 20.0), 5)}
    with pytest.raises(ValueError, match="needs a scorer"):
        asyncio.run(forest().score((0,)))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("max_tokens", 0), ("temperature", -0.1), ("top_p", 0.0), ("min_p", 1.5), ("top_k", -1)],
)
def test_impossible_sampling_is_refused_by_name(keyword, value):
    with pytest.raises(ValueError, match=f"sampling.{keyword} is {value}"):
        Sampling(**{"max_tokens": 4, keyword: value})
