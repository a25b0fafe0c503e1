"""Number puzzles made by a seed: a few numbers, and a target that can be made of all of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from scaling_exp.tasks.expressions import parse
from scaling_exp.tasks.files import Row
from scaling_exp.types import UserError

TRIES = 1000
"""Random ways to combine the numbers before others are drawn: of the ways to combine four there are 3,888."""
OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
Combined = tuple[float, str]
"""A value as nearly as a float holds it, and how it is made of the numbers."""
MAX_DRAWS = 200
"""Draws in a row that give no new puzzle, before a range of targets counts as exhausted."""


@dataclass(frozen=True)
class CountdownPuzzles:
    """`num_puzzles` puzzles, in turn of every size in `num_numbers`, no two the same.

    Numbers are uniform in 1..`largest_number`. They are combined two by two at random, each of + - * / as likely, till
    the result is a whole number from `smallest_target` to `largest_target`; what no try combines so is drawn anew. So
    every puzzle can be solved, and those with few solutions are somewhat rarer. With more `num_puzzles` the first stay.
    Columns: `nums`, `target`, `size`, and one `solution`.
    """

    num_puzzles: int
    num_numbers: tuple[int, ...]
    largest_number: int
    smallest_target: int
    largest_target: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_puzzles < 1:
            raise ValueError(
                f"task.source.num_puzzles is {self.num_puzzles}; it must be at least 1"
            )
        if not self.num_numbers or not 2 <= min(self.num_numbers) <= max(self.num_numbers) <= 10:
            raise ValueError(
                f"task.source.num_numbers is {list(self.num_numbers)}; puzzles have 2 to 10 numbers, e.g. [3, 4]"
            )
        if self.largest_number < 1:
            raise ValueError(
                f"task.source.largest_number is {self.largest_number}; it must be at least 1"
            )
        if not 1 <= self.smallest_target <= self.largest_target:
            raise ValueError(
                f"task.source: targets from {self.smallest_target} to {self.largest_target}; they must be at least 1,"
                " and smallest_target no more than largest_target"
            )

    def rows(self) -> Sequence[Row]:
        """The puzzles. Raises UserError when there are not so many."""
        rng = Random(self.seed)
        found: dict[tuple[int, ...], Row] = {}
        num_vain = 0
        while len(found) < self.num_puzzles:
            size = self.num_numbers[len(found) % len(self.num_numbers)]
            row = self._draw(size, rng)
            key = () if row is None else (*sorted(row["nums"]), row["target"])
            num_vain = num_vain + 1 if row is None or key in found else 0
            if num_vain == MAX_DRAWS:
                raise UserError(
                    f"task.source: only {len(found)} puzzles of {size} numbers up to {self.largest_number} were found"
                    " with such targets; ask for fewer num_puzzles, or allow more targets"
                )
            if row is not None:
                found.setdefault(key, row)
        return tuple(found.values())

    def _draw(self, size: int, rng: Random) -> Row | None:
        numbers = [rng.randint(1, self.largest_number) for _ in range(size)]
        for _ in range(TRIES):
            value, text = _combined(numbers, rng)
            target = round(value)
            if not self.smallest_target <= target <= self.largest_target:
                continue
            # Floats are quick and nearly right; whether they are right, fractions say.
            solution = parse(text) if abs(value - target) < 1e-6 else None
            if solution is not None and solution.value == target:
                return {
                    "nums": numbers,
                    "target": target,
                    "size": size,
                    "solution": f"{solution.text} = {target}",
                }
        return None


def _combined(numbers: Sequence[int], rng: Random) -> Combined:
    """All numbers combined two by two at random; a division by zero is a subtraction instead."""
    values = [(float(number), str(number)) for number in numbers]
    while len(values) > 1:
        left, left_text = values.pop(int(rng.random() * len(values)))
        right, right_text = values.pop(int(rng.random() * len(values)))
        operation = "+-*/"[int(rng.random() * 4)]
        if operation == "/" and right == 0:
            operation = "-"
        values.append((OPERATIONS[operation](left, right), f"({left_text}{operation}{right_text})"))
    return values[0]
