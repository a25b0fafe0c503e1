"""The estimators on samples that others drew and published; skipped where the data is not there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from scaling_exp.analysis.estimators import (
    Scores,
    Votes,
    best_of_k,
    maj_at_k,
    pass_at_k,
    plurality,
    weighted_vote_at_k,
)

PublicData = Callable[[str], Path]
GAME_OF_24 = "tot_game24/gpt-4_0.7_naive_cot_sample_100_start900_end1000.json"
MATH = "qwen_math_rm/math_cot_100.jsonl"


def game_of_24(public_data: PublicData) -> list[dict]:
    return json.loads(public_data(GAME_OF_24).read_text())


def math_100(public_data: PublicData) -> list[dict]:
    return [json.loads(line) for line in public_data(MATH).read_text().splitlines()]


def coded(problems: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Problem and answer code of every sample."""
    problem_S = np.repeat(np.arange(len(problems)), [len(each) for each in problems])
    _, answer_S = np.unique([answer for each in problems for answer in each], return_inverse=True)
    return problem_S, answer_S


def first_seen_majority(answers: Sequence[str], is_right: Sequence[bool]) -> bool:
    """A vote whose ties go to the answer seen first, as in the scripts behind the published numbers."""
    winner, _ = Counter(answers).most_common(1)[0]
    return bool(is_right[list(answers).index(winner)])


def test_game_of_24_by_an_oracle_and_by_a_vote(public_data: PublicData) -> None:
    rows = game_of_24(public_data)
    is_right = [[bool(info["r"]) for info in row["infos"]] for row in rows]
    ks = [1, 2, 5, 10, 20, 25, 50, 100]
    num_correct_P = np.array([sum(each) for each in is_right])
    passed = pass_at_k(num_correct_P, np.full(100, 100), ks).mean(axis=0)
    expected = [0.0403, 0.0728, 0.14292037, 0.21476924, 0.29548886, 0.32242512, 0.40684785, 0.49]
    np.testing.assert_allclose(passed, expected, atol=5e-9)

    lines = [[text.strip().split("\n")[-1] for text in row["ys"]] for row in rows]
    first_seen_P = np.array(
        [first_seen_majority(*each) for each in zip(lines, is_right, strict=True)]
    )
    assert first_seen_P.mean() == pytest.approx(0.09)
    votes = Votes.of(100, *coded(lines), np.concatenate(is_right))
    voted_PK = maj_at_k(votes, [1, 100]).values_PK
    assert voted_PK[:, 0].mean() == pytest.approx(0.0403)
    untied_P = np.isin(voted_PK[:, 1], [0, 1])
    np.testing.assert_allclose(voted_PK[untied_P, 1], first_seen_P[untied_P])
    # Ten problems are tied, some of them between right and wrong: uniform ties give 8.83 %.
    assert voted_PK[:, 1].mean() == pytest.approx(0.0883333, abs=1e-6)


def test_game_of_24_tokens_and_dollars(public_data: PublicData) -> None:
    """`usage_so_far` is cumulative and restarts once, at problem 32."""
    used = [row["usage_so_far"] for row in game_of_24(public_data)]
    completion, prompt = (
        sum(used[last][kind] for last in (31, 99)) / 100
        for kind in ("completion_tokens", "prompt_tokens")
    )
    assert completion == pytest.approx(6748.62)
    assert prompt == pytest.approx(2185.0)
    dollars = completion / 1000 * 0.06 + prompt / 1000 * 0.03
    assert dollars == pytest.approx(0.4705, abs=5e-5)


def test_math_by_an_oracle_a_vote_and_a_reward_model(public_data: PublicData) -> None:
    rows = math_100(public_data)
    is_right = [[bool(right) for right in row["score"]] for row in rows]
    passed = pass_at_k(np.array([sum(each) for each in is_right]), np.full(100, 8), range(1, 9))
    expected = [0.91, 0.932857, 0.944464, 0.951, 0.954821, 0.957143, 0.95875, 0.96]
    np.testing.assert_allclose(passed.mean(axis=0), expected, atol=5e-7)

    answers = [row["pred"] for row in rows]
    votes = Votes.of(100, *coded(answers), np.concatenate(is_right))
    first_seen_P = np.array(
        [first_seen_majority(*each) for each in zip(answers, is_right, strict=True)]
    )
    assert first_seen_P.mean() == pytest.approx(0.93)
    elected_P = plurality(votes)
    assert ((elected_P > 0) & (elected_P < 1)).sum() <= 4
    untied_P = np.isin(elected_P, [0, 1])
    np.testing.assert_allclose(elected_P[untied_P], first_seen_P[untied_P])
    assert maj_at_k(votes, [1, 8]).values_PK.mean(axis=0) == pytest.approx([0.91, elected_P.mean()])

    score_S = np.array([row["pred_score"] for row in rows]).ravel()
    scores = Scores(*coded(answers), np.concatenate(is_right), score_S)
    best = best_of_k(scores, range(1, 9)).mean(axis=0)
    assert best[0] == pytest.approx(0.91)
    assert best[-1] == pytest.approx(0.94)
    weighted = weighted_vote_at_k(scores, range(1, 9))
    assert weighted.values_PK.mean(axis=0)[[0, -1]] == pytest.approx([0.91, 0.94])
    assert not weighted.standard_error_PK.any()
