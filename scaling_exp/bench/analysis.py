"""Estimators and their bootstrap against the loop over problems that scripts usually have, in one run.

The loop is the code of the papers: pass@k per problem with a product (Chen et al. 2021), a vote over random subsets for
maj@k, and a bootstrap that resamples problems one resample at a time. Both go from answers to intervals.

Axes: P problems, N samples of a problem, S samples of all problems, K numbers of samples k, R rows of the bootstrap.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from scaling_exp.analysis.estimators import (
    BoolArray,
    FloatArray,
    IntArray,
    Votes,
    maj_at_k,
    pass_at_k,
)
from scaling_exp.analysis.intervals import resample_problems
from scaling_exp.bench.result import Result, Row, Setup, alternate, check_positive

RIGHT = 0
CURVES = ("pass@k", "maj@k", "both")


@dataclass(frozen=True)
class Answers:
    """Flat arrays, as a table of samples has them, and the first problems as the loop wants them."""

    problem_S: IntArray
    answer_S: IntArray
    is_right_S: BoolArray
    looped: Sequence[Sequence[int]]


@dataclass(frozen=True)
class AnalysisBench:
    """Sizes. The loop runs over the first `num_looped` problems, and its time is scaled to all of them; it estimates
    maj@k from `num_subsets` subsets."""

    num_problems: int
    num_samples: int
    num_ks: int
    num_resamples: int
    num_looped: int
    num_subsets: int
    rounds: int

    def __post_init__(self) -> None:
        check_positive(self, *vars(self))

    @property
    def ks(self) -> list[int]:
        """Log-spaced from 1 to all samples; of equally many as asked for where there are so many."""
        spaced = np.geomspace(1, self.num_samples, self.num_ks).round().astype(int)
        ks = set(spaced.tolist())
        unused = (k for k in range(1, self.num_samples) if k not in ks)
        while len(ks) < min(self.num_ks, self.num_samples):
            ks.add(next(unused))
        return sorted(ks)

    def run(self, setup: Setup) -> Result:  # noqa: ARG002 - arithmetic alone
        """A row for each curve and for both, and the largest difference between the two ways."""
        answers = self._answers()
        before = _peak_gib()
        rows = [self._row(curve, answers) for curve in CURVES]
        peak = _peak_gib()
        size = f"{self.num_problems:,} problems x {self.num_samples:,} samples"
        title = (
            f"{size}, {len(self.ks)} k, {self.num_resamples:,} resamples, from answers to intervals"
        )
        notes = (
            f"peak memory of the process {peak:.2f} GiB, {before:.2f} GiB of it to make the answers up",
            f"the loop ran over {self._num_looped} problems and is scaled to {self.num_problems:,}; "
            f"it estimates maj@k from {self.num_subsets} subsets, which is most of the difference",
            self._stated_error(answers),
        )
        return Result(title, tuple(rows), notes)

    @property
    def _num_looped(self) -> int:
        return min(self.num_looped, self.num_problems)

    def _row(self, curve: str, answers: Answers) -> Row:
        seconds: dict[str, list[float]] = {"ours": [], "loop": []}
        values: dict[str, FloatArray] = {}
        for index, path in alternate(self.rounds, ("ours", "loop")):
            started = perf_counter()
            values[path] = (self._ours if path == "ours" else self._loop)(curve, answers)
            if index:
                seconds[path].append(perf_counter() - started)
        scale = self.num_problems / self._num_looped
        ours, loop = median(seconds["ours"]), median(seconds["loop"]) * scale
        difference_PK = values["ours"][: self._num_looped] - values["loop"]
        return {
            "curve": curve,
            "ours, s": ours,
            "slowest, s": max(seconds["ours"]),
            "loop, s": loop,
            "loop / ours": loop / ours,
            "largest difference of a mean": float(np.abs(difference_PK.mean(axis=0)).max()),
        }

    def _answers(self) -> Answers:
        """Problems of every difficulty; wrong answers scatter."""
        rng = np.random.default_rng(0)
        shape = (self.num_problems, self.num_samples)
        share_P = rng.beta(0.5, 1.0, self.num_problems)
        answer_PN = 1 + rng.zipf(1.7, shape) % 50
        answer_PN[rng.random(shape, np.float32) < share_P[:, None]] = RIGHT
        answer_S = answer_PN.ravel()
        problem_S = np.repeat(np.arange(self.num_problems), self.num_samples)
        looped = answer_PN[: self._num_looped].tolist()
        return Answers(problem_S, answer_S, answer_S == RIGHT, looped)

    def _ours(self, curve: str, answers: Answers) -> FloatArray:
        """Values per problem and k, after their intervals."""
        votes = self._votes(answers)
        curves = []
        if curve != "maj@k":
            curves.append(pass_at_k(votes.num_correct_P, votes.num_samples_P, self.ks))
        if curve != "pass@k":
            curves.append(maj_at_k(votes, self.ks).values_PK)
        values_PK = np.concatenate(curves, axis=1)
        resamples = resample_problems(len(values_PK), self.num_resamples, 0.95, seed=0)
        resamples.interval(resamples.means(values_PK))
        return values_PK

    def _votes(self, answers: Answers) -> Votes:
        columns = (answers.problem_S, answers.answer_S, answers.is_right_S)
        return Votes.of(self.num_problems, *columns)

    def _stated_error(self, answers: Answers) -> str:
        estimated = maj_at_k(self._votes(answers), self.ks)
        largest = float(estimated.standard_error_PK.max())
        if not largest:
            return "ours is exact"
        of_mean = float(estimated.mean_standard_error_K().max())
        return f"ours states an error of maj@k of at most {largest:.1e} in a problem, {of_mean:.1e} in a mean"

    def _loop(self, curve: str, answers: Answers) -> FloatArray:
        rng = np.random.default_rng(1)
        rows = [self._looped(curve, each, rng) for each in answers.looped]
        means = []
        for _ in range(self.num_resamples):
            chosen = rng.integers(len(rows), size=len(rows))
            means.append(np.mean([rows[at] for at in chosen], axis=0))
        np.quantile(means, [0.025, 0.975], axis=0)
        return np.array(rows)

    def _looped(self, curve: str, answers: Sequence[int], rng: np.random.Generator) -> list[float]:
        n, c = len(answers), sum(answer == RIGHT for answer in answers)
        values = []
        if curve != "maj@k":
            values += [
                1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
                for k in self.ks
            ]
        if curve != "pass@k":
            values += [self._voted(answers, k, rng) for k in self.ks]
        return values

    def _voted(self, answers: Sequence[int], k: int, rng: np.random.Generator) -> float:
        wins = 0.0
        for _ in range(self.num_subsets):
            votes = Counter(answers[at] for at in rng.permutation(len(answers))[:k])
            most = max(votes.values())
            leaders = [answer for answer, count in votes.items() if count == most]
            wins += (RIGHT in leaders) / len(leaders)
        return wins / self.num_subsets


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
