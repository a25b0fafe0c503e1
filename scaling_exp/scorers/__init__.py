"""Scorers: what is thought of an answer, whole or in part. `kind:` in a configuration chooses from `SCORERS`.

A score is a draw like any other: one token of the scorer's, of which log-probabilities are told, or what its head for
scores gives. So it is batched, charged and kept in the pool as draws are, and asked for once.
"""

from scaling_exp.scorers.labels import Labels
from scaling_exp.scorers.reward import Reward
from scaling_exp.scorers.scorer import ScorerModel, Scoring

SCORERS = {"labels": Labels, "reward": Reward}

__all__ = ["SCORERS", "Labels", "Reward", "ScorerModel", "Scoring"]
