"""pass@k, maj@k, best-of-k and weighted votes against brute force over all subsets, in rationals."""

from __future__ import annotations

import time
from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_exp.analysis.estimators import (
    ABSTAINS,
    Scores,
    Votes,
    best_of_k,
    maj_at_k,
    majority,
    pass_at_k,
    plurality,
    vote_limit,
    weighted_vote_at_k,
)

RIGHT = (0, 5)
"""Codes of right answers in these tests; all others are wrong."""

Problems = list[list[int]]
"""Answers of each problem, as codes."""

answers = st.lists(st.integers(ABSTAINS, 6), min_size=1, max_size=9)


def votes_of(problems: Problems) -> Votes:
    problem_S = np.repeat(np.arange(len(problems)), [len(each) for each in problems])
    answer_S = np.concatenate([np.array(each, np.int64) for each in problems])
    return Votes.of(len(problems), problem_S, answer_S, np.isin(answer_S, RIGHT))


def drawn(num_problems: int, num_samples: int, num_answers: int, spread: float) -> Problems:
    """Problems with random frequencies of their answers; the first of them is right."""
    rng = np.random.default_rng(num_answers)
    shares = rng.dirichlet(np.full(num_answers, spread), num_problems)
    return [rng.choice(num_answers, num_samples, p=share).tolist() for share in shares]


def elects_right(subset: tuple[int, ...]) -> Fraction:
    ballots = Counter(answer for answer in subset if answer != ABSTAINS)
    leaders = [a for a in ballots if ballots[a] == max(ballots.values())]
    return Fraction(sum(a in RIGHT for a in leaders), max(len(leaders), 1))


def mean_over_subsets(items: list, k: int, value) -> float:
    values = [value(subset) for subset in combinations(items, k)]
    return float(Fraction(sum(values)) / len(values))


@given(answers)
@settings(max_examples=150)
def test_pass_at_k_and_maj_at_k_equal_brute_force(problem: list[int]) -> None:
    votes, ks = votes_of([problem]), range(1, len(problem) + 1)
    passed = [mean_over_subsets(problem, k, lambda s: int(any(a in RIGHT for a in s))) for k in ks]
    voted = [mean_over_subsets(problem, k, elects_right) for k in ks]
    ours = pass_at_k(votes.num_correct_P, votes.num_samples_P, ks)[0]
    np.testing.assert_allclose(ours, passed, atol=1e-13)
    np.testing.assert_allclose(maj_at_k(votes, ks).values_PK[0], voted, atol=1e-11)
    assert plurality(votes)[0] == pytest.approx(voted[-1])


@given(st.lists(answers, min_size=2, max_size=5))
@settings(max_examples=50)
def test_problems_do_not_disturb_each_other(problems: Problems) -> None:
    ks = range(1, min(map(len, problems)) + 1)
    together = maj_at_k(votes_of(problems), ks).values_PK
    alone = [maj_at_k(votes_of([problem]), ks).values_PK[0] for problem in problems]
    np.testing.assert_allclose(together, alone, atol=1e-12)


@given(answers)
@settings(max_examples=100)
def test_one_vote_is_one_attempt_and_no_vote_beats_the_oracle(problem: list[int]) -> None:
    votes, ks = votes_of([problem]), range(1, len(problem) + 1)
    passed = pass_at_k(votes.num_correct_P, votes.num_samples_P, ks)[0]
    voted = maj_at_k(votes, ks).values_PK[0]
    assert voted[0] == pytest.approx(passed[0], abs=1e-11)
    assert (voted <= passed + 1e-11).all()
    assert (np.diff(passed) >= -1e-12).all()


@given(answers, st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_best_of_k_equals_brute_force_with_tied_scores(problem: list[int], seed: int) -> None:
    score = np.random.default_rng(seed).integers(0, 3, len(problem)).tolist()

    def chosen_is_right(subset: tuple[tuple[int, int], ...]) -> Fraction:
        parsed = [each for each in subset if each[0] != ABSTAINS]
        best = [a for a, s in parsed if s == max(s for _, s in parsed)]
        return Fraction(sum(a in RIGHT for a in best), max(len(best), 1))

    scores, ks = scores_of([problem], [score]), range(1, len(problem) + 1)
    pairs = list(zip(problem, score, strict=True))
    expected = [mean_over_subsets(pairs, k, chosen_is_right) for k in ks]
    np.testing.assert_allclose(best_of_k(scores, ks)[0], expected, atol=1e-12)


@given(answers, st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_weighted_votes_over_all_subsets_are_exact(problem: list[int], seed: int) -> None:
    score = np.random.default_rng(seed).integers(1, 4, len(problem)).tolist()

    def elects(subset: tuple[tuple[int, int], ...]) -> Fraction:
        total: Counter[int] = Counter()
        for answer, weight in subset:
            total[answer] += weight
        del total[ABSTAINS]
        leaders = [a for a in total if total[a] == max(total.values())]
        return Fraction(sum(a in RIGHT for a in leaders), max(len(leaders), 1))

    scores, ks = scores_of([problem], [score]), range(1, len(problem) + 1)
    pairs = list(zip(problem, score, strict=True))
    estimated = weighted_vote_at_k(scores, ks)
    expected = [mean_over_subsets(pairs, k, elects) for k in ks]
    np.testing.assert_allclose(estimated.values_PK[0], expected, atol=1e-12)
    assert not estimated.standard_error_PK.any()


def scores_of(problems: Problems, scores: list[list[float]]) -> Scores:
    answer_S = np.concatenate([np.array(each, np.int64) for each in problems])
    return Scores(
        problem_S=np.repeat(np.arange(len(problems)), [len(each) for each in problems]),
        answer_S=answer_S,
        is_right_S=np.isin(answer_S, RIGHT),
        score_S=np.concatenate(scores).astype(np.float64),
    )


def test_equal_weights_make_a_weighted_vote_a_vote_within_its_stated_error() -> None:
    problems = drawn(150, 24, 4, 1.0)
    ks = [2, 5, 12, 24]
    scores = scores_of(problems, [[0.1] * 24] * 150)
    estimated = weighted_vote_at_k(scores, ks)
    exact_PK = maj_at_k(votes_of(problems), ks).values_PK
    deviation_PK = (estimated.values_PK - exact_PK)[:, :3] / estimated.standard_error_PK[:, :3]
    assert 0.8 < deviation_PK.std() < 1.2
    mean_error_K = estimated.mean_standard_error_K()
    off_K = np.abs((estimated.values_PK - exact_PK).mean(axis=0))
    assert (off_K <= 4 * mean_error_K + 1e-12).all()
    assert mean_error_K[-1] == 0.0
    again = weighted_vote_at_k(scores, ks)
    assert (again.values_PK == estimated.values_PK).all()


def test_unparsable_samples_are_chosen_last_and_never_elected() -> None:
    scores = scores_of([[ABSTAINS, 0, 1]], [[9.0, 2.0, 1.0]])
    assert best_of_k(scores, [1, 2, 3])[0] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert weighted_vote_at_k(scores, [3]).values_PK[0, 0] == 1.0
    silent = scores_of([[ABSTAINS, ABSTAINS]], [[np.nan, np.nan]])
    assert best_of_k(silent, [2])[0, 0] == weighted_vote_at_k(silent, [2]).values_PK[0, 0] == 0.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"problem_S": np.array([1, 0])}, "sorted by problem"),
        ({"score_S": np.array([np.nan, 1.0])}, "has no score"),
        ({"answer_S": np.array([ABSTAINS, 1])}, "marked correct"),
    ],
)
def test_scores_say_what_is_wrong_with_them(changed: dict, message: str) -> None:
    columns = {
        "problem_S": np.array([0, 1]),
        "answer_S": np.array([0, 1]),
        "is_right_S": np.array([True, False]),
        "score_S": np.array([0.5, 1.0]),
    }
    with pytest.raises(ValueError, match=message):
        Scores(**(columns | changed))


def test_published_pass_at_k() -> None:
    assert pass_at_k(np.array([3]), np.array([10]), [5])[0, 0] == pytest.approx(0.916667, abs=1e-6)


def test_pass_at_k_keeps_its_digits_with_many_samples() -> None:
    rare = pass_at_k(np.array([1]), np.array([10**6]), [3])[0, 0]
    assert rare == pytest.approx(3e-6, rel=1e-12)


def test_problems_with_different_numbers_of_samples() -> None:
    passed = pass_at_k(np.array([1, 1, 3]), np.array([2, 4, 10]), [1, 2])
    np.testing.assert_allclose(passed, [[1 / 2, 1], [1 / 4, 1 / 2], [3 / 10, 8 / 15]])
    voted = maj_at_k(votes_of([[0, 1], [0, 1, 1, 1], [0] * 3 + [ABSTAINS] * 7]), [1, 2]).values_PK
    np.testing.assert_allclose(voted, [[1 / 2, 1 / 2], [1 / 4, 1 / 4], [3 / 10, 8 / 15]])


@pytest.mark.parametrize("k", [0, 4, 11])
def test_a_k_beyond_the_samples_of_any_problem_is_undefined(k: int) -> None:
    message = r"must be in 1\.\.3"
    with pytest.raises(ValueError, match=message):
        pass_at_k(np.array([1, 1]), np.array([20, 3]), [k])
    with pytest.raises(ValueError, match=message):
        maj_at_k(votes_of([[0, 1, 1], [0] * 20]), [k])
    scores = scores_of([[0, 1, 1], [0] * 20], [[1.0] * 3, [1.0] * 20])
    with pytest.raises(ValueError, match=message):
        best_of_k(scores, [k])
    with pytest.raises(ValueError, match=message):
        weighted_vote_at_k(scores, [k])


def test_a_vote_in_which_all_abstain_is_wrong() -> None:
    votes = votes_of([[ABSTAINS] * 4, [0] + [ABSTAINS] * 3])
    np.testing.assert_allclose(maj_at_k(votes, [1, 4]).values_PK, [[0, 0], [0.25, 1]], atol=1e-12)
    assert plurality(votes).tolist() == [0.0, 1.0]


def test_the_limit_of_a_vote_is_one_where_the_right_answer_is_the_most_frequent() -> None:
    problems = [[0] * 5 + [1] * 4, [0] * 4 + [1] * 5, [0] * 4 + [1] * 4 + [2] * 4, [0, 5, 1]]
    limit = vote_limit(votes_of(problems))
    np.testing.assert_allclose(limit, [1, 0, 1 / 3, 2 / 3])
    more = votes_of([problem * 400 for problem in problems])
    np.testing.assert_allclose(maj_at_k(more, [1000]).values_PK[:, 0], limit, atol=0.05)


def test_votes_are_counted_alike_in_any_order_and_with_any_codes() -> None:
    problem_S = np.array([1, 0, 1, 1, 0, 1])
    is_right_S = np.array([False, True, True, False, True, False])
    dense = Votes.of(2, problem_S, np.array([1, 0, 0, 1, 0, -1]), is_right_S)
    sparse = Votes.of(2, problem_S, np.array([10**9, 7, 3, 10**9, 7, -1]), is_right_S)
    for votes in (dense, sparse):
        assert votes.num_samples_P.tolist() == [2, 4]
        assert votes.num_correct_P.tolist() == [2, 1]
        assert votes.num_abstaining_P.tolist() == [0, 1]
        assert votes.votes_A.tolist() == [2, 1, 2]
    with pytest.raises(ValueError, match="without an answer is marked correct"):
        Votes.of(1, np.array([0]), np.array([-1]), np.array([True]))


@pytest.mark.parametrize("num_samples", [300, 10_000])
def test_votes_between_two_answers_follow_the_hypergeometric(num_samples: int) -> None:
    """An even electorate of two parties is worth the odd one below it; three voters are a polynomial."""
    num_right = num_samples * 11 // 20
    problem = [0] * num_right + [1] * (num_samples - num_right)
    ks = [1, 2, 3, 4, 101, 102, num_samples - 2, num_samples - 1, num_samples]
    one, two, three, four, odd, even, *last = maj_at_k(votes_of([problem]), ks).values_PK[0]
    right, wrong = num_right, num_samples - num_right
    pairs = right * (right - 1) * wrong * 3 + right * (right - 1) * (right - 2)
    assert one == pytest.approx(right / num_samples, abs=1e-10)
    assert two == pytest.approx(one, abs=1e-10)
    assert three == pytest.approx(
        pairs / (num_samples * (num_samples - 1) * (num_samples - 2)), abs=1e-9
    )
    assert four == pytest.approx(three, abs=1e-9)
    assert even == pytest.approx(odd, abs=1e-9)
    assert last == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("num_answers", "spread", "worst"),
    [(2, 1.0, 1e-5), (3, 3.0, 2e-3), (4, 1.0, 1e-3), (30, 0.3, 3e-4)],
)
def test_a_random_electorate_is_right_within_the_error_it_states(
    monkeypatch: pytest.MonkeyPatch, num_answers: int, spread: float, worst: float
) -> None:
    votes = votes_of(drawn(60, 200, num_answers, spread))
    ks = [1, 2, 5, 10, 11, 12, 13, 18, 25, 40, 77, 100, 150, 189, 190, 195, 199, 200]
    exact_PK = maj_at_k(votes, ks).values_PK
    monkeypatch.setattr(majority, "AFFORDABLE_TERMS", 0.0)
    rough = maj_at_k(votes, ks)
    off_PK = np.abs(rough.values_PK - exact_PK)
    is_exact_K = np.array([k <= 10 or k >= 190 for k in ks])
    assert off_PK[:, is_exact_K].max() < 1e-9
    assert not rough.standard_error_PK[:, is_exact_K].any()
    assert off_PK.max() < worst
    assert (off_PK <= 3 * rough.standard_error_PK + 3e-5).all()
    assert (off_PK.mean(axis=0) <= rough.mean_standard_error_K() + 1e-9).all()


def test_thousands_of_problems_take_a_second() -> None:
    rng = np.random.default_rng(0)
    share_P = rng.beta(0.5, 1.0, 2000)
    answer_PN = 1 + rng.zipf(1.7, (2000, 1000)) % 50
    answer_PN[rng.random((2000, 1000)) < share_P[:, None]] = 0
    started = time.process_time()
    votes = Votes.of(
        2000, np.repeat(np.arange(2000), 1000), answer_PN.ravel(), answer_PN.ravel() == 0
    )
    ks = np.unique(np.geomspace(1, 1000, 30).round().astype(int)).tolist()
    estimated = maj_at_k(votes, ks)
    assert time.process_time() - started < 2
    assert 0 < estimated.mean_standard_error_K().max() < 2e-4
