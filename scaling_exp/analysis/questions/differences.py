"""Differences: which models and which strategies of a run can be told apart, problem by problem."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.comparison import Certainty, differences_within, sentences_of
from scaling_exp.analysis.questions.asking import untold
from scaling_exp.analysis.study import Study

QUESTION = "Which models and strategies can be told apart on these problems?"


@dataclass(frozen=True)
class Differences:
    """It has no settings."""

    def __call__(self, study: Study) -> Answer:
        confidence = study.resamples.confidence
        certainty = Certainty(confidence, study.resamples.num_rows - 1, study.seed)
        found = differences_within(study.attempts, certainty)
        if found.empty:
            reason = "nothing was drawn twice on the same problems, or no problem is known"
            return untold("differences", QUESTION, reason)
        return Answer(
            name="differences",
            question=QUESTION,
            sentences=sentences_of(found, confidence),
            tables={"differences": found.drop(columns=["run_a", "run_b"])},
            assumptions=[
                "Differences are taken problem by problem, b less a: what makes a problem hard for both cancels.",
            ],
        )
