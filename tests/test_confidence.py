"""Confidence: by hand on a few tokens, and what it chooses where it knows and where it does not."""

import asyncio

import numpy as np
import pandas as pd
import pytest

from scaling_exp.analysis import AnalysisSettings, Measured, analyse
from scaling_exp.analysis.confidence import MEASURES, confidences
from scaling_exp.analysis.estimators import Scores
from scaling_exp.analysis.questions.confidence import Confidence, top
from scaling_exp.generation import Forest
from scaling_exp.tables import _token_scores
from scaling_exp.types import Architecture, Completion, ModelFacts, Sampling

MODEL = ModelFacts("m", Architecture(1000, 900, 800, 2, 4, 8), 1e6)


def test_measures_by_hand():
    told = np.array([-1.0, 4.0, -2.0, 2.0, -3.0, 6.0, -0.5, 8.0])
    found = confidences(told, window=2)
    assert found == pytest.approx(
        {
            "likelihood": -6.5,
            "mean_likelihood": -1.625,
            "confidence": 5.0,
            "group": 3.0,  # (4 + 2) / 2
            "tail": 7.0,
            "bottom": 3.0,
        }
    )
    assert confidences(told, window=100)["group"] == found["confidence"]
    assert confidences(np.array([]), 4) == dict.fromkeys(MEASURES, 0.0)


def test_the_top_share_is_of_each_problem():
    scores = Scores(
        np.array([0, 0, 0, 1, 1]),
        np.array([0, 1, 2, 0, 1]),
        np.array([True, False, False, True, False]),
        np.array([0.1, 0.5, 0.5, 0.2, 0.9]),
    )
    assert top(scores, 0.5).answer_S.tolist() == [1, 2, 1]
    assert top(scores, 0.01).answer_S.tolist() == [1, 1]
    assert top(scores, 1.0).answer_S.tolist() == scores.answer_S.tolist()


@pytest.mark.parametrize(("knows", "gains"), [(True, True), (False, False)])
def test_confidence_that_knows_beats_a_vote_and_one_that_does_not_does_not(knows, gains):
    rng = np.random.default_rng(0)
    rows = []
    for problem in range(150):
        for sample in range(8):
            is_right = sample < 3  # four agree on a wrong answer
            sure = 5.0 + 3.0 * is_right if knows else rng.uniform(4, 6)
            rows.append(
                {
                    "model": "m",
                    "strategy": "s",
                    "problem": f"p{problem:03}",
                    "level": "easy",
                    "sample": sample,
                    "answer": "right" if is_right else f"wrong {sample // 7}",
                    "is_correct": is_right,
                    "truncated": False,
                    "num_prompt_tokens": 5,
                    "num_output_tokens": 4,
                    "token_scores": [-1.0, sure] * 4,
                }
            )
    settings = AnalysisSettings(num_bootstrap=100, questions={"q": Confidence()})
    (answer,) = analyse(Measured([MODEL], pd.DataFrame(rows)), settings).answers
    table = answer.tables["confidence"].set_index(["measure", "choice"])
    assert (table.loc[("group", "best"), "over_vote_low"] > 0.9) == gains
    assert (table.loc[("group", "vote of the top 10%"), "accuracy"] > 0.9) == gains
    plain = pd.DataFrame(rows).drop(columns="token_scores")
    assert (
        "set sampling.confidence"
        in analyse(Measured([MODEL], plain), settings).answers[0].sentences[0]
    )


def test_no_more_likeliest_tokens_than_an_engine_tells():
    for number in (21, -2):
        with pytest.raises(ValueError, match=rf"sampling\.confidence is {number}"):
            Sampling(max_tokens=1, confidence=number)


def test_an_answer_that_began_anew_is_as_sure_as_its_own_tokens():
    sampling = Sampling(max_tokens=2, confidence=5)

    async def source(stream, samples):
        told = (-float(len(stream.prefix)), 1.0)
        return [Completion((7,), "stop", scores=told) for _ in samples]

    forest = Forest((1, 2, 3), source, "0/m/p", lambda _: None)

    async def revise():
        await forest.extend((0,), sampling)
        await forest.extend((0, 0), sampling, forced=(9,), begins_anew=True)
        await forest.extend((0, 0, 0), sampling)

    asyncio.run(revise())
    assert _token_scores(forest, (0,)) == (-3.0, 1.0)
    assert _token_scores(forest, (0, 0)) == (-5.0, 1.0)
    assert _token_scores(forest, (0, 0, 0)) == (-5.0, 1.0, -6.0, 1.0)
