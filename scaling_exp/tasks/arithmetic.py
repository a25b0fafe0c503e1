"""Sums and products: arithmetic with many worked paths to one answer, made by a seed and graded exactly.

A problem is a few numbers, to be added and to be multiplied modulo a prime,

    7 35 12 :

and a solution works out both, one step at a time and each in an order of its own (here modulo 67),

    12 + 35 = 47 + 7 = 54 , 35 * 7 = 44 * 12 = 59 .

The answer is the sum and the product, `54 59`: p * (p - 1) pairs are possible, so guessing covers nothing. Sums and
products do not depend on the order and training rows take random ones, so a sampled attempt takes another path through
other facts: right attempts agree and wrong ones scatter, which is what self-consistency lives on (Wang et al. 2022,
arXiv 2203.11171). Terms follow Zipf's law, as facts in a corpus do, which is why accuracy climbs by degrees along a
ladder of sizes where uniformly distributed facts would give a cliff (Michaud et al. 2023, arXiv 2303.13506).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from scaling_exp.grading import Exact
from scaling_exp.types import Problem

# Axis suffixes: R rows (problems), N terms of a problem, T words.

SYMBOLS = ("+", "*", "=", ",", ":", ".")
HELD_OUT_ONE_IN = 8
WORKED = re.compile(r"[^,.]*= (\d+) , [^,.]*= (\d+) \.", re.ASCII)


@dataclass(frozen=True)
class Level:
    """A degree of difficulty: how many terms, and how steep the Zipf law of the terms is (0: uniform)."""

    num_terms: int
    zipf_exponent: float

    def __post_init__(self) -> None:
        if self.num_terms < 3:
            raise ValueError(
                f"num_terms is {self.num_terms}; it must be at least 3, or there is one path only"
            )
        if self.zipf_exponent < 0:
            raise ValueError(f"zipf_exponent is {self.zipf_exponent}; it must be 0 or more")


@dataclass(frozen=True)
class SumsAndProducts:
    """Held-out problems of every level, `num_problems` in all, as even over the levels as can be.

    A problem is held out when a hash of its sorted terms says so (one in eight); training rows skip these in every
    order, so both sets are disjoint by construction, whatever the seeds.
    """

    num_problems: int
    seed: int
    modulus: int
    levels: dict[str, Level]

    def __post_init__(self) -> None:
        if self.num_problems < 1:
            raise ValueError(f"num_problems is {self.num_problems}; it must be at least 1")
        if not is_prime(self.modulus):
            raise ValueError(f"modulus is {self.modulus}; it must be a prime of at least 5")
        if not self.levels:
            raise ValueError("levels is empty; give at least one level")

    def problems(self) -> Sequence[Problem]:
        """Held-out problems, no two with the same terms, interleaved by level."""
        names = list(self.levels)
        rng = np.random.default_rng(self.seed)
        found: dict[tuple[int, ...], Problem] = {}
        num_draws = 0
        while len(found) < self.num_problems:
            level = names[len(found) % len(names)]
            for term_N in self.draw(level, 1, rng, held_out=True):
                found.setdefault(tuple(sorted(term_N.tolist())), self.problem(level, term_N))
            num_draws += 1
            if num_draws > 1000 * self.num_problems:
                raise ValueError(
                    f"level {level} has too few distinct problems; lower num_problems ({self.num_problems})"
                )
        return tuple(found.values())

    def draw(
        self, level: str, num_rows: int, rng: np.random.Generator, *, held_out: bool
    ) -> np.ndarray:
        """Those of `num_rows` random problems that are (not) held out: term_RN in 2..p-1."""
        num_terms = self.levels[level].num_terms
        term_RN = rng.choice(
            self.terms_by_rank(), (num_rows, num_terms), p=self.term_probabilities(level)
        )
        return term_RN[is_held_out(term_RN) == held_out]

    def terms_by_rank(self) -> np.ndarray:
        """Terms 2..p-1, the most frequent first: an order fixed once for all seeds."""
        return np.random.default_rng(0).permutation(np.arange(2, self.modulus))

    def term_probabilities(self, level: str) -> np.ndarray:
        """Zipf's law over ranks: proportional to rank ** -zipf_exponent."""
        weights = np.arange(1.0, self.modulus - 1) ** -self.levels[level].zipf_exponent
        return weights / weights.sum()

    def problem(self, level: str, term_N: np.ndarray) -> Problem:
        """One problem as text with its exact answer."""
        prompt = " ".join([*map(str, term_N), ":"])
        total, product = 0, 1
        for term in term_N.tolist():
            total, product = (total + term) % self.modulus, (product * term) % self.modulus
        digest = blake2b(prompt.encode(), digest_size=5).hexdigest()
        return Problem(
            name=f"{level}-{digest}", prompt=prompt, answer=f"{total} {product}", level=level
        )

    def read(self, text: str) -> str | None:
        """Sum and product, the last result of either half whatever its steps; None unless it has both and ended."""
        worked = WORKED.fullmatch(" ".join(text.split()))
        return f"{worked[1]} {worked[2]}" if worked else None

    @property
    def grader(self) -> Exact:
        """Sum and product must be right."""
        return Exact()

    def solution(self, problem: Problem) -> str:
        """One worked path to the answer of a problem: terms in the order of the prompt."""
        term_RN = np.array([problem.prompt.split()[:-1]], dtype=int)
        words = self.vocabulary()
        return " ".join(words[index] for index in self.worked(term_RN, term_RN)[0])

    def worked(self, to_add_RN: np.ndarray, to_multiply_RN: np.ndarray) -> np.ndarray:
        """Word indices_RT of solutions that add and multiply in the given orders."""
        plus, times, equals, comma, _, end = range(self.modulus, self.modulus + len(SYMBOLS))
        columns: list[np.ndarray | int] = []
        halves = (
            (to_add_RN, plus, np.add, comma),
            (to_multiply_RN, times, np.multiply, end),
        )
        for term_RN, symbol, operate, mark in halves:
            running_R = term_RN[:, 0]
            columns.append(running_R)
            for term_R in term_RN.T[1:]:
                running_R = operate(running_R, term_R) % self.modulus
                columns += [symbol, term_R, equals, running_R]
            columns.append(mark)
        return np.stack(np.broadcast_arrays(*columns), axis=1)

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of a problem or a solution: a number per residue, and the symbols."""
        return (*map(str, range(self.modulus)), *SYMBOLS)

    def prompt_tokens(self, level: str) -> int:
        """Words of a prompt: the terms and a colon."""
        return self.levels[level].num_terms + 1

    def row_tokens(self, level: str) -> int:
        """Words of a prompt and its solution: two halves of a term, a mark and four words a step."""
        return self.prompt_tokens(level) + 2 * (4 * (self.levels[level].num_terms - 1) + 2)

    def rows(
        self, level: str, num_rows: int, rng: np.random.Generator, *, held_out: bool
    ) -> np.ndarray:
        """Word indices_RT of prompts and then solutions in random orders: what models of this task are trained on."""
        num_draws = (2 * HELD_OUT_ONE_IN if held_out else 2) * num_rows
        drawn = [self.draw(level, num_draws, rng, held_out=held_out)]
        while sum(map(len, drawn)) < num_rows:
            drawn.append(self.draw(level, num_draws, rng, held_out=held_out))
        term_RN = np.concatenate(drawn)[:num_rows]
        colon_R1 = np.full((num_rows, 1), self.modulus + SYMBOLS.index(":"))
        worked_RT = self.worked(rng.permuted(term_RN, axis=1), rng.permuted(term_RN, axis=1))
        return np.concatenate([term_RN, colon_R1, worked_RT], axis=1)


def is_held_out(term_RN: np.ndarray) -> np.ndarray:
    """Whether problems belong to the held-out set (one in eight), decided by a hash of their sorted terms alone."""
    hash_R = np.zeros(len(term_RN), np.uint64)
    for term_R in np.sort(term_RN, axis=1).T:
        hash_R = _mix(hash_R ^ term_R.astype(np.uint64))
    return hash_R % np.uint64(HELD_OUT_ONE_IN) == 0


def _mix(bits_R: np.ndarray) -> np.ndarray:
    """One round of SplitMix64 (Steele et al. 2014); overflow wraps, as it should."""
    bits_R = bits_R + np.uint64(0x9E3779B97F4A7C15)
    bits_R = (bits_R ^ (bits_R >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits_R = (bits_R ^ (bits_R >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits_R ^ (bits_R >> np.uint64(31))


def is_prime(number: int) -> bool:
    """Whether `number` is a prime of at least 5."""
    return number >= 5 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
