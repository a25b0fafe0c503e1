"""Estimators: what one would have scored with k samples, in expectation over which k of the n drawn
they were.

    coverage.py    pass@k: an oracle                        exact
    votes.py       Votes: how often each answer was given; the vote over all samples, and its limit
    majority.py    maj@k: a vote                            exact where affordable, else its error stated
      elections.py     one right answer against its rivals: the sum that all of it rests on
      fewvotes.py      all small k at once, as power series
      electorate.py    a random number of voters, and what it says about a fixed one
    scored.py      Scores: best-of-k (exact), weighted votes (random subsets with their error)
    verifier.py    a verifier that errs                     exact

How sure a mean over problems is, is for intervals.py; what the samples cost, for cost.py.
"""

from scaling_exp.analysis.estimators.arrays import BoolArray, Estimated, FloatArray, IntArray
from scaling_exp.analysis.estimators.coverage import pass_at_k
from scaling_exp.analysis.estimators.majority import maj_at_k
from scaling_exp.analysis.estimators.scored import (
    Ballots,
    Scores,
    best_of_all,
    best_of_k,
    weighted_plurality,
    weighted_vote_at_k,
)
from scaling_exp.analysis.estimators.verifier import verified_at_k
from scaling_exp.analysis.estimators.votes import ABSTAINS, Votes, plurality, vote_limit

__all__ = [
    "ABSTAINS",
    "Ballots",
    "BoolArray",
    "Estimated",
    "FloatArray",
    "IntArray",
    "Scores",
    "Votes",
    "best_of_all",
    "best_of_k",
    "maj_at_k",
    "pass_at_k",
    "plurality",
    "verified_at_k",
    "vote_limit",
    "weighted_plurality",
    "weighted_vote_at_k",
]
