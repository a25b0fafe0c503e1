"""Our reading and grading of answers that others drew, graded and published; skipped where the data is not there."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from test_questions_task import outcomes, task

from scaling_exp.analysis.estimators import Scores, Votes, best_of_k, maj_at_k, pass_at_k

MATH = "qwen_math_rm/math_cot_100.jsonl"


def test_math_samples_are_graded_as_published_but_for_one_wrong_label(public_data):
    """Qwen2.5-Math's 800 answers to 100 problems of MATH. Their numbers come out, raised by our one other grade."""
    file = public_data(MATH)
    made = task(
        "math500",
        f"task.source.path={file}",
        *("task.rows.question=question", "task.rows.name=idx"),
    )
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    asked = [
        (problem, made.read(text))
        for problem, row in zip(made.problems(), rows, strict=True)
        for text in row["code"]
    ]
    assert None not in [answer for _, answer in asked]
    distinct = list(dict.fromkeys(asked))
    outcome = dict(zip(distinct, outcomes(made, distinct), strict=True))
    assert set(outcome.values()) == {"correct", "wrong"}
    is_right_S = np.array([outcome[each] == "correct" for each in asked])
    label_S = np.array([row["score"] for row in rows], dtype=bool).ravel()

    (odd,) = np.flatnonzero(is_right_S != label_S)
    problem, answer = asked[odd]
    # Labelled wrong, because the text differs from that of the gold.
    assert (problem.answer, answer) == ("10{,}000", "10000")
    label_S[odd] = True

    passed = pass_at_k(is_right_S.reshape(100, 8).sum(1), np.full(100, 8), range(1, 9)).mean(axis=0)
    assert passed[0] == pytest.approx(0.91 + 1 / 800)
    assert passed[-1] == pytest.approx(0.97)
    answer_S = np.unique([answer for _, answer in asked], return_inverse=True)[1]
    samples = np.repeat(np.arange(100), 8), answer_S
    voted = maj_at_k(Votes.of(100, *samples, is_right_S), [1, 8]).values_PK
    elected = [
        bool(is_right_S[8 * at + answers.index(Counter(answers).most_common(1)[0][0])])
        for at, answers in enumerate(answer_S.reshape(100, 8).tolist())
    ]
    # Published with ties for the answer seen first; three of four ties are between a right answer and a wrong one.
    assert np.mean(elected) == pytest.approx(0.93)
    assert voted.mean(axis=0) == pytest.approx([0.91125, 0.925])
    score_S = np.array([row["pred_score"] for row in rows]).ravel()
    best = best_of_k(Scores(*samples, is_right_S, score_S), range(1, 9)).mean(axis=0)
    assert best[-1] == pytest.approx(
        0.94 + 0.01
    )  # the reward model prefers the answer that was labelled wrong
