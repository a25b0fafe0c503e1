"""The rule that ends a vote early, against every way in which the vote could go on."""

from collections import Counter
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_exp.votes import (
    count_votes,
    fewest_to_be_confident,
    fewest_to_settle,
    is_unanimous,
    majority_confidence,
    winners,
)

ANSWERS = ("a", "b", "c", None)
BALLOTS = st.lists(st.sampled_from(ANSWERS), max_size=6)


def possible_winners(ballots, num_remaining):
    """What the full vote can elect, over all ways to draw the rest."""
    rests = product(ANSWERS, repeat=num_remaining)
    return {winners(count_votes([*ballots, *rest])) for rest in rests}


def is_settled(ballots, num_remaining):
    return len(possible_winners(ballots, num_remaining)) == 1


def test_abstentions_are_not_counted():
    assert count_votes(["a", None, "a", None, "b"]) == Counter(a=2, b=1)


def test_all_leaders_win_and_nobody_wins_an_empty_vote():
    assert winners(Counter(b=2, a=2, c=1)) == ("a", "b")
    assert winners(Counter()) == ()


@given(BALLOTS, st.integers(0, 4))
def test_a_vote_is_over_exactly_when_no_rest_can_change_who_wins(ballots, num_remaining):
    fewest = fewest_to_settle(count_votes(ballots), num_remaining)
    assert (fewest == 0) == is_settled(ballots, num_remaining)


@given(BALLOTS, st.integers(1, 4))
def test_fewest_is_the_smallest_wave_that_could_settle(ballots, num_remaining):
    fewest = fewest_to_settle(count_votes(ballots), num_remaining)
    could_settle = [
        wave
        for wave in range(num_remaining + 1)
        if any(
            is_settled([*ballots, *drawn], num_remaining - wave)
            for drawn in product(ANSWERS, repeat=wave)
        )
    ]
    assert fewest == could_settle[0]


@pytest.mark.parametrize("num_samples", range(1, 8))
def test_stopping_early_never_elects_the_loser_of_the_full_vote(num_samples):
    """Every possible sequence of samples: 3 ** 7 of the longest."""
    for ballots in product(("a", "b", None), repeat=num_samples):
        num_drawn = 0
        while wave := fewest_to_settle(count_votes(ballots[:num_drawn]), num_samples - num_drawn):
            num_drawn += wave
        assert num_drawn <= num_samples
        assert winners(count_votes(ballots[:num_drawn])) == winners(count_votes(ballots))


@given(st.lists(st.integers(0, 200), max_size=6), st.integers(0, 300))
def test_a_wave_never_exceeds_what_remains(counts, num_remaining):
    votes = Counter({str(answer): count for answer, count in enumerate(counts)})
    assert 0 <= fewest_to_settle(votes, num_remaining) <= num_remaining


def test_a_negative_rest_is_refused():
    with pytest.raises(ValueError, match="num_remaining is -1"):
        fewest_to_settle(Counter(a=1), -1)


def test_majority_confidence_is_that_of_adaptive_consistency():
    from scipy.special import betainc

    for first, second in [(0, 0), (1, 0), (4, 0), (5, 1), (7, 2), (30, 21)]:
        votes = Counter({"a": first, "b": second})
        assert majority_confidence(votes) == pytest.approx(
            1 - betainc(first + 1, second + 1, 0.5), abs=1e-12
        )
    assert majority_confidence(Counter(a=4)) >= 0.95 > majority_confidence(Counter(a=3))


@given(st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=60), st.floats(0.55, 0.999))
def test_looking_only_when_it_could_be_confident_stops_where_looking_always_does(
    ballots, confidence
):
    def is_confident(num):
        return majority_confidence(count_votes(ballots[:num])) >= confidence

    num_drawn = 0
    while wave := fewest_to_be_confident(
        count_votes(ballots[:num_drawn]), len(ballots) - num_drawn, confidence
    ):
        num_drawn += wave
    assert num_drawn == next(filter(is_confident, range(len(ballots))), len(ballots))


def test_four_who_agree_are_confident_at_95_percent():
    assert fewest_to_be_confident(Counter(), 40, 0.95) == 4
    assert fewest_to_be_confident(Counter(a=4), 36, 0.95) == 0
    assert fewest_to_be_confident(Counter(a=4), 0, 0.999) == 0


def test_an_abstention_breaks_unanimity():
    assert is_unanimous(["a", "a"])
    assert not is_unanimous(["a", "b"])
    assert not is_unanimous(["a", None])
    assert not is_unanimous([None, None])
    assert not is_unanimous([])


def test_the_full_vote_keeps_its_winner_in_10000_random_cases():
    """From 1 to 64 samples of 1 to 8 answers, some unparsable, likely ones and unlikely ones."""
    random = Random(0)
    num_drawn = num_asked = 0
    for _ in range(10_000):
        size = random.randint(1, 64)
        answers = [*"abcdefgh"[: random.randint(1, 8)], None]
        weights = [random.paretovariate(1) for _ in answers]
        ballots = random.choices(answers, weights, k=size)
        drawn = 0
        while wave := fewest_to_settle(count_votes(ballots[:drawn]), size - drawn):
            drawn += wave
        assert winners(count_votes(ballots[:drawn])) == winners(count_votes(ballots))
        num_drawn += drawn
        num_asked += size
    assert 1 - num_drawn / num_asked > 0.15
