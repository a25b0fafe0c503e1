"""Pure rules of a vote. Knows counts only: no tokens, no engine, no problem.

An answer of `None` (unparsable) abstains: it is drawn and paid for, and elects nobody.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import comb


def count_votes(answers: Iterable[str | None]) -> Counter[str]:
    """Votes per answer; abstentions are left out."""
    return Counter(answer for answer in answers if answer is not None)


def winners(votes: Counter[str]) -> tuple[str, ...]:
    """Every answer with the most votes, sorted; empty when all abstained."""
    most = max(votes.values(), default=0)
    return tuple(sorted(answer for answer, count in votes.items() if count == most))


def fewest_to_settle(votes: Counter[str], num_remaining: int) -> int:
    """Fewest further samples after which the winner of the full vote could be known; 0 when it is known now.

    With lead d = (first - second) and r samples left, the vote is settled when d > r, because a rival gains at most
    one vote a sample. If all of the next m samples go to the leader, d + m > r - m, so m = floor((r - d) / 2) + 1.
    Settled votes elect exactly the winner of the full vote, unlike rules that stop on confidence
    (Aggarwal et al. 2023, arXiv 2305.11860) or on the order of arrival.

    Raises ValueError when `num_remaining` is negative.
    """
    if num_remaining < 0:
        raise ValueError(f"num_remaining is {num_remaining}; it must be 0 or more")
    first, second = _two_that_lead(votes)
    lead = first - second
    if num_remaining == 0 or lead > num_remaining:
        return 0
    return min(num_remaining, (num_remaining - lead) // 2 + 1)


def majority_confidence(votes: Counter[str]) -> float:
    """Probability that the leading answer is the more frequent of the two that lead: 1 - I_0.5(v1 + 1, v2 + 1).

    Adaptive-Consistency stops at 0.95 (Aggarwal et al. 2023, arXiv 2305.11860, eq. 3).
    """
    return _confidence(*_two_that_lead(votes))


def fewest_to_be_confident(votes: Counter[str], num_remaining: int, confidence: float) -> int:
    """Fewest further samples after which `majority_confidence` could reach `confidence`; 0 when it does now.

    It rises fastest when all of them go to the leader, so to look again only then stops at the very sample at which
    looking after each would.
    """
    first, second = _two_that_lead(votes)
    return bisect_left(
        range(num_remaining), confidence, key=lambda more: _confidence(first + more, second)
    )


def is_unanimous(answers: Sequence[str | None]) -> bool:
    """Whether all gave one and the same answer."""
    return None not in answers and len(set(answers)) == 1


def _two_that_lead(votes: Counter[str]) -> tuple[int, int]:
    """Votes for the first and the second."""
    first, second = ([count for _, count in votes.most_common(2)] + [0, 0])[:2]
    return first, second


@lru_cache(maxsize=1 << 14)
def _confidence(first: int, second: int) -> float:
    """I_0.5 of whole numbers is a binomial tail: P(Bin(v1 + v2 + 1, 1/2) >= v1 + 1)."""
    tosses = first + second + 1
    tail, term = 0, comb(tosses, first + 1)
    for heads in range(first + 1, tosses + 1):
        tail += term
        term = term * (tosses - heads) // (heads + 1)
    return 1 - tail / 2**tosses
