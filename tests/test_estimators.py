"""pass@k and maj@k against brute force over all subsets, and against public samples."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_exp.analysis.estimators import VoteCounts, maj_at_k, pass_at_k, plurality, polynomial

DATA = Path(
    os.environ.get("SCALING_EXP_DATA", Path(__file__).parents[1].parent / "shared" / "data")
)


def public(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip("public data not found")
    return path


@st.composite
def vote_counts(draw: st.DrawFn) -> VoteCounts:
    labels = draw(
        st.lists(
            st.sampled_from(["right 1", "right 2", "", "a", "b", "c", "d"]), min_size=1, max_size=8
        )
    )
    return counted(labels)


def counted(labels: list[str]) -> VoteCounts:
    votes = Counter(labels)
    num_abstaining = votes.pop("", 0)
    right = [count for answer, count in votes.items() if answer.startswith("right")]
    wrong = [count for answer, count in votes.items() if not answer.startswith("right")]
    return VoteCounts(
        tuple(sorted(right, reverse=True)), tuple(sorted(wrong, reverse=True)), num_abstaining
    )


def ballots(counts: VoteCounts) -> list[str]:
    right = [f"right {a}" for a, votes in enumerate(counts.correct) for _ in range(votes)]
    wrong = [f"wrong {a}" for a, votes in enumerate(counts.wrong) for _ in range(votes)]
    return right + wrong + [""] * counts.num_abstaining


def elects_right(drawn: tuple[str, ...]) -> float:
    votes = Counter(answer for answer in drawn if answer)
    leaders = [a for a in votes if votes[a] == max(votes.values())]
    return sum(a.startswith("right") for a in leaders) / max(len(leaders), 1)


def over_all_subsets(counts: VoteCounts, k: int) -> tuple[float, float]:
    subsets = list(combinations(ballots(counts), k))
    return (
        float(np.mean([any(a.startswith("right") for a in drawn) for drawn in subsets])),
        float(np.mean([elects_right(drawn) for drawn in subsets])),
    )


@given(vote_counts())
@settings(max_examples=150, deadline=None)
def test_both_equal_brute_force_over_all_subsets(counts: VoteCounts) -> None:
    ks = range(1, counts.num_samples + 1)
    expected = np.array([over_all_subsets(counts, k) for k in ks])
    passed = pass_at_k(np.array([counts.num_correct]), counts.num_samples, list(ks))[0]
    np.testing.assert_allclose(passed, expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(maj_at_k([counts], list(ks))[0], expected[:, 1], atol=1e-12)
    assert plurality(counts) == pytest.approx(expected[-1, 1])


@given(vote_counts())
@settings(max_examples=50, deadline=None)
def test_the_scaling_for_many_samples_changes_nothing(counts: VoteCounts) -> None:
    ks = list(range(1, counts.num_samples + 1))
    expected = maj_at_k([counts], ks)[0]
    for k, value in zip(ks, expected, strict=True):
        inclusion = k / (counts.num_samples + 1)
        scaled = polynomial._any_right_elected(counts, (k,), inclusion)[0]
        assert scaled == pytest.approx(value, abs=1e-12)


@given(vote_counts())
@settings(max_examples=100, deadline=None)
def test_one_vote_is_one_attempt_and_no_vote_beats_the_oracle(counts: VoteCounts) -> None:
    ks = list(range(1, counts.num_samples + 1))
    passed = pass_at_k(np.array([counts.num_correct]), counts.num_samples, ks)[0]
    voted = maj_at_k([counts], ks)[0]
    assert voted[0] == pytest.approx(passed[0]) == pytest.approx(counts.num_correct / ks[-1])
    assert (voted <= passed + 1e-12).all()
    assert (np.diff(passed) >= -1e-12).all()


def test_published_pass_at_k() -> None:
    assert pass_at_k(np.array([3]), 10, [5])[0, 0] == pytest.approx(0.916667, abs=1e-6)


def test_pass_at_k_keeps_its_digits_with_many_samples() -> None:
    assert pass_at_k(np.array([1]), 10**6, [3])[0, 0] == pytest.approx(3e-6, rel=1e-12)


@pytest.mark.parametrize("k", [0, 4, 11])
def test_a_k_without_enough_samples_is_undefined(k: int) -> None:
    with pytest.raises(ValueError, match=r"must be in 1\.\.3"):
        pass_at_k(np.array([1]), 3, [k])
    with pytest.raises(ValueError, match=r"must be in 1\.\.3"):
        maj_at_k([VoteCounts((1,), (2,), 0)], [k])


def test_a_vote_in_which_all_abstain_is_wrong() -> None:
    assert maj_at_k([VoteCounts((), (), 4)], [1, 4]).tolist() == [[0.0, 0.0]]
    assert maj_at_k([VoteCounts((1,), (), 3)], [1, 4])[0] == pytest.approx([0.25, 1.0])


def test_two_thousand_samples_stay_in_range() -> None:
    counts = VoteCounts((1100,), (850,), 50)
    (
        single,
        pair,
        all_,
    ) = maj_at_k([counts], [1, 2, 2000])[0]
    assert single == pytest.approx(0.55)
    both_abstain_or_lose = 850 * 849 + 2 * 850 * 50 + 50 * 49
    one_each = 2 * 1100 * 850
    expected = 1 - (both_abstain_or_lose + one_each / 2) / (2000 * 1999)
    assert pair == pytest.approx(expected)
    assert all_ == pytest.approx(1.0)


def test_a_ladder_is_estimated_in_seconds() -> None:
    rng = np.random.default_rng(0)
    problems = []
    for _ in range(1000):
        votes = rng.multinomial(128, rng.dirichlet(np.full(30, 0.3)))
        wrong = tuple(sorted((int(v) for v in votes[2:] if v), reverse=True))
        correct = (int(votes[0]),) if votes[0] else ()
        problems.append(VoteCounts(correct, wrong, int(votes[1])))
    started = time.process_time()
    maj_at_k(problems, [1, 2, 4, 8, 16, 32, 64, 128])
    assert time.process_time() - started < 5


def test_qwen_math_samples() -> None:
    lines = public("qwen_math_rm", "math_cot_100.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    num_correct = np.array([sum(bool(s) for s in row["score"]) for row in rows])
    passed = pass_at_k(num_correct, 8, range(1, 9)).mean(axis=0)
    expected = [0.91, 0.932857, 0.944464, 0.951, 0.954821, 0.957143, 0.95875, 0.96]
    np.testing.assert_allclose(passed, expected, atol=5e-7)
    problems = [
        counted(
            ["right" if s else f"wrong {p}" for p, s in zip(row["pred"], row["score"], strict=True)]
        )
        for row in rows
    ]
    voted = maj_at_k(problems, [1, 8]).mean(axis=0)
    assert voted[0] == pytest.approx(0.91)
    # First-seen ties give .93; only tied problems can differ, and each by less than one.
    tied = [p for p in problems if 0 < plurality(p) < 1]
    assert voted[1] == pytest.approx(0.93, abs=len(tied) / len(problems))


def test_game_of_24_samples() -> None:
    name = "gpt-4_0.7_naive_cot_sample_100_start900_end1000.json"
    rows = json.loads(public("tot_game24", name).read_text())
    ks = [1, 2, 5, 10, 20, 25, 50, 100]
    num_correct = np.array([sum(info["r"] for info in row["infos"]) for row in rows])
    passed = pass_at_k(num_correct, 100, ks).mean(axis=0)
    expected = [0.0403, 0.0728, 0.14292037, 0.21476924, 0.29548886, 0.32242512, 0.40684785, 0.49]
    np.testing.assert_allclose(passed, expected, atol=5e-9)
    first_seen, problems = [], []
    for row in rows:
        lines = [y.strip().split("\n")[-1] for y in row["ys"]]
        is_right = {line: info["r"] for line, info in zip(lines, row["infos"], strict=True)}
        first_seen.append(is_right[Counter(lines).most_common(1)[0][0]])
        problems.append(counted([f"right {line}" if is_right[line] else line for line in lines]))
    assert np.mean(first_seen) == pytest.approx(0.09)
    voted = maj_at_k(problems, [1, 100])
    assert voted[:, 0].mean() == pytest.approx(0.0403)
    untied = np.isin(voted[:, 1], [0, 1])
    np.testing.assert_allclose(voted[untied, 1], np.array(first_seen)[untied])
    # Ten problems are tied, some of them between right and wrong: uniform ties give 8.83 %.
    assert voted[:, 1].mean() == pytest.approx(0.0883333, abs=1e-6)
