"""Scorers: what is thought of an answer, whole or in part. `kind:` in a configuration chooses from `SCORERS`.

A score is a draw like any other: one token of the scorer's, of which log-probabilities are told, or those of what it
read, or what its head for scores gives, or the verdict of a grader. So it is batched, charged and kept in the pool as
draws are, and asked for once.
"""

from scaling_exp.scorers.exact import Verifier, answer_in, verdict_of
from scaling_exp.scorers.labels import Labels
from scaling_exp.scorers.likelihood import Likelihood
from scaling_exp.scorers.reward import Reward
from scaling_exp.scorers.scorer import Ask, ScorerModel, Scoring

SCORERS = {"exact": Verifier, "labels": Labels, "likelihood": Likelihood, "reward": Reward}

__all__ = [
    "SCORERS",
    "Ask",
    "Labels",
    "Likelihood",
    "Reward",
    "ScorerModel",
    "Scoring",
    "Verifier",
    "answer_in",
    "verdict_of",
]
