"""Modular chains: multi-step arithmetic with worked steps, made by a seed and graded exactly.

A problem is a chain of sums, products and powers modulo a prime with the results left blank,

    35 * 7 = ? + 12 = ? * 5 = ? :

and its solution is the same chain with every running result filled in (here modulo 97),

    35 * 7 = 51 + 12 = 63 * 5 = 24 .

The answer is the list of running results, `51 63 24`: all steps must be right, and a chain of two has p * p possible
answers, so guessing covers nothing. Operands follow Zipf's law, as facts in a corpus do: the more often a model saw
`* 7`, the likelier it knows it. That is why accuracy climbs by degrees along a ladder of sizes, where uniformly
distributed facts would give a cliff (Michaud et al. 2023, arXiv 2303.13506, explain both).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from scaling_exp.types import Problem

# Axis suffixes: R rows (problems), S steps.

OPERATORS = ("+", "*", "^")
SYMBOLS = (*OPERATORS, "=", "?", ":", ".")
HELD_OUT_ONE_IN = 8


@dataclass(frozen=True)
class Level:
    """A degree of difficulty: how many steps, and how steep the Zipf law of the operands is (0: uniform)."""

    num_steps: int
    zipf_exponent: float

    def __post_init__(self) -> None:
        if self.num_steps < 2:
            raise ValueError(
                f"num_steps is {self.num_steps}; it must be at least 2, or answers could be guessed"
            )
        if self.zipf_exponent < 0:
            raise ValueError(f"zipf_exponent is {self.zipf_exponent}; it must be 0 or more")


@dataclass(frozen=True)
class ModularChains:
    """Held-out problems of every level, `num_problems` in all, as even over the levels as can be.

    A chain is held out when a hash of its text says so (one in eight); training rows skip these, so both sets are
    disjoint by construction, whatever the seeds.
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
        """Distinct held-out problems, interleaved by level."""
        names = list(self.levels)
        rng = np.random.default_rng(self.seed)
        found: dict[str, Problem] = {}
        num_draws = 0
        while len(found) < self.num_problems:
            level = names[len(found) % len(names)]
            start_R, operator_RS, operand_RS = self.draw(level, 1, rng, held_out=True)
            num_draws += 1
            if len(start_R):
                problem = self.problem(level, int(start_R[0]), operator_RS[0], operand_RS[0])
                found.setdefault(problem.prompt, problem)
            if num_draws > 1000 * self.num_problems:
                raise ValueError(
                    f"level {level} has too few distinct problems; lower num_problems ({self.num_problems})"
                )
        return tuple(found.values())

    def draw(
        self, level: str, num_rows: int, rng: np.random.Generator, *, held_out: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those of `num_rows` random chains that are (not) held out: starts_R in 1..p-1, operator_RS, operands_RS."""
        steps = self.levels[level].num_steps
        start_R = rng.integers(1, self.modulus, num_rows)
        operator_RS = rng.integers(0, len(OPERATORS), (num_rows, steps))
        operand_RS = rng.choice(
            self.operands_by_rank(), (num_rows, steps), p=self.operand_probabilities(level)
        )
        keep_R = is_held_out(start_R, operator_RS, operand_RS) == held_out
        return start_R[keep_R], operator_RS[keep_R], operand_RS[keep_R]

    def operands_by_rank(self) -> np.ndarray:
        """Operands 2..p-1, the most frequent first: an order fixed once for all seeds."""
        return np.random.default_rng(0).permutation(np.arange(2, self.modulus))

    def operand_probabilities(self, level: str) -> np.ndarray:
        """Zipf's law over ranks: proportional to rank ** -zipf_exponent."""
        weights = np.arange(1.0, self.modulus - 1) ** -self.levels[level].zipf_exponent
        return weights / weights.sum()

    def results(
        self, start_R: np.ndarray, operator_RS: np.ndarray, operand_RS: np.ndarray
    ) -> np.ndarray:
        """Running results_RS of chains, modulo p."""
        running_R = start_R
        results = []
        for operator_R, operand_R in zip(operator_RS.T, operand_RS.T, strict=True):
            outcomes_OR = (
                (running_R + operand_R) % self.modulus,
                (running_R * operand_R) % self.modulus,
                power_table(self.modulus)[running_R, operand_R],
            )
            running_R = np.choose(operator_R, outcomes_OR)
            results.append(running_R)
        return np.stack(results, axis=1)

    def problem(
        self, level: str, start: int, operator_S: np.ndarray, operand_S: np.ndarray
    ) -> Problem:
        """One chain as text with its exact answer."""
        steps = [
            f"{OPERATORS[operator]} {operand} = ?"
            for operator, operand in zip(operator_S, operand_S, strict=True)
        ]
        prompt = " ".join([str(start), *steps, ":"])
        (result_S,) = self.results(np.array([start]), operator_S[None], operand_S[None])
        digest = blake2b(prompt.encode(), digest_size=5).hexdigest()
        return Problem(
            name=f"{level}-{digest}", prompt=prompt, answer=" ".join(map(str, result_S)), level=level
        )

    def read(self, text: str) -> str | None:
        """The running results of a worked chain: what follows each `=`; None unless all are numbers and it ended."""
        words = text.split()
        if not words or words[-1] != ".":
            return None
        results = [after for word, after in zip(words, words[1:], strict=False) if word == "="]
        if not results or not all(result.isdigit() for result in results):
            return None
        return " ".join(results)

    def grade(self, problem: Problem, answer: str) -> bool:
        """Exact: every running result must be right."""
        return answer == problem.answer

    def solution(self, problem: Problem) -> str:
        """The worked chain that answers a problem."""
        results = iter(problem.answer.split())
        words = [next(results) if word == "?" else word for word in problem.prompt.split()]
        return " ".join(["." if word == ":" else word for word in words])

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of a problem or a solution: a number per residue, and the symbols."""
        return (*map(str, range(self.modulus)), *SYMBOLS)

    def row_tokens(self, level: str) -> int:
        """Words of a prompt and its solution, which are equally long."""
        return 2 * (4 * self.levels[level].num_steps + 2)

    def rows(
        self, level: str, num_rows: int, rng: np.random.Generator, *, held_out: bool
    ) -> np.ndarray:
        """Word indices_RT of prompts followed by solutions: what models of this task are trained on."""
        share = 1 / HELD_OUT_ONE_IN if held_out else 1 - 1 / HELD_OUT_ONE_IN
        num_drawn = int(1.5 * num_rows / share) + 32
        start_R, operator_RS, operand_RS = (
            chains[:num_rows] for chains in self.draw(level, num_drawn, rng, held_out=held_out)
        )
        equals, blank, colon, end = range(
            self.modulus + len(OPERATORS), self.modulus + len(SYMBOLS)
        )
        result_RS = self.results(start_R, operator_RS, operand_RS)
        prompt, solution = [start_R], [start_R]
        for s in range(result_RS.shape[1]):
            step = [self.modulus + operator_RS[:, s], operand_RS[:, s], np.full_like(start_R, equals)]
            prompt += [*step, np.full_like(start_R, blank)]
            solution += [*step, result_RS[:, s]]
        last = np.full_like(start_R, colon), np.full_like(start_R, end)
        return np.stack([*prompt, last[0], *solution, last[1]], axis=1)


def is_held_out(
    start_R: np.ndarray, operator_RS: np.ndarray, operand_RS: np.ndarray
) -> np.ndarray:
    """Whether chains belong to the held-out set (one in eight), decided by a hash of their content alone."""
    hash_R = start_R.astype(np.uint64)
    for operator_R, operand_R in zip(operator_RS.T, operand_RS.T, strict=True):
        hash_R = _mix(hash_R ^ (len(OPERATORS) * operand_R + operator_R + 1).astype(np.uint64))
    return hash_R % np.uint64(HELD_OUT_ONE_IN) == 0


def _mix(bits_R: np.ndarray) -> np.ndarray:
    """One round of SplitMix64 (Steele et al. 2014); overflow wraps, as it should."""
    bits_R = bits_R + np.uint64(0x9E3779B97F4A7C15)
    bits_R = (bits_R ^ (bits_R >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits_R = (bits_R ^ (bits_R >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits_R ^ (bits_R >> np.uint64(31))


@lru_cache
def power_table(modulus: int) -> np.ndarray:
    """x ** y modulo p, indexed [x, y]."""
    return np.array([[pow(x, y, modulus) for y in range(modulus)] for x in range(modulus)])


def is_prime(number: int) -> bool:
    """Whether `number` is a prime of at least 5."""
    return number >= 5 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
