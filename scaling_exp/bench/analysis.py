"""Estimators and their bootstrap against the loop over problems that scripts usually have, in one run.

The loop is the code of the papers: pass@k per problem with a product (Chen et al. 2021), a vote over random subsets for
maj@k, and a bootstrap that resamples problems one resample at a time.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from scaling_exp.analysis.estimators import VoteCounts, maj_at_k, pass_at_k, polynomial
from scaling_exp.analysis.intervals import resample_problems
from scaling_exp.bench.result import Result, Row, Setup, alternate, check_positive

RIGHT = 0
Answers = Sequence[Sequence[int]]
"""Per problem the answer of every sample; RIGHT is the right one."""


@dataclass(frozen=True)
class AnalysisBench:
    """Sizes; `num_subsets` is how often the loop draws k of the samples to estimate maj@k, which we have exactly."""

    num_problems: int
    num_samples: int
    num_ks: int
    num_resamples: int
    num_subsets: int
    rounds: int

    def __post_init__(self) -> None:
        check_positive(self, *vars(self))

    @property
    def ks(self) -> list[int]:
        """Log-spaced from 1 to all samples."""
        return np.unique(
            np.geomspace(1, self.num_samples, self.num_ks).round().astype(int)
        ).tolist()

    def run(self, setup: Setup) -> Result:  # noqa: ARG002 - arithmetic alone
        """A row for each curve, and the largest difference between the two ways."""
        answers = self._answers()
        rows = [
            self._row("pass@k with bootstrap", answers, self._our_pass, self._loop_pass),
            self._row("maj@k with bootstrap", answers, self._our_maj, self._loop_maj),
        ]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        size = f"{self.num_problems} problems x {self.num_samples} samples"
        title = f"{size}, {len(self.ks)} k, {self.num_resamples} resamples"
        note = f"peak memory {peak:.2f} GiB; the loop estimates maj@k from {self.num_subsets} subsets, ours is exact"
        return Result(title, tuple(rows), (note,))

    def _row(
        self,
        name: str,
        answers: Answers,
        ours: Callable[[Answers], np.ndarray],
        loop: Callable[[Answers], np.ndarray],
    ) -> Row:
        seconds: dict[str, list[float]] = {"ours": [], "loop": []}
        curves: dict[str, np.ndarray] = {}
        for index, path in alternate(self.rounds, ("ours", "loop")):
            polynomial._maj_of_counts.cache_clear()
            started = perf_counter()
            curves[path] = (ours if path == "ours" else loop)(answers)
            if index:
                seconds[path].append(perf_counter() - started)
        return {
            "curve": name,
            "ours, s": median(seconds["ours"]),
            "loop, s": median(seconds["loop"]),
            "loop / ours": median(seconds["loop"]) / median(seconds["ours"]),
            "largest difference": float(np.abs(curves["ours"][0] - curves["loop"][0]).max()),
        }

    def _answers(self) -> Answers:
        """Problems of every difficulty; wrong answers scatter."""
        rng = np.random.default_rng(0)
        share_P = rng.beta(0.5, 1.0, self.num_problems)
        wrong_PN = 1 + rng.zipf(1.7, (self.num_problems, self.num_samples)) % 50
        is_right_PN = rng.random(wrong_PN.shape) < share_P[:, None]
        return np.where(is_right_PN, RIGHT, wrong_PN).tolist()

    def _our_pass(self, answers: Answers) -> np.ndarray:
        """Rows of the bootstrap by k; row 0 is the estimate."""
        num_correct_P = (np.array(answers) == RIGHT).sum(axis=1)
        return self._resampled(pass_at_k(num_correct_P, self.num_samples, self.ks))

    def _our_maj(self, answers: Answers) -> np.ndarray:
        return self._resampled(maj_at_k([_counts(each) for each in answers], self.ks))

    def _resampled(self, values_PK: np.ndarray) -> np.ndarray:
        return resample_problems(len(values_PK), self.num_resamples, 0.95, 0).means(values_PK)

    def _loop_pass(self, answers: Answers) -> np.ndarray:
        rows = []
        for each in answers:
            n, c = len(each), sum(answer == RIGHT for answer in each)
            rows.append(
                [
                    1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
                    for k in self.ks
                ]
            )
        return self._loop_resampled(rows)

    def _loop_maj(self, answers: Answers) -> np.ndarray:
        rng = np.random.default_rng(1)
        rows = [[self._voted(each, k, rng) for k in self.ks] for each in answers]
        return self._loop_resampled(rows)

    def _voted(self, answers: Sequence[int], k: int, rng: np.random.Generator) -> float:
        wins = 0.0
        for _ in range(self.num_subsets):
            votes = Counter(answers[at] for at in rng.permutation(len(answers))[:k])
            most = max(votes.values())
            leaders = [answer for answer, count in votes.items() if count == most]
            wins += (RIGHT in leaders) / len(leaders)
        return wins / self.num_subsets

    def _loop_resampled(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        rng = np.random.default_rng(2)
        means = [np.mean(rows, axis=0)]
        for _ in range(self.num_resamples):
            chosen = rng.integers(len(rows), size=len(rows))
            means.append(np.mean([rows[at] for at in chosen], axis=0))
        return np.array(means)


def _counts(answers: Sequence[int]) -> VoteCounts:
    votes = Counter(answers)
    num_right = votes.pop(RIGHT, 0)
    return VoteCounts(
        (num_right,) if num_right else (), tuple(sorted(votes.values(), reverse=True)), 0
    )
