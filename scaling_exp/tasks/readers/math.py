"""A mathematical answer: in the last box, else where the text says what the answer is, else its last number.

It knows no grader: what it gives is the canonical form, in which votes count.
"""

from __future__ import annotations

from dataclasses import dataclass

from scaling_exp.tasks.answers import canonical
from scaling_exp.tasks.readers.places import announced, boxed, last, marked, numbers


@dataclass(frozen=True)
class MathReader:
    r"""Reads `\boxed{...}`, `#### ...`, `the answer is ...`, and with `last_number` any last number."""

    last_number: bool = False

    def read(self, text: str) -> str | None:
        for find in (boxed, marked, announced):
            found = find(text)
            if found:
                return canonical(found) or None
        found = last(numbers(text)) if self.last_number else None
        return canonical(found) if found else None
